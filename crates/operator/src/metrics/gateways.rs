//! The metrics of gateways: builds, statuses, and what they say.

use std::time::Duration;

use prometheus::{Histogram, IntCounterVec, IntGauge, IntGaugeVec, Registry};
use sidegate_api::names::condition;

use super::definition;
use super::register::{counters, gauge, gauges, histogram};

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
            builds: counters(registry, &definition::BUILDS),
            lag: histogram(registry, &definition::STATUS_LAG),
            gateways: gauges(registry, &definition::GATEWAYS),
            pods: gauges(registry, &definition::PODS),
            conditions_queue: gauge(registry, &definition::CONDITIONS_WAITING),
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
