//! Probes and hooks of the other containers, at `/app-health/…`.
//!
//! Whoever reaches the health port can ask. A server still sees what the
//! kubelet would have sent it, and no more: one probe per period, each hook
//! until it succeeds, `preStop` only while the sidecar drains. Whoever asks
//! meanwhile gets the last result, or waits for the one that is on its way.
//!
//! A hook that failed because somebody asked too early does not fail for the
//! kubelet: whoever asks after an attempt had begun is not told its failure,
//! but that of the next attempt.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use sidegate_config::probes::{Check, RewrittenProbe, RewrittenProbes};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::probe::{Failure, Outcome, probe};
use crate::drain::Drain;
use crate::run::service_port::{Answer, answer, not_found, text};

/// What Kubernetes takes for a probe that does not say.
const PERIOD: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(1);
/// A hook may take long, but not longer than a connection of the health port.
const LONGEST: Duration = Duration::from_secs(110);
/// The kubelet asks once per period by its own clock. If it comes a little
/// early, it waits for a new result rather than to get the old one again.
const EARLY: Duration = Duration::from_millis(100);
/// A `preStop` of a server may be asked for shortly before the sidecar's own
/// has begun the drain: the kubelet starts both at once.
const DRAIN_WAIT: Duration = Duration::from_secs(5);
/// A hook that failed may be asked for again after this.
const HOOK_RETRY: Duration = Duration::from_secs(1);

/// What can be asked for, by path.
#[derive(Debug, Default)]
pub(crate) struct AppHealth(HashMap<String, Checked>);

#[derive(Debug)]
struct Checked {
    check: Check,
    probe: Arc<RewrittenProbe>,
    latest: Mutex<Option<Latest>>,
}

#[derive(Debug, Clone)]
struct Latest {
    begun: Instant,
    outcome: watch::Receiver<Option<Outcome>>,
}

/// What to do for one who asks.
enum Step {
    Take(Latest),
    WaitUntil(Instant),
}

// === impl AppHealth ===

impl AppHealth {
    pub(crate) fn new(probes: &RewrittenProbes) -> Self {
        let checked = probes.iter().map(|(container, check, probe)| {
            let checked = Checked {
                check,
                probe: Arc::new(probe.clone()),
                latest: Mutex::default(),
            };
            (RewrittenProbes::path(container, check), checked)
        });
        Self(checked.collect())
    }

    /// The answer at `path`: it says what failed, and nothing that a server
    /// said.
    pub(super) async fn answer(&self, path: &str, drain: &Arc<Drain>) -> Answer {
        let Some(checked) = self.0.get(path) else {
            return not_found();
        };
        let is_pre_stop = checked.check == Check::Prestop;
        if is_pre_stop && timeout(DRAIN_WAIT, drain.draining()).await.is_err() {
            return text(StatusCode::SERVICE_UNAVAILABLE, "the pod is not stopping");
        }
        // The drain does not end under a hook that belongs to it.
        let _in_progress = is_pre_stop.then(|| drain.open(usize::MAX));
        match checked.ask().await {
            Ok(()) => text(StatusCode::OK, "ok"),
            Err(failure) => answer(
                StatusCode::SERVICE_UNAVAILABLE,
                "text/plain; charset=utf-8",
                Bytes::from(format!("failed: {failure}")),
            ),
        }
    }
}

// === impl Checked ===

impl Checked {
    async fn ask(&self) -> Outcome {
        let asked_at = Instant::now();
        loop {
            match self.step(Instant::now()) {
                Step::WaitUntil(time) => sleep_until(time).await,
                Step::Take(latest) => {
                    let outcome = latest.known().await;
                    let is_of_another = self.is_hook() && latest.begun < asked_at;
                    if outcome.is_ok() || !is_of_another {
                        return outcome;
                    }
                    sleep_until(latest.begun + HOOK_RETRY).await;
                }
            }
        }
    }

    fn step(&self, now: Instant) -> Step {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(latest) = &*latest {
            match self.next(latest) {
                Some(next) if next <= now => {}
                Some(next) if next <= now + EARLY => return Step::WaitUntil(next),
                Some(_) | None => return Step::Take(latest.clone()),
            }
        }
        let (outcome_tx, outcome_rx) = watch::channel(None);
        let begun = Latest {
            begun: now,
            outcome: outcome_rx,
        };
        *latest = Some(begun.clone());
        let (asked, longest) = (Arc::clone(&self.probe), self.timeout());
        // A task: one who hangs up does not have the server asked again.
        tokio::spawn(async move {
            let outcome = timeout(longest, probe(&asked.target)).await;
            outcome_tx.send_replace(Some(outcome.unwrap_or(Err(Failure::Timeout))));
        });
        Step::Take(begun)
    }

    /// When the server may be asked again; none: not before the one that is on
    /// its way has ended, or never.
    fn next(&self, latest: &Latest) -> Option<Instant> {
        let outcome = *latest.outcome.borrow();
        let runs = outcome.is_none() && latest.outcome.has_changed().is_ok();
        match outcome {
            _ if runs => None,
            Some(Ok(())) if self.is_hook() => None,
            _ if self.is_hook() => Some(latest.begun + HOOK_RETRY),
            _ => Some(latest.begun + self.period()),
        }
    }

    fn is_hook(&self) -> bool {
        matches!(self.check, Check::Poststart | Check::Prestop)
    }

    fn period(&self) -> Duration {
        seconds(self.probe.period_seconds).unwrap_or(PERIOD)
    }

    fn timeout(&self) -> Duration {
        let default = match self.check {
            Check::Livez | Check::Readyz | Check::Startupz => TIMEOUT,
            Check::Poststart | Check::Prestop => LONGEST,
        };
        let longest = seconds(self.probe.timeout_seconds).unwrap_or(default);
        longest.min(LONGEST)
    }
}

// === impl Latest ===

impl Latest {
    /// What came of it, when that is known.
    async fn known(&self) -> Outcome {
        let mut outcome = self.outcome.clone();
        let known = outcome.wait_for(Option::is_some).await;
        let known = known.ok().and_then(|outcome| *outcome);
        known.unwrap_or(Err(Failure::NoAnswer))
    }
}

fn seconds(written: Option<u32>) -> Option<Duration> {
    let written = written.filter(|seconds| *seconds > 0)?;
    Some(Duration::from_secs(written.into()))
}

#[cfg(test)]
mod tests;
