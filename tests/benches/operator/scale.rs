//! A large cluster: what a replica needs to know all of it, and what one change
//! costs in it.

use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};
use sidegate_testkit::issuer::TestIssuer;
use sidegate_testkit::plane::{Patch, Plane};
use tokio::time::{Instant, sleep};

use crate::api::{Ask, Caller, Line};
use crate::documents;
use crate::replica::{Metrics, Replica};
use crate::report::{Figure, Report, millis};
use crate::{Settings, say};

/// Targets: seconds, MiB.
const SYNCED: f64 = 30.0;
const MEMORY: f64 = 512.0;
/// Writes of a status after one change: one for the generation, and one for
/// the pods if they change meanwhile.
const WRITES: f64 = 2.0;
const STEP: Duration = Duration::from_millis(20);
/// A replica that did nothing for so long has nothing left to do.
const QUIET: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn measure(settings: &Settings, report: &mut Report) -> anyhow::Result<()> {
    let Settings {
        namespaces,
        gateways,
        pods,
        ..
    } = settings;
    report.section(format!(
        "{gateways} gateways and {pods} pods in {namespaces} namespaces, one replica"
    ));
    say(format_args!("{gateways} gateways and {pods} pods …"));
    let plane = Plane::start().await;
    let caller = Caller::new(&plane)?;
    fill(settings, &plane, &caller).await?;
    say("… are stored");

    let mut first = Replica::start(&plane, "first").await;
    started(&mut first, "first start", report).await?;
    let written = all_told(&mut first, settings).await?;
    report.add(Figure::seconds(
        "from the first start until every status is written",
        written,
    ));
    let every = caller.all(vec![Ask::get(GATEWAYS)]).await?;
    report.add(
        Figure::count(
            "gateways without a status after that",
            untold(&every, *gateways),
        )
        .at_most(0.0),
    );
    memory(&mut first, "after all statuses were written", report)?;
    most_memory(&mut first, "first start", report)?;
    let cpu = first.cpu()?;
    report.add(Figure::seconds("CPU time of the replica until then", cpu));
    first.stop().await;

    let mut second = Replica::start(&plane, "second").await;
    started(&mut second, "restart", report).await?;
    let told = all_told(&mut second, settings).await?;
    report.add(Figure::seconds(
        "from the restart until every status was looked at",
        told,
    ));
    let metrics = second.metrics().await?;
    report
        .add(Figure::new("statuses written after the restart", "", metrics.written()).at_most(0.0));
    memory(&mut second, "after the restart", report)?;
    let mut line = caller.connect().await?;
    change_of_gateway(&mut second, &mut line, report).await?;
    change_of_pod(&mut second, &mut line, report).await?;
    memory(&mut second, "at the end", report)?;
    most_memory(&mut second, "restart", report)
}

const GATEWAYS: &str = "/apis/sidegate.dev/v1alpha1/mcpgateways";

async fn started(replica: &mut Replica, which: &str, report: &mut Report) -> anyhow::Result<()> {
    let ready = replica.until_ready().await?;
    let name = format!("{which}: from the start of the process until it is ready");
    report.add(Figure::seconds(name, ready).at_most(SYNCED));
    memory(replica, &format!("{which}, when it is ready"), report)
}

fn memory(replica: &mut Replica, when: &str, report: &mut Report) -> anyhow::Result<()> {
    let (now, _) = replica.memory()?;
    report.add(Figure::new(format!("resident memory {when}"), "MiB", now));
    Ok(())
}

fn most_memory(replica: &mut Replica, which: &str, report: &mut Report) -> anyhow::Result<()> {
    let (_, most) = replica.memory()?;
    let name = format!("{which}: most resident memory of the replica");
    report.add(Figure::new(name, "MiB", most).at_most(MEMORY));
    Ok(())
}

/// Waits until the replica has looked at every gateway and nothing waits.
async fn all_told(replica: &mut Replica, settings: &Settings) -> anyhow::Result<Duration> {
    #[expect(clippy::cast_precision_loss, reason = "some thousands")]
    let all = settings.gateways as f64;
    let is_done = |metrics: &Metrics| {
        metrics.leads() && metrics.reconciles() >= all && metrics.waiting() == 0.0
    };
    let done = replica.until("every status is told", is_done).await?;
    settled(replica).await?;
    Ok(done)
}

/// Waits until the replica has nothing left to do.
async fn settled(replica: &Replica) -> anyhow::Result<Metrics> {
    let end = Instant::now() + PATIENCE;
    loop {
        let before = replica.metrics().await?;
        sleep(QUIET).await;
        let after = replica.metrics().await?;
        let is_quiet = before.reconciles() == after.reconciles()
            && before.builds() == after.builds()
            && after.waiting() == 0.0;
        if is_quiet {
            return Ok(after);
        }
        ensure!(Instant::now() < end, "the operator does not come to rest");
    }
}

