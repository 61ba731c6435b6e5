//! A thousand sidecars of one gateway on two replicas.

use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};
use sidegate_config::sidecar_config::SecretText;
use sidegate_testkit::issuer::TestIssuer;
use sidegate_testkit::plane::{Patch, Plane};
use tokio::time::{Instant, sleep};

use crate::api::{Ask, Caller, Line, text};
use crate::documents;
use crate::fleet::{Fleet, Seen};
use crate::replica::{self, Replica};
use crate::report::{Figure, Report, millis};
use crate::{Settings, say};

const NAMESPACE: &str = "crm";
const NAME: &str = "support";
/// Seconds without any change, over which CPU time is counted.
const QUIET: Duration = Duration::from_secs(20);
/// Between two changes, after the status told the last one.
const PAUSE: Duration = Duration::from_secs(1);
const STEP: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(120);
/// Targets: milliseconds, and seconds for the status.
const P50: f64 = 500.0;
const P99: f64 = 2_000.0;
const STATUS_LAG: f64 = 10.0;

pub(crate) async fn measure(settings: &Settings, report: &mut Report) -> anyhow::Result<()> {
    let count = settings.sidecars;
    report.section(format!(
        "{count} sidecars of one gateway, two replicas of the operator"
    ));
    say(format_args!("{count} sidecars …"));
    let plane = Plane::start().await;
    plane.namespace(NAMESPACE).await;
    let mut replicas = replica::two(&plane).await?;
    let issuer = TestIssuer::start().await;
    let mut stage = Stage {
        gateway: Plane::gateway_path(NAMESPACE, NAME),
        line: Caller::new(&plane)?.connect().await?,
        count,
    };
    let tokens = stage.create(&plane, &issuer).await?;
    let trust = stage.trust().await?;
    stage.until_status("matched").await?;

    let mut addresses = Vec::new();
    for replica in &mut replicas {
        addresses.push(replica.streams().await);
    }
    let before = used(&mut replicas)?;
    let began = Instant::now();
    let mut fleet = Fleet::start(tokens, &addresses, &trust)?;
    fleet.until_all("they enforce", is_complete).await?;
    let connected = fleet.times(began, completed_at);
    stage.until_status("programmed").await?;
    let status = began.elapsed();
    for (name, share) in [("p50", 0.5), ("all", 1.0)] {
        let name = format!("{name} connected, certified and enforcing, all starting at once");
        report.add(Figure::quantile(name, "ms", &connected, share));
    }
    report.add(Figure::count(
        format!(
            "attempts that were told to come later: {:?}",
            fleet.refusals
        ),
        fleet.refusals.values().sum(),
    ));
    report.add(Figure::seconds(
        format!("from their start until the status says {count}/{count}"),
        status,
    ));
    resources(&mut replicas, &before, count, report).await?;
    changes(settings, &mut stage, &mut fleet, &mut replicas, report).await?;
    busy_changes(settings, &mut stage, &mut fleet, report).await?;
    report.add(Figure::count(
        "bytes of a configuration",
        fleet.config_bytes,
    ));
    for replica in &mut replicas {
        let (_, most) = replica.memory()?;
        report.add(Figure::new(
            "most resident memory of a replica",
            "MiB",
            most,
        ));
    }
    Ok(())
}

fn is_complete(seen: &Seen) -> bool {
    completed_at(seen).is_some()
}

fn completed_at(seen: &Seen) -> Option<Instant> {
    let (_, enforces) = seen.enforces.as_ref()?;
    Some((*enforces).max(seen.certified?).max(seen.welcomed?))
}

