//! Who is told the roots: namespaces by a ConfigMap, the API server by the
//! webhook's configuration.

use k8s_openapi::ByteString;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use serde_json::{Value, json};

use crate::authority::{authority, operator_with, until};
use crate::cluster::{Cluster, apply, metric, spec};

const CONFIG_MAP: &str = "sidegate-trust";

async fn data(cluster: &Cluster) -> Option<Value> {
    let found = cluster.api("ConfigMap").get_opt(CONFIG_MAP).await;
    let found = found.expect("an answer")?;
    Some(found.data["data"].clone()).filter(Value::is_object)
}

fn foreign(text: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": CONFIG_MAP},
        "data": {"ca.crt": text},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_is_edited_or_deleted_is_mended() {
    let cluster = Cluster::new("bundle-mended").await;
    let operator = operator_with(&cluster, authority(&cluster)).await;
    let good = until("the bundle", || data(&cluster)).await;
    assert!(
        good["ca.crt"]
            .as_str()
            .unwrap()
            .contains("BEGIN CERTIFICATE")
    );
    assert!(
        good["endpoints.crt"]
            .as_str()
            .unwrap()
            .contains("BEGIN CERTIFICATE")
    );
    assert!(!good.to_string().contains("PRIVATE"));
    let api = cluster.api("ConfigMap");
    let params = PatchParams::default();
    let edits = [
        json!({"data": {"ca.crt": "edited"}}),
        json!({"data": {"endpoints.crt": null}}),
        json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "me"}}}),
    ];
    for edit in edits {
        let patched = api.patch(CONFIG_MAP, &params, &Patch::Merge(&edit)).await;
        patched.expect("it is patched");
        until("the mended bundle", || async {
            let found = api.get(CONFIG_MAP).await.expect("it is there");
            let label = &found.metadata.labels.as_ref()?["app.kubernetes.io/managed-by"];
            (found.data["data"] == good && label == "sidegate-operator").then_some(())
        })
        .await;
    }
    cluster.delete("ConfigMap", CONFIG_MAP).await;
    let again = until("the bundle", || data(&cluster)).await;
    assert_eq!(again, good);
    operator.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_get_a_bundle_with_their_label_and_keep_it_without() {
    let cluster = Cluster::alone("bundle-home").await;
    crate::cluster::install_crds(cluster.server);
    let other = cluster.beside("bundle-other");
    let unlabelled = cluster.beside("bundle-unlabelled");
    other.label_namespace("disabled").await;
    unlabelled.label_namespace("disabled").await;
    cluster.label_namespace("disabled").await;
    let mut settings = crate::cluster::settings("");
    settings.namespace = None;
    settings.own_namespace.clone_from(&cluster.namespace);
    settings.authority = authority(&cluster);
    let started = sidegate_operator::run::Operator::start(cluster.client.clone(), settings);
    let operator = started.await.expect("it starts");
    // The operator's own, label or not.
    let good = until("the bundle at home", || data(&cluster)).await;
    assert_eq!(data(&other).await, None);
    other.label_namespace("enabled").await;
    assert_eq!(until("the bundle", || data(&other)).await, good);
    other.label_namespace("disabled").await;
    // The label of another one is taken after that of this one.
    unlabelled.label_namespace("enabled").await;
    until("the bundle", || data(&unlabelled)).await;
    assert_eq!(data(&other).await, Some(good));
    // It is nobody's any more.
    other.delete("ConfigMap", CONFIG_MAP).await;
    unlabelled.delete("ConfigMap", CONFIG_MAP).await;
    until("the bundle", || data(&unlabelled)).await;
    assert_eq!(data(&other).await, None);
    operator.stop().await.expect("it stops");
}

