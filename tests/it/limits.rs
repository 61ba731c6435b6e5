//! Every limit, on both sides of its number.

use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};
use sidegate_testkit::client::raw::{self, End};
use sidegate_testkit::issuer::Key;
use sidegate_testkit::mcp::{self, McpRequest};
use sidegate_testkit::poll::{PATIENCE, until};
use sidegate_testkit::upstream::{Gate, Reply, SeenRequest};

use crate::support::{RESOURCE, Stage, assert_refused, bare, obliging};

const TOO_LARGE: i64 = 4130;

async fn limited(limits: Value) -> Stage {
    Stage::with(obliging, |spec| spec["limits"] = limits).await
}

fn call() -> McpRequest {
    mcp::call("get_customer", json!({}))
}

/// A call with so many bytes of body.
fn call_of(bytes: usize) -> McpRequest {
    let mut body = call().request().into_body().to_vec();
    assert!(body.len() <= bytes);
    body.resize(bytes, b' ');
    call().body(body)
}

/// How many header fields a request has on the wire, and what they weigh: name,
/// colon, space, value, line end.
fn weight(request: &Request<Bytes>) -> (usize, usize) {
    let length = request.body().len().to_string();
    let fields = request.headers().iter();
    let fields = fields.map(|(name, value)| name.as_str().len() + value.len() + 4);
    let own = [
        "host".len() + "localhost".len() + 4,
        "content-length".len() + length.len() + 4,
    ];
    let all: Vec<usize> = fields.chain(own).collect();
    (all.len(), all.iter().sum())
}

#[tokio::test]
async fn bodies() {
    let stage = limited(json!({"maxBodyBytes": 2048})).await;
    let token = stage.token("customer:read");
    for client in [stage.client(), stage.client().http2()] {
        let answer = client.send(call_of(2049).token(&token)).await.unwrap();
        assert_refused(&answer, 413, TOO_LARGE);
        stage.upstream.assert_untouched();
        let answer = client.send(call_of(2048).token(&token)).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(stage.upstream.request().body.len(), 2048);
        stage.upstream.forget();
    }
}

