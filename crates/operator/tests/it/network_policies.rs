//! The NetworkPolicy of a gateway with servers on ports of their own.

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::authority::{authority, operator_with, until};
use crate::cluster::{Cluster, metric, spec, touch, until_metric_above};

const POLICY: &str = "sidegate-support";

fn separate(port: u16) -> Value {
    let mut spec = spec("support");
    spec["servers"][0]["port"] = json!(port);
    spec["servers"][0]["exposure"] = json!("SeparatePort");
    spec["servers"][0]["listenPort"] = json!(9443);
    spec
}

async fn policy(cluster: &Cluster) -> Option<kube::api::DynamicObject> {
    let found = cluster.api("NetworkPolicy").get_opt(POLICY).await;
    found.expect("an answer")
}

async fn until_closed(cluster: &Cluster, port: u16) -> kube::api::DynamicObject {
    until("the policy", || async {
        let policy = policy(cluster).await?;
        let ports = &policy.data["spec"]["ingress"][0]["ports"];
        let is = ports[0]["endPort"] == json!(port - 1) && ports[1]["port"] == json!(port + 1);
        is.then_some(policy)
    })
    .await
}

async fn until_gone(cluster: &Cluster) {
    until("the policy to go", || async {
        policy(cluster).await.is_none().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_follows_its_gateway() {
    let cluster = Cluster::new("policies").await;
    let operator = operator_with(&cluster, authority(&cluster)).await;
    let gateway = cluster.gateway("support", &separate(8080)).await;
    let policy = until_closed(&cluster, 8080).await;
    let owner = &policy.metadata.owner_references.as_ref().expect("an owner")[0];
    assert_eq!(owner.uid, gateway.metadata.uid.clone().unwrap());
    assert_eq!(
        (owner.kind.as_str(), owner.name.as_str(), owner.controller),
        ("McpGateway", "support", Some(true))
    );
    assert_eq!(
        policy.data["spec"]["podSelector"],
        json!({"matchLabels": {"app": "support"}})
    );

    cluster.gateway("support", &separate(8081)).await;
    until_closed(&cluster, 8081).await;
    // What somebody changes or deletes is mended.
    let open = json!({"spec": {"ingress": [{}]}});
    let api = cluster.api("NetworkPolicy");
    let patched = api
        .patch(POLICY, &PatchParams::default(), &Patch::Merge(open))
        .await;
    patched.expect("it is patched");
    until_closed(&cluster, 8081).await;
    cluster.delete("NetworkPolicy", POLICY).await;
    until_closed(&cluster, 8081).await;

    // Its owner does without.
    let note =
        |value: Value| json!({"metadata": {"annotations": {"sidegate.dev/network-policy": value}}});
    let gateways = cluster.api("McpGateway");
    let annotate = |value: Value| {
        let patch = Patch::Merge(note(value));
        let gateways = gateways.clone();
        async move {
            let params = PatchParams::default();
            gateways
                .patch("support", &params, &patch)
                .await
                .expect("it is patched")
        }
    };
    annotate(json!("false")).await;
    until_gone(&cluster).await;
    annotate(Value::Null).await;
    until_closed(&cluster, 8081).await;
    cluster.gateway("support", &spec("support")).await;
    until_gone(&cluster).await;
    operator.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_right_after_a_restart() {
    let cluster = Cluster::new("policies-restart").await;
    let operator = operator_with(&cluster, authority(&cluster)).await;
    cluster.gateway("support", &separate(8080)).await;
    let before = until_closed(&cluster, 8080).await;
    operator.stop().await.expect("it stops");
    let operator = operator_with(&cluster, authority(&cluster)).await;
    let unchanged = r#"sidegate_operator_reconciles_total{kind="McpGateway",result="unchanged"}"#;
    until_metric_above(&operator, unchanged, 0).await;
    // What is right is not written again.
    let same = policy(&cluster).await.expect("it is there");
    assert_eq!(same.metadata.managed_fields, before.metadata.managed_fields);
    operator.stop().await.expect("it stops");
    cluster.gateway("support", &separate(8090)).await;
    let operator = operator_with(&cluster, authority(&cluster)).await;
    let after = until_closed(&cluster, 8090).await;
    assert_eq!(after.metadata.uid, before.metadata.uid);
    operator.stop().await.expect("it stops");
}

/// A gateway that was made again has the policy of the one before, until
/// somebody collects that one's garbage.
#[tokio::test(flavor = "multi_thread")]
async fn a_policy_of_a_gateway_that_is_gone_is_replaced() {
    let cluster = Cluster::new("policies-again").await;
    let before = cluster
        .apply(json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {
                "name": POLICY,
                "labels": {"app.kubernetes.io/managed-by": "sidegate-operator"},
                "ownerReferences": [{
                    "apiVersion": "sidegate.dev/v1alpha1", "kind": "McpGateway",
                    "name": "support", "uid": "gone", "controller": true,
                }],
            },
            "spec": {"podSelector": {}, "ingress": []},
        }))
        .await;
    let operator = operator_with(&cluster, authority(&cluster)).await;
    let gateway = cluster.gateway("support", &separate(8080)).await;
    let policy = until_closed(&cluster, 8080).await;
    assert_ne!(policy.metadata.uid, before.metadata.uid);
    let owners = policy.metadata.owner_references.expect("owners");
    assert_eq!(owners.len(), 1);
    assert_eq!(Some(&owners[0].uid), gateway.metadata.uid.as_ref());
    operator.stop().await.expect("it stops");
}

/// OPR-011.
#[tokio::test(flavor = "multi_thread")]
async fn somebody_elses_policy_is_not_touched() {
    let cluster = Cluster::new("policies-foreign").await;
    let mine = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": POLICY},
        "spec": {"podSelector": {"matchLabels": {"app": "support"}}, "ingress": [{}]},
    });
    let before = cluster.apply(mine).await;
    let operator = operator_with(&cluster, authority(&cluster)).await;
    cluster.gateway("support", &separate(8080)).await;
    cluster
        .until_status("support", |status| {
            let text = status.to_string();
            text.contains("NetworkPolicy policies-foreign/sidegate-support is not the operator's")
        })
        .await;
    let found = policy(&cluster).await.expect("it is there");
    assert_eq!(
        found.metadata.resource_version,
        before.metadata.resource_version
    );
    // Nor is it deleted when none is wanted.
    cluster.gateway("support", &spec("support")).await;
    cluster
        .until_status("support", |status| {
            !status.to_string().contains("NetworkPolicy")
        })
        .await;
    assert!(policy(&cluster).await.is_some());
    operator.stop().await.expect("it stops");
}

