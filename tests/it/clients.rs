//! The official clients sign in at the gateway of the quick start, see what
//! they may use, use it, and ask for more when they are told to.

mod driver;
mod stage;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sidegate_testkit::certificates::AGENT;

use self::driver::{Peer, Report};
use self::stage::Stage;

/// The scope that every caller begins with: the least that is of any use.
const FIRST_SCOPE: &str = "customer:read";
/// The scope that `calculate_account_value` asks for on top.
const NEXT_SCOPE: &str = "account:read";
/// More than any client needs for one session; a client that does not stop is
/// far beyond it.
const MANY_REQUESTS: usize = 20;

/// Every scenario is played by every client in either era.
macro_rules! played_by_every_client {
    ($($scenario:ident),+ $(,)?) => {$(
        mod $scenario {
            use crate::clients::driver::Peer;

            #[tokio::test]
            async fn python_modern() {
                super::$scenario(Peer::PYTHON_AUTO).await;
            }

            #[tokio::test]
            async fn python_legacy() {
                super::$scenario(Peer::PYTHON_LEGACY).await;
            }

            #[tokio::test]
            async fn typescript_modern() {
                super::$scenario(Peer::TYPESCRIPT_AUTO).await;
            }

            #[tokio::test]
            async fn typescript_legacy() {
                super::$scenario(Peer::TYPESCRIPT_LEGACY).await;
            }
        }
    )+};
}

played_by_every_client!(
    a_granted_step_up_succeeds,
    a_refused_step_up_ends_with_its_reason,
    a_scope_that_the_gateway_ignores_ends_with_its_reason,
    what_no_scope_cures_is_told_once,
);

fn info() -> Value {
    json!({"tool": "get_customer_info", "arguments": {"customer_id": "C-1001"}})
}

fn value() -> Value {
    json!({"tool": "calculate_account_value", "arguments": {"customer_id": "C-1001"}})
}

async fn a_granted_step_up_succeeds(peer: Peer) {
    let stage = Stage::start(&[FIRST_SCOPE, NEXT_SCOPE], |text| text).await;
    let report = peer.run(&stage, &[info(), value()]).await;

    assert_signed_in(&report, peer);
    assert_eq!(report.failed, None, "{report:?}");
    assert_eq!(report.errors(), Vec::<String>::new(), "{report:?}");
    assert!(report.call(0)["text"].as_str().unwrap().contains("Ada"));
    assert!(report.call(1)["text"].as_str().unwrap().contains("C-1001"));
    let held: BTreeSet<_> = report.scope.split(' ').collect();
    assert_eq!(held, BTreeSet::from([FIRST_SCOPE, NEXT_SCOPE]));
    let counts = stage.authority.ledger().counts();
    assert_eq!((counts.token_requests, counts.tokens_issued), (2, 2));

    let executed = stage.executed();
    assert_eq!(executed, ["get_customer_info", "calculate_account_value"]);
    stage.assert_upstream_saw(peer);
    let calls = stage.audited_calls(3).await;
    let facts = |line: &Value| {
        let (decision, rule) = (line["decision"].clone(), line["rule"].clone());
        (decision, rule, line["status"].clone())
    };
    let expected = [
        (json!("allow"), json!("read"), json!(200)),
        (json!("deny"), json!("account-value"), json!(403)),
        (json!("allow"), json!("account-value"), json!(200)),
    ];
    assert_eq!(calls.iter().map(facts).collect::<Vec<_>>(), expected);
    assert_eq!(calls[1]["reason"], "missing_scope");
    assert_eq!(calls[1]["missingScopes"], json!([NEXT_SCOPE]));
    for line in &calls {
        assert_eq!(line["principal"]["client"], "agent");
        assert_eq!(line["principal"]["spiffeId"], AGENT);
    }
    assert_eq!(stage.sidecar.audit()[0]["reason"], "no_token");
}

async fn a_refused_step_up_ends_with_its_reason(peer: Peer) {
    let stage = Stage::start(&[FIRST_SCOPE], |text| text).await;
    let report = peer.run(&stage, &[value()]).await;

    assert_signed_in(&report, peer);
    let told = report.told();
    assert!(
        told.contains("the client may not have all of these scopes"),
        "{report:?}"
    );
    let counts = stage.authority.ledger().counts();
    assert_eq!((counts.token_requests, counts.tokens_issued), (2, 1));
    assert_eq!(report.answers(403), 1, "{report:?}");
    stage.assert_no_call_arrived();
    let calls = stage.audited_calls(1).await;
    assert_eq!(calls[0]["reason"], "missing_scope");
}

/// The authorization server grants the scope, the gateway does not take it from
/// that issuer: a new token changes nothing.
async fn a_scope_that_the_gateway_ignores_ends_with_its_reason(peer: Peer) {
    let stage = Stage::start(&[FIRST_SCOPE, NEXT_SCOPE], |text| {
        let allowed = format!("allowedScopes: [\"{FIRST_SCOPE}\"]\n        jwks:");
        text.replace("jwks:", &allowed)
    })
    .await;
    let report = peer.run(&stage, &[value()]).await;

    assert_signed_in(&report, peer);
    assert!(!report.told().is_empty(), "{report:?}");
    let refused = report.answers(403);
    assert!((1..=4).contains(&refused), "{report:?}");
    stage.assert_no_call_arrived();
    let calls = stage.audited_calls(refused).await;
    for line in calls {
        assert_eq!(line["decision"], "deny");
        assert_eq!(line["status"], 403);
    }
}

/// An argument that the rule does not permit to this caller, and a tool that
/// does not exist: the same answer, no challenge, no second token.
async fn what_no_scope_cures_is_told_once(peer: Peer) {
    let stage = Stage::start(&[FIRST_SCOPE, NEXT_SCOPE], |text| text).await;
    let ticket = json!({"customer_id": "C-1001", "subject": "help", "priority": "urgent"});
    let calls = [
        json!({"tool": "create_support_ticket", "arguments": ticket}),
        json!({"tool": "drop_everything", "arguments": {}}),
    ];
    let report = peer.run(&stage, &calls).await;

    assert_signed_in(&report, peer);
    assert_eq!(report.failed, None, "{report:?}");
    let errors = report.errors();
    assert_eq!(errors.len(), 2, "{report:?}");
    for error in errors {
        assert!(error.contains("not allowed"), "{error}");
    }
    assert_eq!(report.answers(403), 2, "{report:?}");
    assert_eq!(stage.authority.ledger().counts().token_requests, 1);
    stage.assert_no_call_arrived();
    let calls = stage.audited_calls(2).await;
    assert!(calls.iter().all(|line| line["decision"] == "deny"));
}

/// What every scenario begins with: a 401 leads to metadata, a token, the
/// negotiated version, and the one tool that the first token permits.
#[track_caller]
fn assert_signed_in(report: &Report, peer: Peer) {
    assert_eq!(report.version, peer.version(), "{report:?}");
    assert_eq!(report.listed, ["get_customer_info"], "{report:?}");
    assert!(report.requests.len() <= MANY_REQUESTS, "{report:?}");
    let first: Vec<_> = report.requests.iter().take(4).collect();
    let expected = [
        ("POST", "/mcp", 401),
        ("GET", "/.well-known/oauth-protected-resource/mcp", 200),
        ("GET", "/.well-known/oauth-authorization-server", 200),
        ("POST", "/token", 200),
    ];
    assert_eq!(first.len(), expected.len(), "{report:?}");
    for (request, (method, path, status)) in first.into_iter().zip(expected) {
        assert_eq!((&*request.method, request.status), (method, status));
        assert!(request.url.ends_with(path), "{report:?}");
    }
}
