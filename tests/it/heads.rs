//! The heads of requests and answers: what is refused, in which order, and
//! what is left of them on the other side.

mod framing;

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{Method, Request};
use serde_json::{Value, json};
use sidegate_testkit::client::raw;
use sidegate_testkit::mcp::{self, LEGACY, McpRequest};
use sidegate_testkit::poll::PATIENCE;
use sidegate_testkit::upstream::{Reply, SeenRequest};

use crate::support::{METADATA, RESOURCE, Stage, assert_refused, bare, obliging};

const BAD_REQUEST: i64 = 4000;
const ORIGIN: &str = "https://app.example";

fn call() -> McpRequest {
    mcp::call("get_customer", json!({}))
}

fn with_origin(spec: &mut Value) {
    spec["servers"][0]["allowedOrigins"] = json!([ORIGIN, "http://localhost:6274"]);
}

#[tokio::test]
async fn the_first_check_that_fails_answers() {
    let stage = Stage::with(obliging, |spec| {
        spec["limits"] = json!({"maxBodyBytes": 1024});
    })
    .await;
    // Wrong in every way; each row mends one more.
    let body = mcp::modern("tools/destroy", json!({}))
        .request()
        .into_body();
    let wrong_json = b"{\"jsonrpc\":\"2.0\",".to_vec();
    let too_long = vec![b' '; 1025];
    let mut sent = Request::put("/other").body(Bytes::from(too_long)).unwrap();
    let headers = sent.headers_mut();
    for (name, value) in [
        ("host", "evil.test"),
        ("origin", "https://evil.test"),
        ("authorization", "Bearer none"),
        ("content-type", "text/plain"),
        ("accept", "text/html"),
        ("mcp-protocol-version", mcp::MODERN),
        ("mcp-method", "tools/destroy"),
    ] {
        let name = HeaderName::from_static(name);
        headers.insert(name, value.parse().unwrap());
    }
    let token = format!("Bearer {}", stage.token("other"));
    type Mend<'a> = Box<dyn FnOnce(&mut Request<Bytes>) + 'a>;
    let set = |name: &'static str, value: &str| -> Mend<'_> {
        let value = value.parse().unwrap();
        Box::new(move |request| drop(request.headers_mut().insert(name, value)))
    };
    let denied = call().request().into_body();
    let steps: Vec<(u16, i64, Mend<'_>)> = vec![
        (421, BAD_REQUEST, set("host", "localhost")),
        (
            403,
            4030,
            Box::new(|request| drop(request.headers_mut().remove("origin"))),
        ),
        (
            404,
            4040,
            Box::new(|request| *request.uri_mut() = "/mcp".parse().unwrap()),
        ),
        (401, 4010, set("authorization", &token)),
        (
            405,
            BAD_REQUEST,
            Box::new(|request| *request.method_mut() = Method::POST),
        ),
        (415, BAD_REQUEST, set("content-type", "application/json")),
        (
            406,
            BAD_REQUEST,
            set("accept", "application/json, text/event-stream"),
        ),
        (
            413,
            4130,
            Box::new(|request| *request.body_mut() = wrong_json.into()),
        ),
        (400, -32700, Box::new(|request| *request.body_mut() = body)),
        (
            404,
            -32601,
            Box::new(|request| {
                *request.body_mut() = denied;
                let name = HeaderName::from_static("mcp-name");
                request
                    .headers_mut()
                    .insert(name, "get_customer".parse().unwrap());
                let method = HeaderName::from_static("mcp-method");
                request
                    .headers_mut()
                    .insert(method, "tools/call".parse().unwrap());
            }),
        ),
        (
            403,
            4030,
            set(
                "authorization",
                &format!("Bearer {}", stage.token("customer:read")),
            ),
        ),
    ];
    for (status, code, mend) in steps {
        let answer = stage.client().send(sent.clone()).await.unwrap();
        assert_refused(&answer, status, code);
        mend(&mut sent);
    }
    stage.upstream.assert_untouched();
    let answer = stage.client().send(sent).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test]
