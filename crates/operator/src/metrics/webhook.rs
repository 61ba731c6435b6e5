//! The metrics of the webhook.

use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, IntCounterVec, IntGauge, Opts, Registry};

use super::register;

/// Two milliseconds are usual; after five seconds nobody waits any more.
const BUCKETS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
];

/// How a request to the webhook ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AdmissionResult {
    /// The pod needs nothing.
    Untouched,
    /// The pod has all that it needs already.
    Present,
    /// The pod gets a sidecar.
    Injected,
    /// The pod is refused for what it is.
    Refused,
    /// The pod is refused because its gateway cannot be known.
    Unavailable,
    /// It was no review of a pod.
    Unreadable,
    /// There were too many.
    Busy,
}

/// The metrics of one replica's webhook.
#[derive(Clone)]
pub(crate) struct WebhookMetrics {
    reviews: IntCounterVec,
    duration: Histogram,
    certificate: IntGauge,
}

// === impl AdmissionResult ===

impl AdmissionResult {
    const ALL: [Self; 7] = [
        Self::Untouched,
        Self::Present,
        Self::Injected,
        Self::Refused,
        Self::Unavailable,
        Self::Unreadable,
        Self::Busy,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Untouched => "untouched",
            Self::Present => "present",
            Self::Injected => "injected",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
            Self::Unreadable => "unreadable",
            Self::Busy => "busy",
        }
    }
}

// === impl WebhookMetrics ===

impl WebhookMetrics {
    pub(super) fn new(registry: &Registry) -> Self {
        let metrics = Self {
            reviews: register(
                registry,
                IntCounterVec::new(
                    Opts::new(
                        "sidegate_operator_webhook_reviews_total",
                        "Requests to the webhook, by how they ended.",
                    ),
                    &["result"],
                ),
            ),
            duration: register(
                registry,
                Histogram::with_opts(
                    HistogramOpts::new(
                        "sidegate_operator_webhook_review_duration_seconds",
                        "Time from the head of a request to the webhook to its answer.",
                    )
                    .buckets(BUCKETS.to_vec()),
                ),
            ),
            certificate: register(
                registry,
                IntGauge::new(
                    "sidegate_operator_webhook_certificate_expiry_timestamp_seconds",
                    "When the certificate of the webhook expires, in seconds since 1970.",
                ),
            ),
        };
        for result in AdmissionResult::ALL {
            // Known values begin at 0, so that the first event is an increase.
            metrics.reviews.with_label_values(&[result.as_str()]);
        }
        metrics
    }

    pub(crate) fn reviewed(&self, result: AdmissionResult, duration: Duration) {
        self.reviews.with_label_values(&[result.as_str()]).inc();
        self.duration.observe(duration.as_secs_f64());
    }

    pub(crate) fn certificate(&self, not_after_unix: Option<i64>) {
        if let Some(expiry) = not_after_unix {
            self.certificate.set(expiry);
        }
    }
}
