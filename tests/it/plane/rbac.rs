//! The shipped roles are enough for everything that the operator does, and
//! nothing in them is unused: the API server's own audit log says so.

mod permission;

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use sidegate_testkit::plane::{
    ACCOUNT, HOME, PATIENCE, Patch, Plane, PodWish, Wishes, condition_message,
};
use tokio::time::{Instant, sleep};

use self::permission::{Permission, Use, permissions, uses};
use super::{NAMESPACE, Stage, path, references};

const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1";
const AUTHORITY: &str = "/api/v1/namespaces/sidegate-system/secrets/sidegate-authority";
const BUNDLE: &str = "/api/v1/namespaces/crm/configmaps/sidegate-trust";
const POLICIES: &str = "/apis/networking.k8s.io/v1/namespaces/crm/networkpolicies";
const LEASE: &str =
    "/apis/coordination.k8s.io/v1/namespaces/sidegate-system/leases/sidegate-operator";
const WEBHOOKS: &str =
    "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/sidegate-injector";

/// Rules that this test cannot have used, with the reason.
const UNUSED: [(&str, &str); 0] = [];

/// OPR-008.
#[tokio::test(flavor = "multi_thread")]
async fn the_shipped_roles_are_all_that_is_used_and_all_of_it_is() {
    let wishes = Wishes {
        audit: true,
        admission: true,
        trace: false,
    };
    let mut stage = Stage::with(wishes, |_| {}).await;
    everything(&mut stage).await;
    let shipped = shipped(&stage).await;
    let (mut used, mut refused) = (BTreeSet::new(), BTreeSet::new());
    for event in stage.plane.api.server().audit() {
        let code = event["responseStatus"]["code"].as_i64().unwrap_or_default();
        for it in uses(&event) {
            match code {
                403 => refused.insert(it),
                _ => used.insert(it),
            };
        }
    }
    // What the owner of the namespace grants, by the command in the status, is
    // refused before, and is in none of the shipped roles.
    let granted = |it: &Use| it.namespace == NAMESPACE && it.resource == "secrets";
    assert!(refused.iter().any(granted), "{refused:#?}");
    refused.retain(|it| !granted(it));
    assert!(refused.is_empty(), "lacking: {refused:#?}");
    assert!(used.iter().any(granted), "{used:#?}");
    used.retain(|it| !granted(it));

    let stray: Vec<_> = used
        .iter()
        .filter(|it| !shipped.iter().any(|permission| permission.covers(it)))
        .collect();
    assert!(
        stray.is_empty(),
        "by other roles than the shipped: {stray:#?}"
    );
    let idle: Vec<_> = shipped
        .iter()
        .filter(|permission| !used.iter().any(|it| permission.covers(it)))
        .map(Permission::in_words)
        .collect();
    let expected: Vec<_> = UNUSED
        .iter()
        .map(|(words, _)| (*words).to_owned())
        .collect();
    println!(
        "{} permissions shipped, {} kinds of requests, refused: none, unused: {idle:?}",
        shipped.len(),
        used.iter()
            .map(|it| (&it.group, &it.resource, &it.verb))
            .collect::<BTreeSet<_>>()
            .len()
    );
    assert_eq!(idle, expected);
}