async fn hosts() {
    let stage = Stage::with(obliging, |spec| {
        spec["servers"][0]["hosts"] = json!(["localhost", "support.internal:9000"]);
    })
    .await;
    let token = stage.token("customer:read");
    for (host, status) in [
        ("localhost", 200),
        ("LocalHost", 200),
        ("localhost:1234", 200),
        ("support.internal:9000", 200),
        ("support.internal", 421),
        ("support.internal:9001", 421),
        ("evil.test", 421),
        ("localhost.evil.test", 421),
        ("localhost.", 421),
        ("127.0.0.1", 421),
        ("", 400),
        ("localhost:", 400),
        ("localhost:99999999", 400),
        ("localhost:4000/#@evil.test", 400),
        ("user@localhost", 400),
        ("localhost, evil.test", 400),
        ("local%68ost", 400),
        ("[::1", 400),
    ] {
        let request = call().header("host", host).token(&token);
        let answer = stage.client().send(request).await.unwrap();
        assert_eq!(answer.status, status, "`{host}`: {}", answer.text());
        if status != 200 {
            stage.upstream.assert_untouched();
        }
        stage.upstream.forget();
    }
    for (authority, status) in [("localhost:1", 200), ("evil.test", 421)] {
        let client = stage.client().http2().host(authority);
        let answer = client.send(call().token(&token)).await.unwrap();
        assert_eq!(answer.status, status, "`{authority}`: {}", answer.text());
    }
    // The target may name a host as well; two answers to one question are none.
    for (target, status) in [("http://localhost/mcp", 404), ("http://evil.test/mcp", 400)] {
        let head = format!(
            "POST {target}x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\
             Connection: close\r\n\r\n"
        );
        let address = stage.client().address();
        let answer = raw::exchange(address, head.as_bytes(), PATIENCE).await;
        assert_eq!(answer.unwrap().status(), Some(status), "{target}");
    }
    // HTTP/2 with an authority and another `Host`.
    let request = call().header("host", "evil.test").token(&token);
    let answer = stage.client().http2().send(request).await.unwrap();
    assert_refused(&answer, 400, BAD_REQUEST);
}

#[tokio::test]
async fn origins_and_preflights() {
    let stage = Stage::with(obliging, with_origin).await;
    let token = stage.token("customer:read");
    for origin in [
        "https://evil.test",
        "null",
        "",
        "https://app.example.evil.test",
        "https://app.example:8443",
        "http://app.example",
        "HTTPS://APP.EXAMPLE",
    ] {
        let request = call().header("origin", origin).token(&token);
        let answer = stage.client().send(request).await.unwrap();
        assert_refused(&answer, 403, 4030);
        assert!(answer.headers.get("access-control-allow-origin").is_none());
        let answer = stage.client().send(preflight(origin)).await.unwrap();
        assert_eq!(answer.status, 403, "`{origin}`");
    }
    let twice = call().header("origin", ORIGIN).header("origin", ORIGIN);
    let answer = stage.client().send(twice.token(&token)).await.unwrap();
    assert_eq!(answer.status, 403);
    stage.upstream.assert_untouched();

    // A browser sends no credentials with a preflight.
    let answer = stage.client().send(preflight(ORIGIN)).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.body.len()), (204, 0));
    assert_eq!(answer.header("access-control-allow-origin"), ORIGIN);
    assert_eq!(
        answer.header("access-control-allow-methods"),
        "POST, GET, DELETE"
    );
    let allowed = answer.header("access-control-allow-headers");
    for name in [
        "authorization",
        "content-type",
        "mcp-session-id",
        "mcp-name",
    ] {
        assert!(allowed.split(", ").any(|known| known == name), "{allowed}");
    }
    assert!(
        answer
            .headers
            .get("access-control-allow-credentials")
            .is_none()
    );
    stage.upstream.assert_untouched();

    // The page may read both what passes and what is refused.
    let request = call().header("origin", ORIGIN);
    let refused = stage.client().send(request.clone()).await.unwrap();
    assert_eq!(refused.status, 401);
    let passed = stage.client().send(request.token(&token)).await.unwrap();
    assert_eq!(passed.status, 200);
    for answer in [refused, passed] {
        assert_eq!(answer.header("access-control-allow-origin"), ORIGIN);
        assert_eq!(answer.header("vary"), "origin");
        let exposed = answer.header("access-control-expose-headers");
        assert!(exposed.contains("www-authenticate"), "{exposed}");
    }
    assert_eq!(stage.upstream.request().header("origin"), None);
    // Without an origin nobody is told of origins.
    let answer = stage.client().send(call().token(&token)).await.unwrap();
    assert!(answer.headers.get("access-control-allow-origin").is_none());
}

