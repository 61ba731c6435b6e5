//! A replica of the operator, and what it says and uses.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use sidegate_testkit::client::Client;
use sidegate_testkit::plane::{OperatorProcess, Plane};
use tokio::time::{Instant, sleep};

use crate::machine;

const STEP: Duration = Duration::from_millis(10);
/// A figure that takes longer is of no use to anybody.
const PATIENCE: Duration = Duration::from_secs(300);

/// A running replica.
#[derive(Debug)]
pub(crate) struct Replica {
    process: OperatorProcess,
    health: SocketAddr,
    /// When it was started.
    pub(crate) began: Instant,
}

/// A reading of its metrics.
#[derive(Debug)]
pub(crate) struct Metrics(String);

// === impl Replica ===

impl Replica {
    /// Starts one.
    pub(crate) async fn start(plane: &Plane, name: &str) -> Self {
        let mut process = plane.measured_operator(name).await;
        let began = Instant::now();
        let health = process.health().await;
        Self {
            process,
            health,
            began,
        }
    }

    /// Waits until it is ready; gives the time since its start.
    pub(crate) async fn until_ready(&mut self) -> anyhow::Result<Duration> {
        let client = Client::plaintext(self.health);
        loop {
            let answer = client.get("/readyz").await;
            if answer.is_ok_and(|answer| answer.status == 200) {
                return Ok(self.began.elapsed());
            }
            self.check_alive()?;
            sleep(STEP).await;
        }
    }

    /// Waits until its metrics are as wished; gives the time since its start.
    pub(crate) async fn until(
        &mut self,
        what: &str,
        wished: impl Fn(&Metrics) -> bool,
    ) -> anyhow::Result<Duration> {
        loop {
            if wished(&self.metrics().await?) {
                return Ok(self.began.elapsed());
            }
            self.check_alive()?;
            ensure!(
                self.began.elapsed() < PATIENCE,
                "waited in vain until {what}"
            );
            sleep(STEP).await;
        }
    }

    /// Where sidecars connect.
    pub(crate) async fn streams(&mut self) -> SocketAddr {
        self.process.streams().await
    }

    /// What its metrics say now.
    pub(crate) async fn metrics(&self) -> anyhow::Result<Metrics> {
        let answer = Client::plaintext(self.health).get("/metrics").await?;
        Ok(Metrics(answer.text()))
    }

    /// The CPU time that it has used so far.
    pub(crate) fn cpu(&mut self) -> anyhow::Result<Duration> {
        machine::cpu(self.process.process().id())
    }

    /// Its resident memory in MiB: now, and at most so far.
    pub(crate) fn memory(&mut self) -> anyhow::Result<(f64, f64)> {
        machine::memory(self.process.process().id())
    }

    /// Asks it to stop, and waits until it did.
    pub(crate) async fn stop(mut self) {
        let _ended = self.process.process().terminate().await;
    }

    fn check_alive(&mut self) -> anyhow::Result<()> {
        let process = self.process.process();
        match process.ended() {
            None => Ok(()),
            Some(ended) => Err(anyhow::anyhow!(
                "the operator ended ({ended}): {}",
                process.stderr()
            )),
        }
    }
}

// === impl Metrics ===

impl Metrics {
    /// The sum of the samples whose name and labels begin so; 0 when there are
    /// none.
    pub(crate) fn sum(&self, prefix: &str) -> f64 {
        let samples = self.0.lines().filter(|line| line.starts_with(prefix));
        samples
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
            // A sum of none would be -0.
            .fold(0.0, |sum, value| sum + value)
    }

    /// Builds of configurations that changed something.
    pub(crate) fn builds(&self) -> f64 {
        self.sum("sidegate_operator_builds_total{result=\"built\"}")
    }

    /// Reconciles of gateways' statuses, however they ended.
    pub(crate) fn reconciles(&self) -> f64 {
        self.sum("sidegate_operator_reconciles_total{kind=\"McpGateway\"")
    }

    /// Those of them that wrote.
    pub(crate) fn written(&self) -> f64 {
        self.sum("sidegate_operator_reconciles_total{kind=\"McpGateway\",result=\"written\"}")
    }

    /// Whether it leads.
    pub(crate) fn leads(&self) -> bool {
        self.sum("sidegate_operator_leader ") > 0.0
    }

    /// Objects that wait for a reconcile, and conditions to be written.
    pub(crate) fn waiting(&self) -> f64 {
        self.sum("sidegate_operator_queue_depth ")
            + self.sum("sidegate_operator_pod_conditions_waiting ")
    }
}

/// Two replicas that are ready, of which the first one leads.
pub(crate) async fn two(plane: &Plane) -> anyhow::Result<[Replica; 2]> {
    let mut one = Replica::start(plane, "one").await;
    one.until("it leads", Metrics::leads)
        .await
        .context("the first replica")?;
    let mut two = Replica::start(plane, "two").await;
    let _ = two.until_ready().await?;
    let _ = one.until_ready().await?;
    Ok([one, two])
}
