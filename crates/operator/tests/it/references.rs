//! Secrets and ConfigMaps that gateways refer to.

use serde_json::{Value, json};
use sidegate_testkit::certificates::TestAuthority;

use crate::cluster::{Cluster, spec};

fn with_certificate(app: &str, secret: &str) -> Value {
    let mut spec = spec(app);
    spec["tls"] = json!({"mode": "Mutual", "certificateRef": {"name": secret}});
    spec
}

fn tls_secret(name: &str, secret_type: &str) -> Value {
    let authority = TestAuthority::new();
    let server = authority.server();
    let key = server.key_pem.expose().to_owned();
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "type": secret_type,
        "stringData": {
            "tls.crt": server.certificate_pem,
            "tls.key": key,
            "ca.crt": authority.pem(),
        },
    })
}

/// OPR-026.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_appears_changes_and_disappears() {
    let cluster = Cluster::new("secrets").await;
    let operator = cluster.operator().await;
    cluster
        .gateway("support", &with_certificate("support", "tls"))
        .await;
    let message = cluster
        .until("support", "ResolvedRefs", ("False", "SecretNotFound"))
        .await;
    assert!(
        message.contains("there is no Secret secrets/tls"),
        "{message}"
    );
    cluster
        .until("support", "Accepted", ("True", "Accepted"))
        .await;
    cluster
        .until("support", "Ready", ("False", "SecretNotFound"))
        .await;

    // Not a Secret whose owner consents to this use.
    cluster.apply(tls_secret("tls", "Opaque")).await;
    cluster
        .until("support", "ResolvedRefs", ("False", "SecretNotOptedIn"))
        .await;
    cluster.delete("Secret", "tls").await;
    cluster
        .until("support", "ResolvedRefs", ("False", "SecretNotFound"))
        .await;

    cluster.apply(tls_secret("tls", "kubernetes.io/tls")).await;
    cluster
        .until("support", "ResolvedRefs", ("True", "ResolvedRefs"))
        .await;
    let status = cluster.get("McpGateway", "support").await.data["status"].clone();
    let version = status["dataPlane"]["configVersion"].clone();
    assert!(version.is_string(), "{status}");
    assert!(!status.to_string().contains("PRIVATE"), "{status}");

    // Another certificate is another configuration.
    cluster.apply(tls_secret("tls", "kubernetes.io/tls")).await;
    cluster
        .until_status("support", |status| {
            let now = &status["dataPlane"]["configVersion"];
            now.is_string() && *now != version
        })
        .await;

    let mut bad = tls_secret("tls", "kubernetes.io/tls");
    bad["stringData"]["ca.crt"] = json!("no certificate");
    cluster.apply(bad).await;
    let message = cluster
        .until("support", "ResolvedRefs", ("False", "InvalidCertificate"))
        .await;
    assert!(
        message.contains("`ca.crt` of Secret secrets/tls"),
        "{message}"
    );
    cluster.delete("Secret", "tls").await;
    cluster
        .until("support", "ResolvedRefs", ("False", "SecretNotFound"))
        .await;
    operator.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn key_sets_are_read_from_config_maps() {
    let cluster = Cluster::new("config-maps").await;
    let operator = cluster.operator().await;
    let mut spec = spec("support");
    spec["authentication"]["jwt"][0]["jwks"] =
        json!({"configMapKeyRef": {"name": "keys", "key": "jwks.json"}});
    cluster.gateway("support", &spec).await;
    let missing = ("False", "ConfigMapNotFound");
    cluster.until("support", "ResolvedRefs", missing).await;
    let keys = |data: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "keys"}, "data": data});
    cluster.apply(keys(json!({"other": "{}"}))).await;
    let end = tokio::time::Instant::now() + crate::cluster::PATIENCE;
    while !cluster
        .until("support", "ResolvedRefs", missing)
        .await
        .contains("no key `jwks.json`")
    {
        assert!(
            tokio::time::Instant::now() < end,
            "the missing key is not told"
        );
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    cluster
        .apply(keys(json!({"jwks.json": "{\"keys\": []}"})))
        .await;
    cluster
        .until("support", "ResolvedRefs", ("False", "InvalidJwks"))
        .await;
    cluster
        .until("support", "Accepted", ("True", "Accepted"))
        .await;
    let key = r#"{"keys": [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}]}"#;
    cluster.apply(keys(json!({"jwks.json": key}))).await;
    cluster
        .until("support", "ResolvedRefs", ("True", "ResolvedRefs"))
        .await;
    operator.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_built_in_authority_needs_no_certificate_and_plaintext_is_noted() {
    let cluster = Cluster::new("authority").await;
    let operator = cluster.operator().await;
    cluster.gateway("support", &spec("support")).await;
    cluster
        .until("support", "ResolvedRefs", ("True", "ResolvedRefs"))
        .await;
    let mut plaintext = spec("sales");
    plaintext["tls"] = json!({"mode": "Plaintext"});
    cluster.gateway("sales", &plaintext).await;
    let message = cluster
        .until("sales", "Accepted", ("True", "Accepted"))
        .await;
    assert!(message.contains("spec.tls.mode: Plaintext:"), "{message}");
    operator.stop().await.expect("it stops");
}