/// All that an operator ever does.
async fn everything(stage: &mut Stage) {
    stage.until_ready().await;
    let api = stage.plane.api.clone();
    // A Secret and a ConfigMap that a gateway refers to.
    let (_secrets, client) = references::a_server_with_a_secret(stage).await;
    references::call(stage, &client, "steady", 200).await;
    references::break_secret(stage).await;
    stage.apply(|_| {}).await;
    stage.until_ready().await;
    // A provider.
    let provider = json!({
        "apiVersion": "sidegate.dev/v1alpha1",
        "kind": "LlmProvider",
        "metadata": {"name": "p", "namespace": NAMESPACE},
        "spec": {"type": "OpenAICompatible", "baseUrl": "https://llm.example.com/v1"},
    });
    let apply = ["apply", "--server-side", "-f", "-"];
    let _ = api.kubectl(&apply, &provider.to_string()).await.succeeded();
    // A NetworkPolicy: written, mended, deleted.
    let separate = separate(stage).await;
    let policy = until_listed(&api, POLICIES, 1).await;
    let name = policy[0]["metadata"]["name"].as_str().unwrap().to_owned();
    let policy = format!("{POLICIES}/{name}");
    let broken = json!({"spec": {"podSelector": {"matchLabels": {"app": "nobody"}}}});
    api.patch(&policy, Patch::Merge, &broken).await;
    until(&api, &policy, |object| {
        object["spec"]["podSelector"] != broken["spec"]["podSelector"]
    })
    .await;
    let opt_out = json!({"metadata": {"annotations": {"sidegate.dev/network-policy": "false"}}});
    api.patch(&separate, Patch::Merge, &opt_out).await;
    until_listed(&api, POLICIES, 0).await;
    // And one of somebody else with its name.
    let foreign = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name},
        "spec": {"podSelector": {}},
    });
    api.create(POLICIES, &foreign).await;
    let opt_in = json!({"metadata": {"annotations": {"sidegate.dev/network-policy": "true"}}});
    api.patch(&separate, Patch::Merge, &opt_in).await;
    let noted = |object: &Value| {
        let message = condition_message(object, "Accepted", ("True", "Accepted"));
        message.is_some_and(|message| message.contains(&name))
    };
    until(&api, &separate, noted).await;
    api.delete(&separate).await;
    misfits(stage).await;
    // The trust bundle: mended and made again.
    let wrong = json!({"data": {"ca.crt": "wrong"}});
    api.patch(BUNDLE, Patch::Merge, &wrong).await;
    until(&api, BUNDLE, |bundle| bundle["data"]["ca.crt"] != "wrong").await;
    api.delete(BUNDLE).await;
    until_there(&api, BUNDLE).await;
    // The webhook's roots, edited and mended.
    let wrong = json!([{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]);
    let patched = api
        .send("PATCH", WEBHOOKS, "application/json-patch+json", &wrong)
        .await;
    assert!(patched.unwrap().status.is_success());
    until(&api, WEBHOOKS, |it| {
        !it["webhooks"][0]["clientConfig"]["caBundle"].is_null()
    })
    .await;
    // New roots.
    let rotate = json!({"metadata": {"annotations": {"sidegate.dev/rotate": "workload"}}});
    api.patch(AUTHORITY, Patch::Merge, &rotate).await;
    until_two_roots(&api).await;
    // The same news again and again, which an event counts.
    for _ in 0..2 {
        stage
            .apply(|spec| spec["authorization"]["rules"][0]["when"] = json!("args.a =="))
            .await;
        stage.until("Accepted", ("False", "Invalid")).await;
        stage.apply(|_| {}).await;
        stage.until_ready().await;
    }
    // A Lease that is gone, and another leader.
    api.delete(LEASE).await;
    until_there(&api, LEASE).await;
    stage.operators[0].kill().await;
    stage.operators[1].until_leading().await;
    stage.permit("new").await;
    stage.until_status("new", 200).await;
    stage.until_ready().await;
    // And an end.
    api.delete(&path()).await;
    stage.until_status("new", 503).await;
}

/// A gateway whose server has a port of its own, and a pod of it.
async fn separate(stage: &Stage) -> String {
    let path = Plane::gateway_path(NAMESPACE, "separate");
    let mut object = stage.gateway(|spec| {
        spec["selector"] = json!({"matchLabels": {"app": "separate"}});
        spec["servers"][0]["exposure"] = json!("SeparatePort");
        spec["servers"][0]["listenPort"] = json!(18080);
    });
    object["metadata"]["name"] = json!("separate");
    stage.plane.api.apply(&path, &object).await;
    stage
        .plane
        .until_condition(&path, "Accepted", ("True", "Accepted"))
        .await;
    let wish = PodWish {
        port: Some(stage.upstream.port()),
        injected: false,
        ..PodWish::new(NAMESPACE, "separate", "separate")
    };
    let _pod = stage.plane.pod(&wish).await;
    path
}

