//! The order of snapshots.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::reference_versions::ReferenceVersions;

/// The place of a snapshot in the order of all snapshots of a cluster, from
/// whichever replica of the operator.
///
/// The epoch grows when the cluster's own count starts again, as after a
/// restore from a backup. The revision is how far the replica had followed the
/// gateways, as a resource version, when it made the snapshot, so a replica that
/// lags behind makes lower ones. What the gateway refers to is followed object by
/// object, and each has a number of its own.
///
/// So two snapshots can be in no order: one of a newer gateway, the other of a
/// newer Secret. A sidecar takes neither after the other, until there is one
/// that is older in nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotVersion {
    /// Which count of the cluster.
    pub epoch: u64,
    /// How far the gateways were followed.
    pub revision: u64,
    /// What it says: [`SidecarConfig::version`]. Empty when there is nothing to
    /// enforce.
    ///
    /// [`SidecarConfig::version`]: crate::sidecar_config::SidecarConfig::version
    pub hash: String,
    /// How far each object was followed that it was made of beside the gateway.
    /// What is not named is not compared: older programs name nothing.
    #[serde(default, skip_serializing_if = "ReferenceVersions::is_empty")]
    pub references: ReferenceVersions,
}

// === impl SnapshotVersion ===

impl SnapshotVersion {
    /// Whether a sidecar that enforces `other` must not take this: it was made
    /// with less knowledge, and says something else.
    #[must_use]
    pub fn is_older_than(&self, other: &Self) -> bool {
        self.hash != other.hash && self.lags_behind(other)
    }

    /// Whether this was made with less knowledge of anything than `other`.
    #[must_use]
    pub fn lags_behind(&self, other: &Self) -> bool {
        match self.epoch.cmp(&other.epoch) {
            Ordering::Less => true,
            Ordering::Equal => {
                self.revision < other.revision || self.references.lag_behind(&other.references)
            }
            // Nothing of an earlier count can be compared.
            Ordering::Greater => false,
        }
    }

    /// What this says, as new as anything that was known `before` too: what is
    /// older in anything is then older than this.
    #[must_use]
    pub fn not_forgetting(self, before: &Self) -> Self {
        match self.epoch.cmp(&before.epoch) {
            Ordering::Less => Self {
                hash: self.hash,
                ..before.clone()
            },
            Ordering::Equal => Self {
                revision: self.revision.max(before.revision),
                references: self.references.not_forgetting(&before.references),
                ..self
            },
            Ordering::Greater => self,
        }
    }

    /// Whether that is the same snapshot. An older program leaves the references
    /// out when it speaks of one.
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        (self.epoch, self.revision, &self.hash) == (other.epoch, other.revision, &other.hash)
    }
}

impl fmt::Display for SnapshotVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            epoch,
            revision,
            hash,
            references: _,
        } = self;
        write!(f, "{epoch}.{revision}.{hash}")
    }
}
