//! The metrics of the certificate authority and of what spreads its roots.

use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::register;
use crate::authority::Purpose;

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
            usable: register(
                registry,
                IntGauge::new(
                    "sidegate_operator_authority_usable",
                    "1 unless the Secret of the certificate authority cannot be used, then 0.",
                ),
            ),
            root_expiry: register(
                registry,
                IntGaugeVec::new(
                    Opts::new(
                        "sidegate_operator_authority_root_expiry_timestamp_seconds",
                        "When the root that signs expires, in seconds since 1970, by set.",
                    ),
                    &["set"],
                ),
            ),
            rotations: register(
                registry,
                IntCounterVec::new(
                    Opts::new(
                        "sidegate_operator_authority_rotations_total",
                        "New roots that began to sign in place of another, by set.",
                    ),
                    &["set"],
                ),
            ),
            bundles: register(
                registry,
                IntCounterVec::new(
                    Opts::new(
                        "sidegate_operator_trust_bundle_writes_total",
                        "Writes of ConfigMaps with roots, by how they ended.",
                    ),
                    &["result"],
                ),
            ),
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
