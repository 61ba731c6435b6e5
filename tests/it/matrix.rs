//! Every kind of credential against every kind of request: exact statuses,
//! challenges, codes and ids, and a ledger that shows what reached the server.

use bytes::Bytes;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{Method, Request};
use serde_json::{Value, json};
use sidegate_testkit::client::Answer;
use sidegate_testkit::issuer::{Key, TestIssuer, TokenBuilder};
use sidegate_testkit::mcp::{self, McpRequest};

use crate::support::{METADATA, RESOURCE, Stage, bare, obliging};

/// What a request wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    ModernCall,
    LegacyCall,
    ModernList,
    LegacyList,
    Stream,
    EndSession,
}

/// What it gets.
#[derive(Debug, Clone, Copy)]
enum Verdict {
    Passes,
    /// 401 without an error: there was no token.
    SignIn,
    /// 401: the token is no good.
    BadToken,
    /// 403 that names the scopes which cure it.
    StepUp(&'static str),
    /// 403 that nothing cures.
    Forbidden,
}

use Verdict::{BadToken, Forbidden, Passes, SignIn, StepUp};

/// One kind of credential.
struct Row {
    name: &'static str,
    token: fn(&TestIssuer) -> Option<String>,
    tool: &'static str,
    arguments: &'static str,
    /// For calls of the tool.
    call: Verdict,
    /// For what needs a verified caller only.
    other: Verdict,
}

const WISHES: [Wish; 6] = [
    Wish::ModernCall,
    Wish::LegacyCall,
    Wish::ModernList,
    Wish::LegacyList,
    Wish::Stream,
    Wish::EndSession,
];

const GET: &str = "get_customer";
const TICKET: &str = "create_ticket";
const READ: &str = "customer:read";

fn rows() -> Vec<Row> {
    let row = |name, token, tool, arguments, call, other| Row {
        name,
        token,
        tool,
        arguments,
        call,
        other,
    };
    let bad = |name, token| row(name, token, GET, "{}", BadToken, BadToken);
    vec![
        row("no token", |_| None, GET, "{}", SignIn, SignIn),
        row("valid", |i| good(i, READ), GET, "{}", Passes, Passes),
        bad("expired", |i| {
            some(i, |t| t.claim("iat", 1_000_000).expires_in(-60))
        }),
        bad("expired within its lifetime", |i| {
            some(i, |t| t.expires_in(-60))
        }),
        bad("not yet valid", |i| {
            let exp = |t: &TokenBuilder<'_>| t.claims()["exp"].as_i64().unwrap();
            some(i, |t| {
                let begins = exp(&t) - 120;
                t.claim("nbf", begins)
            })
        }),
        bad("wrong audience", |i| {
            some(i, |t| t.claim("aud", "https://other.example/mcp"))
        }),
        bad("wrong issuer", |i| {
            some(i, |t| t.claim("iss", "https://other.example"))
        }),
        bad("wrong key", |i| {
            some(i, |t| t.signed_by(Key::Unpublished).header("kid", "rsa"))
        }),
        bad("no signature", |i| some(i, |t| t.signed_by(Key::None))),
        bad("public key as secret", |i| {
            some(i, |t| t.signed_by(Key::PublicAsSecret))
        }),
        bad("unknown key", |i| {
            some(i, |t| t.signed_by(Key::Unpublished).header("kid", "nobody"))
        }),
        row(
            "missing scope",
            |i| good(i, "ticket:create"),
            GET,
            "{}",
            StepUp(READ),
            Passes,
        ),
        row(
            "similar scope",
            |i| good(i, "customer:read2 customer:readwrite"),
            GET,
            "{}",
            StepUp(READ),
            Passes,
        ),
        row(
            "scope by hierarchy",
            |i| good(i, "support:admin"),
            GET,
            "{}",
            Passes,
            Passes,
        ),
        row(
            "argument rule true",
            |i| good(i, "ticket:create"),
            TICKET,
            r#"{"priority":"low"}"#,
            Passes,
            Passes,
        ),
        row(
            "argument rule false",
            |i| good(i, "ticket:create"),
            TICKET,
            r#"{"priority":"urgent"}"#,
            Forbidden,
            Passes,
        ),
        row(
            "argument rule false, scopes missing too",
            |i| good(i, READ),
            TICKET,
            r#"{"priority":"urgent"}"#,
            Forbidden,
            Passes,
        ),
        row(
            "forbidden tool",
            |i| good(i, "support:admin"),
            "drop_table",
            "{}",
            Forbidden,
            Passes,
        ),
        row(
            "unknown tool",
            |i| good(i, "support:admin"),
            "nothing",
            "{}",
            Forbidden,
            Passes,
        ),
    ]
}

fn good(issuer: &TestIssuer, scope: &str) -> Option<String> {
    Some(issuer.token(RESOURCE).scope(scope).sign())
}

fn some(
    issuer: &TestIssuer,
    change: impl FnOnce(TokenBuilder<'_>) -> TokenBuilder<'_>,
) -> Option<String> {
    let token = issuer.token(RESOURCE).scope("customer:read ticket:create");
    Some(change(token).sign())
}

// === impl Wish ===

impl Wish {
    fn request(self, row: &Row, token: Option<&str>, session: &str) -> Request<Bytes> {
        let arguments: Value = serde_json::from_str(row.arguments).unwrap();
        let params = json!({"name": row.tool, "arguments": arguments});
        let signed = |request: McpRequest| match token {
            Some(token) => request.token(token).request(),
            None => request.request(),
        };
        let session = Some(session);
        match self {
            Self::ModernCall => signed(mcp::call(row.tool, arguments)),
            Self::LegacyCall => signed(mcp::legacy("tools/call", params, session)),
            Self::ModernList => signed(mcp::modern("tools/list", json!({}))),
            Self::LegacyList => signed(mcp::legacy("tools/list", json!({}), session)),
            Self::Stream => bare(Method::GET, token.unwrap_or_default(), session),
            Self::EndSession => bare(Method::DELETE, token.unwrap_or_default(), session),
        }
    }

    fn is_call(self) -> bool {
        matches!(self, Self::ModernCall | Self::LegacyCall)
    }
}

// === impl Verdict ===

impl Verdict {
    /// Status, challenge, JSON-RPC code, and the id in the answer.
    fn expected(self) -> (u16, String, Option<i64>, Value) {
        let sign_in = format!("resource_metadata=\"{METADATA}\", scope=\"{READ}\"");
        match self {
            Passes => (200, String::new(), None, Value::Null),
            // The body was not read yet, so its id is not known.
            SignIn => (401, format!("Bearer {sign_in}"), Some(4010), Value::Null),
            BadToken => (
                401,
                format!("Bearer error=\"invalid_token\", {sign_in}"),
                Some(4010),
                Value::Null,
            ),
            StepUp(scope) => (
                403,
                format!(
                    "Bearer error=\"insufficient_scope\", scope=\"{scope}\", \
                     resource_metadata=\"{METADATA}\""
                ),
                Some(4030),
                json!(1),
            ),
            Forbidden => (403, String::new(), Some(4030), json!(1)),
        }
    }
}

#[tokio::test]
async fn every_credential_meets_every_kind_of_request() {
    let stage = Stage::start(obliging).await;
    let owner = stage.token("customer:read");
    for row in rows() {
        for wish in WISHES {
            let case = format!("{}, {wish:?}", row.name);
            // A session of the very caller: having one must not help.
            let session = stage.session(&owner).await;
            let token = (row.token)(&stage.issuer);
            let request = wish.request(&row, token.as_deref(), &session);
            let verdict = if wish.is_call() { row.call } else { row.other };
            let body = request.body().clone();
            let answer = stage.client().send(request).await.unwrap();
            check(&stage, &case, wish, verdict, &body, &answer);
            stage.upstream.forget();
        }
    }
    let fetches = stage.issuer.fetches();
    assert!(fetches <= 3, "unknown keys caused {fetches} fetches");
}

fn check(stage: &Stage, case: &str, wish: Wish, verdict: Verdict, body: &[u8], answer: &Answer) {
    let (status, challenge, code, id) = verdict.expected();
    assert_eq!(answer.status, status, "{case}: {}", answer.text());
    assert_eq!(
        answer.header(WWW_AUTHENTICATE.as_str()),
        challenge,
        "{case}"
    );
    if code.is_none() {
        let seen = stage.upstream.request();
        assert_eq!(seen.body, body, "{case}");
        assert_eq!(seen.header(AUTHORIZATION.as_str()), None, "{case}");
        assert_eq!(seen.path(), "/mcp", "{case}");
        let method = match wish {
            Wish::Stream => "GET",
            Wish::EndSession => "DELETE",
            Wish::ModernCall | Wish::LegacyCall | Wish::ModernList | Wish::LegacyList => "POST",
        };
        assert_eq!(seen.method(), method, "{case}");
        return;
    }
    let json = answer.json();
    assert_eq!(json["jsonrpc"], "2.0", "{case}");
    assert_eq!(json["error"]["code"].as_i64(), code, "{case}");
    assert_eq!(json.get("id"), Some(&id), "{case}");
    assert!(json.get("result").is_none(), "{case}");
    // Not one byte of a refused request, and not even a connection.
    assert_eq!(stage.upstream.bytes(), 0, "{case}");
    assert_eq!(stage.upstream.connections(), 0, "{case}");
}

#[tokio::test]
async fn ids_come_back_as_they_were_written() {
    let stage = Stage::start(obliging).await;
    let token = stage.token("ticket:create");
    for id in ["\"seven\"", "9007199254740991", "-3", "\"\\u0061\"", "0"] {
        let body = String::from_utf8(mcp::call(GET, json!({})).request().into_body().to_vec());
        let body = body.unwrap().replace("\"id\":1", &format!("\"id\":{id}"));
        let request = mcp::call(GET, json!({})).body(body).token(&token);
        let answer = stage.client().send(request).await.unwrap();
        assert_eq!(answer.status, 403, "{id}");
        assert!(
            answer.text().contains(&format!("\"id\":{id},")),
            "{id}: {}",
            answer.text()
        );
    }
    stage.upstream.assert_untouched();
}
