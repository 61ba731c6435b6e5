//! The measurements, one after the other: each has the machine for itself.

mod change;
mod memory;
mod others;
mod request;

use std::time::Duration;

use crate::report::{Compared, Figure, Report, Target, median};
use crate::say;
use crate::stage::{Stage, Transport};

/// How long and how often.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Rounds of the throughput; an odd number has a middle.
    rounds: usize,
    /// Rounds of everything else.
    fewer_rounds: usize,
    round: Duration,
    short_round: Duration,
    starts: usize,
    reloads: usize,
    changes: usize,
    /// Idle connections, as far as the system lets a process have them.
    connections: usize,
}

// === impl Settings ===

impl Settings {
    pub(crate) fn new(quick: bool) -> Self {
        if quick {
            return Self {
                rounds: 1,
                fewer_rounds: 1,
                round: Duration::from_millis(700),
                short_round: Duration::from_millis(500),
                starts: 3,
                reloads: 20,
                changes: 2,
                connections: 200,
            };
        }
        Self {
            rounds: 7,
            fewer_rounds: 3,
            round: Duration::from_millis(2_500),
            short_round: Duration::from_millis(1_500),
            starts: 10,
            reloads: 100,
            changes: 10,
            connections: 10_000,
        }
    }
}

/// Measures everything.
pub(crate) async fn all(stage: &Stage, settings: &Settings) -> anyhow::Result<Report> {
    let mut report = Report::default();
    report.section("Plaintext, HTTP/1.1 keep-alive");
    request::plaintext(stage, settings, &mut report).await?;
    report.section("Mutual TLS, HTTP/1.1 keep-alive");
    request::mutual(stage, settings, &mut report).await?;
    report.section("Memory with idle connections");
    for transport in [Transport::Plaintext, Transport::Mutual] {
        memory::idle_connections(stage, settings, transport, &mut report).await?;
    }
    report.section("Start and change");
    starts(stage, settings, &mut report).await?;
    change::reloads(stage, settings, &mut report).await?;
    Ok(report)
}

/// From the start of the process to the first "ready", keys fetched.
async fn starts(stage: &Stage, settings: &Settings, report: &mut Report) -> anyhow::Result<()> {
    say("start to ready …");
    let mut millis = Vec::new();
    for _ in 0..settings.starts {
        let sidegate = stage.sidegate(Transport::Plaintext).await?;
        millis.push(sidegate.ready_after.as_secs_f64() * 1e3);
    }
    report.add(Figure {
        name: format!("start to ready, median of {}", settings.starts),
        unit: "ms",
        bare: None,
        sidegate: median(&millis),
        compared: Compared::No,
        rounds: millis,
        target: Some(Target::AtMost(100.0)),
    });
    Ok(())
}
