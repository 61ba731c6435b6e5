//! Secrets that a gateway refers to.

use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::json;
use sidegate_dev::certificates::Issued;
use sidegate_testkit::certificates::{AGENT, TestAuthority};
use sidegate_testkit::client::Client;
use sidegate_testkit::mcp;
use sidegate_testkit::plane::{HOME, Load, PATIENCE, Patch, Wishes};
use tokio::time::{Instant, sleep};

use super::{NAMESPACE, RATE, STEADY, Stage};

const SECRET: &str = "server-tls";
const SECRETS: &str = "/api/v1/namespaces/crm/secrets/server-tls";
const MUTUAL: &str = "Mutual";
/// What is promised.
const SOON: Duration = Duration::from_secs(10);

/// OPR-024.
#[tokio::test(flavor = "multi_thread")]
async fn opr_024_a_secret_that_is_deleted_and_mended_costs_no_request() {
    let stage = Stage::new().await;
    let authority = TestAuthority::new();
    grant(&stage, MUTUAL).await;
    let first = authority.server();
    write(&stage, Some(&authority), &first).await;
    stage.until_ready().await;
    let client = client(&stage, &authority);
    let load = load(&stage, &client);

    stage.plane.api.delete(SECRETS).await;
    let message = stage
        .until("ResolvedRefs", ("False", "SecretNotFound"))
        .await;
    assert!(message.contains(SECRET), "{message}");
    stage.until("Ready", ("False", "SecretNotFound")).await;
    // The last good one stays, with its certificate.
    assert!(shows(&client, &first).await);

    let second = authority.server();
    write(&stage, Some(&authority), &second).await;
    let swapped = until_shown(&client, &second).await;
    stage.until_ready().await;

    // Replaced in place.
    let third = authority.server();
    write(&stage, Some(&authority), &third).await;
    let rotated = until_shown(&client, &third).await;
    stage.until_ready().await;
    let seen = load.end();
    println!(
        "a Secret mended: served after {swapped:?}; rotated: after {rotated:?}; {} requests over \
         mTLS, none failed",
        seen.answered
    );
}

/// OPR-001 and OPR-002: there is no way to name another namespace.
#[tokio::test(flavor = "multi_thread")]
async fn opr_001_and_002_no_reference_leaves_its_namespace() {
    let stage = Stage::with(
        Wishes {
            audit: true,
            ..Wishes::default()
        },
        |_| {},
    )
    .await;
    for (field, reference) in [
        (
            "/spec/tls/certificateRef",
            json!({"name": "a", "namespace": HOME}),
        ),
        (
            "/spec/tls/certificateRef",
            json!({"name": "../sidegate-system/a"}),
        ),
        (
            "/spec/tls/certificateRef",
            json!({"name": "sidegate-system/a"}),
        ),
        (
            "/spec/authentication/jwt/0/jwks/configMapKeyRef",
            json!({"name": "a", "key": "k", "namespace": HOME}),
        ),
        (
            "/spec/authentication/jwt/0/jwks/configMapKeyRef",
            json!({"name": "../sidegate-system/a", "key": "k"}),
        ),
    ] {
        let mut object = stage.gateway(|spec| {
            spec["tls"] = json!({"mode": "Mutual", "certificateRef": {"name": "a"}});
            spec["authentication"]["jwt"][0]["jwks"] =
                json!({"configMapKeyRef": {"name": "a", "key": "k"}});
        });
        *object.pointer_mut(field).unwrap() = reference.clone();
        let apply = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
        let applied = stage.plane.api.kubectl(&apply, &object.to_string()).await;
        let refused = applied.failed();
        let named = field.rsplit('/').next().unwrap();
        assert!(refused.contains(named), "{reference}: {refused}");
    }
    // Beside its own Secret it asked for none there, nor for a ConfigMap.
    for event in stage.plane.api.server().audit() {
        let object = &event["objectRef"];
        let is_reference = object["resource"] == "secrets" || object["resource"] == "configmaps";
        if is_reference && object["namespace"] == HOME {
            let name = object["name"].as_str().unwrap_or_default();
            let own = ["sidegate-authority", "sidegate-trust"].contains(&name);
            // A create names no object in its path.
            assert!(own || event["verb"] == "create", "{event}");
        }
    }
    stage.until_ready().await;
}