#[tokio::test]
async fn bodies_of_unknown_length() {
    let stage = limited(json!({"maxBodyBytes": 2048})).await;
    let token = stage.token("customer:read");
    for (size, status) in [(2049, 413), (2048, 200)] {
        let request = call_of(size).token(&token).request();
        let (head, body) = request.into_parts();
        let mut bytes = b"POST /mcp HTTP/1.1\r\nHost: localhost\r\n".to_vec();
        for (name, value) in &head.headers {
            bytes.extend(format!("{name}: {}\r\n", value.to_str().unwrap()).bytes());
        }
        bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n");
        for chunk in body.chunks(1000) {
            bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
        let answer = raw::exchange(stage.client().address(), &bytes, PATIENCE).await;
        assert_eq!(answer.unwrap().status(), Some(status), "{size}");
    }
    // The framing towards the server is the sidecar's own.
    let seen = stage.upstream.request();
    assert_eq!(seen.header("content-length"), Some("2048"));
    assert_eq!(seen.header("transfer-encoding"), None);
}

#[tokio::test]
async fn header_fields_by_their_number() {
    // Beyond a hundred the HTTP library would have a say of its own.
    for max in [16, 200] {
        let stage = limited(json!({"maxHeaders": max})).await;
        let token = stage.token("customer:read");
        for (count, status) in [(max + 1, 431), (max, 200)] {
            let mut request = call().token(&token);
            for index in weight(&request.clone().request()).0..count {
                request = request.header(&format!("x-pad-{index}"), "1");
            }
            assert_eq!(weight(&request.clone().request()).0, count);
            let answer = stage.client().send(request).await.unwrap();
            assert_eq!(answer.status, status, "{count}: {}", answer.text());
            assert_eq!(stage.upstream.requests().len(), usize::from(status == 200));
        }
    }
}

#[tokio::test]
async fn header_fields_by_their_size() {
    let stage = limited(json!({
        "maxHeaderBytes": 4096, "maxHeaderValueBytes": 2048, "maxTokenBytes": 1024,
    }))
    .await;
    let token = stage.token("customer:read");
    for client in [stage.client(), stage.client().http2()] {
        for (size, status) in [(2049, 431), (2048, 200)] {
            let request = call().header("x-pad", &"v".repeat(size)).token(&token);
            let answer = client.send(request).await.unwrap();
            assert_eq!(answer.status, status, "{size}: {}", answer.text());
        }
    }
    for (size, status) in [(4097, 431), (4096, 200)] {
        let request = call()
            .token(&token)
            .header("x-one", &"v".repeat(1500))
            .header("x-two", "");
        let missing = size - weight(&request.clone().request()).1;
        let request = request
            .without("x-two")
            .header("x-two", &"v".repeat(missing));
        assert_eq!(weight(&request.clone().request()).1, size);
        let answer = stage.client().send(request).await.unwrap();
        assert_eq!(answer.status, status, "{size}: {}", answer.text());
    }
}

#[tokio::test]
async fn targets() {
    let stage = limited(json!({"maxUriBytes": 256})).await;
    let token = stage.token("customer:read");
    for (size, status) in [(257, 414), (256, 200)] {
        let path = format!("/mcp?{}", "q".repeat(size - "/mcp?".len()));
        let request = call().path(&path).token(&token);
        let answer = stage.client().send(request).await.unwrap();
        assert_eq!(answer.status, status, "{size}: {}", answer.text());
    }
    // A query means nothing here and goes nowhere.
    assert_eq!(stage.upstream.request().path(), "/mcp");
}

#[tokio::test]
async fn tokens() {
    let stage = limited(json!({"maxTokenBytes": 1024})).await;
    // Base64 grows in steps, so the padding that fits is looked for.
    let token = |padding: usize| {
        let token = stage.issuer.token(RESOURCE).signed_by(Key::Ed25519);
        let token = token.scope("customer:read").claim("x", "p".repeat(padding));
        token.sign()
    };
    let fits = (0..1024)
        .rev()
        .find(|padding| token(*padding).len() <= 1024);
    let fits = fits.unwrap();
    assert!(token(fits).len() >= 1023);
    let answer = stage.client().send(call().token(&token(fits))).await;
    assert_eq!(answer.unwrap().status, 200);
    stage.upstream.forget();
    let answer = stage.client().send(call().token(&token(fits + 1))).await;
    assert_refused(&answer.unwrap(), 401, 4010);
    stage.audit_line("token_too_large").await;
    stage.upstream.assert_untouched();
}

#[tokio::test]
async fn nesting() {
    // The message, its params and the arguments are three levels.
    let stage = limited(json!({"maxJsonDepth": 8})).await;
    let token = stage.token("customer:read");
    for (levels, status) in [(6, 400), (5, 200)] {
        let value = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        let value: Value = serde_json::from_str(&value).unwrap();
        let request = mcp::call("get_customer", json!({"a": value})).token(&token);
        let answer = stage.client().send(request).await.unwrap();
        assert_eq!(answer.status, status, "{levels}: {}", answer.text());
    }
    assert_eq!(stage.upstream.requests().len(), 1);
}

#[tokio::test]
async fn names() {
    let stage = limited(json!({"maxNameBytes": 16})).await;
    let token = stage.token("customer:read");
    for (size, status) in [(17, 400), (16, 200)] {
        let name = format!("get_{}", "x".repeat(size - 4));
        let request = mcp::call(&name, json!({})).token(&token);
        let answer = stage.client().send(request).await.unwrap();
        assert_eq!(answer.status, status, "{size}: {}", answer.text());
    }
    assert_eq!(stage.upstream.requests().len(), 1);
}

/// A server that answers when the gate opens.
fn waiting(gate: &Gate) -> impl Fn(&SeenRequest) -> Reply + Send + Sync + 'static {
    let gate = gate.clone();
    move |request| Reply::result(request, json!({})).gated_after(0, &gate)
}

