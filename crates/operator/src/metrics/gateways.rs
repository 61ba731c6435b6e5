//! The metrics of gateways: builds, statuses, and what they say.

use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};
use sidegate_api::names::condition;

use super::register;

/// A status may lag up to ten seconds.
const LAG_BUCKETS: [f64; 11] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0];

/// The conditions of gateways that are counted.
pub(crate) const TOLD_CONDITIONS: [&str; 5] = [
    condition::ACCEPTED,
    condition::RESOLVED_REFS,
    condition::PROGRAMMED,
    condition::READY,
    condition::BYPASS_POSSIBLE,
];
const STATUSES: [&str; 3] = ["True", "False", "Unknown"];
const PODS: [&str; 3] = ["matched", "injected", "programmed"];

/// How a build ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BuildResult {
    /// There is a configuration.
    Built,
    /// It is not valid; the last good configuration stays.
    Invalid,
    /// An answer about something that is referred to is awaited.
    Waiting,
    /// Nothing changed.
    Unchanged,
    /// The gateway is gone.
    Gone,
}

/// Gateways by condition and status, in the order of [`TOLD_CONDITIONS`] and
/// of true, false, unknown; and their pods: matched, injected, programmed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct GatewayCounts {
    pub(crate) conditions: [[i64; 3]; 5],
    pub(crate) pods: [i64; 3],
}

/// The metrics of gateways.
pub(crate) struct GatewayMetrics {
    builds: IntCounterVec,
    lag: Histogram,
    gateways: IntGaugeVec,
    pods: IntGaugeVec,
    conditions_queue: IntGauge,
}

// === impl BuildResult ===

impl BuildResult {
    const ALL: [Self; 5] = [
        Self::Built,
        Self::Invalid,
        Self::Waiting,
        Self::Unchanged,
        Self::Gone,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Built => "built",
            Self::Invalid => "invalid",
            Self::Waiting => "waiting",
            Self::Unchanged => "unchanged",
            Self::Gone => "gone",
        }
    }
}

// === impl GatewayCounts ===

impl GatewayCounts {
    pub(crate) fn add(&mut self, other: &Self) {
        self.each(other, |one, other| one + other);
    }

    pub(crate) fn subtract(&mut self, other: &Self) {
        self.each(other, |one, other| one - other);
    }

    fn each(&mut self, other: &Self, how: impl Fn(i64, i64) -> i64) {
        let own = self.conditions.iter_mut().flatten().chain(&mut self.pods);
        let theirs = other.conditions.iter().flatten().chain(&other.pods);
        for (one, other) in own.zip(theirs) {
            *one = how(*one, *other);
        }
    }
}

// === impl GatewayMetrics ===

impl GatewayMetrics {
    pub(super) fn new(registry: &Registry) -> Self {
        let metrics = Self {
            builds: register(
                registry,
                IntCounterVec::new(
                    Opts::new(
                        "sidegate_operator_builds_total",
                        "Builds of gateways' configurations by how they ended.",
                    ),
                    &["result"],
                ),
            ),
            lag: register(
                registry,
                Histogram::with_opts(
                    HistogramOpts::new(
                        "sidegate_operator_status_lag_seconds",
                        "Time from a change to the status that tells it.",
                    )
                    .buckets(LAG_BUCKETS.to_vec()),
                ),
            ),
            gateways: register(
                registry,
                IntGaugeVec::new(
                    Opts::new(
                        "sidegate_operator_gateways",
                        "Gateways by condition and its status, while this replica leads.",
                    ),
                    &["condition", "status"],
                ),
            ),
            pods: register(
                registry,
                IntGaugeVec::new(
                    Opts::new(
                        "sidegate_operator_pods",
                        "Pods of gateways: matched, injected, and programmed with the current \
                         configuration, while this replica leads.",
                    ),
                    &["state"],
                ),
            ),
            conditions_queue: register(
                registry,
                IntGauge::new(
                    "sidegate_operator_pod_conditions_waiting",
                    "Conditions of pods that wait to be written.",
                ),
            ),
        };
        for result in BuildResult::ALL {
            metrics.builds.with_label_values(&[result.as_str()]);
        }
        metrics.counted(&GatewayCounts::default());
        metrics
    }

    pub(super) fn built(&self, result: BuildResult) {
        self.builds.with_label_values(&[result.as_str()]).inc();
    }

    pub(super) fn lagged(&self, lag: Duration) {
        self.lag.observe(lag.as_secs_f64());
    }

    pub(super) fn conditions_waiting(&self, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.conditions_queue.set(count);
    }

    pub(super) fn counted(&self, counts: &GatewayCounts) {
        for (condition, by_status) in TOLD_CONDITIONS.iter().zip(&counts.conditions) {
            for (status, count) in STATUSES.iter().zip(by_status) {
                self.gateways
                    .with_label_values(&[*condition, *status])
                    .set(*count);
            }
        }
        for (state, count) in PODS.iter().zip(&counts.pods) {
            self.pods.with_label_values(&[*state]).set(*count);
        }
    }
}
