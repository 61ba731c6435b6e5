//! The built `sidegate`, as a process: what it takes, says, follows, and how it
//! ends.

mod commands;
mod drain;
mod follow;
mod start;
mod trouble;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};
use sidegate_testkit::client::{Answer, Client};
use sidegate_testkit::issuer::TestIssuer;
use sidegate_testkit::mcp;
use sidegate_testkit::process::{Process, SidegateProcess};
use sidegate_testkit::upstream::{Reply, SeenRequest, Upstream};
use tempfile::TempDir;

use crate::support::{RESOURCE, gateway, obliging};

/// The file with the gateway.
const FILE: &str = "gateway.yaml";
/// Has the system choose the port of the traffic listener.
const ANY_LISTENER: [&str; 2] = ["--listen", "support=127.0.0.1:0"];

/// An issuer, a server, and a directory with a gateway between them.
struct Desk {
    issuer: TestIssuer,
    upstream: Upstream,
    dir: TempDir,
}

/// A command that has ended.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs `sidegate` to its end.
async fn sidegate(arguments: &[&str], dir: &Path) -> Ended {
    let mut process = Process::start("sidegate", arguments, dir);
    let code = process.until_ended().await.code();
    Ended {
        code,
        stdout: process.stdout(),
        stderr: process.stderr(),
    }
}

/// A client of the traffic port.
fn client(address: SocketAddr) -> Client {
    Client::plaintext(address).host("localhost")
}

/// Sends a request as soon as it can be answered as wished: for what changes
/// by itself.
async fn until_answer(client: &Client, path: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
    let end = tokio::time::Instant::now() + sidegate_testkit::poll::PATIENCE;
    loop {
        let answer = client.get(path).await;
        if let Ok(answer) = &answer
            && wanted(answer)
        {
            return answer.clone();
        }
        assert!(
            tokio::time::Instant::now() < end,
            "{path} still says {answer:?}"
        );
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// The value of one time series of a running sidecar; 0 when it is not there.
async fn metric(health: SocketAddr, series: &str) -> u64 {
    let answer = Client::plaintext(health).get("/metrics").await.unwrap();
    value(&answer, series)
}

/// The value of one time series in scraped metrics.
fn value(metrics: &Answer, series: &str) -> u64 {
    let text = metrics.text();
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.map_or(0, |value| value.parse().unwrap())
}

// === impl Desk ===

impl Desk {
    async fn new() -> Self {
        Self::answering(obliging).await
    }

    async fn answering(script: impl Fn(&SeenRequest) -> Reply + Send + Sync + 'static) -> Self {
        let (issuer, upstream) = (TestIssuer::start().await, Upstream::start(script).await);
        let dir = tempfile::tempdir().unwrap();
        let desk = Self {
            issuer,
            upstream,
            dir,
        };
        desk.write(FILE, &desk.gateway().to_string());
        desk
    }

    fn gateway(&self) -> Value {
        gateway(&self.issuer, &self.upstream)
    }

    /// The gateway with one rule only: `tool` is permitted.
    fn permitting(&self, tool: &str) -> String {
        let mut gateway = self.gateway();
        gateway["spec"]["authorization"]["rules"] = json!([{"name": "only", "tools": [tool]}]);
        gateway.to_string()
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file in place of another.
    fn write(&self, name: &str, text: &str) {
        let next = self.path().join(".next");
        fs::write(&next, text).unwrap();
        fs::rename(&next, self.path().join(name)).unwrap();
    }

    /// Starts a sidecar; its listener is on a port of its own.
    fn start(&self, arguments: &[&str]) -> SidegateProcess {
        SidegateProcess::start(self.path(), &[&ANY_LISTENER, arguments].concat())
    }

    async fn ready(&self, arguments: &[&str]) -> SidegateProcess {
        let mut sidecar = self.start(arguments);
        sidecar.until_ready().await;
        sidecar
    }

    fn token(&self) -> String {
        let token = self.issuer.token(RESOURCE);
        token.scope("customer:read ticket:create").sign()
    }

    /// Calls a tool.
    async fn call(&self, address: SocketAddr, tool: &str) -> anyhow::Result<Answer> {
        let call = mcp::call(tool, json!({})).token(&self.token());
        client(address).send(call).await
    }

    /// Waits until a call of this tool is permitted.
    async fn until_permitted(&self, address: SocketAddr, tool: &str) {
        let end = tokio::time::Instant::now() + sidegate_testkit::poll::PATIENCE;
        loop {
            let answer = self.call(address, tool).await.unwrap();
            if answer.status == 200 {
                return;
            }
            assert_eq!(answer.status, 403, "{}", answer.text());
            assert!(
                tokio::time::Instant::now() < end,
                "`{tool}` is still refused"
            );
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
}