/// The pods of one that is younger are another gateway's, whose port must not
/// be closed.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_without_pods_of_its_own_has_no_policy() {
    let cluster = Cluster::new("policies-conflict").await;
    let operator = operator_with(&cluster, authority(&cluster)).await;
    cluster.gateway("support", &separate(8080)).await;
    until_closed(&cluster, 8080).await;
    cluster.gateway("a-second", &separate(8070)).await;
    let ages = |name: &'static str| {
        let cluster = &cluster;
        async move {
            cluster
                .get("McpGateway", name)
                .await
                .metadata
                .creation_timestamp
        }
    };
    // Within one second the name decides.
    let older = match ages("support").await < ages("a-second").await {
        true => ("support", "a-second"),
        false => ("a-second", "support"),
    };
    cluster
        .until(older.1, "Accepted", ("False", "Conflicted"))
        .await;
    until("one policy", || async {
        let policies = cluster.api("NetworkPolicy").list(&Default::default()).await;
        let policies = policies.expect("an answer").items;
        let names: Vec<_> = policies
            .iter()
            .filter_map(|it| it.metadata.name.clone())
            .collect();
        (names == [format!("sidegate-{}", older.0)]).then_some(())
    })
    .await;
    operator.stop().await.expect("it stops");
}

/// OPR-010. A pod with both labels must not open the ports of all the others.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_shares_a_pod_keeps_the_policy_of_its_others() {
    let cluster = Cluster::new("policies-shared").await;
    let operator = operator_with(&cluster, authority(&cluster)).await;
    let mut wide = separate(8080);
    wide["selector"] = json!({
        "matchExpressions": [{"key": "app", "operator": "In", "values": ["support", "sales"]}],
    });
    // Within one second the name decides.
    let mut first = spec("sales");
    first["servers"][0]["port"] = json!(8070);
    cluster.gateway("a-first", &first).await;
    cluster.gateway("support", &wide).await;
    cluster.pod("own", "support", true, true).await;
    until_closed(&cluster, 8080).await;
    let before = policy(&cluster).await.expect("a policy");
    cluster.pod("shared", "sales", true, true).await;
    cluster
        .until("support", "Accepted", ("False", "Conflicted"))
        .await;
    cluster
        .until_status("support", |status| {
            let told = status["failing"].to_string();
            status["dataPlane"]["matched"] == 2 && told.contains("McpGateway a-first has it")
        })
        .await;
    // It goes with the last pod of its own, and comes with the next one.
    cluster.delete("Pod", "own").await;
    until_gone(&cluster).await;
    cluster.pod("own", "support", true, true).await;
    until_closed(&cluster, 8080).await;
    let after = policy(&cluster).await.expect("a policy");
    assert_eq!(after.data["spec"], before.data["spec"]);
    operator.stop().await.expect("it stops");
}

