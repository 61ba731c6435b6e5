//! What the product promises, in a whole cluster: the operator from
//! `manifests/`, pods that get their sidecars, a client that calls them, and
//! what must not happen while sidecars and operators are killed, pods are
//! replaced and gateways come and go.
//!
//! `make e2e` builds everything, starts the cluster and runs this.

#![expect(
    clippy::indexing_slicing,
    reason = "in JSON what is not there is `null`"
)]

mod actors;
mod cluster;
mod evidence;
mod exposure;
mod node;
mod official;
mod outage;
mod policy;
mod roles;
mod sandbox;
mod setup;
mod traffic;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result};
use clap::Parser;

type Step = (&'static str, fn() -> Result<String>);

/// In this order; each needs those before it.
const STEPS: [Step; 19] = [
    ("the operator starts from manifests/", setup::operator),
    ("an issuer and namespaces", setup::surroundings),
    ("pods of a gateway get their sidecars", setup::gateway),
    ("a client gets an identity", setup::client),
    (
        "calls pass and are refused as the rules say",
        traffic::rules,
    ),
    (
        "the official clients sign in and do what they may",
        official::clients,
    ),
    ("a changed rule is enforced", traffic::change),
    (
        "only the sidecar answers at the pod's address",
        exposure::port,
    ),
    (
        "a server on the wildcard cannot start, and is told why",
        exposure::wildcard,
    ),
    (
        "beside a port of its own for the sidecar it can",
        exposure::separate,
    ),
    (
        "its network policy is kept, and goes with its gateway",
        policy::kept_and_collected,
    ),
    (
        "a server on the wildcard gets no port while its sidecar is killed",
        exposure::insistent,
    ),
    (
        "nothing changes while there is no operator",
        outage::operator_away,
    ),
    (
        "a sidecar comes back without an operator",
        outage::restart_alone,
    ),
    ("operators come back", outage::operator_back),
    (
        "a pod whose node was started again gets another certificate",
        sandbox::lost,
    ),
    ("pods are replaced under load", traffic::replaced),
    ("a deleted gateway leaves nothing open", exposure::deleted),
    (
        "the operator used its permissions, and no others",
        roles::proof,
    ),
];

/// The test in a whole cluster.
#[derive(Debug, Parser)]
struct Args {
    /// Begin with this step, when those before it were done earlier
    #[arg(long, default_value_t = 1)]
    from: usize,
    /// End with this step
    #[arg(long, default_value_t = STEPS.len())]
    to: usize,
}

fn main() -> ExitCode {
    let Args { from, to } = Args::parse();
    let begin = Instant::now();
    let numbered = (1..).zip(STEPS);
    for (_, (name, step)) in numbered.filter(|(number, _)| (from..=to).contains(number)) {
        let start = Instant::now();
        let ended = step().with_context(|| format!("FAILED: {name}"));
        let took = start.elapsed().as_secs_f32();
        match ended {
            Ok(found) => say(&format!("{took:6.1} s  {name}{}{found}", separator(&found))),
            Err(error) => {
                say(&format!("{took:6.1} s  {error:#}"));
                say(&format!("evidence: {}", evidence::collect().display()));
                return ExitCode::FAILURE;
            }
        }
    }
    say(&format!(
        "{:6.1} s  steps {from} to {to} of {}",
        begin.elapsed().as_secs_f32(),
        STEPS.len()
    ));
    ExitCode::SUCCESS
}

fn separator(found: &str) -> &'static str {
    if found.is_empty() { "" } else { ": " }
}

/// Nobody may be there to read it.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "e2e: {line}");
}
