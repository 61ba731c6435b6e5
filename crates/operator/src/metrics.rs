//! The metrics of the operator. What there is stands in one table, from which
//! the families are registered and documented ([`reference()`]). Labels come from
//! closed sets of words.

mod authority;
mod definition;
mod gateways;
mod reference;
mod register;
mod streams;
mod webhook;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus::{HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Registry, TextEncoder};
use sidegate_policy::clock::Clock;
use tracing::error;

use self::gateways::GatewayMetrics;
use self::register::{counters, gauge, gauges, histograms};

pub(crate) use self::authority::{AuthorityMetrics, BundleResult};
pub(crate) use self::gateways::{BuildResult, GatewayCounts, TOLD_CONDITIONS};
pub use self::reference::reference;
pub(crate) use self::streams::{ReviewResult, StreamMetrics};
pub(crate) use self::webhook::{AdmissionResult, WebhookMetrics};

/// A watch that every replica has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watch {
    /// `McpGateway` objects.
    Gateways,
    /// `LlmProvider` objects.
    Providers,
    /// Pods.
    Pods,
    /// Namespaces.
    Namespaces,
    /// Services.
    Services,
}

/// How a reconcile ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReconcileResult {
    /// The status was written, or what belongs to the object.
    Written,
    /// The status was right already.
    Unchanged,
    /// The object changed meanwhile; its watch asks again.
    Outdated,
    /// An answer about something that is referred to is awaited.
    Waiting,
    /// The object is gone.
    Gone,
    /// It failed and is tried again.
    Failed,
}

/// The metrics of one operator.
pub(crate) struct Metrics {
    registry: Registry,
    clock: Arc<dyn Clock>,
    reconciles: IntCounterVec,
    duration: HistogramVec,
    queue: IntGauge,
    leader: IntGauge,
    watch_told: IntGaugeVec,
    watch_age: IntGaugeVec,
    watch_failures: IntCounterVec,
    gateways: GatewayMetrics,
    pub(crate) authority: AuthorityMetrics,
    pub(crate) streams: StreamMetrics,
    pub(crate) webhook: WebhookMetrics,
}

// === impl Watch ===

impl Watch {
    pub(crate) const ALL: [Self; 5] = [
        Self::Gateways,
        Self::Providers,
        Self::Pods,
        Self::Namespaces,
        Self::Services,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Gateways => "mcpgateways",
            Self::Providers => "llmproviders",
            Self::Pods => "pods",
            Self::Namespaces => "namespaces",
            Self::Services => "services",
        }
    }
}

// === impl ReconcileResult ===

impl ReconcileResult {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Unchanged => "unchanged",
            Self::Outdated => "outdated",
            Self::Waiting => "waiting",
            Self::Gone => "gone",
            Self::Failed => "failed",
        }
    }
}

// === impl Metrics ===

impl Metrics {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let registry = Registry::new();
        let metrics = Self {
            reconciles: counters(&registry, &definition::RECONCILES),
            duration: histograms(&registry, &definition::RECONCILE_DURATION),
            queue: gauge(&registry, &definition::QUEUE),
            leader: gauge(&registry, &definition::LEADER),
            watch_told: gauges(&registry, &definition::WATCH_TOLD),
            watch_age: gauges(&registry, &definition::WATCH_AGE),
            watch_failures: counters(&registry, &definition::WATCH_FAILURES),
            gateways: GatewayMetrics::new(&registry),
            authority: AuthorityMetrics::new(&registry),
            streams: StreamMetrics::new(&registry),
            webhook: WebhookMetrics::new(&registry),
            registry,
            clock,
        };
        for watch in Watch::ALL {
            // Known values begin at 0, so that the first event is an increase.
            metrics.watch_failures.with_label_values(&[watch.as_str()]);
        }
        metrics
    }

    pub(crate) fn reconciled(
        &self,
        kind: &'static str,
        result: ReconcileResult,
        duration: Duration,
    ) {
        self.reconciles
            .with_label_values(&[kind, result.as_str()])
            .inc();
        self.duration
            .with_label_values(&[kind])
            .observe(duration.as_secs_f64());
    }

    pub(crate) fn built(&self, result: BuildResult) {
        self.gateways.built(result);
    }

    /// A status was written for what was first asked for so long ago.
    pub(crate) fn status_lag(&self, lag: Duration) {
        self.gateways.lagged(lag);
    }

    pub(crate) fn gateways(&self, counts: &GatewayCounts) {
        self.gateways.counted(counts);
    }

    pub(crate) fn conditions_waiting(&self, count: usize) {
        self.gateways.conditions_waiting(count);
    }

    pub(crate) fn queue_depth(&self, depth: usize) {
        self.queue.set(i64::try_from(depth).unwrap_or(i64::MAX));
    }

    pub(crate) fn leading(&self, leading: bool) {
        self.leader.set(i64::from(leading));
    }

    pub(crate) fn watch_told(&self, watch: Watch) {
        self.watch_told
            .with_label_values(&[watch.as_str()])
            .set(self.clock.unix_seconds());
    }

    pub(crate) fn watch_failed(&self, watch: Watch) {
        self.watch_failures
            .with_label_values(&[watch.as_str()])
            .inc();
    }

    /// The Prometheus text format.
    pub(crate) fn render(&self) -> String {
        let now = self.clock.unix_seconds();
        for watch in Watch::ALL {
            let told = self.watch_told.with_label_values(&[watch.as_str()]).get();
            if told > 0 {
                self.watch_age
                    .with_label_values(&[watch.as_str()])
                    .set(now.saturating_sub(told).max(0));
            }
        }
        let mut text = String::new();
        if let Err(error) = TextEncoder::new().encode_utf8(&self.registry.gather(), &mut text) {
            error!(%error, "metrics cannot be written");
        }
        text
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
