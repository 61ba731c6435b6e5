use std::time::Duration;

use serde_json::json;

use super::raw::{End, exchange};
use super::*;
use crate::mcp;
use crate::upstream::{Reply, Upstream};

#[tokio::test]
async fn a_request_and_its_answer_arrive_whole() {
    let upstream = Upstream::start(|request| Reply::result(request, json!({"ok": true}))).await;
    let client = Client::plaintext(upstream.address()).host("example.test");
    let answer = client.send(mcp::call("get", json!({}))).await.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["result"], json!({"ok": true}));
    assert_eq!(answer.header("content-type"), "application/json");
    let seen = upstream.requests();
    assert_eq!(seen[0].header("host"), Some("example.test"));
    assert_eq!(seen[0].tool(), Some("get".to_owned()));
}

#[tokio::test]
async fn a_connection_can_be_used_again() {
    let upstream = Upstream::start(|_| Reply::json(200, &json!({}))).await;
    let client = Client::plaintext(upstream.address());
    let mut connection = client.connect().await.unwrap();
    for _ in 0..2 {
        connection.send(mcp::initialize()).await.unwrap();
    }
    assert_eq!((upstream.connections(), upstream.requests().len()), (1, 2));
    assert!(!connection.is_closed());
}

#[tokio::test]
async fn raw_bytes_tell_how_the_connection_ended() {
    let upstream = Upstream::start(|request| match request.path() {
        "/close" => Reply::json(200, &json!({})).then_close(),
        _ => Reply::json(200, &json!({})),
    })
    .await;
    let quiet = Duration::from_millis(100);
    let sent = b"GET /close HTTP/1.1\r\n\r\n";
    let closed = exchange(upstream.address(), sent, quiet).await.unwrap();
    assert_eq!((closed.status(), closed.end), (Some(200), End::Closed));
    let sent = b"GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n";
    let open = exchange(upstream.address(), sent, quiet).await.unwrap();
    assert_eq!((open.statuses(), open.end), (vec![200, 200], End::Open));
}
