//! The metrics of the operator. Labels come from closed sets of words.

mod authority;
mod gateways;
mod streams;
mod webhook;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};
use sidegate_policy::clock::Clock;
use tracing::error;

use self::gateways::GatewayMetrics;

pub(crate) use self::authority::{AuthorityMetrics, BundleResult};
pub(crate) use self::gateways::{BuildResult, GatewayCounts, TOLD_CONDITIONS};
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
            reconciles: register(
                &registry,
                IntCounterVec::new(
                    Opts::new(
                        "sidegate_operator_reconciles_total",
                        "Reconciles by kind and by how they ended.",
                    ),
                    &["kind", "result"],
                ),
            ),
            duration: register(
                &registry,
                HistogramVec::new(
                    HistogramOpts::new(
                        "sidegate_operator_reconcile_duration_seconds",
                        "Time that a reconcile takes, by kind.",
                    ),
                    &["kind"],
                ),
            ),
            queue: register(
                &registry,
                IntGauge::new(
                    "sidegate_operator_queue_depth",
                    "Objects that wait for a reconcile.",
                ),
            ),
            leader: register(
                &registry,
                IntGauge::new(
                    "sidegate_operator_leader",
                    "1 while this replica leads and writes statuses, else 0.",
                ),
            ),
            watch_told: register(
                &registry,
                IntGaugeVec::new(
                    Opts::new(
                        "sidegate_operator_watch_last_event_timestamp_seconds",
                        "When a watch last told something, in seconds since 1970.",
                    ),
                    &["resource"],
                ),
            ),
            watch_age: register(
                &registry,
                IntGaugeVec::new(
                    Opts::new(
                        "sidegate_operator_watch_age_seconds",
                        "Time since a watch last told something; it grows while nothing changes.",
                    ),
                    &["resource"],
                ),
            ),
            watch_failures: register(
                &registry,
                IntCounterVec::new(
                    Opts::new(
                        "sidegate_operator_watch_failures_total",
                        "Failures of watches; each goes on where it was.",
                    ),
                    &["resource"],
                ),
            ),
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

/// Names and labels are constants of this file: a test registers them all.
#[expect(
    clippy::expect_used,
    reason = "constants that a test registers; there is no operator without"
)]
fn register<C: Collector + Clone + 'static>(
    registry: &Registry,
    family: prometheus::Result<C>,
) -> C {
    let family = family.expect("a valid definition");
    registry
        .register(Box::new(family.clone()))
        .expect("each name once");
    family
}

#[cfg(test)]
mod tests {
    use sidegate_policy::clock::ManualClock;

    use super::*;
    use crate::authority::Purpose;

    #[test]
    fn every_family_is_exported() {
        let clock = Arc::new(ManualClock::new(1_000));
        let metrics = Metrics::new(Arc::clone(&clock) as Arc<dyn Clock>);
        let took = Duration::from_millis(3);
        metrics.reconciled("McpGateway", ReconcileResult::Written, took);
        metrics.built(BuildResult::Built);
        metrics.status_lag(took);
        metrics.conditions_waiting(3);
        metrics.queue_depth(2);
        metrics.leading(true);
        metrics.watch_told(Watch::Pods);
        metrics.watch_failed(Watch::Pods);
        metrics.authority.root_expires(Purpose::Workload, 2_000);
        metrics.authority.rotated(Purpose::Endpoints);
        metrics.authority.bundle(BundleResult::Foreign);
        metrics.streams.opened();
        metrics.streams.opened();
        metrics.streams.ended("replaced");
        metrics.streams.handshake_failed("timeout");
        metrics.streams.turned_away();
        metrics.streams.authenticated("accepted");
        metrics.streams.reviewed(ReviewResult::Positive, took);
        metrics.streams.review_saved(ReviewResult::Negative);
        metrics.streams.sent("snapshot");
        metrics.streams.confirmed(Some(took));
        metrics.streams.rejected("older");
        metrics.streams.certificate_signed();
        metrics.streams.certificate_refused();
        metrics.webhook.reviewed(AdmissionResult::Injected, took);
        metrics.webhook.certificate(Some(3_000));
        clock.advance(Duration::from_secs(7));
        let text = metrics.render();
        for line in [
            r#"sidegate_operator_reconciles_total{kind="McpGateway",result="written"} 1"#,
            r#"sidegate_operator_reconcile_duration_seconds_count{kind="McpGateway"} 1"#,
            r#"sidegate_operator_builds_total{result="built"} 1"#,
            r#"sidegate_operator_builds_total{result="invalid"} 0"#,
            "sidegate_operator_status_lag_seconds_count 1",
            "sidegate_operator_pod_conditions_waiting 3",
            r#"sidegate_operator_gateways{condition="Ready",status="True"} 0"#,
            "sidegate_operator_queue_depth 2",
            "sidegate_operator_leader 1",
            r#"sidegate_operator_watch_last_event_timestamp_seconds{resource="pods"} 1000"#,
            r#"sidegate_operator_watch_age_seconds{resource="pods"} 7"#,
            r#"sidegate_operator_watch_failures_total{resource="pods"} 1"#,
            r#"sidegate_operator_watch_failures_total{resource="namespaces"} 0"#,
            r#"sidegate_operator_webhook_reviews_total{result="injected"} 1"#,
            r#"sidegate_operator_webhook_reviews_total{result="busy"} 0"#,
            "sidegate_operator_webhook_review_duration_seconds_count 1",
            "sidegate_operator_webhook_certificate_expiry_timestamp_seconds 3000",
            "sidegate_operator_authority_usable 1",
            r#"sidegate_operator_authority_root_expiry_timestamp_seconds{set="workload"} 2000"#,
            r#"sidegate_operator_authority_rotations_total{set="endpoints"} 1"#,
            r#"sidegate_operator_trust_bundle_writes_total{result="foreign"} 1"#,
            r#"sidegate_operator_trust_bundle_writes_total{result="failed"} 0"#,
            "sidegate_operator_streams 1",
            "sidegate_operator_streams_opened_total 2",
            r#"sidegate_operator_streams_ended_total{reason="replaced"} 1"#,
            r#"sidegate_operator_stream_handshake_failures_total{reason="timeout"} 1"#,
            "sidegate_operator_stream_connections_refused_total 1",
            r#"sidegate_operator_stream_authentications_total{result="accepted"} 1"#,
            r#"sidegate_operator_token_reviews_total{result="positive"} 1"#,
            r#"sidegate_operator_token_reviews_total{result="negative"} 0"#,
            r#"sidegate_operator_token_review_duration_seconds_count{result="positive"} 1"#,
            r#"sidegate_operator_token_reviews_saved_total{result="negative"} 1"#,
            r#"sidegate_operator_snapshots_sent_total{kind="snapshot"} 1"#,
            "sidegate_operator_snapshots_confirmed_total 1",
            r#"sidegate_operator_snapshots_rejected_total{reason="older"} 1"#,
            "sidegate_operator_snapshot_lag_seconds_count 1",
            "sidegate_operator_certificates_signed_total 1",
            "sidegate_operator_certificates_refused_total 1",
        ] {
            assert!(text.lines().any(|it| it == line), "{line} in {text}");
        }
    }
}
