//! The metrics of the config stream.

use std::time::Duration;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
};

use super::register;

/// What came of a TokenReview.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReviewResult {
    /// It is a pod's token.
    Positive,
    /// It is none.
    Negative,
    /// There was no answer.
    Failed,
}

/// The metrics of one replica's streams.
pub(crate) struct StreamMetrics {
    open: IntGauge,
    opened: IntCounter,
    ended: IntCounterVec,
    handshakes_failed: IntCounterVec,
    turned_away: IntCounter,
    authentications: IntCounterVec,
    reviews: IntCounterVec,
    review_duration: HistogramVec,
    cached_reviews: IntCounterVec,
    sent: IntCounterVec,
    confirmations: IntCounter,
    rejections: IntCounterVec,
    lag: Histogram,
    certificates: IntCounter,
    certificates_refused: IntCounter,
}

// === impl ReviewResult ===

impl ReviewResult {
    const ALL: [Self; 3] = [Self::Positive, Self::Negative, Self::Failed];

    fn as_str(self) -> &'static str {
        match self {
            Self::Positive => "positive",
            Self::Negative => "negative",
            Self::Failed => "failed",
        }
    }
}

// === impl StreamMetrics ===

impl StreamMetrics {
    pub(super) fn new(registry: &Registry) -> Self {
        let counter = |name: &str, help: &str| register(registry, IntCounter::new(name, help));
        let counters = |name: &str, help: &str, label: &str| {
            let counters = IntCounterVec::new(Opts::new(name, help), &[label]);
            register(registry, counters)
        };
        let metrics = Self {
            open: register(
                registry,
                IntGauge::new("sidegate_operator_streams", "Streams that stand now."),
            ),
            opened: counter(
                "sidegate_operator_streams_opened_total",
                "Streams that began.",
            ),
            ended: counters(
                "sidegate_operator_streams_ended_total",
                "Streams that ended, by reason.",
                "reason",
            ),
            handshakes_failed: counters(
                "sidegate_operator_stream_handshake_failures_total",
                "Connections without a TLS handshake, by reason.",
                "reason",
            ),
            turned_away: counter(
                "sidegate_operator_stream_connections_refused_total",
                "Connections that were closed at once, because there were too many.",
            ),
            authentications: counters(
                "sidegate_operator_stream_authentications_total",
                "Attempts to begin a stream, by result.",
                "result",
            ),
            reviews: counters(
                "sidegate_operator_token_reviews_total",
                "TokenReviews, by result.",
                "result",
            ),
            review_duration: register(
                registry,
                HistogramVec::new(
                    HistogramOpts::new(
                        "sidegate_operator_token_review_duration_seconds",
                        "Time that the API server takes for a TokenReview, by result.",
                    ),
                    &["result"],
                ),
            ),
            cached_reviews: counters(
                "sidegate_operator_token_reviews_saved_total",
                "TokenReviews whose result was known from a moment before, by result.",
                "result",
            ),
            sent: counters(
                "sidegate_operator_snapshots_sent_total",
                "What was sent for sidecars to enforce, by kind.",
                "kind",
            ),
            confirmations: counter(
                "sidegate_operator_snapshots_confirmed_total",
                "Snapshots that sidecars confirmed.",
            ),
            rejections: counters(
                "sidegate_operator_snapshots_rejected_total",
                "Snapshots that sidecars rejected, by reason.",
                "reason",
            ),
            lag: register(
                registry,
                Histogram::with_opts(
                    HistogramOpts::new(
                        "sidegate_operator_snapshot_lag_seconds",
                        "Time from a change that a stream was told to its confirmation.",
                    )
                    .buckets(vec![
                        0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0,
                    ]),
                ),
            ),
            certificates: counter(
                "sidegate_operator_certificates_signed_total",
                "Certificates that were signed for sidecars.",
            ),
            certificates_refused: counter(
                "sidegate_operator_certificates_refused_total",
                "Certificate requests that could not be signed.",
            ),
        };
        for result in ReviewResult::ALL {
            metrics.reviews.with_label_values(&[result.as_str()]);
        }
        metrics
    }

    pub(crate) fn opened(&self) {
        self.open.inc();
        self.opened.inc();
    }

    pub(crate) fn ended(&self, reason: &'static str) {
        self.open.dec();
        self.ended.with_label_values(&[reason]).inc();
    }

    pub(crate) fn handshake_failed(&self, reason: &'static str) {
        self.handshakes_failed.with_label_values(&[reason]).inc();
    }

    pub(crate) fn turned_away(&self) {
        self.turned_away.inc();
    }

    pub(crate) fn authenticated(&self, result: &'static str) {
        self.authentications.with_label_values(&[result]).inc();
    }

    pub(crate) fn reviewed(&self, result: ReviewResult, duration: Duration) {
        let label = [result.as_str()];
        self.reviews.with_label_values(&label).inc();
        self.review_duration
            .with_label_values(&label)
            .observe(duration.as_secs_f64());
    }

    pub(crate) fn review_saved(&self, result: ReviewResult) {
        self.cached_reviews
            .with_label_values(&[result.as_str()])
            .inc();
    }

    /// TokenReviews that were made, whatever came of them.
    #[cfg(test)]
    pub(crate) fn reviews(&self) -> u64 {
        let count = |it: ReviewResult| self.reviews.with_label_values(&[it.as_str()]).get();
        ReviewResult::ALL.into_iter().map(count).sum()
    }

    pub(crate) fn sent(&self, kind: &'static str) {
        self.sent.with_label_values(&[kind]).inc();
    }

    /// `lag` is known the first time that a change is confirmed.
    pub(crate) fn confirmed(&self, lag: Option<Duration>) {
        self.confirmations.inc();
        if let Some(lag) = lag {
            self.lag.observe(lag.as_secs_f64());
        }
    }

    pub(crate) fn rejected(&self, reason: &'static str) {
        self.rejections.with_label_values(&[reason]).inc();
    }

    pub(crate) fn certificate_signed(&self) {
        self.certificates.inc();
    }

    pub(crate) fn certificate_refused(&self) {
        self.certificates_refused.inc();
    }
}