/// Objects that fit no type, as after a downgrade: the operator reads their
/// status before it writes one.
async fn misfits(stage: &Stage) {
    let schema = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
    for (crd, field) in [
        ("mcpgateways", "tls/properties/mode"),
        ("llmproviders", "type"),
    ] {
        let patch = json!([{"op": "remove", "path": format!("{schema}/{field}/enum")}]);
        let patch = patch.to_string();
        let crd = format!("{crd}.sidegate.dev");
        let loosen = ["patch", "crd", &crd, "--type=json", "-p", &patch];
        let _ = stage.plane.api.kubectl(&loosen, "").await.succeeded();
    }
    let mut gateway = stage.gateway(|spec| {
        spec["selector"] = json!({"matchLabels": {"app": "misfit"}});
        spec["tls"] = json!({"mode": "Quantum"});
    });
    gateway["metadata"]["name"] = json!("misfit");
    let provider = json!({
        "apiVersion": "sidegate.dev/v1alpha1",
        "kind": "LlmProvider",
        "metadata": {"name": "misfit", "namespace": NAMESPACE},
        "spec": {"type": "Quantum", "baseUrl": "https://llm.example.com/v1"},
    });
    for (kind, object) in [("mcpgateways", gateway), ("llmproviders", provider)] {
        let apply = ["apply", "--server-side", "-f", "-"];
        let end = Instant::now() + PATIENCE;
        // A changed definition takes a while to count.
        loop {
            let applied = stage.plane.api.kubectl(&apply, &object.to_string()).await;
            if applied.success {
                break;
            }
            assert!(Instant::now() < end, "{}", applied.stderr);
        }
        let path = format!("/apis/sidegate.dev/v1alpha1/namespaces/{NAMESPACE}/{kind}/misfit");
        let told = ("False", "Invalid");
        stage.plane.until_condition(&path, "Accepted", told).await;
        stage.plane.api.delete(&path).await;
    }
}

type Api = sidegate_testkit::plane::Api;

async fn until(api: &Api, path: &str, wanted: impl Fn(&Value) -> bool) {
    let end = Instant::now() + PATIENCE;
    loop {
        let object = api.get(path).await;
        if wanted(&object) {
            return;
        }
        assert!(Instant::now() < end, "{path}: {object:#}");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn until_there(api: &Api, path: &str) {
    let end = Instant::now() + PATIENCE;
    while api.find(path).await.is_none() {
        assert!(Instant::now() < end, "{path} is not made again");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn until_listed(api: &Api, path: &str, count: usize) -> Vec<Value> {
    let end = Instant::now() + PATIENCE;
    loop {
        let items = api.get(path).await["items"].as_array().unwrap().clone();
        if items.len() == count {
            return items;
        }
        assert!(Instant::now() < end, "{path}: {items:#?}");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn until_two_roots(api: &Api) {
    let end = Instant::now() + PATIENCE;
    loop {
        let text = api.secret_text(AUTHORITY, "workload").await;
        let set: Value = serde_json::from_str(&text).unwrap();
        if set["roots"].as_array().unwrap().len() == 2 {
            return;
        }
        assert!(Instant::now() < end, "there is no new root");
        sleep(Duration::from_millis(20)).await;
    }
}

/// The rules as the API server has them.
async fn shipped(stage: &Stage) -> Vec<Permission> {
    let everywhere = format!("{ROLES}/clusterroles/{ACCOUNT}");
    let home = format!("{ROLES}/namespaces/{HOME}/roles/{ACCOUNT}");
    let mut shipped = Vec::new();
    for (path, everywhere) in [(everywhere, true), (home, false)] {
        let role = stage.plane.api.get(&path).await;
        for rule in role["rules"].as_array().unwrap() {
            shipped.extend(permissions(rule, everywhere));
        }
    }
    shipped
}
