//! The built `sidegate` under an operator: what it takes, what it refuses, and
//! what it does without one.

mod certificates;
mod outage;
mod snapshots;
mod start;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::{Value, json};
use sidegate_config::control::{
    FromOperator, FromSidecar, RejectReason, Rejected, Snapshot, SnapshotVersion,
};
use sidegate_config::sidecar_config::SidecarConfig;
use sidegate_testkit::client::{Answer, Client};
use sidegate_testkit::control::{TestOperator, config};
use sidegate_testkit::issuer::TestIssuer;
use sidegate_testkit::mcp;
use sidegate_testkit::poll::{PATIENCE, until};
use sidegate_testkit::process::SidegateProcess;
use sidegate_testkit::upstream::Upstream;
use tempfile::TempDir;
use tokio::time::{Duration, Instant, sleep};

use crate::support::{RESOURCE, gateway, obliging};

/// What nobody but the operator may ever see.
const TOKEN: &str = "header.canary.signature";
const ANY_LISTENER: [&str; 2] = ["--listen", "support=127.0.0.1:0"];

/// A pod: an issuer, a server, an operator, and the volumes of a sidecar.
struct Pod {
    issuer: TestIssuer,
    upstream: Upstream,
    operator: TestOperator,
    dir: TempDir,
}

// === impl Pod ===

impl Pod {
    async fn new() -> Self {
        let (issuer, upstream) = (TestIssuer::start().await, Upstream::start(obliging).await);
        let operator = TestOperator::start().await;
        let pod = Self {
            issuer,
            upstream,
            operator,
            dir: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(pod.path("trust")).unwrap();
        pod.write("token", TOKEN);
        pod.write("trust/endpoints.crt", pod.operator.trust_pem());
        pod
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file in place of another.
    fn write(&self, name: &str, text: &str) {
        let next = self.path(".next");
        fs::write(&next, text).unwrap();
        fs::rename(&next, self.path(name)).unwrap();
    }

    /// A gateway in front of the server, changed. Its keys are in it: in a
    /// cluster nobody fetches them from loopback.
    fn config(&self, change: impl FnOnce(&mut Value)) -> SidecarConfig {
        let mut gateway = gateway(&self.issuer, &self.upstream);
        let keys = self.issuer.jwks().to_string();
        gateway["spec"]["authentication"]["jwt"][0]["jwks"] = json!({"inline": keys});
        change(&mut gateway["spec"]);
        config(&gateway.to_string())
    }

    /// The gateway with one rule only: `tool` is permitted.
    fn permitting(&self, tool: &str) -> SidecarConfig {
        self.config(|spec| {
            spec["authorization"]["rules"] = json!([{"name": "only", "tools": [tool]}]);
        })
    }

    fn start(&self) -> SidegateProcess {
        self.start_with(&ANY_LISTENER)
    }

    fn start_with(&self, arguments: &[&str]) -> SidegateProcess {
        let url = self.operator.url();
        let [token, trust, state] =
            ["token", "trust", "state"].map(|name| self.path(name).display().to_string());
        let source = [
            "--control-plane",
            &url,
            "--token-file",
            &token,
            "--trust-dir",
            &trust,
            "--state-dir",
            &state,
        ];
        SidegateProcess::run(self.dir.path(), &[&source, arguments].concat())
    }

    /// A sidecar that enforces this.
    async fn enforcing(&self, snapshot: Snapshot) -> SidegateProcess {
        let version = snapshot.version.clone();
        self.operator.say(&FromOperator::Snapshot(snapshot));
        let mut sidecar = self.start();
        self.until_confirmed(&version).await;
        sidecar.until_ready().await;
        sidecar
    }

    async fn until_confirmed(&self, version: &SnapshotVersion) {
        let what = format!("{version} is confirmed");
        self.operator
            .until_said(&what, |said| {
                let FromSidecar::Confirmed(confirmed) = said else {
                    return None;
                };
                (confirmed.version == *version).then_some(())
            })
            .await;
    }

    async fn until_rejected(&self, version: &SnapshotVersion) -> Rejected {
        let what = format!("{version} is rejected");
        self.operator
            .until_said(&what, |said| {
                let FromSidecar::Rejected(rejected) = said else {
                    return None;
                };
                (rejected.version == *version).then(|| rejected.clone())
            })
            .await
    }

    async fn assert_rejected(
        &self,
        snapshot: Snapshot,
        reason: RejectReason,
        text: &str,
    ) -> Rejected {
        let version = snapshot.version.clone();
        self.operator.say_once(&FromOperator::Snapshot(snapshot));
        let rejected = self.until_rejected(&version).await;
        assert_eq!(rejected.reason, reason, "{rejected:?}");
        assert!(rejected.message.contains(text), "{rejected:?}");
        rejected
    }

    fn token(&self) -> String {
        let token = self.issuer.token(RESOURCE);
        token.scope("customer:read ticket:create").sign()
    }

    /// Calls a tool in plaintext.
    async fn call(&self, address: SocketAddr, tool: &str) -> anyhow::Result<Answer> {
        let call = mcp::call(tool, json!({})).token(&self.token());
        let client = Client::plaintext(address).host("localhost");
        client.send(call).await
    }

    async fn status(&self, address: SocketAddr, tool: &str) -> u16 {
        let answer = self.call(address, tool).await.unwrap();
        answer.status.as_u16()
    }
}

/// Waits until a GET is answered as wished.
async fn until_answer(address: SocketAddr, path: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
    let client = Client::plaintext(address);
    let end = Instant::now() + PATIENCE;
    loop {
        let answer = client.get(path).await;
        if let Ok(answer) = &answer
            && wanted(answer)
        {
            return answer.clone();
        }
        assert!(Instant::now() < end, "{path} still says {answer:?}");
        sleep(Duration::from_millis(5)).await;
    }
}

async fn until_unready(sidecar: &mut SidegateProcess) {
    let health = sidecar.health().await;
    until_answer(health, "/readyz", |answer| answer.status == 503).await;
}

/// What `/config` says.
async fn shown(sidecar: &mut SidegateProcess) -> Value {
    let admin = Client::plaintext(sidecar.admin().await);
    admin.get("/config").await.unwrap().json()
}

/// The value of one time series; none when it is not there.
async fn metric(sidecar: &mut SidegateProcess, series: &str) -> Option<i64> {
    let health = Client::plaintext(sidecar.health().await);
    let text = health.get("/metrics").await.unwrap().text();
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.map(|value| value.parse().unwrap())
}

/// Lines of the log with this message.
fn logged(sidecar: &mut SidegateProcess, message: &str) -> Vec<Value> {
    let log = sidecar.process().stderr();
    let lines = log.lines().map(|line| serde_json::from_str(line).unwrap());
    lines
        .filter(|line: &Value| line["message"] == message)
        .collect()
}

async fn until_logged(sidecar: &mut SidegateProcess, message: &str, count: usize) -> Vec<Value> {
    until(&format!("the log says `{message}` {count} times"), || {
        let lines = logged(sidecar, message);
        (lines.len() >= count).then_some(lines)
    })
    .await
}