fn preflight(origin: &str) -> Request<Bytes> {
    Request::options("/mcp")
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,mcp-name")
        .body(Bytes::new())
        .unwrap()
}

#[tokio::test]
async fn only_the_very_path_is_served() {
    let stage = Stage::start(obliging).await;
    let token = stage.token("customer:read");
    let address = stage.client().address();
    for path in [
        "/",
        "/mcp/",
        "//mcp",
        "/./mcp",
        "/x/../mcp",
        "/mcp/..",
        "/%6dcp",
        "/mcp%2f",
        "/mcp%00",
        "/mcp;x",
        "/MCP",
        "/mcp2",
        "/mcp/tools",
        "/x/%2e%2e/mcp",
        "/mcp\\x",
        "/metrics",
        "/config",
        "/healthz",
        "/.well-known/oauth-protected-resource/other",
        "/.well-known/oauth-protected-resource/",
        "/.well-known/oauth-authorization-server",
    ] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
             Connection: close\r\nContent-Length: 0\r\n\r\n"
        );
        let answer = raw::exchange(address, head.as_bytes(), PATIENCE).await;
        let status = answer.unwrap().status();
        // A library may refuse a character that no path has.
        let refused = status == Some(404) || path.contains('\\') && status == Some(400);
        assert!(refused, "{path}: {status:?}");
    }
    stage.upstream.assert_untouched();
}

#[tokio::test]
async fn methods() {
    let stage = Stage::start(obliging).await;
    let token = stage.token("customer:read");
    for method in ["PUT", "PATCH", "HEAD", "OPTIONS", "QUERY", "PROPFIND"] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let answer = stage.client().send(bare(method.clone(), "", None)).await;
        assert_eq!(answer.unwrap().status, 401, "{method}");
        let answer = stage
            .client()
            .send(bare(method.clone(), &token, None))
            .await;
        let answer = answer.unwrap();
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(answer.header("allow"), "POST, GET, DELETE", "{method}");
    }
    let address = stage.client().address();
    for line in [
        "TRACE /mcp",
        "CONNECT localhost:443",
        "CONNECT evil.test:443",
    ] {
        let head = format!(
            "{line} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        );
        let answer = raw::exchange(address, head.as_bytes(), PATIENCE)
            .await
            .unwrap();
        assert_eq!(answer.status(), Some(405), "{line}: {}", answer.text());
    }
    // The modern revision has one method.
    for method in [Method::GET, Method::DELETE] {
        let mut request = bare(method.clone(), &token, None);
        let version = HeaderName::from_static("mcp-protocol-version");
        request
            .headers_mut()
            .insert(version, mcp::MODERN.parse().unwrap());
        let answer = stage.client().send(request).await.unwrap();
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(answer.header("allow"), "POST", "{method}");
    }
    stage.upstream.assert_untouched();
}

