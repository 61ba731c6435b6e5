//! The quick start's gateway in this process, with its neighbours.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;
use sidegate_dev::authority::{Authority, AuthorityConfig, Client};
use sidegate_dev::demo::DemoServer;
use sidegate_policy::clock::SystemClock;
use sidegate_testkit::certificates::{AGENT, TestAuthority};
use sidegate_testkit::poll::until;
use sidegate_testkit::sidecar::TestSidecar;
use tempfile::TempDir;

use super::FIRST_SCOPE;
use super::driver::Peer;

const QUICKSTART: &str = include_str!("../../../manifests/quickstart.yaml");

/// An authorization server, the demo server, and a sidecar before it.
pub(super) struct Stage {
    pub(super) authority: Authority,
    pub(super) sidecar: TestSidecar,
    demo: DemoServer,
    files: TempDir,
}

// === impl Stage ===

impl Stage {
    /// The client `agent` gets `customer:read` unless it asks for others of
    /// `scopes`. `change` may alter the gateway.
    pub(super) async fn start(scopes: &[&str], change: impl Fn(String) -> String) -> Self {
        let client = || Client::new("agent", "agent-secret", &[FIRST_SCOPE]).may_also_have(scopes);
        let config = AuthorityConfig {
            clients: vec![client()],
            ..AuthorityConfig::default()
        };
        let authority = Authority::start(config, Arc::new(SystemClock)).await;
        let authority = authority.unwrap();
        let demo = DemoServer::start(0, "/mcp").await.unwrap();
        let certificates = TestAuthority::new();
        let secret = certificates.secret("crm", "tls", &certificates.server());
        let documents = |resource: &str| {
            let gateway = change(gateway(resource, &authority, &demo));
            format!("{gateway}\n---\n{secret}")
        };

        // Clients compare the resource with the address that they dial, and
        // the port is known only now.
        let sidecar = TestSidecar::start(&documents("https://localhost/mcp")).await;
        let resource = format!(
            "https://localhost:{}/mcp",
            sidecar.address("support").port()
        );
        sidecar.change(&documents(&resource)).await;
        authority.know(vec![client()], vec![resource]);

        let files = tempfile::tempdir().unwrap();
        let agent = certificates.client(AGENT);
        let write = |name: &str, text: &str| fs::write(files.path().join(name), text).unwrap();
        write("ca.crt", certificates.pem());
        write("agent.crt", &agent.certificate_pem);
        write("agent.key", agent.key_pem.expose());
        Self {
            authority,
            sidecar,
            demo,
            files,
        }
    }

    pub(super) fn url(&self) -> String {
        let port = self.sidecar.address("support").port();
        format!("https://localhost:{port}/mcp")
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// The tools that ran, in order.
    pub(super) fn executed(&self) -> Vec<String> {
        let executed = self.demo.ledger().executed();
        executed.into_iter().map(|executed| executed.tool).collect()
    }

    /// Checks that no call of a tool reached the server, let alone ran.
    #[track_caller]
    pub(super) fn assert_no_call_arrived(&self) {
        assert_eq!(self.executed(), Vec::<String>::new());
        for request in self.demo.ledger().requests() {
            let body = String::from_utf8_lossy(&request.body);
            assert!(!body.contains("tools/call"), "{body}");
        }
    }

    /// Checks that the server saw the protocol version of this client and never
    /// its token.
    #[track_caller]
    pub(super) fn assert_upstream_saw(&self, peer: Peer) {
        let requests = self.demo.ledger().requests();
        assert!(
            requests
                .iter()
                .all(|request| !request.headers.contains_key("authorization"))
        );
        let versions: Vec<_> = requests
            .iter()
            .filter(|request| String::from_utf8_lossy(&request.body).contains("tools/"))
            .map(|request| request.headers["mcp-protocol-version"].clone())
            .collect();
        // A list and two calls; the Python client lists again now and then.
        assert!(versions.len() >= 3, "{versions:?}");
        assert!(
            versions.iter().all(|version| version == peer.version()),
            "{versions:?}"
        );
    }

    /// The audit lines about calls of tools, of which there are `count`.
    pub(super) async fn audited_calls(&self, count: usize) -> Vec<Value> {
        let what = format!("{count} calls are in the audit log");
        let calls = until(&what, || {
            let mut lines = self.sidecar.audit();
            lines.retain(|line| line["method"] == "tools/call");
            (lines.len() >= count).then_some(lines)
        })
        .await;
        assert_eq!(calls.len(), count, "{calls:?}");
        calls
    }
}

/// The quick start with the addresses of its neighbours.
fn gateway(resource: &str, authority: &Authority, demo: &DemoServer) -> String {
    let changes = [
        ("https://localhost:18080/mcp", resource.to_owned()),
        ("port: 8080", format!("port: {}", demo.address().port())),
        ("http://127.0.0.1:15090", authority.issuer().to_owned()),
        (
            "mode: Mutual",
            "mode: Mutual\n    certificateRef: {name: tls}".to_owned(),
        ),
    ];
    changes
        .into_iter()
        .fold(QUICKSTART.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "the quick start says no `{from}`");
            text.replace(from, &to)
        })
}
