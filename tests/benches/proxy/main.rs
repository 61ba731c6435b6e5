//! Compares the sidecar, every check on, with a bare hyper proxy: same machine,
//! same upstream, same load, in alternating rounds of one run.
//!
//! `make bench` builds the sidecar and runs this. The proxies and the server
//! behind them are processes of their own, so that CPU time and memory are told
//! apart; the bare proxy and the server are this program under another
//! subcommand. `SIDEGATE_BENCH_QUICK=1` makes a short run that shows only
//! whether everything works.
//!
//! A request that is not answered exactly as expected fails the run, and so
//! does a throughput far under the target. Other missed targets are printed.

mod answer;
mod bare;
mod connections;
mod exchange;
mod load;
mod measure;
mod pace;
mod process;
mod report;
mod stage;
mod upstream;

use std::fmt::Display;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use tokio::signal::unix::{SignalKind, signal};

use crate::measure::Settings;
use crate::report::Report;
use crate::stage::Stage;

// The sidecar's allocator, so that it is not what is compared.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Under this share of the bare proxy's throughput the run fails. The target
/// is higher; a shared machine is not always that quiet.
const LEAST_THROUGHPUT: f64 = 0.7;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ended = match arguments.as_slice() {
        [upstream::COMMAND] => upstream::run().map(|()| true),
        [bare::COMMAND, rest @ ..] => bare::run(rest).map(|()| true),
        // What `cargo bench` passes, and what `cargo test` does not.
        ["--bench", ..] => bench(),
        _ => {
            say("this only measures: `make bench` runs it");
            Ok(true)
        }
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Whether the run passed.
fn bench() -> anyhow::Result<bool> {
    let quick = std::env::var_os("SIDEGATE_BENCH_QUICK").is_some_and(|value| value != "0");
    let settings = Settings::new(quick);
    // One thread: the load is cheap, and the two cores of a small machine
    // belong to the proxies.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let report = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        // Dropping what is under way ends the processes that it started. An
        // interrupt from the keyboard reaches them without help.
        tokio::select! {
            report = Box::pin(measured(&settings)) => report,
            _ = terminate.recv() => bail!("terminated"),
        }
    })?;
    conclude(&report)
}

async fn measured(settings: &Settings) -> anyhow::Result<Report> {
    let stage = Stage::set().await?;
    measure::all(&stage, settings).await
}

fn conclude(report: &Report) -> anyhow::Result<bool> {
    let dir = process::target_dir()?.join("bench");
    std::fs::create_dir_all(&dir).context("cannot make target/bench")?;
    std::fs::write(dir.join("proxy.md"), report.markdown())?;
    std::fs::write(dir.join("proxy.json"), report.json())?;
    say(report.markdown());
    say(format_args!(
        "written to {}",
        dir.join("proxy.md").display()
    ));
    let slow = report
        .throughput()
        .is_none_or(|ratio| ratio < LEAST_THROUGHPUT);
    if slow {
        say(format_args!(
            "failed: the throughput is under {LEAST_THROUGHPUT} of the bare proxy's"
        ));
    }
    if report.failed() > 0 {
        say(format_args!(
            "failed: {} requests went wrong",
            report.failed()
        ));
    }
    Ok(!slow && report.failed() == 0)
}

/// Writes a line to standard output. A reader that went away is not an error.
fn say(line: impl Display) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}
