//! What a sidecar is told to enforce, and what it makes of it. No I/O: given
//! what the pod is assigned, it says what is to be sent next.

use std::collections::VecDeque;
use std::sync::Arc;

use sidegate_config::control::{ReferenceVersions, RejectReason, Rejected, SnapshotVersion};
use tokio::time::Instant;

use crate::board::{Assigned, Assignment, PodReport, Program};
use crate::one_line::one_line;

/// Versions that were sent and may still be confirmed.
const REMEMBERED: usize = 8;
/// Longest message of a sidecar that is passed on, in characters.
const MAX_MESSAGE: usize = 512;
/// Longest hash; those of this version have 16 or 64 characters.
const MAX_HASH: usize = 128;

/// The state of one stream's configuration.
#[derive(Debug)]
pub(super) struct Delivery {
    schema_versions: Vec<u32>,
    /// What the sidecar says it enforces.
    in_force: Option<SnapshotVersion>,
    /// What it was told last.
    told: Option<Told>,
    /// Versions that were sent, and when the change that led to them was seen
    /// here, unless it was confirmed already.
    sent: VecDeque<(SnapshotVersion, Option<Instant>)>,
}

/// What a sidecar was told, but for the revision: when nothing of this changed,
/// there is nothing to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    Withdrawn {
        epoch: u64,
    },
    Outdated {
        epoch: u64,
        hash: String,
    },
    Snapshot {
        epoch: u64,
        hash: String,
        generation: Option<i64>,
        references: ReferenceVersions,
        service_hosts: Vec<String>,
    },
}

/// What is to be done next.
#[derive(Debug)]
pub(super) enum Next {
    /// Nothing, until something changes.
    Nothing,
    /// The sidecar knows more than this replica: wait until it has seen as
    /// much, or until the epoch is the sidecar's.
    Behind {
        version: SnapshotVersion,
        in_force: SnapshotVersion,
    },
    /// To be sent.
    Snapshot {
        version: SnapshotVersion,
        program: Arc<Program>,
        service_hosts: Vec<String>,
    },
    /// To be sent.
    Withdrawn(SnapshotVersion),
    /// To be sent, and reported.
    Outdated {
        version: SnapshotVersion,
        schema_version: u32,
    },
}

/// What became of a confirmation.
#[derive(Debug, PartialEq)]
pub(super) enum Confirmation {
    /// It is in force. The time is that of the change, the first time that it
    /// is confirmed.
    InForce(SnapshotVersion, Option<Instant>),
    /// It was not sent on this stream.
    NeverSent,
}

/// What became of a rejection.
#[derive(Debug, PartialEq)]
pub(super) enum Rejection {
    /// This replica knows less than the sidecar; it will be sent again.
    Older,
    /// It is not sent again until something changes.
    Final(PodReport),
    /// It was not sent on this stream.
    NeverSent,
}

// === impl Delivery ===

impl Delivery {
    /// For a sidecar that takes these versions of the format and says that it
    /// enforces this.
    pub(super) fn new(schema_versions: Vec<u32>, in_force: Option<SnapshotVersion>) -> Self {
        Self {
            schema_versions,
            in_force: in_force.filter(is_plausible),
            told: None,
            sent: VecDeque::new(),
        }
    }

    /// What the sidecar says it enforces; nothing, if that can be no version.
    pub(super) fn in_force(&self) -> Option<&SnapshotVersion> {
        self.in_force.as_ref()
    }

