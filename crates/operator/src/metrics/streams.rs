//! The metrics of the config stream.

use std::time::Duration;

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, Registry};

use super::definition;
use super::register::{counter, counters, gauge, histogram, histograms};

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
        let metrics = Self {
            open: gauge(registry, &definition::STREAMS),
            opened: counter(registry, &definition::STREAMS_OPENED),
            ended: counters(registry, &definition::STREAMS_ENDED),
            handshakes_failed: counters(registry, &definition::HANDSHAKE_FAILURES),
            turned_away: counter(registry, &definition::CONNECTIONS_REFUSED),
            authentications: counters(registry, &definition::AUTHENTICATIONS),
            reviews: counters(registry, &definition::TOKEN_REVIEWS),
            review_duration: histograms(registry, &definition::TOKEN_REVIEW_DURATION),
            cached_reviews: counters(registry, &definition::TOKEN_REVIEWS_SAVED),
            sent: counters(registry, &definition::SNAPSHOTS_SENT),
            confirmations: counter(registry, &definition::SNAPSHOTS_CONFIRMED),
            rejections: counters(registry, &definition::SNAPSHOTS_REJECTED),
            lag: histogram(registry, &definition::SNAPSHOT_LAG),
            certificates: counter(registry, &definition::CERTIFICATES_SIGNED),
            certificates_refused: counter(registry, &definition::CERTIFICATES_REFUSED),
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