/// OPR-010. Policies are additive: on a pod with both labels, the policy of the
/// younger would open the port that the older closes.
#[tokio::test(flavor = "multi_thread")]
async fn a_younger_gateway_closes_what_an_older_one_does() {
    let cluster = Cluster::new("policies-overlap").await;
    let operator = operator_with(&cluster, authority(&cluster)).await;
    let with = |labels: Value, port: u16| {
        let mut spec = separate(port);
        spec["selector"] = json!({"matchLabels": labels});
        spec
    };
    // Within one second the name decides.
    let older = |port| with(json!({"tier": "front"}), port);
    cluster.gateway("a-first", &older(8070)).await;
    let younger = with(json!({"app": "support"}), 8080);
    cluster.gateway("support", &younger).await;
    let until_admits = |name: &'static str, wanted: Value| {
        let cluster = &cluster;
        async move {
            until("the ports", || async {
                let policies = cluster.api("NetworkPolicy");
                let policy = policies.get_opt(name).await.expect("an answer")?;
                let ports = policy.data["spec"]["ingress"][0]["ports"].as_array()?;
                let tcp = ports.iter().filter(|it| it["protocol"] == "TCP");
                let ranges: Vec<_> = tcp.map(|it| json!([it["port"], it["endPort"]])).collect();
                (json!(ranges) == wanted).then_some(())
            })
            .await;
        }
    };
    let both = json!([[1, 8069], [8071, 8079], [8081, 65535]]);
    until_admits(POLICY, both).await;
    let until_said = |what: &'static str, wanted: bool| {
        cluster.until_status("support", move |status| {
            status.to_string().contains(what) == wanted
        })
    };
    until_said("also closes port 8070, as that of McpGateway a-first", true).await;
    // The older one does not mind.
    until_admits("sidegate-a-first", json!([[1, 8069], [8071, 65535]])).await;

    // It follows the older one, and cannot follow it to where it listens.
    cluster.gateway("a-first", &older(8075)).await;
    let moved = json!([[1, 8074], [8076, 8079], [8081, 65535]]);
    until_admits(POLICY, moved).await;
    let mut in_the_way = older(9443);
    in_the_way["servers"][0]["listenPort"] = json!(9444);
    cluster.gateway("a-first", &in_the_way).await;
    until_gone(&cluster).await;
    until_said(
        "closes port 9443, on which sidecars of this one listen",
        true,
    )
    .await;

    cluster.delete("McpGateway", "a-first").await;
    until_closed(&cluster, 8080).await;
    until_said("a-first", false).await;
    operator.stop().await.expect("it stops");
}

