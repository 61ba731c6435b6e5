//! Who a caller is by its certificate: names are compared as they are, and a
//! header names nobody.

use serde_json::json;
use sidegate_testkit::certificates::AGENT;
use sidegate_testkit::mcp;
use sidegate_testkit::sidecar::TestSidecar;

use crate::support::{assert_refused, gateway};
use crate::tls::Stage;

/// TLS-006, TLS-009: another namespace, and names that a pattern would match.
#[tokio::test]
async fn names_of_workloads_are_no_patterns() {
    const DOTS: &str = "spiffe://cluster.local/ns/team.a/sa/x";
    let stage = Stage::start("Mutual", |spec| {
        spec["authorization"]["rules"] = json!([
            {"name": "id", "tools": ["by_id"], "principals": [{"spiffeIds": [DOTS]}]},
            {
                "name": "account", "tools": ["by_account"],
                "principals": [{"serviceAccounts": ["a/x.y"]}],
            },
        ]);
    })
    .await;
    let token = stage.token("");
    for (tool, id, status) in [
        ("by_id", DOTS, 200),
        ("by_id", "spiffe://cluster.local/ns/teamXa/sa/x", 403),
        ("by_id", "spiffe://cluster.local/ns/team.a/sa/xx", 403),
        ("by_id", "spiffe://cluster.local/ns/team.a/sa", 403),
        ("by_id", "spiffe://cluster.local/ns/team.a/sa/x/y", 403),
        ("by_id", "spiffe://cluster.local/ns/team.a/sa/X", 403),
        ("by_account", "spiffe://cluster.local/ns/a/sa/x.y", 200),
        ("by_account", "spiffe://cluster.local/ns/b/sa/x.y", 403),
        ("by_account", "spiffe://cluster.local/ns/a/sa/xzy", 403),
        ("by_account", "spiffe://cluster.localx/ns/a/sa/x.y", 403),
    ] {
        let call = mcp::call(tool, json!({})).token(&token);
        let answer = stage.client(id).send(call).await.unwrap();
        assert_eq!(answer.status, status, "{id}: {}", answer.text());
        if status == 403 {
            stage.upstream.assert_untouched();
        }
        stage.upstream.forget();
    }
}

/// TLS-009: nor can somebody write a pattern by mistake.
#[tokio::test]
async fn a_pattern_is_no_name_of_a_workload() {
    let stage = Stage::start("Mutual", |_| {}).await;
    for principal in [
        json!({"spiffeIds": ["spiffe://cluster.local/ns/team*/sa/x"]}),
        json!({"spiffeIds": ["spiffe://cluster.local/ns/team%2a/sa/x"]}),
        json!({"spiffeIds": ["*"]}),
        json!({"serviceAccounts": ["a/*"]}),
        json!({"serviceAccounts": ["*/x"]}),
        json!({"serviceAccounts": ["a/(x|y)"]}),
    ] {
        let mut gateway = gateway(&stage.issuer, &stage.upstream);
        gateway["spec"]["tls"] = json!({"mode": "Mutual", "certificateRef": {"name": "tls"}});
        gateway["spec"]["authorization"]["rules"][0]["principals"] = json!([principal]);
        let secret = stage
            .authority
            .secret("crm", "tls", &stage.authority.server());
        let documents = format!("{gateway}\n---\n{secret}");
        stage.sidecar.change_refused(&documents).await;
    }
    stage.client(AGENT).handshake().await.unwrap();
}

/// TLS-025: who says nothing about callers gets the strictest.
#[tokio::test]
async fn without_a_mode_callers_need_a_certificate() {
    let stage = Stage::start("", |spec| {
        spec["tls"] = json!({"certificateRef": {"name": "tls"}});
    })
    .await;
    assert!(stage.stranger().handshake().await.is_err());
    stage.client(AGENT).handshake().await.unwrap();

    // Without a certificate it is not served at all, and not in plaintext.
    let mut silent = gateway(&stage.issuer, &stage.upstream);
    silent["spec"].as_object_mut().unwrap().remove("tls");
    let clock = std::sync::Arc::new(sidegate_policy::clock::SystemClock);
    let started = TestSidecar::try_start(&silent.to_string(), clock).await;
    let error = started.expect_err("no certificate").to_string();
    assert!(error.contains("spec.tls.certificateRef"), "{error}");
}

/// TLS-030.
#[tokio::test]
async fn a_header_is_no_certificate() {
    let stage = Stage::start("Mutual", |spec| {
        spec["authorization"]["rules"] = json!([{
            "name": "lead", "tools": ["get_customer"],
            "principals": [{"serviceAccounts": ["crm/lead"]}],
        }, {
            "name": "agent", "tools": ["list_orders"],
            "principals": [{"serviceAccounts": ["crm/agent"]}],
        }]);
    })
    .await;
    let token = stage.token("");
    let lead = "By=spiffe://cluster.local/ns/crm/sa/support;Hash=00;Subject=\"\";\
                URI=spiffe://cluster.local/ns/crm/sa/lead";
    for client in [stage.client(AGENT), stage.client(AGENT).http2()] {
        for name in [
            "x-forwarded-client-cert",
            "x_forwarded_client_cert",
            "x-forwarded-client_cert",
            "x-client-cert",
            "ssl-client-cert",
        ] {
            let spoofed = |tool| mcp::call(tool, json!({})).token(&token).header(name, lead);
            let answer = client.send(spoofed("get_customer")).await.unwrap();
            assert_refused(&answer, 403, 4030);
            stage.upstream.assert_untouched();
            let answer = client.send(spoofed("list_orders")).await.unwrap();
            assert_eq!(answer.status, 200, "{}", answer.text());
            let seen = stage.upstream.request();
            let spoofed = seen.headers().into_iter().find(|(_, value)| *value == lead);
            assert_eq!(spoofed, None, "{name}");
            stage.upstream.forget();
        }
    }
}
