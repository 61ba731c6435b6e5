//! What there is to enforce, and what the sidecar says of it.

use std::sync::Arc;
use std::time::Duration;

use sidegate_config::control::frame::FrameError;
use sidegate_config::control::{
    ForeignListener, FromOperator, MAX_LISTENERS, Outdated, Purpose, RejectReason, Rejected,
    SnapshotVersion, Withdrawn,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tracing::{debug, error, warn};

use super::{Ended, Session, Waiting};
use crate::board::{PodRef, PodReport};
use crate::streams::Shared;
use crate::streams::delivery::{Confirmation, Next, Rejection};
use crate::streams::wire::PutError;

/// How long a sidecar may know more than this replica before the status says
/// so. Usually it is a matter of milliseconds.
pub(super) const BEHIND_REPORTED: Duration = Duration::from_secs(10);

/// The sidecar knows more than this replica.
pub(super) struct Behind {
    pub(super) revision: u64,
    pub(super) since: Instant,
    pub(super) is_reported: bool,
    /// Done when this replica has seen as much.
    pub(super) catching_up: Option<Waiting<()>>,
}

impl<S: AsyncRead + AsyncWrite> Session<S> {
    pub(super) fn deliver(&mut self, now: Instant) -> Result<(), Ended> {
        let assignment = self.assignment.borrow().clone();
        let next = self.delivery.next(&assignment, self.trust.epoch());
        if let Next::Behind { version, in_force } = next {
            self.fall_behind(&version, in_force, now);
            return Ok(());
        }
        self.behind = None;
        let (kind, version) = match next {
            Next::Nothing | Next::Behind { .. } => return Ok(()),
            Next::Snapshot {
                version,
                program,
                service_hosts,
            } => {
                self.begin_to_write();
                let put = self
                    .writer
                    .put_snapshot(&version, &program.config, &service_hosts);
                if let Err(PutError::Frame(error)) = put {
                    self.cannot_be_sent(&version, &error);
                } else {
                    put?;
                }
                ("snapshot", version)
            }
            Next::Withdrawn(version) => {
                self.put(&FromOperator::Withdrawn(Withdrawn {
                    version: version.clone(),
                }))?;
                ("withdrawn", version)
            }
            Next::Outdated {
                version,
                schema_version,
            } => {
                self.put(&FromOperator::Outdated(Outdated {
                    version: version.clone(),
                    schema_version,
                }))?;
                self.reports.put(PodReport::Outdated {
                    version: version.clone(),
                    schema_version,
                });
                ("outdated", version)
            }
        };
        debug!(pod = %self.pod.key, %version, kind, "sent for a sidecar to enforce");
        self.shared.metrics.streams.sent(kind);
        self.delivery
            .sending(&assignment, version, self.changed.take());
        Ok(())
    }

    /// Waits for what the sidecar knows already.
    fn fall_behind(&mut self, version: &SnapshotVersion, in_force: SnapshotVersion, now: Instant) {
        let board = Arc::clone(self.shared.board());
        let pod = self.pod.key.clone();
        let revision = in_force.revision;
        let is_of_this_epoch = in_force.epoch == version.epoch;
        let behind = self.behind.get_or_insert_with(|| Behind {
            revision: 0,
            since: now,
            is_reported: false,
            catching_up: None,
        });
        // Asked for once: afterwards the board sends it as soon as it is made
        // of as much.
        // A reference is told by its own watch, and needs nobody to ask.
        let is_behind = is_of_this_epoch && version.revision < revision;
        if is_behind && behind.revision != revision {
            behind.revision = revision;
            behind.catching_up = Some(Box::pin(async move {
                board.wait_for_revision(&pod, revision).await;
            }));
        }
        if behind.is_reported || now < behind.since + BEHIND_REPORTED {
            return;
        }
        behind.is_reported = true;
        warn!(
            pod = %self.pod.key, %version, %in_force,
            "a sidecar enforces a newer configuration than this replica knows; if the cluster was \
             restored from a backup, raise the annotation sidegate.dev/epoch of the Secret \
             sidegate-authority, or write the Secrets and ConfigMaps anew that its gateway refers \
             to"
        );
        self.reports.put(PodReport::Behind { in_force });
    }

    fn cannot_be_sent(&mut self, version: &SnapshotVersion, error: &FrameError) {
        error!(pod = %self.pod.key, %version, %error, "a configuration cannot be sent");
        self.reports.put(PodReport::Rejected {
            version: version.clone(),
            reason: RejectReason::NotApplicable,
            message: format!("the configuration cannot be sent: {error}"),
        });
    }

    pub(super) fn confirmed(&mut self, version: &SnapshotVersion, now: Instant) {
        match self.delivery.confirmed(version) {
            Confirmation::InForce(version, changed) => {
                let lag = changed.map(|changed| now - changed);
                self.shared.metrics.streams.confirmed(lag);
                self.reports.put(PodReport::Confirmed(version));
            }
            Confirmation::NeverSent => {
                debug!(pod = %self.pod.key, "a sidecar confirms what it was not sent");
            }
        }
    }

    pub(super) fn rejected(&mut self, rejected: Rejected) {
        let reason = reject_word(rejected.reason);
        match self.delivery.rejected(rejected) {
            Rejection::Older => {
                debug!(pod = %self.pod.key, "a sidecar knows more than this replica");
                self.shared.metrics.streams.rejected(reason);
            }
            Rejection::Final(report) => {
                self.shared.metrics.streams.rejected(reason);
                self.reports.put(report);
            }
            Rejection::NeverSent => {
                debug!(pod = %self.pod.key, "a sidecar rejects what it was not sent");
            }
        }
    }

    pub(super) fn listeners(&mut self, mut listeners: Vec<ForeignListener>) {
        listeners.sort_unstable();
        listeners.dedup();
        listeners.truncate(MAX_LISTENERS);
        listeners.shrink_to_fit();
        if self.purpose == Purpose::Enforce && self.listeners.as_ref() != Some(&listeners) {
            self.listeners = Some(listeners.clone());
            self.reports.put(PodReport::Listeners(listeners));
        }
    }
}

pub(super) fn tell(shared: &Shared, pod: &PodRef, report: PodReport) {
    if let PodReport::Rejected {
        version,
        reason,
        message,
    } = &report
    {
        warn!(
            pod = %pod.key, %version, reason = reject_word(*reason), message,
            "a sidecar does not enforce its configuration"
        );
    }
    shared.board().report(pod, report);
}

fn reject_word(reason: RejectReason) -> &'static str {
    match reason {
        RejectReason::Older => "older",
        RejectReason::Unreadable => "unreadable",
        RejectReason::NotApplicable => "not_applicable",
        RejectReason::Other => "other",
    }
}
