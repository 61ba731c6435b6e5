//! Attempts by what a gateway refers to and selects.

use serde_json::{Value, json};
use sidegate_testkit::apiserver::Answer;

use crate::cluster::{Cluster, gateway, spec};

const CANARY: &str = "canary-of-a-secret";

fn with_certificate(name: &Value) -> Value {
    let mut spec = spec("support");
    spec["tls"] = json!({"mode": "Server", "certificateRef": {"name": name}});
    spec
}

/// A Secret of a type, with everything that the API server wants of it.
fn secret(name: &str, kind: &str) -> Value {
    let data = match kind {
        "kubernetes.io/dockerconfigjson" => {
            json!({".dockerconfigjson": json!({"auths": {"a": {"auth": CANARY}}}).to_string()})
        }
        "kubernetes.io/basic-auth" => json!({"username": "u", "password": CANARY}),
        "kubernetes.io/ssh-auth" => json!({"ssh-privatekey": CANARY}),
        _ => json!({"token": CANARY, "tls.crt": CANARY, "tls.key": CANARY, "ca.crt": CANARY}),
    };
    let mut secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "type": kind,
        "stringData": data,
    });
    if kind == "kubernetes.io/service-account-token" {
        secret["metadata"]["annotations"] =
            json!({"kubernetes.io/service-account.name": "default"});
    }
    secret
}

/// OPR-004, OPR-026. A Secret of another type did not consent to be served to
/// callers, whatever keys are in it: who writes a gateway cannot read it so.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_another_kind_is_not_used() {
    let cluster = Cluster::new("attack-kinds").await;
    let operator = cluster.operator().await;
    cluster
        .apply(json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"},
        }))
        .await;
    for (index, kind) in [
        "kubernetes.io/service-account-token",
        "kubernetes.io/dockerconfigjson",
        "kubernetes.io/basic-auth",
        "kubernetes.io/ssh-auth",
        "bootstrap.kubernetes.io/token",
        "Opaque",
        "example.com/own",
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("stolen-{index}");
        cluster.apply(secret(&name, kind)).await;
        cluster
            .gateway("support", &with_certificate(&json!(name)))
            .await;
        let message = cluster
            .until("support", "ResolvedRefs", ("False", "SecretNotOptedIn"))
            .await;
        assert!(message.contains("kubernetes.io/tls"), "{kind}: {message}");
        let object = cluster.get("McpGateway", "support").await;
        let told = format!("{:?}{:?}", object.data, cluster.events("support").await);
        assert!(!told.contains("canary"), "{kind}: {told}");
        let version = &object.data["status"]["dataPlane"]["configVersion"];
        assert!(version.is_null(), "{kind}: nothing is built of it");
    }
    let metrics = crate::cluster::get(&operator, "/metrics").await.1;
    assert!(!metrics.contains("canary"));
    operator.stop().await.expect("it stops");
}

/// OPR-005: names that would be another path if they got into a URL.
#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_paths_are_not_stored() {
    let cluster = Cluster::new("attack-names").await;
    let long = "a".repeat(300);
    // What is refused below is stored with a name that is one.
    for object in references_to("good-name", "k") {
        let _ = apply(&cluster, object).succeeded();
    }
    let names = [
        "../team-b/x",
        "..",
        ".",
        "team-b/x",
        "/x",
        "%2e%2e%2fteam-b",
        "a%00",
        "a?watch=1",
        "a#b",
        "a b",
        "a\nb",
        "a\u{0}b",
        "ä",
        "a\u{202e}b",
        "A",
        "-a",
        "a-",
        "",
        &long,
    ];
    for name in names {
        for object in references_to(name, "k") {
            let field = match object["kind"].as_str() {
                Some("LlmProvider") => "spec.credentials.secretKeyRef.name",
                _ if !object["spec"]["tls"].is_null() => "spec.tls.certificateRef.name",
                _ => "Ref.name",
            };
            let shown = format!("{name:?}: {object}");
            refused(apply(&cluster, object), field, &shown);
        }
    }
    // A key is looked up in what was read, and in no path.
    for key in ["../x", "a/b", "", "a b", &long] {
        let [_certificate, config_map, ca, provider] = references_to("a", key);
        for object in [config_map, ca, provider] {
            let shown = format!("{key:?}: {object}");
            refused(apply(&cluster, object), "Ref.key", &shown);
        }
    }
}