/// Every change is waited for in the status before the next one.
async fn changes(
    settings: &Settings,
    stage: &mut Stage,
    fleet: &mut Fleet,
    replicas: &mut [Replica; 2],
    report: &mut Report,
) -> anyhow::Result<()> {
    let (mut times, mut last, mut lags) = (Vec::new(), Vec::new(), Vec::new());
    let before = used(replicas)?.cpu;
    for round in 0..settings.fleet_changes {
        let began = Instant::now();
        let of_change = change(stage, fleet, &format!("tool_{round}")).await?;
        stage.until_status("programmed").await?;
        lags.push(began.elapsed().as_secs_f64());
        last.push(of_change.iter().copied().fold(0.0, f64::max));
        times.extend(of_change);
        sleep(PAUSE).await;
    }
    let cpu = used(replicas)?.cpu - before;
    let changes = settings.fleet_changes;
    let name = |of: &str| {
        format!("{of}, from before a change was sent until a sidecar has it, {changes} changes")
    };
    report.add(Figure::quantile(name("p50"), "ms", &times, 0.5).at_most(P50));
    report.add(Figure::quantile(name("p99"), "ms", &times, 0.99).at_most(P99));
    report.add(Figure::quantile(
        name("the last one, median"),
        "ms",
        &last,
        0.5,
    ));
    let name = |of: &str| format!("{of}, from before it was sent until the status counts all");
    report.add(Figure::quantile(name("median"), "s", &lags, 0.5));
    report.add(Figure::quantile(name("the longest"), "s", &lags, 1.0).at_most(STATUS_LAG));
    #[expect(clippy::cast_precision_loss, reason = "some")]
    let one = cpu.as_secs_f64() / (changes * stage.count) as f64;
    let name = "CPU time of both replicas for each change and stream, the status included";
    report.add(Figure::new(name, "ms", one * 1e3));
    Ok(())
}

/// Changes that come while the conditions of a thousand pods are being written
/// for the one before.
async fn busy_changes(
    settings: &Settings,
    stage: &mut Stage,
    fleet: &mut Fleet,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut times = Vec::new();
    for round in 0..settings.fleet_changes.div_ceil(2) {
        let _ = change(stage, fleet, &format!("first_{round}")).await?;
        times.extend(change(stage, fleet, &format!("second_{round}")).await?);
        stage.until_status("programmed").await?;
        sleep(PAUSE).await;
    }
    let name = |of: &str| format!("{of}, when it is sent as soon as all have the one before");
    report.add(Figure::quantile(name("p50"), "ms", &times, 0.5).at_most(P50));
    report.add(Figure::quantile(name("p99"), "ms", &times, 0.99).at_most(P99));
    Ok(())
}

/// Sends a change; gives how long each sidecar had to wait for it.
async fn change(stage: &mut Stage, fleet: &mut Fleet, tool: &str) -> anyhow::Result<Vec<f64>> {
    let old = fleet.hash().unwrap_or_default().to_owned();
    let is_new = |seen: &Seen| seen.enforces.as_ref().is_some_and(|(hash, _)| *hash != old);
    let began = Instant::now();
    stage.permit(tool).await?;
    fleet.until_all("a change reaches them", is_new).await?;
    Ok(fleet.times(began, |seen| Some(seen.enforces.as_ref()?.1)))
}

/// What both replicas have used.
#[derive(Debug, Clone, Copy)]
struct Used {
    cpu: Duration,
    resident: f64,
}

fn used(replicas: &mut [Replica; 2]) -> anyhow::Result<Used> {
    let mut used = Used {
        cpu: Duration::ZERO,
        resident: 0.0,
    };
    for replica in replicas {
        used.cpu += replica.cpu()?;
        used.resident += replica.memory()?.0;
    }
    Ok(used)
}

async fn resources(
    replicas: &mut [Replica; 2],
    before: &Used,
    count: usize,
    report: &mut Report,
) -> anyhow::Result<()> {
    #[expect(clippy::cast_precision_loss, reason = "some")]
    let count = count as f64;
    let connected = used(replicas)?;
    let cpu = millis(connected.cpu - before.cpu) / count;
    let name = "CPU time of both replicas for the start of each stream, the status included";
    report.add(Figure::new(name, "ms", cpu));
    let grown = (connected.resident - before.resident) * 1024.0 / count;
    report.add(Figure::new("resident memory for each stream", "KiB", grown));
    sleep(QUIET).await;
    let quiet = (used(replicas)?.cpu - connected.cpu).as_secs_f64() / QUIET.as_secs_f64();
    let name = "CPU time for each stream while nothing changes";
    report.add(Figure::new(name, "ms/min", quiet * 60e3 / count));
    Ok(())
}

