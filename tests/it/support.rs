//! The stage of most tests: an issuer, a server, and a sidecar between them.

use bytes::Bytes;
use http::{Method, Request};
use serde_json::{Value, json};
use sidegate_testkit::client::{Answer, Client};
use sidegate_testkit::issuer::TestIssuer;
use sidegate_testkit::mcp::{self, LEGACY};
use sidegate_testkit::sidecar::TestSidecar;
use sidegate_testkit::upstream::{Reply, SeenRequest, Upstream};

/// What the server is called: the audience of its tokens.
pub(crate) const RESOURCE: &str = "https://localhost/mcp";
/// Where its metadata is.
pub(crate) const METADATA: &str = "https://localhost/.well-known/oauth-protected-resource/mcp";
/// The session that [`obliging`] hands out.
pub(crate) const SESSION: &str = "session-1";
/// Everything that a rule of [`gateway`] asks for.
pub(crate) const ALL_SCOPES: &str = "customer:read ticket:create";

/// An issuer, a server and a sidecar between them.
pub(crate) struct Stage {
    pub(crate) issuer: TestIssuer,
    pub(crate) upstream: Upstream,
    pub(crate) sidecar: TestSidecar,
}

/// A gateway in front of one server, to be changed as a test needs it.
pub(crate) fn gateway(issuer: &TestIssuer, upstream: &Upstream) -> Value {
    json!({
        "apiVersion": "sidegate.dev/v1alpha1",
        "kind": "McpGateway",
        "metadata": {"name": "support", "namespace": "crm"},
        "spec": {
            "selector": {"matchLabels": {"app": "support"}},
            "servers": [{"name": "support", "port": upstream.port(), "resources": [RESOURCE]}],
            "tls": {"mode": "Plaintext"},
            "authentication": {
                "jwt": [{"issuer": issuer.issuer(), "jwks": {"uri": issuer.jwks_uri()}}],
            },
            "authorization": {
                "scopeHierarchy": {"support:admin": ["customer:read", "ticket:create"]},
                "rules": [
                    {
                        "name": "read",
                        "tools": ["get_*"],
                        "prompts": ["draft_*"],
                        "resources": ["crm://customers/*"],
                        "requiredScopes": ["customer:read"],
                    },
                    {
                        "name": "tickets",
                        "tools": ["create_ticket"],
                        "requiredScopes": ["ticket:create"],
                        "when": "!has(args.priority) || args.priority != 'urgent' \
                                 || 'support:lead' in scopes",
                    },
                    {"name": "no-drop", "effect": "Deny", "tools": ["drop_table"]},
                ],
            },
        },
    })
}

/// A server that opens a session, ends streams at once, and gives everything
/// else an empty result.
pub(crate) fn obliging(request: &SeenRequest) -> Reply {
    match request.method() {
        "GET" => Reply::sse(&["data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\"}\n\n"]),
        "DELETE" => Reply::status(200, &[], b""),
        _ if request.rpc_method().as_deref() == Some("initialize") => {
            let result = json!({"protocolVersion": LEGACY, "capabilities": {}});
            Reply::result(request, result).header("Mcp-Session-Id", SESSION)
        }
        _ => Reply::result(request, json!({})),
    }
}

/// A request without a body, in a session or not.
pub(crate) fn bare(method: Method, token: &str, session: Option<&str>) -> Request<Bytes> {
    let mut request = Request::builder()
        .method(method)
        .uri("/mcp")
        .header("accept", "text/event-stream");
    if !token.is_empty() {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    if let Some(session) = session {
        request = request
            .header("mcp-protocol-version", LEGACY)
            .header("mcp-session-id", session);
    }
    request.body(Bytes::new()).unwrap()
}

/// The code of the JSON-RPC error in an answer.
pub(crate) fn code(answer: &Answer) -> Option<i64> {
    answer.json()["error"]["code"].as_i64()
}

/// Checks status and code, and shows the whole answer when they are others.
#[track_caller]
pub(crate) fn assert_refused(answer: &Answer, status: u16, code_wanted: i64) {
    assert_eq!(
        (answer.status.as_u16(), code(answer)),
        (status, Some(code_wanted)),
        "{}",
        answer.text()
    );
}

// === impl Stage ===

impl Stage {
    /// A stage whose server answers as `script` says.
    pub(crate) async fn start(
        script: impl Fn(&SeenRequest) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::with(script, |_| {}).await
    }

    /// The same with another gateway than the usual one.
    pub(crate) async fn with(
        script: impl Fn(&SeenRequest) -> Reply + Send + Sync + 'static,
        change: impl FnOnce(&mut Value),
    ) -> Self {
        let (issuer, upstream) = (TestIssuer::start().await, Upstream::start(script).await);
        let mut gateway = gateway(&issuer, &upstream);
        change(&mut gateway["spec"]);
        let sidecar = TestSidecar::start(&gateway.to_string()).await;
        Self {
            issuer,
            upstream,
            sidecar,
        }
    }

    /// The usual gateway of this stage, changed.
    pub(crate) fn documents(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut gateway = gateway(&self.issuer, &self.upstream);
        change(&mut gateway["spec"]);
        gateway.to_string()
    }

    /// A client in plaintext.
    pub(crate) fn client(&self) -> Client {
        Client::plaintext(self.sidecar.address("support")).host("localhost")
    }

    /// A token of alice.
    pub(crate) fn token(&self, scope: &str) -> String {
        self.issuer.token(RESOURCE).scope(scope).sign()
    }

    /// A token of somebody else.
    pub(crate) fn token_of(&self, subject: &str, scope: &str) -> String {
        let token = self.issuer.token(RESOURCE).claim("sub", subject);
        token.scope(scope).sign()
    }

    /// Opens a session and forgets how.
    pub(crate) async fn session(&self, token: &str) -> String {
        let answer = self
            .client()
            .send(mcp::initialize().token(token))
            .await
            .unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        self.upstream.forget();
        answer.header("mcp-session-id").to_owned()
    }

    /// The only audit line with this reason.
    pub(crate) async fn audit_line(&self, reason: &str) -> Value {
        let what = format!("an audit line says `{reason}`");
        sidegate_testkit::poll::until(&what, || {
            let lines = self.sidecar.audit();
            lines.into_iter().find(|line| line["reason"] == reason)
        })
        .await
    }
}
