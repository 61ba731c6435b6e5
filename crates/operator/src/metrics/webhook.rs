//! The metrics of the webhook.

use std::time::Duration;

use prometheus::{Histogram, IntCounterVec, IntGauge, Registry};

use super::definition;
use super::register::{counters, gauge, histogram};

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
            reviews: counters(registry, &definition::WEBHOOK_REVIEWS),
            duration: histogram(registry, &definition::WEBHOOK_DURATION),
            certificate: gauge(registry, &definition::WEBHOOK_CERTIFICATE),
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
