//! The control plane at its full size: a real API server, the built operator
//! with the shipped permissions, and as many sidecars, gateways and pods as it
//! has to carry.
//!
//! `make bench-operator` builds the programs and runs this. Everything shares
//! one machine: the API server with its store, the replicas of the operator,
//! and this program with the simulated sidecars. Figures are of all of them
//! together.
//!
//! A missed target fails the run. `SIDEGATE_BENCH_QUICK=1` makes a small one
//! that shows only whether everything works, and `SIDEGATE_BENCH_ONLY` names
//! one part: `change`, `streams` or `scale`.

mod api;
mod change;
mod documents;
mod fleet;
mod machine;
mod replica;
mod report;
mod scale;
mod sidecar;
mod streams;

use std::fmt::Display;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;

use crate::report::Report;

/// How much and how often.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Changes that one sidecar is sent.
    changes: usize,
    /// Sidecars of one gateway, and changes that all of them are sent.
    sidecars: usize,
    fleet_changes: usize,
    /// The large cluster.
    namespaces: usize,
    gateways: usize,
    pods: usize,
}

const PARTS: [&str; 3] = ["change", "streams", "scale"];

fn main() -> ExitCode {
    // What `cargo bench` passes, and what `cargo test` does not.
    if !std::env::args().any(|argument| argument == "--bench") {
        say("this only measures: `make bench-operator` runs it");
        return ExitCode::SUCCESS;
    }
    match bench() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Whether every target was met.
fn bench() -> anyhow::Result<bool> {
    let quick = std::env::var_os("SIDEGATE_BENCH_QUICK").is_some_and(|value| value != "0");
    let only = std::env::var_os("SIDEGATE_BENCH_ONLY");
    let only = only.map(|only| only.to_string_lossy().into_owned());
    let settings = Settings::new(quick);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let report = runtime.block_on(Box::pin(measured(&settings, only.as_deref())))?;
    conclude(&report)
}

async fn measured(settings: &Settings, only: Option<&str>) -> anyhow::Result<Report> {
    let mut report = Report::new(machine::facts(settings)?);
    for part in PARTS {
        if only.is_some_and(|only| only != part) {
            continue;
        }
        match part {
            "change" => Box::pin(change::measure(settings, &mut report)).await?,
            "streams" => Box::pin(streams::measure(settings, &mut report)).await?,
            _ => Box::pin(scale::measure(settings, &mut report)).await?,
        }
    }
    report.fact("load average at the end", machine::load()?);
    Ok(report)
}

fn conclude(report: &Report) -> anyhow::Result<bool> {
    let dir = machine::target_dir()?.join("bench");
    std::fs::create_dir_all(&dir).context("cannot make target/bench")?;
    std::fs::write(dir.join("operator.md"), report.markdown())?;
    std::fs::write(dir.join("operator.json"), report.json())?;
    say(report.markdown());
    say(format_args!(
        "written to {}",
        dir.join("operator.md").display()
    ));
    let missed = report.missed();
    for name in &missed {
        say(format_args!("failed: {name} misses its target"));
    }
    Ok(missed.is_empty())
}

/// Writes a line to standard output. A reader that went away is not an error.
fn say(line: impl Display) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

// === impl Settings ===

impl Settings {
    fn new(quick: bool) -> Self {
        if quick {
            return Self {
                changes: 5,
                sidecars: 60,
                fleet_changes: 3,
                namespaces: 4,
                gateways: 100,
                pods: 200,
            };
        }
        Self {
            changes: 50,
            sidecars: 1_000,
            fleet_changes: 10,
            namespaces: 50,
            gateways: 5_000,
            pods: 10_000,
        }
    }
}
