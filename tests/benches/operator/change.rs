//! One sidecar: from a change at the API server to the first request that is
//! decided by it.

use std::time::Duration;

use anyhow::ensure;
use serde_json::json;
use sidegate_testkit::client::Client;
use sidegate_testkit::issuer::TestIssuer;
use sidegate_testkit::mcp;
use sidegate_testkit::plane::{Patch, Plane, PodWish};
use sidegate_testkit::process::free_ports;
use sidegate_testkit::upstream::{Reply, Upstream};
use tokio::time::{Instant, sleep};

use crate::api::{Ask, Caller};
use crate::documents::{self, ISSUER, RESOURCE};
use crate::report::{Figure, Report, millis};
use crate::{Settings, replica, say};

const NAMESPACE: &str = "crm";
/// The promise, in milliseconds.
const TARGET: f64 = 100.0;
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two requests.
const STEP: Duration = Duration::from_millis(1);
/// Between two changes.
const PAUSE: Duration = Duration::from_millis(200);

pub(crate) async fn measure(settings: &Settings, report: &mut Report) -> anyhow::Result<()> {
    report.section("One sidecar: from a change to its enforcement");
    say("one sidecar …");
    let plane = Plane::start().await;
    plane.namespace(NAMESPACE).await;
    let mut replicas = replica::two(&plane).await?;
    let mut streams = Vec::new();
    for replica in &mut replicas {
        streams.push(replica.streams().await);
    }
    plane.streams.point(&streams);
    let issuer = TestIssuer::start().await;
    let upstream = Upstream::start(|request| Reply::result(request, json!({}))).await;
    let gateway = documents::gateway("support", "support", upstream.port(), &issuer, "none");
    let path = Plane::gateway_path(NAMESPACE, "support");
    let _ = plane.api.apply(&path, &gateway).await;
    let wish = PodWish {
        port: Some(upstream.port()),
        ..PodWish::new(NAMESPACE, "one", "support")
    };
    let mut pod = plane.pod(&wish).await;
    let [port] = free_ports();
    let address = pod.listens("server", port);
    pod.becomes_ready(&plane).await;
    let calls = Calls {
        client: Client::plaintext(address).host("localhost"),
        token: token(&issuer)?,
    };
    let (mut from_request, mut from_answer) = (Vec::new(), Vec::new());
    let mut line = Caller::new(&plane)?.connect().await?;
    for round in 0..settings.changes {
        let tool = format!("tool_{round}");
        let patch = documents::permits(&tool);
        let ask = Ask::patch(path.clone(), Patch::Merge, patch);
        ensure!(
            calls.status(&tool).await? == 403,
            "{tool} is permitted already"
        );
        let began = Instant::now();
        let stored = async {
            line.ask(&ask).await?;
            anyhow::Ok(Instant::now())
        };
        let (stored, enforced) = tokio::join!(stored, calls.until_permitted(&tool));
        let (stored, enforced) = (stored?, enforced?);
        from_request.push(millis(enforced - began));
        from_answer.push(millis(enforced.saturating_duration_since(stored)));
        sleep(PAUSE).await;
    }
    let changes = settings.changes;
    let name = |of: &str, what: &str| {
        format!("{of}, from {what} to the first request decided by the new rule, {changes} changes")
    };
    for (times, what) in [
        (&from_request, "before the change was sent"),
        (&from_answer, "the API server's answer"),
    ] {
        report.add(Figure::quantile(name("median", what), "ms", times, 0.5).at_most(TARGET));
        report.add(Figure::quantile(name("p90", what), "ms", times, 0.9));
    }
    Ok(())
}

/// Calls of tools through the sidecar.
struct Calls {
    client: Client,
    token: String,
}

// === impl Calls ===

impl Calls {
    async fn status(&self, tool: &str) -> anyhow::Result<u16> {
        let call = mcp::call(tool, json!({})).token(&self.token);
        Ok(self.client.send(call).await?.status.as_u16())
    }

    /// Calls a tool until it is permitted, and gives the time of that answer.
    async fn until_permitted(&self, tool: &str) -> anyhow::Result<Instant> {
        let end = Instant::now() + PATIENCE;
        let mut connection = self.client.connect().await?;
        loop {
            let call = mcp::call(tool, json!({})).token(&self.token);
            let status = connection.send(call).await?.status;
            let now = Instant::now();
            if status == 200 {
                return Ok(now);
            }
            ensure!(status == 403, "{tool} is answered {status}");
            ensure!(now < end, "{tool} is not permitted");
            sleep(STEP).await;
        }
    }
}

/// A token of a caller that outlives the run.
fn token(issuer: &TestIssuer) -> anyhow::Result<String> {
    let now = std::time::UNIX_EPOCH.elapsed()?.as_secs();
    let end = i64::try_from(now)? + 3600;
    let token = issuer.token(RESOURCE).claim("iss", ISSUER);
    Ok(token.claim("exp", end).sign())
}