/// The gateway and its pods in the API server.
struct Stage {
    gateway: String,
    line: Line,
    count: usize,
}

// === impl Stage ===

impl Stage {
    /// Creates everything, and gives a token that is bound to each pod.
    async fn create(
        &mut self,
        plane: &Plane,
        issuer: &TestIssuer,
    ) -> anyhow::Result<Vec<SecretText>> {
        let gateway = documents::gateway(NAME, NAME, 8080, issuer, "none");
        let _ = plane.api.apply(&self.gateway, &gateway).await;
        let accounts = format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts");
        let account = Ask::create(accounts.clone(), documents::account(NAME));
        self.line.ask(&account).await?;
        let caller = Caller::new(plane)?;
        let pods = format!("/api/v1/namespaces/{NAMESPACE}/pods");
        let name = |index: usize| format!("{NAME}-{index:04}");
        let all = 0..self.count;
        let create = |index| Ask::create(pods.clone(), documents::pod(&name(index), NAME, NAME));
        let created = caller.all(all.clone().map(create).collect()).await?;
        let runs = |index| {
            let path = format!("{pods}/{}/status", name(index));
            Ask::patch(path, Patch::Strategic, documents::running(index))
        };
        caller.all(all.map(runs).collect()).await?;
        let path = format!("{accounts}/{NAME}/token");
        let request = |pod: &Value| anyhow::Ok(Ask::create(path.clone(), token_request(pod)?));
        let requests = created.iter().map(request).collect::<Result<_, _>>()?;
        let tokens = caller.all(requests).await?;
        tokens
            .iter()
            .map(|answer| Ok(SecretText::from(text(answer, "/status/token")?.to_owned())))
            .collect()
    }

    /// Whom sidecars trust for the operator.
    async fn trust(&mut self) -> anyhow::Result<String> {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps/sidegate-trust");
        let bundle = self.line.ask(&Ask::get(path)).await?;
        Ok(text(&bundle, "/data/endpoints.crt")?.to_owned())
    }

    async fn permit(&mut self, tool: &str) -> anyhow::Result<()> {
        let patch = documents::permits(tool);
        let ask = Ask::patch(self.gateway.clone(), Patch::Merge, patch);
        self.line.ask(&ask).await.map(|_| ())
    }

    /// Waits until the status of the present generation counts all pods as
    /// this.
    async fn until_status(&mut self, counted: &str) -> anyhow::Result<()> {
        let end = Instant::now() + PATIENCE;
        let pointer = format!("/status/dataPlane/{counted}");
        loop {
            let object = self.line.ask(&Ask::get(self.gateway.clone())).await?;
            let is_current = object.pointer("/status/observedGeneration")
                == object.pointer("/metadata/generation");
            if is_current && object.pointer(&pointer) == Some(&json!(self.count)) {
                return Ok(());
            }
            ensure!(
                Instant::now() < end,
                "the status does not say that all are {counted}: {:#}",
                object.pointer("/status").unwrap_or(&Value::Null)
            );
            sleep(STEP).await;
        }
    }
}

fn token_request(pod: &Value) -> anyhow::Result<Value> {
    Ok(json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {
            "audiences": ["sidegate.dev"],
            "expirationSeconds": 3600,
            "boundObjectRef": {
                "kind": "Pod",
                "apiVersion": "v1",
                "name": text(pod, "/metadata/name")?,
                "uid": text(pod, "/metadata/uid")?,
            },
        },
    }))
}
