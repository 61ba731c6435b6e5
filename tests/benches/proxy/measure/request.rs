//! What a request costs.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::Settings;
use super::memory::{Both, idle_and_loaded};
use super::others::Others;
use crate::connections::Connection;
use crate::exchange::Exchange;
use crate::load::{self, Round};
use crate::pace::{self, Paced};
use crate::process::Process;
use crate::report::{Compared, Figure, Report, Target, median};
use crate::say;
use crate::stage::{Proxy, Sidegate, Stage, Transport};
use crate::upstream::{FEW_TOOLS, MANY_TOOLS, call_answer, list_answer, tool_name};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
/// Connections of the closed loop.
const CONNECTIONS: usize = 32;
/// Connections of the closed loop with large messages.
const FEW_CONNECTIONS: usize = 8;
/// Requests per second of the open loop.
const RATE: u32 = 1_000;
/// Targets of a small call, as parts of the bare proxy's figures.
const LEAST_RATE: f64 = 0.90;
const MOST_CPU: f64 = 1.15;
const WARM_UP: Duration = Duration::from_millis(300);

/// The two proxies, and the requests that the sidecar has answered.
struct Pair {
    bare: Proxy,
    sidegate: Sidegate,
    answered: u64,
}

/// A request, and what each proxy answers to it.
struct Case {
    name: &'static str,
    bare: Exchange,
    sidegate: Exchange,
    connections: usize,
}

/// Rounds of both proxies, taken in turns.
struct Rounds {
    bare: Vec<Round>,
    sidegate: Vec<Round>,
}

/// Everything without TLS.
pub(super) async fn plaintext(
    stage: &Stage,
    settings: &Settings,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut pair = Pair::start(stage, Transport::Plaintext).await?;
    let idle = pair.resident().await?;
    let call = Case::call("tools/call of 1 KiB", &stage.call(KIB)?, CONNECTIONS);
    throughput(&mut pair, &call, stage, settings, report).await?;
    let loaded = pair.resident().await?;
    latency(&mut pair, &call, settings, report).await?;
    let few = pair
        .list("tools/list of 10 tools", stage.list(false), FEW_TOOLS)
        .await?;
    shorter(&mut pair, &few, settings, report, None).await?;
    let many = pair
        .list("tools/list of 1,000 tools", stage.list(true), MANY_TOOLS)
        .await?;
    shorter(&mut pair, &many, settings, report, Some(0.5)).await?;
    let large = Case::call("tools/call of 1 MiB", &stage.call(MIB)?, FEW_CONNECTIONS);
    shorter(&mut pair, &large, settings, report, Some(0.6)).await?;
    idle_and_loaded(report, idle, loaded, pair.resident().await?);
    pair.audit_lines(report).await
}

/// The same call with TLS.
pub(super) async fn mutual(
    stage: &Stage,
    settings: &Settings,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut pair = Pair::start(stage, Transport::Mutual).await?;
    let call = Case::call("tools/call of 1 KiB", &stage.call(KIB)?, CONNECTIONS);
    let rounds = pair
        .rounds(&call, settings.fewer_rounds, settings.round, report)
        .await?;
    report.add(rounds.rate(&call, Some(LEAST_RATE)));
    report.add(rounds.cpu(&call, Some(MOST_CPU)));
    latency(&mut pair, &call, settings, report).await
}

/// The figure that decides, and what disturbed it.
async fn throughput(
    pair: &mut Pair,
    case: &Case,
    stage: &Stage,
    settings: &Settings,
    report: &mut Report,
) -> anyhow::Result<()> {
    let others = Others::watch(&pair.processes(stage))?;
    let rounds = pair
        .rounds(case, settings.rounds, settings.round, report)
        .await?;
    let others = others.figure(&pair.processes(stage))?;
    let rate = rounds.rate(case, Some(LEAST_RATE));
    report.set_throughput(rate.decisive());
    report.add(rate);
    report.add(rounds.cpu(case, Some(MOST_CPU)));
    report.add(others);
    Ok(())
}