/// OPR-010. Whoever may create a gateway must not close the port on which the
/// sidecars of an older one listen.
#[tokio::test(flavor = "multi_thread")]
async fn a_younger_gateway_does_not_cut_off_an_older_one() {
    let cluster = Cluster::new("policies-cut-off").await;
    let operator = operator_with(&cluster, authority(&cluster)).await;
    // Within one second the name decides.
    let mut older = spec("sales");
    cluster.gateway("a-first", &older).await;
    let mut younger = separate(8080);
    younger["selector"] = json!({
        "matchExpressions": [{"key": "app", "operator": "In", "values": ["support", "sales"]}],
    });
    cluster.gateway("support", &younger).await;
    // One that it has by itself, and one that both select.
    cluster.pod("own", "support", true, true).await;
    cluster.pod("shared", "sales", true, true).await;
    let said =
        "a-first is older, may select the same pods and has sidecars that listen on port 8080";
    cluster
        .until_status("support", move |status| {
            let failing = status["failing"].to_string();
            status["dataPlane"]["matched"] == 2
                && failing.contains("McpGateway a-first has it")
                && status["conditions"].to_string().contains(said)
        })
        .await;
    assert!(policy(&cluster).await.is_none());
    // The older one moves away, and comes back.
    older["servers"][0]["port"] = json!(8070);
    cluster.gateway("a-first", &older).await;
    until_closed(&cluster, 8080).await;
    older["servers"][0]["port"] = json!(8080);
    cluster.gateway("a-first", &older).await;
    until_gone(&cluster).await;
    // Without a pod that both select nothing is in conflict, and it is told why
    // there is no policy.
    cluster.delete("Pod", "shared").await;
    cluster
        .until_status("support", move |status| status.to_string().contains(said))
        .await;
    assert!(policy(&cluster).await.is_none());
    // Its servers get a port that nobody has.
    younger["servers"][0]["port"] = json!(8081);
    cluster.gateway("support", &younger).await;
    until_closed(&cluster, 8081).await;
    // One that is broken keeps its policy, and gives way all the same.
    let mut broken = younger.clone();
    broken["authorization"]["rules"][0]["when"] = json!("args.a ==");
    cluster.gateway("support", &broken).await;
    cluster
        .until("support", "Accepted", ("False", "Invalid"))
        .await;
    assert!(policy(&cluster).await.is_some());
    older["servers"][0]["port"] = json!(8081);
    cluster.gateway("a-first", &older).await;
    until_gone(&cluster).await;
    // The other way round the older one closes a port of its own pods.
    let mut closes = separate(8070);
    closes["selector"] = json!({"matchLabels": {"app": "sales"}});
    cluster.gateway("a-first", &closes).await;
    until("the policy of the older", || async {
        let policies = cluster.api("NetworkPolicy");
        let found = policies.get_opt("sidegate-a-first").await;
        found.expect("an answer").map(drop)
    })
    .await;
    operator.stop().await.expect("it stops");
}

/// Policies are additive: beside a default-deny one, "every port but this"
/// would admit everybody to all the others.
#[tokio::test(flavor = "multi_thread")]
async fn where_somebody_else_decides_there_is_no_policy() {
    let cluster = Cluster::new("policies-decided").await;
    let operator = operator_with(&cluster, authority(&cluster)).await;
    cluster.gateway("support", &separate(8080)).await;
    until_closed(&cluster, 8080).await;
    let deny = |selector: Value, types: Value| {
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": "deny"},
            "spec": {"podSelector": selector, "policyTypes": types},
        })
    };
    cluster.apply(deny(json!({}), json!(["Ingress"]))).await;
    until_gone(&cluster).await;
    let said = "NetworkPolicy policies-decided/deny already decides who reaches these pods";
    cluster
        .until_status("support", |status| {
            let text = status.to_string();
            text.contains(said) && text.contains("does not admit port 8080")
        })
        .await;
    // It is about other pods now, or about what they dial.
    let other = json!({"matchLabels": {"app": "other"}});
    cluster.apply(deny(other, json!(["Ingress"]))).await;
    until_closed(&cluster, 8080).await;
    cluster.apply(deny(json!({}), json!(["Ingress"]))).await;
    until_gone(&cluster).await;
    cluster.delete("NetworkPolicy", "deny").await;
    until_closed(&cluster, 8080).await;
    cluster
        .until_status("support", |status| {
            !status.to_string().contains("already decides")
        })
        .await;
    cluster.apply(deny(json!({}), json!(["Egress"]))).await;
    let unchanged = r#"sidegate_operator_reconciles_total{kind="McpGateway",result="unchanged"}"#;
    let before = metric(&operator, unchanged).await;
    touch(&cluster.api("McpGateway"), "support", "again").await;
    until_metric_above(&operator, unchanged, before).await;
    assert!(policy(&cluster).await.is_some());
    operator.stop().await.expect("it stops");
}

/// Nothing is opened or closed where the operator has no say.
#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_did_not_opt_in_gets_no_policy() {
    let cluster = Cluster::new("policies-not-enabled").await;
    cluster.label_namespace("disabled").await;
    let operator = operator_with(&cluster, authority(&cluster)).await;
    cluster.gateway("support", &separate(8080)).await;
    cluster
        .until("support", "Ready", ("False", "NamespaceNotEnabled"))
        .await;
    assert!(policy(&cluster).await.is_none());
    cluster.label_namespace("enabled").await;
    until_closed(&cluster, 8080).await;
    // The pods that run go on.
    cluster.label_namespace("disabled").await;
    cluster
        .until("support", "Ready", ("False", "NamespaceNotEnabled"))
        .await;
    assert!(policy(&cluster).await.is_some());
    operator.stop().await.expect("it stops");
}
