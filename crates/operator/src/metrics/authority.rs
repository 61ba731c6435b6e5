//! The metrics of the certificate authority and of what spreads its roots.

use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Registry};

use super::definition;
use super::register::{counters, gauge, gauges};
use crate::authority::purpose::Purpose;

/// How the write of an object ended that tells somebody the roots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BundleResult {
    /// It was written.
    Written,
    /// It failed and is tried again.
    Failed,
    /// Somebody else's object has the name.
    Foreign,
}

/// The metrics of one replica's authority.
pub(crate) struct AuthorityMetrics {
    usable: IntGauge,
    root_expiry: IntGaugeVec,
    rotations: IntCounterVec,
    bundles: IntCounterVec,
}

// === impl BundleResult ===

impl BundleResult {
    const ALL: [Self; 3] = [Self::Written, Self::Failed, Self::Foreign];

    fn as_str(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Failed => "failed",
            Self::Foreign => "foreign",
        }
    }
}

// === impl AuthorityMetrics ===

impl AuthorityMetrics {
    pub(super) fn new(registry: &Registry) -> Self {
        let metrics = Self {
            usable: gauge(registry, &definition::AUTHORITY_USABLE),
            root_expiry: gauges(registry, &definition::ROOT_EXPIRY),
            rotations: counters(registry, &definition::ROTATIONS),
            bundles: counters(registry, &definition::BUNDLES),
        };
        metrics.usable.set(1);
        for purpose in Purpose::ALL {
            metrics.rotations.with_label_values(&[purpose.as_str()]);
        }
        for result in BundleResult::ALL {
            metrics.bundles.with_label_values(&[result.as_str()]);
        }
        metrics
    }

    pub(crate) fn usable(&self, usable: bool) {
        self.usable.set(i64::from(usable));
    }

    pub(crate) fn root_expires(&self, purpose: Purpose, unix_seconds: i64) {
        self.root_expiry
            .with_label_values(&[purpose.as_str()])
            .set(unix_seconds);
    }

    pub(crate) fn rotated(&self, purpose: Purpose) {
        self.rotations.with_label_values(&[purpose.as_str()]).inc();
    }

    pub(crate) fn bundle(&self, result: BundleResult) {
        self.bundles.with_label_values(&[result.as_str()]).inc();
    }
}
