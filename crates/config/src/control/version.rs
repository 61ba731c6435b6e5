//! The order of snapshots.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The place of a snapshot in the order of all snapshots of a cluster, from
/// whichever replica of the operator.
///
/// The epoch grows when the cluster's own count starts again, as after a
/// restore from a backup. The revision is how far the replica had followed the
/// gateways, as a resource version, when it made the snapshot, so a replica that
/// lags behind makes lower ones.
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
}

// === impl SnapshotVersion ===

impl SnapshotVersion {
    /// Whether a sidecar that enforces `other` must not take this: it was made
    /// with less knowledge, and says something else.
    #[must_use]
    pub fn is_older_than(&self, other: &Self) -> bool {
        self.hash != other.hash && (self.epoch, self.revision) < (other.epoch, other.revision)
    }
}

impl fmt::Display for SnapshotVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            epoch,
            revision,
            hash,
        } = self;
        write!(f, "{epoch}.{revision}.{hash}")
    }
}