#[tokio::test]
async fn media_types_encodings_and_accept() {
    let stage = Stage::start(obliging).await;
    let token = stage.token("customer:read");
    let both = "application/json, text/event-stream";
    let rows: [(&str, Option<&str>, u16); 20] = [
        ("content-type", Some("application/json"), 200),
        ("content-type", Some("Application/JSON; charset=UTF-8"), 200),
        ("content-type", None, 415),
        ("content-type", Some(""), 415),
        ("content-type", Some("text/plain"), 415),
        (
            "content-type",
            Some("application/json; charset=utf-16"),
            415,
        ),
        ("content-type", Some("application/json, text/plain"), 415),
        (
            "content-type",
            Some("application/x-www-form-urlencoded"),
            415,
        ),
        ("content-type", Some("multipart/form-data; boundary=x"), 415),
        ("content-type", Some("application/jsonp"), 415),
        ("content-encoding", Some("gzip"), 415),
        ("content-encoding", Some("identity, br"), 415),
        ("content-encoding", Some(""), 415),
        ("accept", Some(both), 200),
        ("accept", Some("*/*"), 200),
        ("accept", Some("application/json"), 406),
        ("accept", Some("text/event-stream"), 406),
        ("accept", Some("text/html, image/png"), 406),
        (
            "accept",
            Some("application/json, text/event-stream;q=0"),
            406,
        ),
        ("accept", None, 200),
    ];
    for (name, value, status) in rows {
        let request = call().without(name).token(&token);
        let request = match value {
            Some(value) => request.header(name, value),
            None => request,
        };
        let answer = stage.client().send(request).await.unwrap();
        assert_eq!(answer.status, status, "{name} {value:?}: {}", answer.text());
        assert_eq!(stage.upstream.requests().len(), usize::from(status == 200));
        stage.upstream.forget();
    }
    let twice = call()
        .header("content-type", "application/json")
        .token(&token);
    assert_refused(&stage.client().send(twice).await.unwrap(), 415, BAD_REQUEST);
    let mut stream = bare(Method::GET, &token, None);
    stream
        .headers_mut()
        .insert("accept", "application/json".parse().unwrap());
    assert_refused(
        &stage.client().send(stream).await.unwrap(),
        406,
        BAD_REQUEST,
    );
    stage.upstream.assert_untouched();
}

#[tokio::test]
async fn credentials_are_one_bearer_token() {
    let stage = Stage::start(obliging).await;
    let (good, bad) = (stage.token("customer:read"), "Bearer none");
    let good = format!("Bearer {good}");
    let rows: Vec<(Vec<&str>, u16)> = vec![
        (vec![&good, bad], 400),
        (vec![bad, &good], 400),
        (vec![&good, &good], 400),
        (vec!["Bearer"], 401),
        (vec!["Bearer "], 401),
        (vec![""], 401),
        (vec!["Bearer sk-anything"], 401),
        (vec!["Basic YWxpY2U6c2VjcmV0"], 401),
        (vec!["Bearer a.b"], 401),
        (vec!["Bearer a.b.c.d.e"], 401),
    ];
    for (values, status) in rows {
        let request = values.iter().fold(call(), |request, value| {
            request.header("authorization", value)
        });
        let answer = stage.client().send(request).await.unwrap();
        assert_eq!(answer.status, status, "{values:?}: {}", answer.text());
    }
    let joined = call().header("authorization", &format!("{good}, {good}"));
    assert_eq!(stage.client().send(joined).await.unwrap().status, 400);
    // A token in the target is no credential, and is written nowhere.
    let token = stage.token("customer:read");
    let request = call().path(&format!("/mcp?access_token={token}"));
    assert_eq!(stage.client().send(request).await.unwrap().status, 401);
    stage.upstream.assert_untouched();
    assert!(!stage.sidecar.audit_text().contains(&token));
    assert!(!stage.sidecar.metrics().contains(&token));
}

#[tokio::test]
async fn metadata_is_there_for_everybody() {
    let stage = Stage::with(obliging, with_origin).await;
    let wanted = json!({
        "resource": RESOURCE,
        "authorization_servers": [stage.issuer.issuer()],
        "scopes_supported": ["customer:read"],
        "bearer_methods_supported": ["header"],
    });
    let path = METADATA.strip_prefix("https://localhost").unwrap();
    let root = "/.well-known/oauth-protected-resource";
    for path in [path, root] {
        let answer = stage.client().get(path).await.unwrap();
        assert_eq!(
            (answer.status.as_u16(), answer.json()),
            (200, wanted.clone())
        );
        assert_eq!(answer.header("content-type"), "application/json");
        let head = Request::head(path).body(Bytes::new()).unwrap();
        let answer = stage.client().send(head).await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0));
        let request = call().path(path).header("authorization", "Bearer none");
        let answer = stage.client().send(request).await.unwrap();
        assert_eq!(
            (answer.status.as_u16(), answer.header("allow")),
            (405, "GET, HEAD")
        );
        let evil = Request::get(path).header("origin", "https://evil.test");
        let answer = stage.client().send(evil.body(Bytes::new()).unwrap()).await;
        assert_eq!(answer.unwrap().status, 403);
        let page = Request::get(path).header("origin", ORIGIN);
        let answer = stage.client().send(page.body(Bytes::new()).unwrap()).await;
        assert_eq!(
            answer.unwrap().header("access-control-allow-origin"),
            ORIGIN
        );
    }
    stage.upstream.assert_untouched();
}

