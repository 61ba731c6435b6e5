//! Sessions of the revisions before 2026-07-28: a session id is no credential.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::Method;
use serde_json::json;
use sidegate_policy::clock::{Clock as _, ManualClock, SystemClock};
use sidegate_testkit::client::Client;
use sidegate_testkit::issuer::TestIssuer;
use sidegate_testkit::mcp::{self, McpRequest};
use sidegate_testkit::sidecar::TestSidecar;
use sidegate_testkit::upstream::{Reply, SeenRequest, Upstream};

use crate::support::{RESOURCE, SESSION, Stage, assert_refused, bare, gateway, obliging};

const UNKNOWN_SESSION: i64 = 4041;
const TOO_MANY: i64 = 4290;

fn call(session: &str) -> McpRequest {
    let params = json!({"name": "get_customer", "arguments": {}});
    mcp::legacy("tools/call", params, Some(session))
}

/// A server that numbers its sessions.
fn numbering() -> impl Fn(&SeenRequest) -> Reply + Send + Sync + 'static {
    let next = AtomicUsize::new(1);
    move |request| match request.rpc_method().as_deref() {
        Some("initialize") => {
            let id = format!("s-{}", next.fetch_add(1, Ordering::SeqCst));
            Reply::result(request, json!({})).header("Mcp-Session-Id", &id)
        }
        _ => obliging(request),
    }
}