#[tokio::test]
async fn requests_in_progress_of_one_principal() {
    let gate = Gate::default();
    let limits = json!({"maxRequestsPerPrincipal": 2});
    let stage = Stage::with(waiting(&gate), |spec| spec["limits"] = limits).await;
    let (alice, bob) = (
        stage.token("customer:read"),
        stage.token_of("bob", "customer:read"),
    );
    let send = |token: &str| {
        let (client, request) = (stage.client(), call().token(token));
        tokio::spawn(async move { client.send(request).await.unwrap() })
    };
    let first = [send(&alice), send(&alice)];
    stage.upstream.until_requests(2).await;

    let refused = send(&alice).await.unwrap();
    assert_refused(&refused, 429, 4290);
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(refused.json()["id"], 1);
    let stream = bare(http::Method::GET, &alice, None);
    assert_refused(&stage.client().send(stream).await.unwrap(), 429, 4290);
    assert_eq!(stage.upstream.requests().len(), 2);

    let other = send(&bob);
    stage.upstream.until_requests(3).await;
    gate.open();
    for answer in first.into_iter().chain([other]) {
        assert_eq!(answer.await.unwrap().status, 200);
    }
    assert_eq!(send(&alice).await.unwrap().status, 200);
}

#[tokio::test]
async fn bytes_in_memory() {
    const MIB: usize = 1024 * 1024;
    let gate = Gate::default();
    let limits = json!({
        "maxBufferedBytes": MIB, "maxBodyBytes": MIB, "maxResponseBytes": MIB, "maxEventBytes": MIB,
    });
    let stage = Stage::with(waiting(&gate), |spec| spec["limits"] = limits).await;
    let token = stage.token("customer:read");
    let send = |size: usize| {
        let (client, request) = (stage.client(), call_of(size).token(&token));
        tokio::spawn(async move { client.send(request).await.unwrap() })
    };
    let first = send(MIB / 2);
    stage.upstream.until_requests(1).await;
    let refused = send(MIB / 2 + 1).await.unwrap();
    assert_refused(&refused, 503, 5030);
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(stage.upstream.requests().len(), 1);
    let second = send(MIB / 2);
    stage.upstream.until_requests(2).await;
    gate.open();
    for answer in [first, second] {
        assert_eq!(answer.await.unwrap().status, 200);
    }
    assert_eq!(send(MIB).await.unwrap().status, 200);
}

#[tokio::test]
async fn connections() {
    let stage = limited(json!({"maxConnections": 2})).await;
    let token = stage.token("customer:read");
    let client = stage.client();
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut connection = client.connect().await.unwrap();
        let answer = connection.send(call().token(&token)).await.unwrap();
        assert_eq!(answer.status, 200);
        open.push(connection);
    }
    client.send(call().token(&token)).await.unwrap_err();
    let refused = "sidegate_connections_refused_total{reason=\"max_connections\"}";
    assert_eq!(stage.sidecar.metric(refused), 1);
    // The other ports are not among those counted.
    assert_eq!(stage.sidecar.health("/readyz").await.status, 200);

    open.pop();
    until("a connection closed", || {
        let open = stage.sidecar.metric("sidegate_connections_open");
        (open == 1).then_some(())
    })
    .await;
    let answer = client.send(call().token(&token)).await.unwrap();
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn slow_bodies_and_slow_heads() {
    let stage = limited(json!({"bodyIdleTimeout": "100ms", "headerTimeout": "100ms"})).await;
    let token = stage.token("customer:read");
    let address = stage.client().address();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Authorization: Bearer {token}\r\nContent-Length: 100\r\n\r\n{{"
    );
    let answer = raw::exchange(address, head.as_bytes(), PATIENCE)
        .await
        .unwrap();
    assert_eq!((answer.status(), answer.end), (Some(408), End::Closed));
    let (start, _) = head.split_at(40);
    let answer = raw::exchange(address, start.as_bytes(), PATIENCE)
        .await
        .unwrap();
    assert!(
        matches!(answer.status(), None | Some(408)),
        "{}",
        answer.text()
    );
    assert_ne!(answer.end, End::Open);
    stage.upstream.assert_untouched();
}

#[tokio::test]
async fn an_upload_without_a_token_is_not_read() {
    let stage = Stage::start(obliging).await;
    let head = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                Content-Length: 1000000\r\n\r\n";
    // Answered although the body never comes.
    let answer = raw::exchange(stage.client().address(), head.as_bytes(), PATIENCE).await;
    let answer = answer.unwrap();
    assert_eq!(answer.status(), Some(401));
    assert_eq!(answer.end, End::Closed);
    stage.upstream.assert_untouched();
}