/// Every header by which a caller could seem to be somebody, or change what
/// the hop does.
const SPOOFED: &[(&str, &str)] = &[
    ("X-Caller-Subject", "root"),
    ("x-caller-subject", "root"),
    ("X_Caller_Subject", "root"),
    ("x-caller_subject", "root"),
    ("X-CALLER-SCOPES", "all"),
    ("X-Sidegate-Subject", "root"),
    ("X-Sidegate-Anything", "root"),
    ("X-Forwarded-Client-Cert", "root"),
    ("X-Forwarded-For", "10.0.0.1"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "evil.test"),
    ("X-Forwarded-User", "root"),
    ("Forwarded", "for=root"),
    ("X-Real-IP", "10.0.0.1"),
    ("X-Auth-Request-User", "root"),
    ("X-Remote-User", "root"),
    ("Remote-User", "root"),
    ("X-MCP-Toolname", "drop_table"),
    ("X-Original-URL", "/admin"),
    ("X-Rewrite-URL", "/admin"),
    ("X-HTTP-Method-Override", "DELETE"),
    ("X-Envoy-Internal", "true"),
    ("X-Goog-Authenticated-User-Email", "root"),
    ("Cookie", "session=root"),
    ("Proxy-Authorization", "Basic cm9vdA=="),
    ("TE", "trailers"),
    ("Keep-Alive", "timeout=1"),
    ("Proxy-Connection", "keep-alive"),
    ("Via", "1.1 root"),
    ("Expect", "nothing"),
    ("X-Request-Id", "root"),
    ("X-Hop", "root"),
    ("Connection", "x-hop, keep-alive"),
];

fn identity_headers(spec: &mut Value) {
    spec["servers"][0]["identityHeaders"] = json!({
        "subject": "X-Caller-Subject", "issuer": "X-Caller-Issuer",
        "clientId": "X-Caller-Client", "scopes": "X-Caller-Scopes",
        "spiffeId": "X-Caller-Spiffe",
    });
}