async fn change_of_gateway(
    replica: &mut Replica,
    line: &mut Line,
    report: &mut Report,
) -> anyhow::Result<()> {
    let path = Plane::gateway_path(&namespace(0), &gateway(0));
    let before = settled(replica).await?;
    let used = replica.cpu()?;
    let began = Instant::now();
    let patch = documents::permits("another_tool");
    let changed = line
        .ask(&Ask::patch(path.clone(), Patch::Merge, patch))
        .await?;
    let generation = changed.pointer("/metadata/generation").cloned();
    loop {
        let object = line.ask(&Ask::get(path.clone())).await?;
        if object.pointer("/status/observedGeneration") == generation.as_ref() {
            break;
        }
        ensure!(began.elapsed() < PATIENCE, "the status does not follow");
        sleep(STEP).await;
    }
    let lag = began.elapsed();
    let after = settled(replica).await?;
    let cpu = replica.cpu()? - used;
    let builds = after.builds() - before.builds();
    report.add(Figure::new("builds for one change of a gateway", "", builds).exactly(1.0));
    report.add(Figure::new(
        "statuses looked at for it",
        "",
        after.reconciles() - before.reconciles(),
    ));
    report.add(
        Figure::new(
            "statuses written for it",
            "",
            after.written() - before.written(),
        )
        .at_most(WRITES),
    );
    report.add(Figure::new(
        "from before it was sent until the status tells it",
        "ms",
        millis(lag),
    ));
    report.add(Figure::new(
        "CPU time of the replica for it, with some seconds of rest",
        "ms",
        millis(cpu),
    ));
    Ok(())
}

/// A pod becomes unready, which its gateway's status counts.
async fn change_of_pod(
    replica: &mut Replica,
    line: &mut Line,
    report: &mut Report,
) -> anyhow::Result<()> {
    let before = settled(replica).await?;
    let path = format!("/api/v1/namespaces/{}/pods/{}/status", namespace(1), pod(1));
    let unready = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
    line.ask(&Ask::patch(path, Patch::Strategic, unready))
        .await?;
    let after = settled(replica).await?;
    let builds = after.builds() - before.builds();
    report.add(Figure::new("builds for one change of a pod", "", builds).at_most(0.0));
    report.add(
        Figure::new(
            "statuses looked at for it",
            "",
            after.reconciles() - before.reconciles(),
        )
        .at_most(WRITES),
    );
    Ok(())
}

/// How many gateways of a list have no status of their present generation.
fn untold(answers: &[Value], gateways: usize) -> usize {
    let lists = answers
        .iter()
        .filter_map(|list| list.pointer("/items")?.as_array());
    let told = lists.flatten().filter(|object| {
        let observed = object.pointer("/status/observedGeneration");
        observed.is_some() && observed == object.pointer("/metadata/generation")
    });
    gateways.saturating_sub(told.count())
}

fn namespace(index: usize) -> String {
    format!("team-{index}")
}

fn gateway(index: usize) -> String {
    format!("gateway-{index}")
}

fn pod(index: usize) -> String {
    format!("pod-{index}")
}

/// Gateways and pods, evenly in all namespaces, and in each evenly among its
/// gateways.
async fn fill(settings: &Settings, plane: &Plane, caller: &Caller) -> anyhow::Result<()> {
    let Settings {
        namespaces,
        gateways,
        pods,
        ..
    } = *settings;
    let issuer = TestIssuer::start().await;
    for index in 0..namespaces {
        plane.namespace(&namespace(index)).await;
    }
    let home = |index: usize| namespace(index % namespaces);
    let create = |index: usize| {
        let path = format!(
            "/apis/sidegate.dev/v1alpha1/namespaces/{}/mcpgateways",
            home(index)
        );
        let name = gateway(index);
        Ask::create(
            path,
            documents::gateway(&name, &name, 8080, &issuer, "none"),
        )
    };
    caller.all((0..gateways).map(create).collect()).await?;
    let create = |index: usize| {
        let path = format!("/api/v1/namespaces/{}/pods", home(index));
        // In the namespace of its gateway: the namespaces divide the gateways.
        let app = gateway(index % gateways);
        Ask::create(path, documents::pod(&pod(index), &app, "default"))
    };
    caller.all((0..pods).map(create).collect()).await?;
    let runs = |index: usize| {
        let path = format!(
            "/api/v1/namespaces/{}/pods/{}/status",
            home(index),
            pod(index)
        );
        Ask::patch(path, Patch::Strategic, documents::running(index))
    };
    caller.all((0..pods).map(runs).collect()).await?;
    Ok(())
}
