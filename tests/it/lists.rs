//! Lists show what their reader may use, whatever way they come.

use http::Method;
use serde_json::{Value, json};
use sidegate_testkit::client::Answer;
use sidegate_testkit::mcp::{self, McpRequest};
use sidegate_testkit::poll::PATIENCE;
use sidegate_testkit::upstream::{Reply, SeenRequest};

use crate::support::{ALL_SCOPES, Stage, assert_refused, bare, obliging};

/// A page with one tool for each reader, and one for nobody. Numbers and
/// members that a parser could lose must stay.
const PAGE: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete", "tools" : [{"name":"get_customer","x":12345678901234567890123.10},{"name":"create_ticket","inputSchema":{"type":"object"}},{"name":"drop_table"} , {"name":"secret"}],"nextCursor":"page-2","ttlMs":60000,"cacheScope":"public","é":"\u00e9"}}"#;

fn page(_: &SeenRequest) -> Reply {
    json_text(PAGE)
}

fn json_text(text: &str) -> Reply {
    Reply::status(
        200,
        &[("Content-Type", "application/json")],
        text.as_bytes(),
    )
}

fn names(answer: &Answer, list: &str, member: &str) -> Vec<String> {
    let json = answer.json();
    let items = json["result"][list].as_array();
    assert!(items.is_some(), "no {list}: {}", answer.text());
    let name = |item: &Value| item[member].as_str().unwrap().to_owned();
    items.into_iter().flatten().map(name).collect()
}

fn list_tools() -> McpRequest {
    mcp::modern("tools/list", json!({}))
}

#[tokio::test]
async fn a_page_loses_what_may_not_be_seen_and_nothing_else() {
    let stage = Stage::start(page).await;
    let token = stage.token("customer:read");
    let answer = stage.client().send(list_tools().token(&token)).await;
    let wanted = r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete", "tools" : [{"name":"get_customer","x":12345678901234567890123.10}],"nextCursor":"page-2","ttlMs":60000,"cacheScope":"private","é":"\u00e9"}}"#;
    assert_eq!(answer.unwrap().text(), wanted);

    let token = stage.token(ALL_SCOPES);
    let answer = stage.client().send(list_tools().token(&token)).await;
    let names = names(&answer.unwrap(), "tools", "name");
    // A rule that reads arguments could allow a call, so its tool is shown.
    assert_eq!(names, ["get_customer", "create_ticket"]);

    let token = stage.token("nothing");
    let answer = stage
        .client()
        .send(list_tools().token(&token))
        .await
        .unwrap();
    assert_eq!(answer.json()["result"]["tools"], json!([]));
    assert_eq!(answer.json()["result"]["nextCursor"], "page-2");
    assert_eq!(answer.header("cache-control"), "no-store");
}

#[tokio::test]
async fn a_legacy_page_is_filtered_too() {
    let stage = Stage::start(|request| match request.rpc_method().as_deref() {
        Some("tools/list") => page(request),
        _ => obliging(request),
    })
    .await;
    let token = stage.token("ticket:create");
    let session = stage.session(&token).await;
    let request = mcp::legacy("tools/list", json!({"cursor": "c"}), Some(&session));
    let answer = stage.client().send(request.token(&token)).await.unwrap();
    assert_eq!(names(&answer, "tools", "name"), ["create_ticket"]);
    assert_eq!(stage.upstream.request().json()["params"]["cursor"], "c");
}

#[tokio::test]
async fn events_are_filtered_wherever_their_chunks_are_cut() {
    for size in [1, 7, 64, 4096] {
        let stage = Stage::start(move |_| {
            let text = format!(": hello\nid: 4\ndata: {PAGE}\n\ndata: {PAGE}\r\n\r\n");
            let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            Reply::chunked(200, &[("Content-Type", "text/event-stream")], &pieces)
        })
        .await;
        let token = stage.token("customer:read");
        for client in [stage.client(), stage.client().http2()] {
            let answer = client.send(list_tools().token(&token)).await.unwrap();
            assert_eq!(answer.status, 200, "{size}: {}", answer.text());
            assert_eq!(names(&answer, "tools", "name"), ["get_customer"], "{size}");
            let text = answer.text();
            for hidden in ["create_ticket", "drop_table", "secret", "public"] {
                assert!(!text.contains(hidden), "{size}: {text}");
            }
            assert_eq!(text.matches("get_customer").count(), 2, "{size}: {text}");
            assert!(text.starts_with(": hello\nid: 4\n"), "{size}: {text}");
        }
    }
}

