//! HTTP/1 messages that two parsers could cut at different places.

use std::time::Duration;

use serde_json::json;
use sidegate_testkit::client::raw::{self, End, RawAnswer};
use sidegate_testkit::mcp;
use sidegate_testkit::poll::PATIENCE;

use crate::support::{Stage, obliging};

/// A good call with these lines in its head and this instead of its body.
fn message(token: &str, lines: &str, body: &str) -> String {
    let mut text = String::from("POST /mcp HTTP/1.1\r\nHost: localhost\r\n");
    for (name, value) in &mcp::call("get_customer", json!({}))
        .request()
        .into_parts()
        .0
        .headers
    {
        text.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap()));
    }
    text.push_str(&format!(
        "Authorization: Bearer {token}\r\n{lines}\r\n{body}"
    ));
    text
}

fn good_body() -> String {
    let body = mcp::call("get_customer", json!({})).request().into_body();
    String::from_utf8(body.to_vec()).unwrap()
}

fn sized(token: &str) -> String {
    let body = good_body();
    message(token, &format!("Content-Length: {}\r\n", body.len()), &body)
}

fn chunked(token: &str, chunks: &str) -> String {
    message(token, "Transfer-Encoding: chunked\r\n", chunks)
}

async fn exchange(stage: &Stage, bytes: &str) -> RawAnswer {
    let address = stage.client().address();
    raw::exchange(address, bytes.as_bytes(), PATIENCE)
        .await
        .unwrap()
}

#[tokio::test]
async fn ambiguous_heads_end_the_connection() {
    let stage = Stage::start(obliging).await;
    let token = stage.token("customer:read");
    let body = good_body();
    let length = body.len();
    let chunks = format!("{length:x}\r\n{body}\r\n0\r\n\r\n");
    let with = |lines: String| message(&token, &lines, &body);
    let cases = [
        (
            "length and chunks",
            message(
                &token,
                "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n",
                &chunks,
            ),
        ),
        (
            "chunks and length",
            message(
                &token,
                "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n",
                &chunks,
            ),
        ),
        (
            "two lengths",
            with(format!("Content-Length: {length}\r\nContent-Length: 3\r\n")),
        ),
        (
            "the same length twice",
            with(format!(
                "Content-Length: {length}\r\nContent-Length: {length}\r\n"
            )),
        ),
        (
            "lengths in a list",
            with(format!("Content-Length: {length}, {length}\r\n")),
        ),
        (
            "signed length",
            with(format!("Content-Length: +{length}\r\n")),
        ),
        (
            "length in hex",
            with(format!("Content-Length: 0x{length:x}\r\n")),
        ),
        (
            "huge length",
            with("Content-Length: 99999999999999999999\r\n".to_owned()),
        ),
        ("negative length", with("Content-Length: -1\r\n".to_owned())),
        (
            "chunked twice",
            message(&token, "Transfer-Encoding: chunked, chunked\r\n", &chunks),
        ),
        (
            "another coding",
            message(&token, "Transfer-Encoding: gzip, chunked\r\n", &chunks),
        ),
        (
            "almost chunked",
            message(&token, "Transfer-Encoding: xchunked\r\n", &chunks),
        ),
        (
            "chunked in two lines",
            message(
                &token,
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
                &chunks,
            ),
        ),
        (
            "space before the colon",
            with(format!("Content-Length : {length}\r\n")),
        ),
        (
            "folded header",
            with(format!("X-A: b\r\n c\r\nContent-Length: {length}\r\n")),
        ),
        (
            "bare line feed",
            with(format!("X-A: b\nContent-Length: {length}\r\n")),
        ),
        (
            "bare carriage return",
            with(format!("X-A: b\rc\r\nContent-Length: {length}\r\n")),
        ),
        (
            "NUL in a value",
            with(format!("X-A: b\0c\r\nContent-Length: {length}\r\n")),
        ),
        ("no host", sized(&token).replace("Host: localhost\r\n", "")),
        (
            "two hosts",
            sized(&token).replace(
                "Host: localhost\r\n",
                "Host: localhost\r\nHost: localhost\r\n",
            ),
        ),
        (
            "chunks in HTTP/1.0",
            message(&token, "Transfer-Encoding: chunked\r\n", &chunks)
                .replace("HTTP/1.1", "HTTP/1.0"),
        ),
    ];
    for (case, bytes) in cases {
        // Whatever follows must not become a request of its own.
        let smuggled = format!("{bytes}{}", sized(&token));
        let answer = exchange(&stage, &smuggled).await;
        assert_eq!(answer.status(), Some(400), "{case}: {}", answer.text());
        assert_ne!(answer.end, End::Open, "{case}");
        stage.upstream.assert_untouched();
    }
    // The same message without a fault passes.
    for bytes in [sized(&token), chunked(&token, &chunks)] {
        let address = stage.client().address();
        let answer = raw::exchange(address, bytes.as_bytes(), Duration::from_millis(300)).await;
        assert_eq!(answer.unwrap().status(), Some(200));
    }
    let seen = stage.upstream.requests();
    assert_eq!(seen.len(), 2);
    for seen in seen {
        assert_eq!(seen.body, body.as_bytes());
        assert_eq!(seen.header("content-length"), Some(&*length.to_string()));
        assert_eq!(seen.header("transfer-encoding"), None);
    }
}