fn names(seen: &SeenRequest) -> Vec<String> {
    let names = seen
        .headers()
        .into_iter()
        .map(|(name, _)| name.to_lowercase());
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn the_server_gets_a_head_of_the_sidecars_own() {
    let stage = Stage::with(obliging, identity_headers).await;
    let token = stage.issuer.token(RESOURCE).scope("support:admin other");
    let token = token.claim("sub", "alice").sign();
    let request = SPOOFED
        .iter()
        .filter(|(name, _)| *name != "Expect")
        .fold(call(), |request, (name, value)| request.header(name, value))
        .header("mcp-param-region", "eu")
        .header("tracestate", "a=b")
        .header("user-agent", "test/1")
        .token(&token);
    let answer = stage.client().send(request).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = stage.upstream.request();
    let wanted = [
        "accept",
        "content-length",
        "content-type",
        "host",
        "mcp-method",
        "mcp-name",
        "mcp-param-region",
        "mcp-protocol-version",
        "traceparent",
        "tracestate",
        "user-agent",
        "x-caller-client",
        "x-caller-issuer",
        "x-caller-scopes",
        "x-caller-subject",
        "x-request-id",
    ];
    assert_eq!(names(&seen), wanted, "{}", seen.head);
    let host = format!("127.0.0.1:{}", stage.upstream.port());
    assert_eq!(seen.header("host"), Some(&*host));
    assert_eq!(seen.header("x-caller-subject"), Some("alice"));
    assert_eq!(seen.header("x-caller-client"), Some("app"));
    assert_eq!(seen.header("x-caller-issuer"), Some(stage.issuer.issuer()));
    let scopes: Vec<_> = seen.header("x-caller-scopes").unwrap().split(' ').collect();
    for scope in ["support:admin", "other", "customer:read"] {
        assert!(scopes.contains(&scope), "{scopes:?}");
    }
    assert_ne!(seen.header("x-request-id"), Some("root"));
    assert_eq!(
        seen.header("accept"),
        Some("application/json, text/event-stream")
    );
    let line = stage.audit_line("allowed").await;
    assert_eq!(line["requestId"].as_str(), seen.header("x-request-id"));
    let trace = seen.header("traceparent").unwrap();
    assert!(trace.contains(line["traceId"].as_str().unwrap()), "{trace}");
}

#[tokio::test]
async fn a_trace_is_continued() {
    let stage = Stage::start(obliging).await;
    let token = stage.token("customer:read");
    let id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{id}-00f067aa0ba902b7-01");
    let request = call().header("traceparent", &parent).token(&token);
    stage.client().send(request).await.unwrap();
    let seen = stage.upstream.request();
    let sent = seen.header("traceparent").unwrap();
    assert!(
        sent.starts_with(&format!("00-{id}-")) && sent != parent,
        "{sent}"
    );
    assert_eq!(stage.audit_line("allowed").await["traceId"], id);
}

#[tokio::test]
async fn identity_that_cannot_be_said_is_left_out() {
    let stage = Stage::with(obliging, identity_headers).await;
    for subject in ["a\r\nx-caller-scopes: all", "a\u{0}b", ""] {
        let token = stage.issuer.token(RESOURCE).scope("customer:read");
        let token = token.claim("sub", subject).sign();
        let request = call().header("x-caller-subject", "root").token(&token);
        let answer = stage.client().send(request).await.unwrap();
        if answer.status == 401 {
            stage.upstream.assert_untouched();
            continue;
        }
        let seen = stage.upstream.request();
        assert!(matches!(seen.header("x-caller-subject"), None | Some("")));
        assert_eq!(seen.header("x-caller-scopes"), Some("customer:read"));
        stage.upstream.forget();
    }
}

#[tokio::test]
async fn host_origin_and_authorization_pass_where_the_gateway_says_so() {
    let stage = Stage::with(
        |request| match request.tool().as_deref() {
            Some("get_nothing") => {
                Reply::status(401, &[("WWW-Authenticate", "Bearer x=\"y\"")], b"")
            }
            _ => obliging(request),
        },
        |spec| {
            with_origin(spec);
            spec["servers"][0]["upstreamHost"] = "Preserve".into();
            spec["servers"][0]["authorizationHeader"] = "Keep".into();
        },
    )
    .await;
    let token = stage.token("customer:read");
    let request = call().header("origin", ORIGIN).token(&token);
    let client = stage.client().host("LOCALHOST:99");
    assert_eq!(client.send(request).await.unwrap().status, 200);
    let seen = stage.upstream.request();
    assert_eq!(seen.header("host"), Some("LOCALHOST:99"));
    assert_eq!(seen.header("origin"), Some(ORIGIN));
    assert_eq!(
        seen.header("authorization"),
        Some(&*format!("Bearer {token}"))
    );
    // It knows the caller's token, so its challenge means something.
    let request = mcp::call("get_nothing", json!({})).token(&token);
    let answer = client.send(request).await.unwrap();
    assert_eq!(answer.status, 401);
    assert_eq!(answer.header("www-authenticate"), "Bearer x=\"y\"");
    stage.upstream.forget();
    // Over HTTP/2 the host is in the target.
    let client = stage.client().http2().host("localhost:77");
    assert_eq!(client.send(call().token(&token)).await.unwrap().status, 200);
    assert_eq!(
        stage.upstream.request().header("host"),
        Some("localhost:77")
    );
}

#[tokio::test]
async fn a_body_over_http2_is_decided_without_a_length() {
    let stage = Stage::start(obliging).await;
    let token = stage.token("customer:read");
    let client = stage.client().http2();
    let denied = mcp::call("drop_table", json!({})).token(&token);
    assert_refused(&client.send(denied).await.unwrap(), 403, 4030);
    stage.upstream.assert_untouched();
    let answer = client.send(call().token(&token)).await.unwrap();
    assert_eq!(answer.status, 200);
    let seen = stage.upstream.request();
    assert_eq!(seen.body, call().request().into_body());
    assert!(seen.header("content-length").is_some());
    let params = json!({"name": "drop_table"});
    let legacy = mcp::legacy("tools/call", params, None).header("mcp-protocol-version", LEGACY);
    let answer = client.send(legacy.token(&token)).await.unwrap();
    assert_refused(&answer, 403, 4030);
    assert!(answer.headers.get(header::CONNECTION).is_none());
}