async fn shorter(
    pair: &mut Pair,
    case: &Case,
    settings: &Settings,
    report: &mut Report,
    least_rate: Option<f64>,
) -> anyhow::Result<()> {
    let rounds = pair
        .rounds(case, settings.fewer_rounds, settings.short_round, report)
        .await?;
    report.add(rounds.rate(case, least_rate));
    report.add(rounds.cpu(case, None));
    Ok(())
}

/// The latency that the sidecar adds at a fixed rate.
async fn latency(
    pair: &mut Pair,
    case: &Case,
    settings: &Settings,
    report: &mut Report,
) -> anyhow::Result<()> {
    say(format_args!("{}: latency …", case.name));
    let (mut bare, mut sidegate) = (Vec::new(), Vec::new());
    for _ in 0..settings.fewer_rounds {
        bare.push(paced(&pair.bare, &case.bare, settings, report).await?);
        let paced = paced(&pair.sidegate.proxy, &case.sidegate, settings, report).await?;
        pair.answered += paced.0;
        sidegate.push(paced);
    }
    for (name, share, most) in [("p50", 0.50, 0.2), ("p99", 0.99, 1.0)] {
        let of = |all: &[(u64, Paced)]| -> Vec<f64> {
            all.iter()
                .map(|(_, paced)| paced.percentile(share))
                .collect()
        };
        let (bare, sidegate) = (of(&bare), of(&sidegate));
        let rounds = bare
            .iter()
            .zip(&sidegate)
            .map(|(bare, sidegate)| sidegate - bare);
        report.add(Figure {
            name: format!("{}, {name} at {RATE} requests/s", case.name),
            unit: "ms",
            bare: Some(median(&bare)),
            sidegate: median(&sidegate),
            compared: Compared::Difference,
            rounds: rounds.collect(),
            target: Some(Target::AtMost(most)),
        });
    }
    Ok(())
}

async fn paced(
    proxy: &Proxy,
    exchange: &Exchange,
    settings: &Settings,
    report: &mut Report,
) -> anyhow::Result<(u64, Paced)> {
    let mut paced = pace::run(&proxy.target, exchange, RATE, settings.round).await?;
    let outcome = std::mem::take(&mut paced.outcome);
    let answered = outcome.answered;
    report.count(outcome);
    Ok((answered, paced))
}

// === impl Pair ===

impl Pair {
    async fn start(stage: &Stage, transport: Transport) -> anyhow::Result<Self> {
        let bare = stage.bare(transport)?;
        let sidegate = stage.sidegate(transport).await?;
        Ok(Self {
            bare,
            sidegate,
            answered: 0,
        })
    }

