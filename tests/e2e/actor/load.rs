//! Calls all the time, over connections that stay and over new ones.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::https::{Answer, Connection, Target};
use crate::{print_started, until_input_ends};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
    /// Callers at a time; every second one opens a connection for each call
    #[arg(long, default_value_t = 4)]
    callers: usize,
}

/// How the calls were answered.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Counts {
    answered: BTreeMap<u16, u64>,
    /// Calls without an answer, by reason.
    failed: BTreeMap<String, u64>,
}

const PAUSE: Duration = Duration::from_millis(10);

pub(crate) async fn run(args: Args) -> anyhow::Result<Counts> {
    let stopping = Arc::new(AtomicBool::new(false));
    let mut callers = JoinSet::new();
    for number in 0..args.callers {
        let (target, stopping) = (args.target.clone(), Arc::clone(&stopping));
        callers.spawn(async move { calls(&target, number % 2 == 0, &stopping).await });
    }
    print_started()?;
    until_input_ends().await;
    stopping.store(true, Ordering::Relaxed);
    let mut counts = Counts::default();
    while let Some(caller) = callers.join_next().await {
        counts.add(caller?);
    }
    Ok(counts)
}

async fn calls(target: &Target, keep: bool, stopping: &AtomicBool) -> Counts {
    let mut counts = Counts::default();
    let mut open = None;
    while !stopping.load(Ordering::Relaxed) {
        match call(target, open.take()).await {
            Ok((answer, connection)) => {
                *counts.answered.entry(answer.status).or_default() += 1;
                open = (keep && !answer.last).then_some(connection);
            }
            Err(error) => *counts.failed.entry(format!("{error:#}")).or_default() += 1,
        }
        sleep(PAUSE).await;
    }
    counts
}

async fn call(target: &Target, open: Option<Connection>) -> anyhow::Result<(Answer, Connection)> {
    let mut connection = match open {
        // One that was closed while nothing was asked is no failure.
        Some(open) if !open.is_closed() => open,
        _ => target.connect().await?,
    };
    let request = target.request("get_customer_info", json!({"customer_id": "C-1001"}));
    let answer = connection.send(request).await?;
    Ok((answer, connection))
}

// === impl Counts ===

impl Counts {
    fn add(&mut self, other: Self) {
        for (status, count) in other.answered {
            *self.answered.entry(status).or_default() += count;
        }
        for (error, count) in other.failed {
            *self.failed.entry(error).or_default() += count;
        }
    }
}