#[tokio::test]
async fn prompts_resources_and_templates_are_lists_too() {
    let stage = Stage::start(|request| {
        let result = match request.rpc_method().as_deref() {
            Some("prompts/list") => json!({"prompts": [{"name": "draft_reply"}, {"name": "x"}]}),
            Some("resources/list") => json!({"resources": [
                {"name": "a", "uri": "crm://customers/1"},
                {"name": "b", "uri": "crm://keys/1"},
                {"name": "c", "uri": "crm://customers/../keys/1"},
                {"name": "d", "uri": "crm://customers/%2e%2e/keys/1"},
            ]}),
            _ => json!({"resourceTemplates": [
                {"name": "a", "uriTemplate": "crm://customers/{id}"},
                {"name": "b", "uriTemplate": "crm://keys/{id}"},
                {"name": "c", "uriTemplate": "crm://keys/customers/{id}"},
            ]}),
        };
        Reply::result(request, result)
    })
    .await;
    let cases = [
        ("prompts/list", "prompts", "name", "draft_reply"),
        ("resources/list", "resources", "uri", "crm://customers/1"),
        (
            "resources/templates/list",
            "resourceTemplates",
            "uriTemplate",
            "crm://customers/{id}",
        ),
    ];
    let (reader, stranger) = (stage.token("customer:read"), stage.token("other"));
    for (method, list, member, visible) in cases {
        let request = mcp::modern(method, json!({}));
        let answer = stage.client().send(request.clone().token(&reader)).await;
        assert_eq!(names(&answer.unwrap(), list, member), [visible], "{method}");
        let answer = stage.client().send(request.token(&stranger)).await;
        let seen = names(&answer.unwrap(), list, member);
        assert!(seen.is_empty(), "{method}: {seen:?}");
    }
}

#[tokio::test]
async fn principals_on_one_connection_see_their_own_lists() {
    let stage = Stage::start(page).await;
    let reader = stage.token_of("alice", "customer:read");
    let clerk = stage.token_of("bob", "ticket:create");
    for client in [stage.client(), stage.client().http2()] {
        let mut connection = client.connect().await.unwrap();
        for _ in 0..5 {
            for (token, tool) in [(&reader, "get_customer"), (&clerk, "create_ticket")] {
                let answer = connection.send(list_tools().token(token)).await.unwrap();
                assert_eq!(names(&answer, "tools", "name"), [tool]);
            }
        }
    }
}

#[tokio::test]
async fn a_list_that_a_legacy_stream_replays_is_filtered() {
    let stage = Stage::start(|request| match request.method() {
        "GET" => Reply::sse(&[&format!("id: 7\ndata: {PAGE}\n\n")]),
        _ => obliging(request),
    })
    .await;
    let token = stage.token("customer:read");
    let session = stage.session(&token).await;
    let mut request = bare(Method::GET, &token, Some(&session));
    request
        .headers_mut()
        .insert("last-event-id", "6".parse().unwrap());
    let mut connection = stage.client().connect().await.unwrap();
    let mut stream = connection.start(request).await.unwrap();
    let text = stream.until("\n\n", PATIENCE).await.unwrap();
    assert!(
        text.contains("get_customer") && text.contains("id: 7"),
        "{text}"
    );
    assert!(
        !text.contains("secret") && !text.contains("create"),
        "{text}"
    );
    assert_eq!(stage.upstream.request().header("last-event-id"), Some("6"));
}

#[tokio::test]
async fn a_compressed_answer_cannot_be_read_and_is_refused() {
    let answer = json!({"jsonrpc": "2.0", "id": 1, "result": {"tools": [{"name": "secret"}]}});
    let stage = Stage::start(move |_| Reply::gzip(&answer)).await;
    let token = stage.token("customer:read");
    let requests = [list_tools(), mcp::call("get_customer", json!({}))];
    for request in requests {
        let request = request.header("accept-encoding", "gzip").token(&token);
        let answer = stage.client().send(request).await.unwrap();
        assert_refused(&answer, 502, 5020);
        assert!(answer.headers.get("content-encoding").is_none());
    }
    // It was not asked for either.
    let seen = stage.upstream.requests();
    assert_eq!(seen.len(), 2);
    assert!(
        seen.iter()
            .all(|seen| seen.header("accept-encoding").is_none())
    );
    let line = stage.audit_line("upstream_encoding").await;
    assert_eq!(
        (&line["decision"], &line["outcome"], &line["status"]),
        (&json!("allow"), &json!("failed"), &json!(502))
    );
}

