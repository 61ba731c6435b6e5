use std::time::Duration;

use serde_json::json;

use super::*;
use crate::client::Client;
use crate::mcp;

const PATIENCE: Duration = Duration::from_secs(5);

async fn answered(reply: Reply) -> anyhow::Result<crate::client::Answer> {
    let upstream = Upstream::start(move |_| reply.clone()).await;
    Client::plaintext(upstream.address())
        .send(mcp::call("get", json!({})))
        .await
}

#[tokio::test]
async fn every_kind_of_answer_arrives() {
    let redirect = answered(Reply::status(307, &[("Location", "/x")], b""))
        .await
        .unwrap();
    assert_eq!(
        (redirect.status.as_u16(), redirect.header("location")),
        (307, "/x")
    );
    let sse = answered(Reply::sse(&["data: {\"a\":1}\n\n", ": x\n\n"]))
        .await
        .unwrap();
    assert_eq!(sse.text(), "data: {\"a\":1}\n\n: x\n\n");
    assert_eq!(sse.json(), json!({"a": 1}));
    let gzip = answered(Reply::gzip(&json!({}))).await.unwrap();
    assert_eq!(gzip.header("content-encoding"), "gzip");
    assert_eq!(gzip.body[..2], [0x1f, 0x8b]);
    let more = answered(Reply::json(200, &json!({})).header("Set-Cookie", "a=b"))
        .await
        .unwrap();
    assert_eq!(more.header("set-cookie"), "a=b");
    let slow = Reply::chunked(200, &[], &[b"a", b"b"]).slowly(Duration::from_millis(1));
    assert_eq!(answered(slow).await.unwrap().text(), "ab");
}

#[tokio::test]
async fn answers_can_break() {
    answered(Reply::close()).await.unwrap_err();
    answered(Reply::chunked(200, &[], &[b"a", b"b"]).broken_after(2))
        .await
        .unwrap_err();
    answered(Reply::raw("nonsense\r\n\r\n")).await.unwrap_err();
    let hanging = tokio::time::timeout(Duration::from_millis(50), answered(Reply::hang())).await;
    assert!(hanging.is_err());
}

#[tokio::test]
async fn results_carry_the_id_and_notifications_get_none() {
    let upstream = Upstream::start(|request| Reply::sse_result(request, json!({"x": 1}))).await;
    let client = Client::plaintext(upstream.address());
    let request = mcp::call("get", json!({})).body(r#"{"id":"seven","method":"tools/call"}"#);
    let answer = client.send(request).await.unwrap();
    assert_eq!(
        answer.json(),
        json!({"jsonrpc": "2.0", "id": "seven", "result": {"x": 1}})
    );
    let notification = mcp::call("get", json!({})).body(r#"{"method":"notifications/x"}"#);
    assert_eq!(client.send(notification).await.unwrap().status, 202);
}

#[tokio::test]
async fn a_peer_that_goes_is_noticed() {
    let upstream = Upstream::start(|_| Reply::open_sse(&["data: 1\n\n"])).await;
    let mut connection = Client::plaintext(upstream.address())
        .connect()
        .await
        .unwrap();
    let mut stream = connection.start(mcp::call("get", json!({}))).await.unwrap();
    stream.until("data: 1\n\n", PATIENCE).await.unwrap();
    assert_eq!(upstream.closed_connections(), 0);
    drop((stream, connection));
    upstream.until_closed(1).await;
}

#[tokio::test]
async fn an_untouched_server_has_seen_nothing() {
    let upstream = Upstream::obliging().await;
    upstream.assert_untouched();
    Client::plaintext(upstream.address())
        .get("/")
        .await
        .unwrap();
    assert_eq!(upstream.bytes(), upstream.request().head.len() + 4);
    upstream.forget();
    upstream
        .assert_stays_untouched(Duration::from_millis(10))
        .await;
}

#[tokio::test]
#[should_panic(expected = "the server was reached over 1 connections: GET /")]
async fn even_one_byte_is_noticed() {
    let upstream = Upstream::obliging().await;
    Client::plaintext(upstream.address())
        .get("/")
        .await
        .unwrap();
    upstream.assert_untouched();
}
