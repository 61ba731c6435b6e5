//! Changes of the configuration.

use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::Settings;
use crate::connections::Connection;
use crate::exchange::Exchange;
use crate::load;
use crate::pace;
use crate::report::{Compared, Figure, Report, Target, median};
use crate::say;
use crate::stage::{Sidegate, Stage, Transport, Variant};
use crate::upstream::call_answer;

const EVERY: Duration = Duration::from_millis(50);
/// Requests per second while it is measured how much slower they get.
const RATE: u32 = 500;
const CONNECTIONS: usize = 8;
const PATIENCE: Duration = Duration::from_secs(10);
const ACCEPTED: &str = "sidegate_config_reloads_total{result=\"accepted\"}";

/// Reloads under load, then how soon a change is enforced.
pub(super) async fn reloads(
    stage: &Stage,
    settings: &Settings,
    report: &mut Report,
) -> anyhow::Result<()> {
    let sidegate = stage.sidegate(Transport::Plaintext).await?;
    let call = Exchange::new(&stage.call(1024)?, call_answer().as_bytes());
    under_load(&sidegate, &call, settings, report).await?;
    slower(&sidegate, &call, settings, report).await?;
    enforcement(&sidegate, &call, settings, report).await
}

async fn under_load(
    sidegate: &Sidegate,
    call: &Exchange,
    settings: &Settings,
    report: &mut Report,
) -> anyhow::Result<()> {
    let writes = u32::try_from(settings.reloads)?;
    say(format_args!("{writes} reloads under load …"));
    let before = sidegate.metric(ACCEPTED).await?;
    let length = EVERY * (writes + 4);
    let loading = load::run(&sidegate.proxy.target, call, CONNECTIONS, length);
    let (outcome, written) = tokio::join!(loading, write_often(sidegate, writes));
    written?;
    let outcome = outcome?;
    let reloads = sidegate.metric(ACCEPTED).await? - before;
    #[expect(clippy::cast_precision_loss, reason = "far under 2^52")]
    let (failed, reloads) = (outcome.failed as f64, reloads as f64);
    report.add(counted(
        format!(
            "requests failed over these reloads, of {}",
            outcome.answered + outcome.failed
        ),
        failed,
        Target::AtMost(0.0),
    ));
    report.add(counted(
        format!("reloads accepted under load, of {writes}"),
        reloads,
        // The next change may overtake one that is still being read.
        Target::AtLeast((f64::from(writes) * 0.9).floor()),
    ));
    report.count(outcome);
    Ok(())
}

/// How much slower requests get while the configuration changes all the time.
async fn slower(
    sidegate: &Sidegate,
    call: &Exchange,
    settings: &Settings,
    report: &mut Report,
) -> anyhow::Result<()> {
    let writes = u32::try_from(settings.reloads)?;
    say(format_args!(
        "{RATE} requests/s without reloads, and with {writes} …"
    ));
    let length = EVERY * writes;
    let target = &sidegate.proxy.target;
    let quiet = pace::run(target, call, RATE, length).await?;
    let before = sidegate.metric(ACCEPTED).await?;
    let loading = pace::run(target, call, RATE, length);
    let (busy, written) = tokio::join!(loading, write_often(sidegate, writes));
    let busy = busy?;
    written?;
    ensure!(
        sidegate.metric(ACCEPTED).await? > before,
        "nothing was reloaded meanwhile"
    );
    let [quiet_p99, busy_p99] = [&quiet, &busy].map(|paced| paced.percentile(0.99));
    for (name, unit, sidegate, target) in [
        (
            format!("p99 at {RATE} requests/s without reloads"),
            "ms",
            quiet_p99,
            None,
        ),
        (
            format!("p99 at {RATE} requests/s with {writes} reloads"),
            "ms",
            busy_p99,
            None,
        ),
        (
            "so many times as slow while the configuration changes (p99)".to_owned(),
            "times",
            busy_p99 / quiet_p99,
            Some(Target::AtMost(2.0)),
        ),
    ] {
        report.add(Figure {
            name,
            unit,
            bare: None,
            sidegate,
            compared: Compared::No,
            rounds: Vec::new(),
            target,
        });
    }
    report.count(quiet.outcome);
    report.count(busy.outcome);
    Ok(())
}

async fn write_often(sidegate: &Sidegate, writes: u32) -> anyhow::Result<()> {
    let mut due = interval(EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for write in 0..writes {
        due.tick().await;
        let even = write.is_multiple_of(2);
        sidegate.write(if even { Variant::Other } else { Variant::Usual })?;
    }
    Ok(())
}

/// From the rename of the file to the first answer by the new rules.
async fn enforcement(
    sidegate: &Sidegate,
    call: &Exchange,
    settings: &Settings,
    report: &mut Report,
) -> anyhow::Result<()> {
    say("change to enforcement …");
    let mut connection = Connection::open(&sidegate.proxy.target).await?;
    let mut millis = Vec::new();
    for change in 0..settings.changes {
        let denied = change.is_multiple_of(2);
        let variant = if denied {
            Variant::Denied
        } else {
            Variant::Usual
        };
        let wanted = if denied { 403 } else { 200 };
        sidegate.write(variant)?;
        let begun = Instant::now();
        loop {
            match connection.send(&call.request).await?.status {
                status if status == wanted => break,
                200 | 403 => ensure!(begun.elapsed() < PATIENCE, "a change is not enforced"),
                other => bail!("status {other}"),
            }
            sleep(Duration::from_millis(1)).await;
        }
        millis.push(begun.elapsed().as_secs_f64() * 1e3);
        // Not while the file is still being settled on.
        sleep(Duration::from_millis(100)).await;
    }
    report.add(Figure {
        name: format!("change to enforcement, median of {}", settings.changes),
        unit: "ms",
        bare: None,
        sidegate: median(&millis),
        compared: Compared::No,
        rounds: millis,
        target: Some(Target::AtMost(100.0)),
    });
    Ok(())
}

fn counted(name: String, count: f64, target: Target) -> Figure {
    Figure {
        name,
        unit: "count",
        bare: None,
        sidegate: count,
        compared: Compared::No,
        rounds: Vec::new(),
        target: Some(target),
    }
}
