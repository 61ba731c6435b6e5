//! Attacks that once got further than they should have, and their relatives.

mod admin;
mod exposition;
mod files;
mod handshakes;
mod identities;
mod metrics;

use std::time::Duration;

use serde_json::{Value, json};
use sidegate_testkit::client::raw;
use sidegate_testkit::mcp::{self, LEGACY, McpRequest};
use sidegate_testkit::poll::PATIENCE;
use sidegate_testkit::upstream::{Gate, Reply, SeenRequest};

use crate::support::{Stage, assert_refused, obliging};

const INVALID_REQUEST: i64 = -32600;
const PARSE: i64 = -32700;

fn call() -> McpRequest {
    mcp::call("get_customer", json!({}))
}

fn list_tools() -> McpRequest {
    mcp::modern("tools/list", json!({}))
}

/// A list that names a tool which the caller may not see.
fn hidden_list() -> Value {
    json!({"tools": [{"name": "get_customer"}, {"name": "drop_table"}]})
}

/// Bytes of a POST with this request line.
fn post(request_line: &str, token: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "{request_line}\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

#[tokio::test]
async fn a_target_with_a_fragment_is_no_target() {
    let stage = Stage::start(obliging).await;
    let token = stage.token("customer:read");
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    for target in ["/mcp#", "/mcp#/other", "/mcp?a#b", "http://localhost/mcp#x"] {
        let bytes = post(&format!("POST {target} HTTP/1.1"), &token, ping);
        let answer = raw::exchange(stage.sidecar.address("support"), &bytes, PATIENCE).await;
        assert_eq!(answer.unwrap().status(), Some(400), "{target}");
    }
    stage.upstream.assert_untouched();
}

#[tokio::test]
async fn a_host_with_an_impossible_port_is_malformed() {
    let stage = Stage::start(obliging).await;
    let token = stage.token("customer:read");
    for (port, status) in [("65535", 200), ("65536", 400), ("99999", 400)] {
        for client in [stage.client(), stage.client().http2()] {
            let client = client.host(&format!("localhost:{port}"));
            let answer = client.send(call().token(&token)).await.unwrap();
            assert_eq!(answer.status, status, "{port}: {}", answer.text());
        }
    }
}

#[tokio::test]
async fn a_session_header_means_nothing_in_the_era_without_sessions() {
    let stage = Stage::start(obliging).await;
    let token = stage.token("customer:read");
    for id in ["not an id", "never-issued", ""] {
        let request = call().token(&token).header("mcp-session-id", id);
        let answer = stage.client().send(request).await.unwrap();
        assert_eq!(answer.status, 200, "{id}: {}", answer.text());
        let seen = stage.upstream.request();
        assert!(seen.header("mcp-session-id").is_none(), "{id}");
        stage.upstream.forget();
    }
}

#[tokio::test]
async fn a_malformed_session_header_is_refused_after_the_body_was_read() {
    let stage = Stage::start(obliging).await;
    let token = stage.token("customer:read");
    let with_session = |request: McpRequest| {
        let request = request.token(&token).header("mcp-protocol-version", LEGACY);
        request.header("mcp-session-id", "not an id")
    };
    let broken = with_session(McpRequest::post("{"));
    let answer = stage.client().send(broken).await.unwrap();
    assert_refused(&answer, 400, PARSE);
    let whole = with_session(mcp::legacy("tools/list", json!({}), None));
    let answer = stage.client().send(whole).await.unwrap();
    assert_refused(&answer, 400, INVALID_REQUEST);
    assert_eq!(answer.json()["id"], 1);
    stage.upstream.assert_untouched();
}

#[tokio::test]
async fn a_body_that_drips_ends_with_the_request_timeout() {
    let stage = Stage::with(obliging, |spec| {
        spec["limits"] = json!({"bodyIdleTimeout": "10s", "requestTimeout": "1s"});
    })
    .await;
    let token = stage.token("customer:read");
    let mut pieces = vec![post("POST /mcp HTTP/1.1", &token, "")];
    let head = String::from_utf8(pieces.remove(0)).unwrap();
    pieces.push(
        head.replace("Content-Length: 0", "Content-Length: 9999")
            .into_bytes(),
    );
    pieces.extend(std::iter::repeat_n(b" ".to_vec(), 20));
    let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
    let address = stage.sidecar.address("support");
    let answer = raw::exchange_pieces(address, &pieces, PATIENCE.min(Duration::from_secs(8))).await;
    assert_eq!(answer.unwrap().status(), Some(408));
    stage.upstream.assert_untouched();
}

#[tokio::test]
async fn encodings_of_encodings_hide_no_dot_segment() {
    let stage = Stage::start(obliging).await;
    let token = stage.token("customer:read");
    for (uri, status) in [
        ("crm://customers/7", 200),
        ("crm://customers/50%25", 200),
        ("crm://customers/%252e%252e/x", 403),
        ("crm://customers/.%25252E/x", 403),
        ("crm://customers/a%252fb", 403),
    ] {
        let request = mcp::modern("resources/read", json!({"uri": uri}));
        let answer = stage.client().send(request.token(&token)).await.unwrap();
        assert_eq!(answer.status, status, "{uri}: {}", answer.text());
    }
}

/// A list of tools in an answer that is no answer.
fn odd_answers() -> Vec<Value> {
    let list = hidden_list();
    vec![
        list.clone(),
        json!({"jsonrpc": "2.0", "id": 1, "result": [list]}),
        json!({"jsonrpc": "2.0", "id": 1, "result": list, "method": "x"}),
        json!({"jsonrpc": "2.0", "id": 1, "result": {"tools": {"a": {"name": "drop_table"}}}}),
        json!({"jsonrpc": "2.0", "id": 1, "result": {}, "error": {"data": list}}),
    ]
}

#[tokio::test]
async fn a_list_in_an_answer_of_another_shape_is_not_passed_on() {
    for odd in odd_answers() {
        let text = odd.to_string();
        let event = format!("data: {odd}\n\n");
        for (as_event, status) in [(false, 502), (true, 200)] {
            let (odd, event) = (odd.clone(), event.clone());
            let script = move |_: &SeenRequest| match as_event {
                true => Reply::sse(&[&event]),
                false => Reply::json(200, &odd),
            };
            let stage = Stage::start(script).await;
            let token = stage.token("customer:read");
            let sent = stage.client().send(list_tools().token(&token)).await;
            // A stream is broken off, which may be seen as no answer at all.
            let Ok(answer) = sent else { continue };
            assert_eq!(answer.status, status, "{text}");
            assert!(!answer.text().contains("drop_table"), "{}", answer.text());
        }
    }
}

#[tokio::test]
async fn the_error_of_a_list_does_not_show_what_the_list_would_not() {
    let list = hidden_list().to_string();
    for (status, media_type) in [
        (500, "application/json"),
        (404, "text/plain"),
        (400, "text/html"),
        (503, "text/event-stream"),
    ] {
        let list = list.clone();
        let stage = Stage::start(move |_| {
            Reply::status(status, &[("Content-Type", media_type)], list.as_bytes())
        })
        .await;
        let token = stage.token("customer:read");
        let answer = stage.client().send(list_tools().token(&token)).await;
        let answer = answer.unwrap();
        assert_eq!(answer.status, status, "{media_type}");
        assert_eq!(answer.text(), "", "{media_type}");
    }
}

#[tokio::test]
async fn fields_that_readers_of_events_ignore_are_left_out() {
    let list = hidden_list();
    let stage = Stage::start(move |request| {
        let id = request.json()["id"].clone();
        let message = json!({"jsonrpc": "2.0", "id": id, "result": list});
        Reply::sse(&[&format!(
            "DATA: {message}\nid: 7\ndata\u{feff}: {message}\ndata: {message}\nother: {message}\n\n"
        )])
    })
    .await;
    let token = stage.token("customer:read");
    let answer = stage.client().send(list_tools().token(&token)).await;
    let text = answer.unwrap().text();
    // Each has become an empty comment.
    assert!(text.starts_with(":\nid: 7\n:\ndata: "), "{text}");
    assert!(text.ends_with("\n:\n\n"), "{text}");
    assert!(text.contains("get_customer"), "{text}");
    assert!(!text.contains("drop_table"), "{text}");
}

#[tokio::test]
async fn a_refused_upload_says_that_the_connection_closes() {
    let stage = Stage::start(obliging).await;
    let head = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    for rest in [
        "Content-Length: 1073741824\r\n\r\n",
        "Content-Length: 40\r\nExpect: 100-continue\r\n\r\n",
    ] {
        let bytes = format!("{head}{rest}");
        let address = stage.sidecar.address("support");
        let answer = raw::exchange(address, bytes.as_bytes(), PATIENCE)
            .await
            .unwrap();
        assert_eq!(answer.status(), Some(401), "{}", answer.text());
        let text = answer.text().to_ascii_lowercase();
        assert!(text.contains("\r\nconnection: close\r\n"), "{text}");
        assert_eq!(answer.end, raw::End::Closed);
    }
    stage.upstream.assert_untouched();
}

#[tokio::test]
async fn a_header_passes_under_its_plain_name_only() {
    let stage = Stage::with(obliging, |spec| {
        spec["servers"][0]["identityHeaders"] = json!({"subject": "X-Who"});
    })
    .await;
    let token = stage.token("customer:read");
    let mut request = call().token(&token).header("x-plain", "stays");
    for alias in [
        "x-who", "x_who", "x.who", "x~who", "x!who", "x-who'", "x|who",
    ] {
        request = request.header(alias, "root");
    }
    let answer = stage.client().send(request).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = stage.upstream.request();
    assert_eq!(seen.header("x-who"), Some("alice"));
    assert_eq!(seen.header("x-plain"), Some("stays"));
    let root = seen
        .headers()
        .into_iter()
        .find(|(_, value)| *value == "root");
    assert_eq!(root, None);
}

#[tokio::test]
async fn connection_cannot_take_away_what_the_body_was_checked_against() {
    let stage = Stage::start(obliging).await;
    let token = stage.token("customer:read");
    let listed = "Mcp-Protocol-Version, mcp-method, mcp-name, content-type, x-hop";
    let request = call().token(&token).header("connection", listed);
    let answer = stage.client().send(request.header("x-hop", "1")).await;
    let answer = answer.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = stage.upstream.request();
    assert_eq!(seen.header("mcp-protocol-version"), Some(mcp::MODERN));
    assert_eq!(seen.header("mcp-method"), Some("tools/call"));
    assert_eq!(seen.header("mcp-name"), Some("get_customer"));
    assert_eq!(seen.header("content-type"), Some("application/json"));
    assert_eq!(seen.header("x-hop"), None);
}

#[tokio::test]
async fn a_rule_that_goes_while_the_server_thinks_ends_the_stream_at_once() {
    let gate = Gate::default();
    let held = gate.clone();
    let stage =
        Stage::start(move |_| Reply::open_sse(&[": hello\n\n"]).gated_after(0, &held)).await;
    let token = stage.token("customer:read");
    let client = stage.client();
    let asked = tokio::spawn(async move {
        let mut connection = client.connect().await.unwrap();
        let stream = connection.start(call().token(&token)).await.unwrap();
        stream.finish().await.unwrap()
    });
    stage.upstream.until_requests(1).await;
    let without = stage.documents(|spec| {
        spec["authorization"]["rules"] = json!([{"name": "other", "tools": ["other"]}]);
    });
    stage.sidecar.change(&without).await;
    gate.open();
    let answer = tokio::time::timeout(PATIENCE, asked).await;
    let answer = answer.expect("the stream ends").unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
}
