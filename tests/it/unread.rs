//! Requests that are refused before their body was read, over HTTP/1.1. A
//! client that may use the connection again must be served on it, and one that
//! may not must be told.

use std::time::Duration;

use sidegate_testkit::client::raw::{End, RawAnswer, exchange_pieces};

use crate::support::{Stage, obliging};

const NEXT: &str = "GET /.well-known/oauth-protected-resource/mcp HTTP/1.1\r\n\
    Host: localhost\r\nConnection: close\r\n\r\n";

fn head(more: &str) -> String {
    format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\n{more}\r\n"
    )
}

async fn exchange(stage: &Stage, pieces: &[&str], quiet: Duration) -> RawAnswer {
    let pieces: Vec<_> = pieces.iter().map(|piece| piece.as_bytes()).collect();
    let address = stage.sidecar.address("support");
    exchange_pieces(address, &pieces, quiet).await.unwrap()
}

/// As the official Python client sends it: the head, then the body, then the
/// next request.
#[tokio::test]
async fn a_small_body_after_its_head_costs_no_connection() {
    let stage = Stage::start(obliging).await;
    let patience = Duration::from_secs(10);
    for (framing, body) in [
        ("Content-Length: 2\r\n", "{}"),
        ("Transfer-Encoding: chunked\r\n", "2\r\n{}\r\n0\r\n\r\n"),
    ] {
        for _ in 0..10 {
            let answer = exchange(&stage, &[&head(framing), body, NEXT], patience).await;
            let told = answer.text().to_lowercase().contains("connection: close");
            match *answer.statuses().as_slice() {
                [401, 200] => {}
                // The body came too late to wait for; the client knows.
                [401] => assert!(told, "{}", answer.text()),
                _ => assert_eq!(answer.statuses(), [401, 200], "{}", answer.text()),
            }
        }
    }
    stage.upstream.assert_untouched();
}

#[tokio::test]
async fn a_body_that_does_not_come_ends_the_connection_with_a_word() {
    let stage = Stage::start(obliging).await;
    let patience = Duration::from_secs(10);
    let large = format!("Content-Length: {}\r\n", 1024 * 1024);
    for framing in [
        "Content-Length: 2\r\n",
        &large,
        "Content-Length: 2\r\nExpect: 100-continue\r\n",
        "Transfer-Encoding: chunked\r\n",
    ] {
        let answer = exchange(&stage, &[&head(framing)], patience).await;
        // No `100 Continue`: the body would be for nothing.
        assert_eq!(answer.status(), Some(401), "{framing}: {}", answer.text());
        let text = answer.text().to_lowercase();
        assert!(text.contains("connection: close"), "{framing}: {text}");
        assert_eq!(answer.end, End::Closed, "{framing}");
    }
    stage.upstream.assert_untouched();
}