    /// Every process of the measurement but this one.
    fn processes<'a>(&'a self, stage: &'a Stage) -> [&'a Process; 3] {
        [
            &stage.server,
            &self.bare.process,
            &self.sidegate.proxy.process,
        ]
    }

    /// A list, which the sidecar cuts down to what the token may use.
    async fn list(
        &mut self,
        name: &'static str,
        request: Vec<u8>,
        tools: usize,
    ) -> anyhow::Result<Case> {
        let mut connection = Connection::open(&self.sidegate.proxy.target).await?;
        let answer = connection.send(&request).await?;
        ensure!(answer.status == 200, "{name}: status {}", answer.status);
        let seen: Value = serde_json::from_slice(answer.body)?;
        let seen = seen.pointer("/result/tools").and_then(Value::as_array);
        let seen = seen.context("no list of tools")?.iter();
        let seen: Vec<_> = seen.filter_map(|tool| tool.get("name")?.as_str()).collect();
        let visible: Vec<_> = (0..tools)
            .map(tool_name)
            .filter(|name| name.starts_with("get_"))
            .collect();
        ensure!(
            seen == visible,
            "{name}: the sidecar shows other tools than those allowed"
        );
        let sidegate = Exchange::new(&request, answer.body);
        self.answered += 1;
        let bare = Exchange::new(&request, list_answer(tools).as_bytes());
        Ok(Case {
            name,
            bare,
            sidegate,
            connections: FEW_CONNECTIONS,
        })
    }

    /// Loads one proxy, then the other, then the other way round, and so on.
    async fn rounds(
        &mut self,
        case: &Case,
        count: usize,
        length: Duration,
        report: &mut Report,
    ) -> anyhow::Result<Rounds> {
        say(format_args!("{}: throughput …", case.name));
        self.bare_round(case, WARM_UP, report).await?;
        self.sidegate_round(case, WARM_UP, report).await?;
        let mut rounds = Rounds {
            bare: Vec::new(),
            sidegate: Vec::new(),
        };
        for round in 0..count {
            if round.is_multiple_of(2) {
                rounds
                    .bare
                    .push(self.bare_round(case, length, report).await?);
                rounds
                    .sidegate
                    .push(self.sidegate_round(case, length, report).await?);
            } else {
                rounds
                    .sidegate
                    .push(self.sidegate_round(case, length, report).await?);
                rounds
                    .bare
                    .push(self.bare_round(case, length, report).await?);
            }
        }
        Ok(rounds)
    }

    async fn bare_round(
        &self,
        case: &Case,
        length: Duration,
        report: &mut Report,
    ) -> anyhow::Result<Round> {
        let mut round = load::round(&self.bare, &case.bare, case.connections, length).await?;
        report.count(std::mem::take(&mut round.outcome));
        Ok(round)
    }

    async fn sidegate_round(
        &mut self,
        case: &Case,
        length: Duration,
        report: &mut Report,
    ) -> anyhow::Result<Round> {
        let proxy = &self.sidegate.proxy;
        let mut round = load::round(proxy, &case.sidegate, case.connections, length).await?;
        self.answered += round.outcome.answered;
        report.count(std::mem::take(&mut round.outcome));
        Ok(round)
    }

    /// Resident memory of both, a moment after the last request.
    async fn resident(&self) -> anyhow::Result<Both> {
        tokio::time::sleep(Duration::from_millis(500)).await;
        Ok((
            self.bare.process.memory()?,
            self.sidegate.proxy.process.memory()?,
        ))
    }

    /// Whether every request has left its line: a sidecar that loses some
    /// would be quick for the wrong reason.
    async fn audit_lines(self, report: &mut Report) -> anyhow::Result<()> {
        let answered = self.answered;
        let lines = self.sidegate.stop().await?;
        #[expect(clippy::cast_precision_loss, reason = "far under 2^52")]
        let missing = answered.abs_diff(lines) as f64;
        report.add(Figure {
            name: format!("audit lines missing, of {answered}"),
            unit: "lines",
            bare: None,
            sidegate: missing,
            compared: Compared::No,
            rounds: Vec::new(),
            target: Some(Target::AtMost(0.0)),
        });
        Ok(())
    }
}

// === impl Case ===

impl Case {
    fn call(name: &'static str, request: &[u8], connections: usize) -> Self {
        let exchange = Exchange::new(request, call_answer().as_bytes());
        Self {
            name,
            bare: exchange.clone(),
            sidegate: exchange,
            connections,
        }
    }
}

// === impl Rounds ===

impl Rounds {
    fn rate(&self, case: &Case, least: Option<f64>) -> Figure {
        let name = format!("{}, {} connections", case.name, case.connections);
        self.ratio(
            name,
            "requests/s",
            |round| round.rate,
            least.map(Target::AtLeast),
        )
    }

    fn cpu(&self, case: &Case, most: Option<f64>) -> Figure {
        let name = format!("{}, CPU per request", case.name);
        self.ratio(
            name,
            "µs",
            |round| round.cpu_micros,
            most.map(Target::AtMost),
        )
    }

    fn ratio(
        &self,
        name: String,
        unit: &'static str,
        of: impl Fn(&Round) -> f64,
        target: Option<Target>,
    ) -> Figure {
        let bare: Vec<_> = self.bare.iter().map(&of).collect();
        let sidegate: Vec<_> = self.sidegate.iter().map(&of).collect();
        Figure {
            name,
            unit,
            bare: Some(median(&bare)),
            sidegate: median(&sidegate),
            compared: Compared::Ratio,
            rounds: bare
                .iter()
                .zip(&sidegate)
                .map(|(bare, sidegate)| sidegate / bare)
                .collect(),
            target,
        }
    }
}
