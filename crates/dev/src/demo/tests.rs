use http::HeaderMap;
use http::header::{ACCEPT, HOST};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::*;

const MODERN: &str = "2026-07-28";

struct Seen {
    status: StatusCode,
    headers: HeaderMap,
    /// Of a JSON answer, or of the last event.
    message: Value,
}

async fn send(server: &DemoServer, headers: &[(&str, &str)], host: &str, body: &Value) -> Seen {
    let stream = TcpStream::connect(server.address()).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let driven = tokio::spawn(connection);
    let mut request = Request::post("/mcp")
        .header(HOST, host)
        .header(CONTENT_TYPE, "application/json")
        .header(ACCEPT, "application/json, text/event-stream");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request
        .body(Full::new(Bytes::from(body.to_string())))
        .unwrap();
    let (head, body) = sender.send_request(request).await.unwrap().into_parts();
    let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    driven.abort();
    let data = text
        .lines()
        .filter_map(|line| line.strip_prefix("data:"))
        .next_back();
    let message = serde_json::from_str(data.unwrap_or(&text)).unwrap_or_default();
    Seen {
        status: head.status,
        headers: head.headers,
        message,
    }
}

async fn modern(server: &DemoServer, method: &str, name: Option<&str>, mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let mut headers = vec![("MCP-Protocol-Version", MODERN), ("Mcp-Method", method)];
    headers.extend(name.map(|name| ("Mcp-Name", name)));
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let seen = send(server, &headers, "127.0.0.1", &body).await;
    assert_eq!(seen.status, StatusCode::OK, "{}", seen.message);
    seen.message["result"].clone()
}

async fn call(server: &DemoServer, tool: &str, arguments: Value) -> Value {
    let params = json!({"name": tool, "arguments": arguments});
    modern(server, "tools/call", Some(tool), params).await
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|item| item["name"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn everything_is_listed_without_a_session() {
    let server = DemoServer::start(0, "/mcp").await.unwrap();
    let tools = modern(&server, "tools/list", None, json!({})).await;
    assert_eq!(
        names(&tools["tools"]),
        [
            "calculate_account_value",
            "create_support_ticket",
            "get_customer_info"
        ]
    );
    let ticket = &tools["tools"][1]["inputSchema"];
    assert_eq!(ticket["required"], json!(["customer_id", "subject"]));
    let prompts = modern(&server, "prompts/list", None, json!({})).await;
    assert_eq!(names(&prompts["prompts"]), ["draft_reply"]);
    let resources = modern(&server, "resources/list", None, json!({})).await;
    assert_eq!(resources["resources"][0]["uri"], "support://handbook");
    let uri = "support://handbook";
    let read = modern(&server, "resources/read", Some(uri), json!({"uri": uri})).await;
    assert!(
        read["contents"][0]["text"]
            .as_str()
            .unwrap()
            .contains("urgent")
    );
    let params = json!({"name": "draft_reply", "arguments": {"customer_id": "C-1"}});
    let prompt = modern(&server, "prompts/get", Some("draft_reply"), params).await;
    assert!(
        prompt["messages"][0]["content"]["text"]
            .as_str()
            .unwrap()
            .contains("C-1")
    );
    assert!(
        server.ledger().executed().is_empty(),
        "nothing of this runs a tool"
    );
}

#[tokio::test]
async fn tools_answer_the_same_every_time_and_are_noted() {
    let server = DemoServer::start(0, "/mcp").await.unwrap();
    let info = call(
        &server,
        "get_customer_info",
        json!({"customer_id": "C-1001"}),
    )
    .await;
    assert_eq!(info["structuredContent"]["name"], "Ada Fischer");
    assert!(
        info["content"][0]["text"]
            .as_str()
            .unwrap()
            .contains("Ada Fischer")
    );
    let value = call(
        &server,
        "calculate_account_value",
        json!({"customer_id": "C-1002"}),
    )
    .await;
    assert_eq!(value["structuredContent"]["value_cents"], 473_100);
    let arguments = json!({"customer_id": "C-1001", "subject": "help", "priority": "urgent"});
    for id in ["T-1", "T-2"] {
        let ticket = call(&server, "create_support_ticket", arguments.clone()).await;
        assert_eq!(ticket["structuredContent"]["ticket_id"], id);
        assert_eq!(ticket["structuredContent"]["priority"], "urgent");
    }
    let missing = call(&server, "get_customer_info", json!({"customer_id": "C-9"})).await;
    assert_eq!(missing["isError"], true);
    let executed = server.ledger().executed();
    assert_eq!(executed.len(), 5);
    assert_eq!(
        executed[2],
        Executed {
            tool: "create_support_ticket".to_owned(),
            arguments
        }
    );
    assert_eq!(server.ledger().requests().len(), 5);
}

#[tokio::test]
async fn the_same_address_serves_sessions_too() {
    let server = DemoServer::start(0, "/mcp").await.unwrap();
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    }});
    let opened = send(&server, &[], "localhost", &body).await;
    assert_eq!(opened.message["result"]["protocolVersion"], "2025-11-25");
    let session = opened.headers["mcp-session-id"]
        .to_str()
        .unwrap()
        .to_owned();
    let headers = [
        ("Mcp-Session-Id", &*session),
        ("MCP-Protocol-Version", "2025-11-25"),
    ];
    let notification = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let accepted = send(&server, &headers, "localhost", &notification).await;
    assert_eq!(accepted.status, StatusCode::ACCEPTED);
    let body = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {
        "name": "get_customer_info", "arguments": {"customer_id": "C-1003"},
    }});
    let called = send(&server, &headers, "localhost", &body).await;
    assert_eq!(
        called.message["result"]["structuredContent"]["plan"],
        "starter"
    );
}

#[tokio::test]
async fn names_of_other_machines_are_refused_and_nothing_runs() {
    let server = DemoServer::start(0, "/mcp").await.unwrap();
    server.ledger().assert_untouched();
    let seen = send(&server, &[], "evil.example", &json!({})).await;
    assert!(seen.status.is_client_error(), "{}", seen.status);
    assert!(server.ledger().executed().is_empty());
    let requests = server.ledger().requests();
    assert_eq!(requests[0].headers[HOST], "evil.example");
    assert_eq!(requests[0].body, "{}");
}

#[tokio::test]
#[should_panic(expected = "the server was reached")]
async fn a_touched_ledger_is_noticed() {
    let server = DemoServer::start(0, "/mcp").await.unwrap();
    send(&server, &[], "localhost", &json!({})).await;
    server.ledger().assert_untouched();
}