/// OPR-011.
#[tokio::test(flavor = "multi_thread")]
async fn somebody_elses_config_map_is_not_overwritten() {
    let cluster = Cluster::new("bundle-foreign").await;
    cluster.apply(foreign("mine")).await;
    let operator = operator_with(&cluster, authority(&cluster)).await;
    let note = until("an event", || async {
        let mut events = cluster.events(CONFIG_MAP).await.into_iter();
        events.find(|(reason, _)| reason == "TrustBundleForeign")
    })
    .await;
    assert!(
        note.1.contains("ConfigMap bundle-foreign/sidegate-trust"),
        "{note:?}"
    );
    let sample = r#"sidegate_operator_trust_bundle_writes_total{result="foreign"}"#;
    assert_eq!(metric(&operator, sample).await, 1);
    assert_eq!(data(&cluster).await, Some(json!({"ca.crt": "mine"})));
    cluster.delete("ConfigMap", CONFIG_MAP).await;
    until("the bundle", || async {
        data(&cluster)
            .await
            .filter(|it| it["endpoints.crt"].is_string())
    })
    .await;
    operator.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_say_that_somebody_elses_config_map_is_in_the_way() {
    let cluster = Cluster::new("bundle-told").await;
    cluster.apply(foreign("mine")).await;
    let operator = operator_with(&cluster, authority(&cluster)).await;
    cluster.gateway("support", &spec("support")).await;
    let says = |status: &Value| {
        status
            .to_string()
            .contains("ConfigMap bundle-told/sidegate-trust")
    };
    cluster.until_status("support", says).await;
    cluster.delete("ConfigMap", CONFIG_MAP).await;
    cluster
        .until_status("support", |status| !says(status))
        .await;
    operator.stop().await.expect("it stops");
}

fn configurations(cluster: &Cluster) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk(
        "admissionregistration.k8s.io",
        "v1",
        "MutatingWebhookConfiguration",
    );
    Api::all_with(cluster.client.clone(), &ApiResource::from_gvk(&kind))
}

fn configuration(name: &str) -> Value {
    let webhook = |name: &str| {
        json!({
            "name": name,
            "clientConfig": {"service": {"namespace": "nowhere", "name": "nobody", "path": "/pods"}},
            "rules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
                "resources": ["pods"],
            }],
            // It selects nothing.
            "namespaceSelector": {"matchLabels": {"sidegate.dev/test": "none"}},
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
        })
    };
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [webhook("other.example.com"), webhook("inject.sidegate.dev")],
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_webhook_configuration_gets_the_roots_and_is_never_made() {
    let cluster = Cluster::new("ca-bundle").await;
    let settings = authority(&cluster);
    let name = settings.webhook_configuration.clone();
    let operator = operator_with(&cluster, settings).await;
    let roots = until("the bundle", || data(&cluster)).await["endpoints.crt"].clone();
    let roots = json!(ByteString(roots.as_str().unwrap().as_bytes().to_vec()));
    let api = configurations(&cluster);
    let there = || async { api.get_opt(&name).await.expect("an answer") };
    assert!(there().await.is_none());

    let applied = apply(&cluster.client, &configuration(&name)).await;
    let given = || async {
        let object = there().await?;
        (object.data["webhooks"][1]["clientConfig"]["caBundle"] == roots).then_some(object)
    };
    let object = until("the roots", given).await;
    let mut expected = applied.data.clone();
    expected["webhooks"][1]["clientConfig"]["caBundle"] = roots.clone();
    assert_eq!(object.data, expected, "nothing else is changed");

    // Who applies the manifest again keeps them.
    let again = apply(&cluster.client, &configuration(&name)).await;
    assert_eq!(again.data, expected);
    // Who takes them away gives them back.
    let patch = json!([
        {"op": "remove", "path": "/webhooks/1/clientConfig/caBundle"},
    ]);
    let patch: json_patch::Patch = serde_json::from_value(patch).expect("a patch");
    let patched = api
        .patch(&name, &PatchParams::default(), &Patch::Json::<()>(patch))
        .await;
    patched.expect("it is patched");
    until("the roots again", given).await;

    api.delete(&name, &Default::default())
        .await
        .expect("it is deleted");
    // Time in which a bundle is mended is time in which it could be made.
    cluster.delete("ConfigMap", CONFIG_MAP).await;
    until("the bundle", || data(&cluster)).await;
    assert!(there().await.is_none());
    // A webhook of another name is none of ours.
    let mut other = configuration(&name);
    other["webhooks"].as_array_mut().unwrap().pop();
    let other = apply(&cluster.client, &other).await;
    apply(&cluster.client, &configuration(&format!("{name}-b"))).await;
    cluster.delete("ConfigMap", CONFIG_MAP).await;
    until("the bundle", || data(&cluster)).await;
    let found = there().await.expect("it is there");
    assert_eq!(found.data, other.data);
    operator.stop().await.expect("it stops");
    for name in [name.clone(), format!("{name}-b")] {
        api.delete(&name, &Default::default())
            .await
            .expect("it is deleted");
    }
}
