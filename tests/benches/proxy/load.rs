//! The closed loop: each connection sends its next request as soon as the
//! answer to the last one is complete and was found right.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::connections::{Connection, Target};
use crate::exchange::Exchange;
use crate::process::Process;
use crate::stage::Proxy;

/// A connection that fails this often is not opened again.
const MAX_FAILURES: u64 = 20;

/// What came of a load.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Right answers.
    pub(crate) answered: u64,
    /// Requests without an answer, or with a wrong one.
    pub(crate) failed: u64,
    /// What was wrong first.
    pub(crate) fault: Option<String>,
}

/// A load and what it took.
#[derive(Debug)]
pub(crate) struct Round {
    pub(crate) outcome: Outcome,
    /// Right answers per second.
    pub(crate) rate: f64,
    /// CPU time of the proxy per right answer, in microseconds.
    pub(crate) cpu_micros: f64,
}

/// Loads a proxy and watches its process.
pub(crate) async fn round(
    proxy: &Proxy,
    exchange: &Exchange,
    connections: usize,
    length: Duration,
) -> anyhow::Result<Round> {
    let Proxy { process, target } = proxy;
    let before = cpu(process)?;
    let begun = Instant::now();
    let outcome = run(target, exchange, connections, length).await?;
    let seconds = begun.elapsed().as_secs_f64();
    let used = cpu(process)? - before;
    #[expect(clippy::cast_precision_loss, reason = "far under 2^52")]
    let answered = outcome.answered.max(1) as f64;
    Ok(Round {
        outcome,
        rate: answered / seconds,
        cpu_micros: used * 1e6 / answered,
    })
}

fn cpu(process: &Process) -> anyhow::Result<f64> {
    Ok(process.cpu()?.as_secs_f64())
}

/// Loads a proxy.
pub(crate) async fn run(
    target: &Target,
    exchange: &Exchange,
    connections: usize,
    length: Duration,
) -> anyhow::Result<Outcome> {
    let end = Instant::now() + length;
    let mut loops = JoinSet::new();
    for _ in 0..connections {
        loops.spawn(until(end, target.clone(), exchange.clone()));
    }
    let mut all = Outcome::default();
    while let Some(ended) = loops.join_next().await {
        all.add(ended?);
    }
    Ok(all)
}

async fn until(end: Instant, target: Target, exchange: Exchange) -> Outcome {
    let mut outcome = Outcome::default();
    while Instant::now() < end && outcome.failed < MAX_FAILURES {
        if let Err(error) = on_one_connection(end, &target, &exchange, &mut outcome).await {
            outcome.failed += 1;
            outcome.fault.get_or_insert_with(|| format!("{error:#}"));
        }
    }
    outcome
}

async fn on_one_connection(
    end: Instant,
    target: &Target,
    exchange: &Exchange,
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    let mut connection = Connection::open(target).await?;
    while Instant::now() < end {
        connection.exchange(exchange).await?;
        outcome.answered += 1;
    }
    Ok(())
}

// === impl Outcome ===

impl Outcome {
    /// Adds what came of another load.
    pub(crate) fn add(&mut self, other: Self) {
        let Self {
            answered,
            failed,
            fault,
        } = other;
        self.answered += answered;
        self.failed += failed;
        if self.fault.is_none() {
            self.fault = fault;
        }
    }
}
