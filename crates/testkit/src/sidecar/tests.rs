use serde_json::json;

use super::*;
use crate::certificates::{AGENT, TestAuthority};
use crate::issuer::TestIssuer;
use crate::mcp;
use crate::upstream::{Reply, Upstream};

const RESOURCE: &str = "https://localhost/mcp";

fn documents(issuer: &TestIssuer, upstream: &Upstream, tls: &str, tools: &str) -> String {
    format!(
        "apiVersion: sidegate.dev/v1alpha1\n\
         kind: McpGateway\n\
         metadata: {{name: support, namespace: crm}}\n\
         spec:\n\
         \x20 selector: {{matchLabels: {{app: support}}}}\n\
         \x20 servers:\n\
         \x20 - {{name: support, port: {}, resources: [\"{RESOURCE}\"]}}\n\
         \x20 tls: {tls}\n\
         \x20 authentication: {{jwt: [{{issuer: \"{}\", jwks: {{uri: \"{}\"}}}}]}}\n\
         \x20 authorization: {{rules: [{{name: r, tools: [{tools}], requiredScopes: [\"use\"]}}]}}\n",
        upstream.port(),
        issuer.issuer(),
        issuer.jwks_uri(),
    )
}

#[tokio::test]
async fn a_call_passes_and_leaves_its_traces() {
    let issuer = TestIssuer::start().await;
    let upstream = Upstream::start(|request| Reply::result(request, json!({"ok": 1}))).await;
    let text = documents(&issuer, &upstream, "{mode: Plaintext}", "get");
    let sidecar = TestSidecar::start(&text).await;
    let client = Client::plaintext(sidecar.address("support")).host("localhost");
    let token = issuer.token(RESOURCE).scope("use").sign();

    let refused = client
        .send(mcp::call("drop", json!({})).token(&token))
        .await
        .unwrap();
    assert_eq!(refused.status, 403, "{}", refused.text());
    upstream.assert_untouched();
    let answer = client
        .send(mcp::call("get", json!({})).token(&token))
        .await
        .unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["result"], json!({"ok": 1}));
    assert_eq!(upstream.request().tool().as_deref(), Some("get"));

    let lines = sidecar.audit_lines(2).await;
    assert_eq!(lines.len(), 2, "{}", sidecar.audit_text());
    assert!(!sidecar.audit_text().contains(&token));
    assert!(sidecar.metrics().contains("sidegate_requests_total"));
    assert_eq!(sidecar.health("/readyz").await.status, 200);
    assert!(sidecar.config().await.to_string().contains("crm/support"));
    assert_eq!(issuer.fetches(), 1);

    sidecar
        .change(&documents(&issuer, &upstream, "{mode: Plaintext}", "drop"))
        .await;
    let allowed = client
        .send(mcp::call("drop", json!({})).token(&token))
        .await
        .unwrap();
    assert_eq!(allowed.status, 200);
    sidecar.change_refused("nonsense").await;
    let allowed = client
        .send(mcp::call("drop", json!({})).token(&token))
        .await
        .unwrap();
    assert_eq!(allowed.status, 200);
    assert_eq!(sidecar.stop().await, Drained::Complete);
}

#[tokio::test]
async fn callers_show_certificates_over_both_protocols() {
    let (issuer, upstream) = (TestIssuer::start().await, Upstream::obliging().await);
    let authority = TestAuthority::new();
    let tls = "{mode: Mutual, certificateRef: {name: tls}}";
    let text = documents(&issuer, &upstream, tls, "get");
    let secret = authority.secret("crm", "tls", &authority.server());
    let sidecar = TestSidecar::start(&format!("{text}---\n{secret}")).await;
    let token = issuer.token(RESOURCE).scope("use").sign();
    let client = Client::tls(sidecar.address("support"), authority.pem()).host("localhost");
    client.handshake().await.unwrap_err();
    client
        .send(mcp::call("get", json!({})).token(&token))
        .await
        .unwrap_err();
    let client = client.identity(&authority.client(AGENT));
    client.handshake().await.unwrap();
    for client in [client.clone(), client.http2()] {
        let answer = client
            .send(mcp::call("get", json!({})).token(&token))
            .await
            .unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!(upstream.requests().len(), 2);
}

#[tokio::test]
async fn documents_with_mistakes_are_told() {
    let error = TestSidecar::try_start("kind: McpGateway", Arc::new(SystemClock))
        .await
        .unwrap_err();
    assert!(matches!(error, RunError::Invalid(_)), "{error}");
}
