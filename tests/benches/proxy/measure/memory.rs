//! Resident memory.

use std::time::Duration;

use super::Settings;
use crate::connections::open_used;
use crate::exchange::Exchange;
use crate::load::Outcome;
use crate::process::{Memory, max_open_files};
use crate::report::{Compared, Figure, Report, Target};
use crate::say;
use crate::stage::{Proxy, Stage, Transport};
use crate::upstream::call_answer;

/// Files that a process has open beside the connections, more than enough. A
/// proxy's connections to the server behind are few, as few are in use at once.
const OTHER_FILES: usize = 1_000;
/// Connections whose memory the design bounds.
const MANY: usize = 10_000;

/// Memory of the bare proxy and of the sidecar.
pub(super) type Both = (Memory, Memory);

/// Rows for the proxies without connections: new, after the load, and after
/// the load with large bodies.
pub(super) fn idle_and_loaded(report: &mut Report, idle: Both, loaded: Both, large: Both) {
    report.add(resident("memory, idle", idle, Some(Target::AtMost(12.0))));
    report.add(mib(
        "memory, idle, without files".to_owned(),
        idle.0.own_mib,
        idle.1.own_mib,
        None,
    ));
    report.add(resident("memory, after the load of 1 KiB", loaded, None));
    report.add(resident("memory, after the load of 1 MiB", large, None));
}

/// Opens many connections, uses each once and lets them be.
pub(super) async fn idle_connections(
    stage: &Stage,
    settings: &Settings,
    transport: Transport,
    report: &mut Report,
) -> anyhow::Result<()> {
    let count = settings
        .connections
        .min(max_open_files()?.saturating_sub(OTHER_FILES));
    say(format_args!("{transport:?}: {count} idle connections …"));
    let exchange = Exchange::new(&stage.call(1024)?, call_answer().as_bytes());
    let bare = stage.bare(transport)?;
    let bare = with_connections(&bare, &exchange, count).await?;
    let sidegate = stage.sidegate(transport).await?;
    let sidegate = with_connections(&sidegate.proxy, &exchange, count).await?;
    report.count(Outcome {
        answered: 2 * count as u64,
        ..Outcome::default()
    });
    let bounded = transport == Transport::Mutual && count >= MANY;
    let name = format!("{transport:?}, {count} connections");
    let target = bounded.then_some(Target::AtMost(250.0));
    report.add(resident(&name, (bare, sidegate), target));
    Ok(())
}

async fn with_connections(
    proxy: &Proxy,
    exchange: &Exchange,
    count: usize,
) -> anyhow::Result<Memory> {
    let open = open_used(&proxy.target, exchange, count).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let memory = proxy.process.memory();
    drop(open);
    memory
}

fn resident(name: &str, (bare, sidegate): Both, target: Option<Target>) -> Figure {
    mib(name.to_owned(), bare.all_mib, sidegate.all_mib, target)
}

fn mib(name: String, bare: f64, sidegate: f64, target: Option<Target>) -> Figure {
    Figure {
        name,
        unit: "MiB",
        bare: Some(bare),
        sidegate,
        compared: Compared::No,
        rounds: Vec::new(),
        target,
    }
}