#[tokio::test]
async fn answers_that_two_parsers_read_differently_are_refused() {
    let open = r#"{"jsonrpc":"2.0","id":1,"result":"#;
    let cases: [(&str, Vec<u8>); 11] = [
        ("no JSON", b"tools".to_vec()),
        (
            "half",
            format!("{open}{{\"tools\":[{{\"name\":\"secret\"}}]").into(),
        ),
        (
            "second value",
            format!("{PAGE}{open}{{\"tools\":[]}}}}").into(),
        ),
        (
            "duplicate list",
            format!("{open}{{\"tools\":[],\"tools\":[{{\"name\":\"secret\"}}]}}}}").into(),
        ),
        (
            "duplicate name",
            format!("{open}{{\"tools\":[{{\"name\":\"get_a\",\"name\":\"secret\"}}]}}}}").into(),
        ),
        (
            "escaped duplicate",
            format!("{open}{{\"tools\":[{{\"name\":\"get_a\",\"n\\u0061me\":\"secret\"}}]}}}}")
                .into(),
        ),
        (
            "list that is none",
            format!("{open}{{\"tools\":{{\"name\":\"secret\"}}}}}}").into(),
        ),
        (
            "item without name",
            format!("{open}{{\"tools\":[{{\"title\":\"secret\"}}]}}}}").into(),
        ),
        ("byte order mark", format!("\u{feff}{PAGE}").into()),
        ("comment", format!("{PAGE}// secret").into()),
        ("not UTF-8", [PAGE.as_bytes(), b"\xff"].concat()),
    ];
    for (case, body) in cases {
        let served = body.clone();
        let stage = Stage::start(move |request| {
            if request.json()["params"]["cursor"].is_null() {
                return Reply::status(200, &[("Content-Type", "application/json")], &served);
            }
            let event = [b"data: ", &served[..], b"\n\n"].concat();
            let kind = [("Content-Type", "text/event-stream")];
            Reply::chunked(200, &kind, &[&event])
        })
        .await;
        let token = stage.token("customer:read");
        let answer = stage.client().send(list_tools().token(&token)).await;
        let answer = answer.unwrap();
        if case == "item without name" && answer.status == 200 {
            // Nobody can say what it is, so nobody sees it.
            assert_eq!(answer.json()["result"]["tools"], json!([]), "{case}");
        } else {
            assert_eq!(answer.status, 502, "{case}: {}", answer.text());
            assert_refused(&answer, 502, 5020);
        }
        assert!(!answer.text().contains("secret"), "{case}");

        let request = mcp::modern("tools/list", json!({"cursor": "events"})).token(&token);
        let mut connection = stage.client().connect().await.unwrap();
        let mut seen = Vec::new();
        // Without a first event there may be no answer at all.
        if let Ok(mut stream) = connection.start(request).await {
            while let Ok(Some(piece)) = stream.next(PATIENCE).await {
                seen.extend_from_slice(&piece);
            }
        }
        let seen = String::from_utf8_lossy(&seen).into_owned();
        assert!(!seen.contains("secret"), "{case}: {seen}");
    }
}

#[tokio::test]
async fn audit_mode_shows_and_allows_what_no_rule_allows() {
    let stage = Stage::with(
        |request| match request.rpc_method().as_deref() {
            Some("tools/list") => page(request),
            _ => obliging(request),
        },
        |spec| spec["authorization"]["mode"] = "Audit".into(),
    )
    .await;
    let token = stage.token("nothing");
    let client = stage.client();
    let answer = client.send(list_tools().token(&token)).await.unwrap();
    let all = ["get_customer", "create_ticket", "drop_table", "secret"];
    assert_eq!(names(&answer, "tools", "name"), all);

    let call = |tool| mcp::call(tool, json!({})).token(&token);
    for tool in ["get_customer", "create_ticket", "secret"] {
        let answer = client.send(call(tool)).await.unwrap();
        assert_eq!(answer.status, 200, "{tool}");
    }
    let audited = "sidegate_audited_requests_total";
    sidegate_testkit::poll::until("three requests are counted as audited", || {
        (stage.sidecar.metric(audited) == 3).then_some(())
    })
    .await;
    stage.upstream.forget();
    // What stays enforced: explicit denials, tokens, known methods.
    assert_refused(&client.send(call("drop_table")).await.unwrap(), 403, 4030);
    let unsigned = mcp::call("get_customer", json!({}));
    assert_refused(&client.send(unsigned).await.unwrap(), 401, 4010);
    let unknown = mcp::modern("tools/destroy", json!({})).token(&token);
    assert_refused(&client.send(unknown).await.unwrap(), 404, -32601);
    stage.upstream.assert_untouched();
}

#[tokio::test]
async fn results_of_calls_are_passed_on_as_they_are() {
    let result = r#"{"jsonrpc":"2.0","id":1,"result":{"content":[],"n":12345678901234567890.0,"n":2,"tools":[{"name":"secret"}]}}"#;
    let stage = Stage::start(move |_| json_text(result)).await;
    let token = stage.token("customer:read");
    let request = mcp::call("get_customer", json!({})).token(&token);
    let answer = stage.client().send(request).await.unwrap();
    // The output of a tool is not ours to judge.
    assert_eq!(answer.text(), result);
}
