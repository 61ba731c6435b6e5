//! What a report says as a condition, and what a condition says.

use sidegate_api::names::reason;
use sidegate_config::control::{ForeignListener, RejectReason};

use super::listeners;
use crate::board::PodReport;
use crate::one_line::one_line;
use crate::world::{PodCondition, ServerPorts};

/// Most characters of a sidecar's own words.
const MAX_WORDS: usize = 1024;

/// A condition without its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) holds: bool,
    pub(super) reason: &'static str,
    pub(super) message: String,
    /// Whether it need not be said when nothing was said before.
    pub(super) is_silence: bool,
}

/// What the sidecar of a pod says of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reported<'a> {
    /// It enforces it.
    Enforced,
    /// It rejected it; its words.
    Rejected(&'a str),
    /// It is too old for it; what to do.
    Outdated(&'a str),
    /// It enforces another one, and the replica that has its stream knows
    /// neither; what to do.
    OperatorBehind(&'a str),
    /// Nothing, or something about another version.
    Nothing,
}

/// What a condition says of the version with this hash.
pub(crate) fn reported<'a>(condition: Option<&'a PodCondition>, hash: &str) -> Reported<'a> {
    let Some(condition) = condition.filter(|_| !hash.is_empty()) else {
        return Reported::Nothing;
    };
    if condition.holds {
        return match condition.message == hash {
            true => Reported::Enforced,
            false => Reported::Nothing,
        };
    }
    if condition.reason == reason::OPERATOR_BEHIND {
        // The hash is that of what it enforces.
        return match condition.message.split_once(": ") {
            Some((enforced, _)) if enforced == hash => Reported::Enforced,
            Some((_, words)) => Reported::OperatorBehind(words),
            None => Reported::Nothing,
        };
    }
    match condition.message.split_once(": ") {
        Some((about, words)) if about == hash => match condition.reason.as_str() {
            reason::DATA_PLANE_REJECTED => Reported::Rejected(words),
            reason::SIDECAR_OUTDATED => Reported::Outdated(words),
            _ => Reported::Nothing,
        },
        Some(_) | None => Reported::Nothing,
    }
}

/// What a report says; none when it changes nothing.
pub(super) fn programmed(report: PodReport) -> Option<Said> {
    let fails = |reason, hash: &str, words: &str| Said {
        holds: false,
        reason,
        message: format!("{hash}: {}", plain(words)),
        is_silence: false,
    };
    match report {
        PodReport::Confirmed(version) if version.hash.is_empty() => {
            Some(fails(reason::WITHDRAWN, "", "no gateway has the pod"))
        }
        PodReport::Confirmed(version) => Some(Said {
            holds: true,
            reason: reason::PROGRAMMED,
            message: version.hash,
            is_silence: false,
        }),
        // What it enforces is newer than what was sent, so nothing failed.
        PodReport::Rejected {
            reason: RejectReason::Older,
            ..
        } => None,
        PodReport::Rejected {
            version, message, ..
        } => Some(fails(reason::DATA_PLANE_REJECTED, &version.hash, &message)),
        PodReport::Outdated {
            version,
            schema_version,
        } => {
            let words = format!(
                "the sidecar does not know version {schema_version} of the configuration format: \
                 restart the pod, so that it gets a newer one"
            );
            Some(fails(reason::SIDECAR_OUTDATED, &version.hash, &words))
        }
        PodReport::Behind { in_force } => {
            let words = "the sidecar enforces a newer configuration than the operator knows; if \
                         the cluster was restored from a backup, raise the annotation \
                         sidegate.dev/epoch of the Secret sidegate-authority, or write the \
                         Secrets and ConfigMaps anew that the gateway refers to";
            Some(fails(reason::OPERATOR_BEHIND, &in_force.hash, words))
        }
        PodReport::NothingInForce => Some(Said {
            is_silence: true,
            ..fails(reason::PENDING, "", "the sidecar has just begun")
        }),
        PodReport::Listeners(_) | PodReport::Certificate(_) | PodReport::Disconnected => None,
    }
}

/// Whether other processes listen on ports that only the sidecar should have.
pub(super) fn listeners(mut found: Vec<ForeignListener>, ports: &ServerPorts) -> Said {
    let on_server = |it: &ForeignListener| ports.same.contains(&it.address.port());
    // What is told first is not cut off.
    found.sort_unstable();
    found.sort_by_key(|it| !on_server(it));
    let holds = !found.iter().any(on_server);
    Said {
        holds,
        reason: match holds {
            true => reason::NO_LISTENER_FOUND,
            false => reason::LISTENER_FOUND,
        },
        message: listeners::write(&found),
        is_silence: found.is_empty(),
    }
}

/// A line that is safe to show.
fn plain(words: &str) -> String {
    one_line(words, MAX_WORDS)
}

// === impl Said ===

impl Said {
    /// Whether a condition says this already.
    pub(super) fn is_told_by(&self, condition: Option<&PodCondition>) -> bool {
        match condition {
            Some(condition) => {
                condition.holds == self.holds
                    && condition.reason == self.reason
                    && condition.message == self.message
            }
            None => self.is_silence,
        }
    }
}
