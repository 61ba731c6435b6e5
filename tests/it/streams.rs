//! Answers that come piece by piece, and servers that answer badly.

use std::net::Ipv4Addr;

use http::Method;
use http::header::CONTENT_LENGTH;
use serde_json::{Value, json};
use sidegate_testkit::client::Streaming;
use sidegate_testkit::issuer::TestIssuer;
use sidegate_testkit::mcp::{self, McpRequest};
use sidegate_testkit::poll::PATIENCE;
use sidegate_testkit::sidecar::TestSidecar;
use sidegate_testkit::upstream::{Gate, Reply, Upstream};
use tokio::net::TcpSocket;

use crate::support::{RESOURCE, Stage, assert_refused, bare, gateway, obliging};

const MIB: usize = 1024 * 1024;
const ONE: &str =
    "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":1}\n\n";
const TWO: &str =
    "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":2}\n\n";
const JSON: (&str, &str) = ("Content-Type", "application/json");

fn call() -> McpRequest {
    mcp::call("get_customer", json!({}))
}

/// Whether the stream ends in order; what still came is dropped.
async fn ends(mut stream: Streaming) -> bool {
    loop {
        match stream.next(PATIENCE).await {
            Ok(Some(_)) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

#[tokio::test]
async fn an_event_arrives_before_the_next_one_exists() {
    for http2 in [false, true] {
        for legacy_stream in [false, true] {
            let gate = Gate::default();
            let reply = Reply::sse(&[ONE, TWO]).gated_after(2, &gate);
            let stage = Stage::start(move |_| reply.clone()).await;
            let token = stage.token("customer:read");
            let client = stage.client();
            let client = if http2 { client.http2() } else { client };
            let mut connection = client.connect().await.unwrap();
            let mut stream = if legacy_stream {
                let request = bare(Method::GET, &token, None);
                connection.start(request).await.unwrap()
            } else {
                connection.start(call().token(&token)).await.unwrap()
            };
            assert_eq!(stream.until("\n\n", PATIENCE).await.unwrap(), ONE);
            gate.open();
            assert_eq!(stream.until("\n\n", PATIENCE).await.unwrap(), TWO);
            assert!(ends(stream).await);
        }
    }
}

#[tokio::test]
async fn half_an_event_waits_for_its_rest_where_lists_are_filtered() {
    let gate = Gate::default();
    let (start, end) = ONE.split_at(20);
    let reply = Reply::sse(&[TWO, start, end]).gated_after(3, &gate);
    let stage = Stage::start(move |_| reply.clone()).await;
    let request = bare(Method::GET, &stage.token(""), None);
    let mut connection = stage.client().connect().await.unwrap();
    let mut stream = connection.start(request).await.unwrap();
    assert_eq!(stream.until("\n\n", PATIENCE).await.unwrap(), TWO);
    gate.open();
    assert_eq!(stream.until("\n\n", PATIENCE).await.unwrap(), ONE);
}

#[tokio::test]
async fn a_silent_stream_is_kept_alive_by_comments() {
    let stage = Stage::with(
        |_| Reply::open_sse(&[ONE]),
        |spec| spec["limits"] = json!({"streamKeepAlive": "1s"}),
    )
    .await;
    let request = call().token(&stage.token("customer:read"));
    let mut connection = stage.client().connect().await.unwrap();
    let mut stream = connection.start(request).await.unwrap();
    assert_eq!(stream.headers["x-accel-buffering"], "no");
    let text = stream.until(":\n\n", PATIENCE).await.unwrap();
    assert_eq!(text, format!("{ONE}:\n\n"));
    // And again.
    assert_eq!(stream.until(":\n\n", PATIENCE).await.unwrap(), ":\n\n");
}

#[tokio::test]
async fn a_comment_never_cuts_an_event() {
    let gate = Gate::default();
    // Calls pass unparsed, so half an event can be out for long.
    let (start, end) = ONE.split_at(20);
    let reply = Reply::sse(&[start, end]).gated_after(2, &gate);
    let stage = Stage::with(
        move |_| reply.clone(),
        |spec| spec["limits"] = json!({"streamKeepAlive": "1s", "streamIdleTimeout": "2s"}),
    )
    .await;
    let request = call().token(&stage.token("customer:read"));
    let mut connection = stage.client().connect().await.unwrap();
    let stream = connection.start(request).await.unwrap();
    // The stream idles out before its end comes.
    let answer = stream.finish().await;
    assert_eq!(answer.unwrap().text(), start);
    gate.open();
}

#[tokio::test]
async fn a_client_that_goes_ends_its_stream_to_the_server() {
    let stage = Stage::start(|_| Reply::open_sse(&[ONE])).await;
    let token = stage.token("customer:read");
    let mut connection = stage.client().connect().await.unwrap();
    let mut stream = connection.start(call().token(&token)).await.unwrap();
    stream.until("\n\n", PATIENCE).await.unwrap();
    assert_eq!(stage.upstream.closed_connections(), 0);
    drop((stream, connection));
    stage.upstream.until_closed(1).await;

    // Over HTTP/2 only the stream ends.
    let mut connection = stage.client().http2().connect().await.unwrap();
    let mut kept = connection.start(call().token(&token)).await.unwrap();
    let mut stream = connection.start(call().token(&token)).await.unwrap();
    kept.until("\n\n", PATIENCE).await.unwrap();
    stream.until("\n\n", PATIENCE).await.unwrap();
    drop(stream);
    stage.upstream.until_closed(2).await;
    assert_eq!(stage.upstream.connections(), 3);
    assert!(!connection.is_closed());
}

#[tokio::test]
async fn a_client_that_goes_before_the_answer_ends_its_call() {
    let stage = Stage::start(|_| Reply::hang()).await;
    let request = call().token(&stage.token("customer:read"));
    let client = stage.client();
    let waiting = tokio::spawn(async move { client.send(request).await });
    stage.upstream.until_requests(1).await;
    waiting.abort();
    stage.upstream.until_closed(1).await;
    let line = stage.audit_line("client_closed").await;
    assert_eq!(
        (&line["outcome"], &line["status"]),
        (&json!("aborted"), &json!(499))
    );
}

#[tokio::test]
async fn a_stream_ends_with_its_token() {
    let stage = Stage::with(
        |_| Reply::open_sse(&[ONE]),
        |spec| spec["limits"] = json!({"tokenLeeway": "0s"}),
    )
    .await;
    let token = stage.issuer.token(RESOURCE).scope("customer:read");
    let token = token.expires_in(3).sign();
    let mut connection = stage.client().connect().await.unwrap();
    let stream = connection.start(call().token(&token)).await.unwrap();
    assert_eq!(stream.status, 200);
    assert!(ends(stream).await);
    stage.upstream.until_closed(1).await;
    // A verdict that was remembered ended as well.
    let answer = stage.client().send(call().token(&token)).await.unwrap();
    assert_refused(&answer, 401, 4010);
}

#[tokio::test]
async fn a_stream_lives_as_long_as_its_permission() {
    let gate = Gate::default();
    let stage = {
        let gate = gate.clone();
        Stage::start(move |_| Reply::sse(&[ONE, TWO]).gated_after(2, &gate)).await
    };
    let token = stage.token("customer:read ticket:create");
    let mut connection = stage.client().http2().connect().await.unwrap();
    let tickets = mcp::call("create_ticket", json!({})).token(&token);
    let mut kept = connection.start(call().token(&token)).await.unwrap();
    let mut ended = connection.start(tickets).await.unwrap();
    kept.until("\n\n", PATIENCE).await.unwrap();
    ended.until("\n\n", PATIENCE).await.unwrap();

    let without = stage.documents(|spec| {
        let rules = spec["authorization"]["rules"].as_array_mut().unwrap();
        rules.retain(|rule| rule["name"] != "tickets");
    });
    stage.sidecar.change(&without).await;
    assert!(ends(ended).await);
    gate.open();
    assert_eq!(kept.until("\n\n", PATIENCE).await.unwrap(), TWO);
}

#[tokio::test]
async fn changes_of_what_a_token_grants_end_its_streams() {
    type Change = fn(&mut Value);
    let changes: [(&str, Change, bool); 5] = [
        (
            "another rule",
            |spec| {
                let rules = spec["authorization"]["rules"].as_array_mut().unwrap();
                rules.push(json!({"name": "new", "tools": ["new"], "requiredScopes": ["x"]}));
            },
            true,
        ),
        (
            "an argument rule",
            |spec| {
                spec["authorization"]["rules"][0]["when"] = "has(args.x)".into();
            },
            false,
        ),
        (
            "a denial",
            |spec| {
                let rules = spec["authorization"]["rules"].as_array_mut().unwrap();
                rules.push(json!({"name": "d", "effect": "Deny", "tools": ["get_customer"]}));
            },
            false,
        ),
        (
            "allowed scopes",
            |spec| {
                spec["authentication"]["jwt"][0]["allowedScopes"] = json!(["other"]);
            },
            false,
        ),
        (
            "audiences",
            |spec| {
                spec["authentication"]["jwt"][0]["audiences"] = json!(["https://other.example"]);
            },
            false,
        ),
    ];
    for (case, change, lives) in changes {
        let gate = Gate::default();
        let reply = Reply::sse(&[ONE, TWO]).gated_after(2, &gate);
        let stage = Stage::start(move |_| reply.clone()).await;
        let request = call().token(&stage.token("customer:read"));
        let mut connection = stage.client().connect().await.unwrap();
        let mut stream = connection.start(request).await.unwrap();
        stream.until("\n\n", PATIENCE).await.unwrap();
        stage.sidecar.change(&stage.documents(change)).await;
        if lives {
            gate.open();
            assert_eq!(stream.until("\n\n", PATIENCE).await.unwrap(), TWO, "{case}");
        } else {
            assert_eq!(stream.next(PATIENCE).await.unwrap(), None, "{case}");
        }
    }
}

#[tokio::test]
async fn answers_over_the_limit_do_not_pass() {
    // The default limit is 16 MiB.
    for (size, fits) in [(16 * MIB, true), (16 * MIB + 1, false)] {
        let body = vec![b' '; size];
        let known = Reply::status(200, &[JSON], &body);
        let chunks: Vec<&[u8]> = body.chunks(MIB).collect();
        let unknown = Reply::chunked(200, &[JSON], &chunks);
        let stage = Stage::start(move |request| match request.tool().as_deref() {
            Some("get_known") => known.clone(),
            _ => unknown.clone(),
        })
        .await;
        let token = stage.token("customer:read");
        let client = stage.client();
        let known = mcp::call("get_known", json!({})).token(&token);
        let known = client.send(known).await.unwrap();
        let unknown = mcp::call("get_unknown", json!({})).token(&token);
        if fits {
            assert_eq!((known.status.as_u16(), known.body.len()), (200, size));
            assert_eq!(known.headers[CONTENT_LENGTH], size.to_string());
            let unknown = client.send(unknown).await.unwrap();
            assert_eq!((unknown.status.as_u16(), unknown.body.len()), (200, size));
        } else {
            assert_refused(&known, 502, 5020);
            let mut connection = client.connect().await.unwrap();
            let mut stream = connection.start(unknown).await.unwrap();
            let mut length = 0;
            let end = loop {
                match stream.next(PATIENCE).await {
                    Ok(Some(piece)) => length += piece.len(),
                    end => break end,
                }
            };
            assert!(end.is_err(), "half an answer must not look whole");
            assert!(length <= 16 * MIB, "{length}");
        }
    }
}

#[tokio::test]
async fn lists_and_events_over_their_limits_do_not_pass() {
    // One byte over and one at the limit, around the padding in `x`.
    let text = |length: usize, frame: usize| {
        let empty = r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[],"x":""}}"#;
        let padding = "x".repeat(length - empty.len() - frame);
        empty.replace("\"x\":\"\"", &format!("\"x\":\"{padding}\""))
    };
    for (over, fits) in [(0, true), (1, false)] {
        let list = text(2048 + over, 0);
        let event = text(1024 + over, 0);
        let stage = Stage::with(
            move |request| match request.rpc_method().as_deref() {
                Some("prompts/list") => Reply::sse(&[&format!("data: {event}\n\n")]),
                _ => Reply::status(200, &[JSON], list.as_bytes()),
            },
            |spec| spec["limits"] = json!({"maxResponseBytes": 2048, "maxEventBytes": 1024 + 8}),
        )
        .await;
        let token = stage.token("customer:read");
        let list = mcp::modern("tools/list", json!({})).token(&token);
        let answer = stage.client().send(list).await.unwrap();
        let events = mcp::modern("prompts/list", json!({})).token(&token);
        let mut connection = stage.client().connect().await.unwrap();
        let stream = connection.send(events).await;
        if fits {
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert!(stream.unwrap().text().contains("xxx"));
        } else {
            assert_refused(&answer, 502, 5020);
            stream.unwrap_err();
        }
    }
}

#[tokio::test]
async fn a_server_cannot_send_its_callers_elsewhere() {
    let canary = "canary-4711";
    let redirect = |status| {
        let location = format!("http://evil.test/{canary}");
        Reply::status(status, &[("Location", &location)], canary.as_bytes())
    };
    let challenge = |status| {
        let headers = [("WWW-Authenticate", "Basic realm=\"canary-4711\"")];
        Reply::status(status, &headers, canary.as_bytes())
    };
    let upgrade =
        format!("HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n{canary}");
    let cases = [
        ("301", redirect(301), "upstream_redirect"),
        ("302", redirect(302), "upstream_redirect"),
        ("304", redirect(304), "upstream_redirect"),
        ("307", redirect(307), "upstream_redirect"),
        ("308", redirect(308), "upstream_redirect"),
        ("101", Reply::raw(upgrade), "upstream_upgrade"),
        ("401", challenge(401), "upstream_unauthorized"),
        ("407", challenge(407), "upstream_unauthorized"),
        (
            "html",
            Reply::status(200, &[("Content-Type", "text/html")], canary.as_bytes()),
            "upstream_content_type",
        ),
        (
            "no type",
            Reply::status(200, &[], canary.as_bytes()),
            "upstream_content_type",
        ),
        ("closed", Reply::close(), "upstream_broken_off"),
        (
            "nonsense",
            Reply::raw(format!("{canary}\r\n\r\n")).then_close(),
            "upstream_broken_off",
        ),
    ];
    for (case, reply, reason) in cases {
        let stage = Stage::start(move |_| reply.clone()).await;
        let request = call().token(&stage.token("customer:read"));
        let answer = stage.client().send(request).await.unwrap();
        assert_eq!(answer.status, 502, "{case}: {}", answer.text());
        assert_refused(&answer, 502, 5020);
        assert_eq!(answer.json()["id"], 1, "{case}");
        let shown = format!("{:?}{}", answer.headers, answer.text());
        assert!(!shown.contains(canary), "{case}: {shown}");
        assert!(!shown.contains("127.0.0.1"), "{case}: {shown}");
        let line = stage.audit_line(reason).await;
        assert_eq!(line["outcome"], "failed", "{case}");
        // A call may have an effect, so it is not repeated.
        assert_eq!(stage.upstream.requests().len(), 1, "{case}");
    }
}

#[tokio::test]
async fn errors_of_the_server_pass_without_its_wishes() {
    let error = json!({"jsonrpc": "2.0", "id": 1, "error": {"code": -32603, "message": "x"}});
    for status in [400, 403, 404, 429, 500, 503] {
        let reply = Reply::json(status, &error)
            .header("Set-Cookie", "a=b")
            .header("Server", "secret/1.0")
            .header("Location", "http://evil.test")
            .header("X-Powered-By", "x")
            .header("Alt-Svc", "h3=\":1\"")
            .header("Clear-Site-Data", "*")
            .header("Access-Control-Allow-Origin", "*")
            .header("Strict-Transport-Security", "max-age=1")
            .header("Retry-After", "7");
        let stage = Stage::start(move |_| reply.clone()).await;
        let request = call().token(&stage.token("customer:read"));
        let answer = stage.client().send(request).await.unwrap();
        assert_eq!(answer.status, status);
        assert_eq!(answer.json(), error);
        let mut names: Vec<_> = answer.headers.keys().map(|name| name.as_str()).collect();
        names.sort_unstable();
        let wanted = [
            "cache-control",
            "content-length",
            "content-type",
            "date",
            "retry-after",
            "x-content-type-options",
        ];
        assert_eq!(names, wanted, "{status}");
    }
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up() {
    let stage = Stage::with(
        |request| match request.rpc_method().as_deref() {
            // A list that begins and never ends counts as hanging too.
            Some("tools/list") => {
                Reply::chunked(200, &[JSON], &[b"{"]).gated_after(2, &Gate::default())
            }
            _ => Reply::hang(),
        },
        |spec| spec["limits"] = json!({"requestTimeout": "1s"}),
    )
    .await;
    let token = stage.token("customer:read");
    let requests = [call(), mcp::modern("tools/list", json!({}))];
    for request in requests {
        let answer = stage.client().send(request.token(&token)).await.unwrap();
        assert_refused(&answer, 504, 5020);
        assert_eq!(answer.json()["id"], 1);
    }
    stage.audit_line("upstream_timed_out").await;
    // The principal's count of requests went down again.
    assert_eq!(stage.upstream.requests().len(), 2);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_said_to_be_unreachable() {
    // Bound and not listening: nobody else gets the port meanwhile.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let port = socket.local_addr().unwrap().port();
    let issuer = TestIssuer::start().await;
    let elsewhere = Upstream::start(obliging).await;
    let mut gateway = gateway(&issuer, &elsewhere);
    gateway["spec"]["servers"][0]["port"] = port.into();
    let sidecar = TestSidecar::start(&gateway.to_string()).await;
    let client = sidegate_testkit::client::Client::plaintext(sidecar.address("support"));
    let token = issuer.token(RESOURCE).scope("customer:read").sign();
    let request = call().token(&token);
    let answer = client.host("localhost").send(request).await.unwrap();
    assert_refused(&answer, 502, 5020);
    assert_eq!(
        answer.json()["error"]["message"],
        "the server cannot be reached"
    );
    assert_eq!(answer.json()["id"], 1);
    assert!(!answer.text().contains(&port.to_string()));
    elsewhere.assert_untouched();
}

#[tokio::test]
async fn an_answer_that_breaks_off_does_not_look_whole() {
    let text = json!({"jsonrpc": "2.0", "id": 1, "result": {}}).to_string();
    let whole = Reply::status(200, &[JSON], text.as_bytes());
    let reply = whole.clone().then_close();
    // Said to be longer than it is.
    let short = Reply::raw(format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{text}"
    ))
    .then_close();
    let stage = Stage::start(move |request| match request.rpc_method().as_deref() {
        Some("prompts/list") => reply.clone(),
        _ => short.clone(),
    })
    .await;
    let token = stage.token("customer:read");
    let client = stage.client();
    client.send(call().token(&token)).await.unwrap_err();
    let list = mcp::modern("tools/list", json!({})).token(&token);
    assert_refused(&client.send(list).await.unwrap(), 502, 5020);
    let other = mcp::modern("prompts/list", json!({})).token(&token);
    assert_eq!(client.send(other).await.unwrap().status, 200);
}