    /// What to send now.
    ///
    /// It is sent once on each stream even if the sidecar enforces it already:
    /// its Services may have changed, and it confirms the same content at once.
    pub(super) fn next(&self, assignment: &Assignment, epoch: u64) -> Next {
        let (hash, references) = match &assignment.assigned {
            Assigned::NoGateway => ("", ReferenceVersions::default()),
            Assigned::Waiting => return Next::Nothing,
            Assigned::Program(program) => (program.hash.as_str(), program.references.clone()),
        };
        let version = SnapshotVersion {
            epoch,
            revision: assignment.revision,
            hash: hash.to_owned(),
            references,
        };
        if let Some(in_force) = &self.in_force
            && version.is_older_than(in_force)
        {
            let in_force = in_force.clone();
            return Next::Behind { version, in_force };
        }
        if self.told.as_ref() == self.to_tell(assignment, epoch).as_ref() {
            return Next::Nothing;
        }
        match &assignment.assigned {
            Assigned::NoGateway => Next::Withdrawn(version),
            Assigned::Waiting => Next::Nothing,
            Assigned::Program(program) if !self.takes(program) => Next::Outdated {
                version,
                schema_version: program.schema_version,
            },
            Assigned::Program(program) => Next::Snapshot {
                version,
                program: Arc::clone(program),
                service_hosts: assignment.service_hosts.clone(),
            },
        }
    }

    fn takes(&self, program: &Program) -> bool {
        self.schema_versions.contains(&program.schema_version)
    }

    fn to_tell(&self, assignment: &Assignment, epoch: u64) -> Option<Told> {
        match &assignment.assigned {
            Assigned::NoGateway => Some(Told::Withdrawn { epoch }),
            Assigned::Waiting => None,
            Assigned::Program(program) if !self.takes(program) => Some(Told::Outdated {
                epoch,
                hash: program.hash.clone(),
            }),
            // The same content of something newer is told, too, so that the
            // sidecar does not take what came between from another replica.
            Assigned::Program(program) => Some(Told::Snapshot {
                epoch,
                hash: program.hash.clone(),
                generation: program.generation,
                references: program.references.clone(),
                service_hosts: assignment.service_hosts.clone(),
            }),
        }
    }

    /// What [`Delivery::next`] said is being sent. `changed` is when the change
    /// was seen that led to it.
    pub(super) fn sending(
        &mut self,
        assignment: &Assignment,
        version: SnapshotVersion,
        changed: Option<Instant>,
    ) {
        self.told = self.to_tell(assignment, version.epoch);
        if self.sent.len() >= REMEMBERED {
            self.sent.pop_front();
        }
        self.sent.push_back((version, changed));
    }

    /// The sidecar says that this is in force. Only what was sent is believed:
    /// what it says gets into statuses. The same content counts, whichever
    /// revision it came with.
    pub(super) fn confirmed(&mut self, version: &SnapshotVersion) -> Confirmation {
        let found = self
            .sent
            .iter_mut()
            .rev()
            .find(|(sent, _)| sent.hash == version.hash && sent.epoch == version.epoch);
        let Some((sent, changed)) = found else {
            return Confirmation::NeverSent;
        };
        let changed = changed.take();
        let version = sent.clone();
        // As the sidecar does it.
        self.in_force = Some(match &self.in_force {
            Some(before) => version.clone().not_forgetting(before),
            None => version.clone(),
        });
        Confirmation::InForce(version, changed)
    }

    /// The sidecar says that this is not in force.
    pub(super) fn rejected(&mut self, rejected: Rejected) -> Rejection {
        let Rejected {
            version,
            reason,
            message,
            in_force,
        } = rejected;
        // It may have left out, or added, what it remembers of references.
        let sent = self.sent.iter().map(|(sent, _)| sent);
        let Some(version) = sent.rev().find(|sent| sent.is_same_as(&version)).cloned() else {
            return Rejection::NeverSent;
        };
        self.in_force = in_force.filter(is_plausible);
        let is_behind = self
            .in_force
            .as_ref()
            .is_some_and(|in_force| version.is_older_than(in_force));
        if reason == RejectReason::Older && is_behind {
            self.told = None;
            return Rejection::Older;
        }
        Rejection::Final(PodReport::Rejected {
            version,
            reason,
            message: for_people(&message),
        })
    }
}

/// A sidecar may say anything; what can be no hash is not kept.
fn is_plausible(version: &SnapshotVersion) -> bool {
    version.hash.len() <= MAX_HASH
        && version.references.is_bounded()
        && version
            .hash
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric())
}

/// A sidecar's text, one line of bounded length.
pub(super) fn for_people(message: &str) -> String {
    one_line(message, MAX_MESSAGE)
}

#[cfg(test)]
mod tests;