/// A gateway whose server has a certificate of a Secret, and all its pods
/// enforce it. Returns what is secret, and a caller.
pub(super) async fn a_server_with_a_secret(stage: &Stage) -> (Vec<String>, Client) {
    let authority = TestAuthority::new();
    grant(stage, MUTUAL).await;
    let server = authority.server();
    write(stage, Some(&authority), &server).await;
    stage.until_ready().await;
    let secrets = vec![server.key_pem.expose().to_owned()];
    (secrets, client(stage, &authority))
}

/// Calls a tool once.
pub(super) async fn call(stage: &Stage, client: &Client, tool: &str, status: u16) {
    let call = mcp::call(tool, json!({})).token(&stage.token);
    assert_eq!(client.send(call).await.unwrap().status, status);
}

/// Half of the key is lost, and the status says that something is wrong.
pub(super) async fn break_secret(stage: &Stage) {
    let key = stage.plane.api.secret_text(SECRETS, "tls.key").await;
    let lines: Vec<_> = key.lines().collect();
    let half = lines[..lines.len() / 2].join("\n");
    let patch = json!({"stringData": {"tls.key": half}});
    stage.plane.api.patch(SECRETS, Patch::Merge, &patch).await;
    let end = Instant::now() + PATIENCE;
    loop {
        let object = stage.plane.api.get(&super::path()).await;
        let ready = object["status"]["conditions"]
            .as_array()
            .unwrap()
            .iter()
            .find(|it| it["type"] == "Ready")
            .unwrap()["status"]
            .clone();
        if ready == "False" {
            return;
        }
        assert!(Instant::now() < end, "{:#}", object["status"]);
        sleep(Duration::from_millis(10)).await;
    }
}

/// The gateway refers to the Secret, and the owner of its namespace does what
/// the status tells.
pub(super) async fn grant(stage: &Stage, mode: &str) {
    let tls = json!({"mode": mode, "certificateRef": {"name": SECRET}});
    stage.apply(|spec| spec["tls"] = tls).await;
    let message = stage.until("ResolvedRefs", ("False", "Forbidden")).await;
    let commands = message.split('`').nth(1).unwrap();
    for command in commands.split(" && ") {
        let arguments: Vec<_> = command.split_whitespace().skip(1).collect();
        let _ = stage.plane.api.kubectl(&arguments, "").await.succeeded();
    }
    stage
        .until("ResolvedRefs", ("False", "SecretNotFound"))
        .await;
}

/// Writes the Secret: a certificate and, for callers that have one, who signs
/// theirs.
pub(super) async fn write(stage: &Stage, callers: Option<&TestAuthority>, server: &Issued) {
    let mut secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRET, "namespace": NAMESPACE},
        "type": "kubernetes.io/tls",
        "stringData": {
            "tls.crt": server.certificate_pem,
            "tls.key": server.key_pem.expose(),
        },
    });
    if let Some(authority) = callers {
        secret["stringData"]["ca.crt"] = json!(authority.pem());
    }
    stage.plane.api.apply(SECRETS, &secret).await;
}

fn client(stage: &Stage, authority: &TestAuthority) -> Client {
    let client = Client::tls(stage.address, authority.pem());
    client.identity(&authority.client(AGENT)).host("localhost")
}

pub(super) fn load(stage: &Stage, client: &Client) -> Load {
    let (client, token) = (client.clone(), Arc::new(stage.token.clone()));
    Load::start(RATE, move || {
        let (client, token) = (client.clone(), Arc::clone(&token));
        async move {
            let call = mcp::call(STEADY, json!({})).token(&token);
            client.send(call).await
        }
    })
}

/// Whether the sidecar shows this certificate.
async fn shows(client: &Client, issued: &Issued) -> bool {
    let wanted = CertificateDer::from_pem_slice(issued.certificate_pem.as_bytes()).unwrap();
    client.shown_certificate().await.unwrap() == wanted.as_ref()
}

/// Waits until the sidecar shows this certificate.
pub(super) async fn until_shown(client: &Client, issued: &Issued) -> Duration {
    let began = Instant::now();
    while !shows(client, issued).await {
        assert!(
            began.elapsed() < SOON,
            "the old certificate is still served"
        );
        sleep(Duration::from_millis(5)).await;
    }
    began.elapsed()
}