#[tokio::test]
async fn a_session_serves_the_principal_that_opened_it() {
    let stage = Stage::start(obliging).await;
    let client = stage.client();
    let (alice, bob) = (
        stage.token("customer:read"),
        stage.token_of("bob", "customer:read"),
    );
    let session = stage.session(&alice).await;
    assert_eq!(session, SESSION);
    assert_eq!(stage.sidecar.metric("sidegate_sessions"), 1);

    // A fresh token of the same caller continues the session.
    let fresh = stage.issuer.token(RESOURCE).scope("customer:read");
    let fresh = fresh.claim("jti", "another").sign();
    for token in [&alice, &fresh] {
        let answer = client.send(call(&session).token(token)).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let seen = stage.upstream.requests();
    assert!(
        seen.iter()
            .all(|seen| seen.header("mcp-session-id") == Some(SESSION))
    );
    stage.upstream.forget();

    let other_client = stage.issuer.token(RESOURCE).claim("client_id", "other");
    let other_client = other_client.scope("customer:read").sign();
    for stranger in [&bob, &other_client] {
        let answer = client.send(call(&session).token(stranger)).await.unwrap();
        assert_refused(&answer, 404, UNKNOWN_SESSION);
        assert_eq!(answer.json()["id"], 1);
        for method in [Method::GET, Method::DELETE] {
            let request = bare(method, stranger, Some(&session));
            let answer = client.send(request).await.unwrap();
            assert_refused(&answer, 404, UNKNOWN_SESSION);
        }
    }
    stage.upstream.assert_untouched();
    // What strangers tried did the session no harm.
    let answer = client.send(call(&session).token(&alice)).await.unwrap();
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn an_id_that_was_never_given_is_unknown_to_everybody() {
    let stage = Stage::start(obliging).await;
    let token = stage.token("customer:read");
    let client = stage.client();
    let answer = client.send(call("never").token(&token)).await.unwrap();
    assert_refused(&answer, 404, UNKNOWN_SESSION);
    for method in [Method::GET, Method::DELETE] {
        let answer = client.send(bare(method, &token, Some("never"))).await;
        assert_refused(&answer.unwrap(), 404, UNKNOWN_SESSION);
    }
    stage.upstream.assert_untouched();
}

#[tokio::test]
async fn every_request_of_a_session_is_decided() {
    let stage = Stage::start(obliging).await;
    let session = stage.session(&stage.token("customer:read")).await;
    let less = stage.token("other");
    let answer = stage.client().send(call(&session).token(&less)).await;
    assert_refused(&answer.unwrap(), 403, 4030);
    let expired = stage.issuer.token(RESOURCE).expires_in(-60).sign();
    let answer = stage.client().send(call(&session).token(&expired)).await;
    assert_refused(&answer.unwrap(), 401, 4010);
    let answer = stage.client().send(call(&session)).await;
    assert_refused(&answer.unwrap(), 401, 4010);
    stage.upstream.assert_untouched();
}

#[tokio::test]
async fn delete_ends_a_session() {
    let stage = Stage::start(obliging).await;
    let token = stage.token("customer:read");
    let session = stage.session(&token).await;
    let client = stage.client();
    let answer = client.send(bare(Method::DELETE, &token, None)).await;
    assert_refused(&answer.unwrap(), 400, -32600);
    stage.upstream.assert_untouched();

    let end = || bare(Method::DELETE, &token, Some(&session));
    assert_eq!(client.send(end()).await.unwrap().status, 200);
    assert_eq!(stage.upstream.request().method(), "DELETE");
    stage.upstream.forget();
    assert_refused(&client.send(end()).await.unwrap(), 404, UNKNOWN_SESSION);
    let answer = client.send(call(&session).token(&token)).await.unwrap();
    assert_refused(&answer, 404, UNKNOWN_SESSION);
    stage.upstream.assert_untouched();
    assert_eq!(stage.sidecar.metric("sidegate_sessions"), 0);
}

#[tokio::test]
async fn a_delete_that_the_server_refuses_ends_nothing() {
    let stage = Stage::start(|request| match request.method() {
        "DELETE" => Reply::status(405, &[], b""),
        _ => obliging(request),
    })
    .await;
    let token = stage.token("customer:read");
    let session = stage.session(&token).await;
    let client = stage.client();
    let answer = client.send(bare(Method::DELETE, &token, Some(&session)));
    assert_eq!(answer.await.unwrap().status, 405);
    let answer = client.send(call(&session).token(&token)).await.unwrap();
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_session_that_the_server_forgot_is_forgotten() {
    let stage = Stage::start(|request| match request.rpc_method().as_deref() {
        Some("tools/call") => Reply::json(404, &json!({"jsonrpc": "2.0", "id": 1, "error": {}})),
        _ => obliging(request),
    })
    .await;
    let token = stage.token("customer:read");
    let session = stage.session(&token).await;
    let client = stage.client();
    let answer = client.send(call(&session).token(&token)).await.unwrap();
    assert_eq!(answer.status, 404);
    assert_eq!(stage.upstream.requests().len(), 1);
    stage.upstream.forget();
    let answer = client.send(call(&session).token(&token)).await.unwrap();
    assert_refused(&answer, 404, UNKNOWN_SESSION);
    stage.upstream.assert_untouched();
}

#[tokio::test]
async fn sessions_are_bounded_for_each_and_for_all() {
    let stage = Stage::with(numbering(), |spec| {
        spec["limits"] = json!({"maxSessions": 3, "maxSessionsPerPrincipal": 2});
    })
    .await;
    let client = stage.client();
    let open = async |subject: &str| {
        let token = stage.token_of(subject, "customer:read");
        let answer = client.send(mcp::initialize().token(&token)).await;
        answer.unwrap()
    };
    for subject in ["alice", "alice"] {
        assert_eq!(open(subject).await.status, 200);
    }
    stage.upstream.forget();
    let refused = open("alice").await;
    assert_refused(&refused, 429, TOO_MANY);
    assert_eq!(refused.header("retry-after"), "1");
    stage.upstream.assert_untouched();

    let third = open("bob").await;
    assert_eq!(third.status, 200);
    stage.upstream.forget();
    assert_refused(&open("carol").await, 429, TOO_MANY);
    stage.upstream.assert_untouched();

    // One that ends makes room.
    let token = stage.token_of("bob", "customer:read");
    let session = third.header("mcp-session-id");
    let end = client.send(bare(Method::DELETE, &token, Some(session)));
    assert_eq!(end.await.unwrap().status, 200);
    assert_eq!(open("carol").await.status, 200);
}

#[tokio::test]
async fn an_idle_session_is_forgotten() {
    let issuer = TestIssuer::start().await;
    let upstream = Upstream::start(obliging).await;
    let mut gateway = gateway(&issuer, &upstream);
    gateway["spec"]["limits"] = json!({"sessionIdleTimeout": "1m"});
    let clock = Arc::new(ManualClock::new(SystemClock.unix_seconds()));
    let sidecar = TestSidecar::try_start(&gateway.to_string(), Arc::clone(&clock) as _).await;
    let sidecar = sidecar.unwrap();
    sidecar.until_ready().await;
    let client = Client::plaintext(sidecar.address("support")).host("localhost");
    let token = issuer.token(RESOURCE).scope("customer:read").sign();
    let answer = client.send(mcp::initialize().token(&token)).await.unwrap();
    assert_eq!(answer.status, 200);
    for (seconds, status) in [(60, 200), (60, 200), (61, 404)] {
        clock.advance(Duration::from_secs(seconds));
        let answer = client.send(call(SESSION).token(&token)).await.unwrap();
        assert_eq!(answer.status, status, "after {seconds} s");
    }
}

#[tokio::test]
async fn one_id_for_two_callers_joins_nobody() {
    let stage = Stage::start(obliging).await;
    let alice = stage.token("customer:read");
    let bob = stage.token_of("bob", "customer:read");
    let session = stage.session(&alice).await;
    // The server gives bob the id that alice has.
    let client = stage.client();
    let answer = client.send(mcp::initialize().token(&bob)).await.unwrap();
    assert!(answer.status.as_u16() >= 400, "{}", answer.text());
    assert!(answer.headers.get("mcp-session-id").is_none());
    stage.upstream.forget();
    let answer = client.send(call(&session).token(&bob)).await.unwrap();
    assert_refused(&answer, 404, UNKNOWN_SESSION);
    stage.upstream.assert_untouched();
    let answer = client.send(call(&session).token(&alice)).await.unwrap();
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn the_modern_revision_has_no_sessions() {
    let stage = Stage::start(|request| {
        Reply::result(request, json!({})).header("Mcp-Session-Id", "from-the-server")
    })
    .await;
    let token = stage.token("customer:read");
    let request = mcp::call("get_customer", json!({}))
        .header("mcp-session-id", "anything")
        .header("last-event-id", "3")
        .token(&token);
    let answer = stage.client().send(request).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.headers.get("mcp-session-id").is_none());
    let seen = stage.upstream.request();
    assert_eq!(seen.header("mcp-session-id"), None);
    assert_eq!(seen.header("last-event-id"), None);
}

#[tokio::test]
async fn a_malformed_session_id_is_refused() {
    let stage = Stage::start(obliging).await;
    let token = stage.token("customer:read");
    let client = stage.client();
    let long = "a".repeat(257);
    for id in ["a b", "", "a\tb", &long] {
        let answer = client.send(call(id).token(&token)).await.unwrap();
        assert_refused(&answer, 400, -32600);
    }
    let twice = call("a").header("mcp-session-id", "a").token(&token);
    assert_refused(&client.send(twice).await.unwrap(), 400, -32600);
    // The longest that can be one is only unknown.
    let answer = client.send(call(&"a".repeat(256)).token(&token)).await;
    assert_refused(&answer.unwrap(), 404, UNKNOWN_SESSION);
    stage.upstream.assert_untouched();
}

#[tokio::test]
async fn a_server_cannot_hand_out_a_session_id_that_is_none() {
    for (id, again) in [("a b", None), ("a", Some("b"))] {
        let stage = Stage::start(move |request| {
            let reply = Reply::result(request, json!({})).header("Mcp-Session-Id", id);
            match again {
                Some(id) => reply.header("Mcp-Session-Id", id),
                None => reply,
            }
        })
        .await;
        let token = stage.token("customer:read");
        let answer = stage.client().send(mcp::initialize().token(&token)).await;
        assert_refused(&answer.unwrap(), 502, 5020);
    }
}