#[tokio::test]
async fn ambiguous_chunks_end_the_connection() {
    let stage = Stage::start(obliging).await;
    let token = stage.token("customer:read");
    let body = good_body();
    let size = format!("{:x}", body.len());
    for (case, chunks) in [
        ("negative size", format!("-{size}\r\n{body}\r\n0\r\n\r\n")),
        ("prefixed size", format!("0x{size}\r\n{body}\r\n0\r\n\r\n")),
        (
            "size with a space",
            format!("{size} \r\n{body}\r\n0\r\n\r\n"),
        ),
        ("no size", format!("\r\n{body}\r\n0\r\n\r\n")),
        (
            "huge size",
            format!("ffffffffffffffffff\r\n{body}\r\n0\r\n\r\n"),
        ),
        ("bare line feed", format!("{size}\n{body}\r\n0\r\n\r\n")),
        (
            "bare line feed at the end",
            format!("{size}\r\n{body}\n0\r\n\r\n"),
        ),
        ("extension", format!("{size};a=b\r\n{body}\r\n0\r\n\r\n")),
        (
            "extension with a line feed",
            format!("{size};\n\r\n{body}\r\n0\r\n\r\n"),
        ),
        ("too short", format!("3\r\n{body}\r\n0\r\n\r\n")),
        (
            "trailers",
            format!("{size}\r\n{body}\r\n0\r\nAuthorization: Bearer x\r\n\r\n"),
        ),
    ] {
        let smuggled = format!("{}{}", chunked(&token, &chunks), sized(&token));
        let answer = exchange(&stage, &smuggled).await;
        assert_eq!(answer.status(), Some(400), "{case}: {}", answer.text());
        assert_ne!(answer.end, End::Open, "{case}");
        stage.upstream.assert_untouched();
    }
}

#[tokio::test]
async fn requests_behind_a_refused_one_stand_on_their_own() {
    let stage = Stage::start(obliging).await;
    let token = stage.token("customer:read");
    let denied = sized(&token).replace("get_customer", "aet_customer");
    let pipelined = format!("{denied}{}", sized(&token));
    let address = stage.client().address();
    let answer = raw::exchange(address, pipelined.as_bytes(), Duration::from_millis(300)).await;
    let statuses = answer.unwrap().statuses();
    assert!(
        statuses == [403, 200] || statuses == [403],
        "each answer belongs to its own request: {statuses:?}"
    );
    assert_eq!(stage.upstream.requests().len(), statuses.len() - 1);
    stage.upstream.forget();

    // The body of an unauthenticated request is not read as another one.
    let body = sized(&token);
    let hidden = format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let address = stage.client().address();
    let answer = raw::exchange(address, hidden.as_bytes(), Duration::from_millis(300)).await;
    assert_eq!(answer.unwrap().status(), Some(401));
    stage.upstream.assert_untouched();
}

#[tokio::test]
async fn nothing_is_tunnelled() {
    let stage = Stage::start(obliging).await;
    let token = stage.token("customer:read");
    let body = good_body();
    for upgrade in ["websocket", "h2c", "TLS/1.0"] {
        let lines = format!(
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: {upgrade}\r\n\
             HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\nContent-Length: {}\r\n",
            body.len()
        );
        let bytes = message(&token, &lines, &body);
        let address = stage.client().address();
        let answer = raw::exchange(address, bytes.as_bytes(), Duration::from_millis(300)).await;
        let status = answer.unwrap().status();
        assert!(matches!(status, Some(200 | 400)), "{upgrade}: {status:?}");
        for seen in stage.upstream.requests() {
            assert_eq!(seen.header("upgrade"), None);
            assert_eq!(seen.header("http2-settings"), None);
        }
    }
}

#[tokio::test]
async fn expectations_are_met_or_refused() {
    let stage = Stage::start(obliging).await;
    let token = stage.token("customer:read");
    let body = good_body();
    let lines = format!("Expect: 100-continue\r\nContent-Length: {}\r\n", body.len());
    let bytes = message(&token, &lines, &body);
    let address = stage.client().address();
    let answer = raw::exchange(address, bytes.as_bytes(), Duration::from_millis(300)).await;
    let statuses = answer.unwrap().statuses();
    assert!(statuses == [100, 200] || statuses == [200], "{statuses:?}");
    assert_eq!(stage.upstream.request().header("expect"), None);
}

#[tokio::test]
async fn a_head_may_come_byte_by_byte() {
    let stage = Stage::start(obliging).await;
    let bytes = sized(&stage.token("customer:read"));
    let (start, rest) = bytes.split_at(60);
    let mut pieces: Vec<&[u8]> = start.as_bytes().chunks(1).collect();
    pieces.push(rest.as_bytes());
    let address = stage.client().address();
    let answer = raw::exchange_pieces(address, &pieces, Duration::from_millis(300)).await;
    assert_eq!(answer.unwrap().status(), Some(200));
    assert_eq!(stage.upstream.request().body, good_body().as_bytes());
}