/// Everything that refers to something, by a name and, where there is one, a key
/// in it: a Secret of a gateway, a ConfigMap, an authority, a Secret of a
/// provider.
fn references_to(name: &str, key: &str) -> [Value; 4] {
    let jwks = |reference: Value| {
        let mut spec = spec("support");
        spec["authentication"]["jwt"][0]["jwks"] = reference;
        gateway("support", &spec)
    };
    let uri = "https://idp.example.com/jwks";
    [
        gateway("support", &with_certificate(&json!(name))),
        jwks(json!({"configMapKeyRef": {"name": name, "key": key}})),
        jwks(json!({"uri": uri, "caRef": {"name": name, "key": key}})),
        json!({
            "apiVersion": "sidegate.dev/v1alpha1",
            "kind": "LlmProvider",
            "metadata": {"name": "p"},
            "spec": {
                "type": "OpenAI",
                "credentials": {"secretKeyRef": {"name": name, "key": key}},
            },
        }),
    ]
}

fn apply(cluster: &Cluster, mut object: Value) -> Answer {
    object["metadata"]["namespace"] = json!(cluster.namespace);
    let apply = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
    cluster.server.kubectl(&apply, &object.to_string())
}

/// It is refused because of this field, and of nothing else.
#[track_caller]
fn refused(answer: Answer, field: &str, shown: &str) {
    assert!(!answer.success, "it is stored: {shown}");
    let told = answer.stderr;
    assert!(
        told.contains("is invalid") && told.contains(field),
        "{shown}: {told}"
    );
}

/// OPR-009: a selector selects in its own namespace.
#[tokio::test(flavor = "multi_thread")]
async fn a_selector_captures_nobody_elsewhere() {
    let cluster = Cluster::new("attack-selector").await;
    let victim = cluster.beside("attack-selector-victim");
    victim.label_namespace("enabled").await;
    let operator = cluster.operator().await;
    victim.pod("victim", "support", true, true).await;
    cluster.pod("own", "support", true, true).await;
    // As wide as a selector can be: every pod that has no such label.
    let mut wide = spec("support");
    wide["selector"] = json!({
        "matchExpressions": [{"key": "nobody-has-this", "operator": "DoesNotExist"}],
    });
    cluster.gateway("wide", &wide).await;
    cluster
        .until_status("wide", |status| {
            let pods = &status["dataPlane"];
            pods["matched"] == 1 && status["failing"].to_string().contains("own")
        })
        .await;
    let status = cluster.get("McpGateway", "wide").await.data["status"].to_string();
    assert!(!status.contains("victim"), "{status}");
    // Without any selector nothing is stored.
    for nothing in [json!({}), json!({"matchLabels": {}}), Value::Null] {
        let mut spec = spec("support");
        spec["selector"] = nothing;
        let object = gateway("empty", &spec);
        let shown = object.to_string();
        refused(apply(&cluster, object), "spec.selector", &shown);
    }
    let full = gateway("empty", &spec("support"));
    let _ = apply(&cluster, full).succeeded();
    operator.stop().await.expect("it stops");
}

/// OPR-009: no label opts the system's namespaces in.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_in_a_namespace_of_the_system_is_never_enabled() {
    let cluster = Cluster::alone("kube-system").await;
    crate::cluster::install_crds(cluster.server);
    let operator = cluster.operator().await;
    cluster.gateway("support", &spec("support")).await;
    let message = cluster
        .until("support", "Ready", ("False", "NamespaceNotEnabled"))
        .await;
    assert!(message.contains("kube-system"), "{message}");
    // There is no command that would change it.
    assert!(!message.contains('`'), "{message}");
    operator.stop().await.expect("it stops");
}
