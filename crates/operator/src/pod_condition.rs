//! What a sidecar reports, written into the conditions of its pod by the
//! replica that holds its stream. The leader reads it there, so truth crosses
//! replicas without another channel between them.
//!
//! A pod is written to only when that says something new; of several reports,
//! the latest counts. The condition is about the very pod: with its uid in it,
//! the API server refuses a write that is meant for a predecessor of the same
//! name.

mod listeners;
mod said;
#[cfg(test)]
mod tests;
mod write;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::board::{PodRef, PodReport};
use crate::key::Key;
use crate::queue::Queue;
use crate::world::{PodConditionFacts, ServerPorts};

use self::said::Said;

pub(crate) use self::listeners::{Found, read as read_listeners};
pub(crate) use self::said::{Reported, reported};
pub(crate) use self::write::write;

/// How long what somebody else wrote may stay. Another replica that holds a
/// stream of the same pod for a moment must not be fought with.
const SETTLE: Duration = Duration::from_secs(10);

/// A condition that the operator writes on pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// What the sidecar enforces.
    Programmed,
    /// What other processes listen on.
    Listeners,
}

/// A condition of a pod that may have to be written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Writing {
    pod: PodRef,
    kind: Kind,
}

/// What the sidecars with a stream here said last.
#[derive(Default)]
pub(crate) struct PodConditions {
    reports: Mutex<HashMap<Key, Reports>>,
    queue: Queue<Writing>,
}

/// What the sidecar of a pod said last.
struct Reports {
    uid: Arc<str>,
    programmed: Option<Said>,
    listeners: Option<Said>,
}

// === impl PodConditions ===

impl PodConditions {
    /// A sidecar reports. `ports` are those of its servers.
    pub(crate) fn report(&self, pod: &PodRef, report: PodReport, ports: &ServerPorts) {
        let (kind, said) = match report {
            PodReport::Disconnected => {
                // Wherever it connects next, it says again what it enforces.
                self.gone(&pod.key);
                return;
            }
            PodReport::Listeners(found) => (Kind::Listeners, Some(said::listeners(found, ports))),
            PodReport::NothingInForce
            | PodReport::Confirmed(_)
            | PodReport::Rejected { .. }
            | PodReport::Outdated { .. } => (Kind::Programmed, said::programmed(report)),
        };
        let Some(said) = said else {
            return;
        };
        {
            let mut reports = self.lock();
            let known = reports
                .entry(pod.key.clone())
                .or_insert_with(|| Reports::new(&pod.uid));
            if known.uid != pod.uid {
                *known = Reports::new(&pod.uid);
            }
            match kind {
                Kind::Programmed => known.programmed = Some(said),
                Kind::Listeners => known.listeners = Some(said),
            }
        }
        self.ask(pod, kind, Duration::ZERO);
    }

    /// A watch told what the conditions of a pod are now.
    pub(crate) fn seen(&self, key: &Key, uid: &Arc<str>, now: &PodConditionFacts) {
        let wrong: Vec<_> = {
            let mut reports = self.lock();
            let Some(known) = reports.get(key) else {
                return;
            };
            if known.uid != *uid {
                reports.remove(key);
                return;
            }
            let kinds = [Kind::Programmed, Kind::Listeners].into_iter();
            let wrong = kinds.filter(|kind| match known.said(*kind) {
                Some(said) => !said.is_told_by(now.of(*kind)),
                None => false,
            });
            wrong.collect()
        };
        let pod = PodRef {
            key: key.clone(),
            uid: Arc::clone(uid),
        };
        for kind in wrong {
            self.ask(&pod, kind, SETTLE);
        }
    }

    /// A pod is gone, or its stream is.
    pub(crate) fn gone(&self, key: &Key) {
        self.lock().remove(key);
    }

    /// How many conditions wait to be written.
    pub(crate) fn depth(&self) -> usize {
        self.queue.depth()
    }

    fn said(&self, writing: &Writing) -> Option<Said> {
        let reports = self.lock();
        let known = reports.get(&writing.pod.key)?;
        if known.uid != writing.pod.uid {
            return None;
        }
        known.said(writing.kind).cloned()
    }

    fn ask(&self, pod: &PodRef, kind: Kind, delay: Duration) {
        let pod = pod.clone();
        self.queue.add(Writing { pod, kind }, delay);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Reports>> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Reports ===

impl Reports {
    fn new(uid: &Arc<str>) -> Self {
        Self {
            uid: Arc::clone(uid),
            programmed: None,
            listeners: None,
        }
    }

    fn said(&self, kind: Kind) -> Option<&Said> {
        match kind {
            Kind::Programmed => self.programmed.as_ref(),
            Kind::Listeners => self.listeners.as_ref(),
        }
    }
}

// === impl Kind ===

impl Kind {
    /// Each has a manager of its own: by server-side apply, a manager takes
    /// back what it leaves out.
    fn manager(self) -> &'static str {
        match self {
            Self::Programmed => "sidegate-operator-pods",
            Self::Listeners => "sidegate-operator-listeners",
        }
    }

    fn condition_type(self) -> &'static str {
        match self {
            Self::Programmed => sidegate_api::names::POD_PROGRAMMED_CONDITION,
            Self::Listeners => sidegate_api::names::POD_LISTENERS_CONDITION,
        }
    }
}

// === impl PodConditionFacts ===

impl PodConditionFacts {
    fn of(&self, kind: Kind) -> Option<&crate::world::PodCondition> {
        match kind {
            Kind::Programmed => self.programmed.as_deref(),
            Kind::Listeners => self.listeners.as_deref(),
        }
    }
}
