//! What a sidecar reports, written into the conditions of its pod by the
//! replica that holds its stream. The leader reads it there, so truth crosses
//! replicas without another channel between them.
//!
//! A pod is written to only when that says something new; of several reports,
//! the latest counts. The condition is about the very pod: with its uid in it,
//! the API server refuses a write that is meant for a predecessor of the same
//! name.

mod certificate;
mod listeners;
mod said;
#[cfg(test)]
mod tests;
mod write;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sidegate_config::control::HEARTBEAT_SECONDS;

use crate::board::{PodRef, PodReport};
use crate::key::Key;
use crate::queue::Queue;
use crate::world::{PodConditionFacts, ServerPorts};

use self::said::Said;

pub(crate) use self::certificate::ShownCertificate;
pub(crate) use self::listeners::{Found, read as read_listeners};
pub(crate) use self::said::{Reported, reported};
pub(crate) use self::write::write;

/// How long what somebody else wrote may stay. It may be another replica, which
/// has the pod's new stream while the one here is half open. A stream that
/// hears nothing for three heartbeats ends, so one that is there after more than
/// that has heard its sidecar since, and what it said is the truth.
const SETTLE: Duration = Duration::from_secs(3 * HEARTBEAT_SECONDS + 5);

/// A condition that the operator writes on pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// What the sidecar enforces.
    Programmed,
    /// What other processes listen on.
    Listeners,
    /// Which certificate the sidecar has.
    Certificate,
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
    programmed: Option<Slot>,
    listeners: Option<Slot>,
    certificate: Option<Slot>,
    /// What the conditions were when the stream ended, while something still
    /// waits to be written.
    ended: Option<PodConditionFacts>,
}

struct Slot {
    said: Said,
    /// What was written last; that need not be the same.
    written: Option<Said>,
}

// === impl PodConditions ===

impl PodConditions {
    /// A sidecar reports. `ports` are those of its servers.
    pub(crate) fn report(&self, pod: &PodRef, report: PodReport, ports: &ServerPorts) {
        let (kind, said) = match report {
            PodReport::Listeners(found) => (Kind::Listeners, Some(said::listeners(found, ports))),
            PodReport::Certificate(shown) => (Kind::Certificate, Some(shown.said())),
            PodReport::NothingInForce
            | PodReport::Confirmed(_)
            | PodReport::Rejected { .. }
            | PodReport::Behind { .. }
            | PodReport::Outdated { .. }
            | PodReport::Disconnected => (Kind::Programmed, said::programmed(report)),
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
            known.ended = None;
            let slot = known.slot(kind);
            let written = slot.take().and_then(|slot| slot.written);
            *slot = Some(Slot { said, written });
        }
        self.ask(pod, kind, kind.delay());
    }

    /// The stream of a pod ended, whose conditions are these now. What waits is
    /// still written: the sidecar may not find another stream. Nothing is put
    /// right any more: wherever it connects next, it says again what it enforces.
    pub(crate) fn ended(&self, pod: &PodRef, now: &PodConditionFacts) {
        let mut reports = self.lock();
        if let Some(known) = reports.get_mut(&pod.key)
            && known.uid == pod.uid
        {
            known.ended = Some(now.clone());
            for kind in Kind::ALL {
                known.forget_if(kind, Slot::is_written);
            }
            if known.is_empty() {
                reports.remove(&pod.key);
            }
        }
    }

    /// A watch told what the conditions of a pod are now.
    pub(crate) fn seen(&self, key: &Key, uid: &Arc<str>, now: &PodConditionFacts) {
        let wrong: Vec<_> = {
            let mut reports = self.lock();
            let Some(known) = reports.get_mut(key) else {
                return;
            };
            if known.uid != *uid || known.is_superseded_by(now) {
                reports.remove(key);
                return;
            }
            if known.ended.is_some() {
                return;
            }
            let wrong = Kind::ALL
                .into_iter()
                .filter(|kind| match known.said(*kind) {
                    Some(said) => kind.is_put_right() && !said.is_told_by(now.of(*kind)),
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

    /// A pod is gone.
    pub(crate) fn gone(&self, key: &Key) {
        self.lock().remove(key);
    }

    /// How many conditions wait to be written.
    pub(crate) fn depth(&self) -> usize {
        self.queue.depth()
    }

    /// What is to be written of what a sidecar enforces.
    #[cfg(test)]
    pub(crate) fn programmed_of(&self, pod: &PodRef) -> Option<(&'static str, String)> {
        let writing = Writing {
            pod: pod.clone(),
            kind: Kind::Programmed,
        };
        self.said(&writing).map(|said| (said.reason, said.message))
    }

    /// What is to be written of its certificate.
    #[cfg(test)]
    pub(crate) fn certificate_of(&self, pod: &PodRef) -> Option<String> {
        let writing = Writing {
            pod: pod.clone(),
            kind: Kind::Certificate,
        };
        self.said(&writing).map(|said| said.message)
    }

    fn said(&self, writing: &Writing) -> Option<Said> {
        let reports = self.lock();
        let known = reports.get(&writing.pod.key)?;
        if known.uid != writing.pod.uid {
            return None;
        }
        known.said(writing.kind).cloned()
    }

    /// It was written, or need not be.
    fn written(&self, writing: &Writing, said: Said) {
        let Writing { pod, kind } = writing;
        let mut reports = self.lock();
        let Some(known) = reports.get_mut(&pod.key) else {
            return;
        };
        if known.uid != pod.uid {
            return;
        }
        if let Some(slot) = known.slot(*kind) {
            slot.written = Some(said);
        }
        if known.ended.is_some() || !kind.is_put_right() {
            known.forget_if(*kind, Slot::is_written);
            if known.is_empty() {
                reports.remove(&pod.key);
            }
        }
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
            certificate: None,
            ended: None,
        }
    }

    fn said(&self, kind: Kind) -> Option<&Said> {
        let slot = match kind {
            Kind::Programmed => &self.programmed,
            Kind::Listeners => &self.listeners,
            Kind::Certificate => &self.certificate,
        };
        slot.as_ref().map(|slot| &slot.said)
    }

    fn slot(&mut self, kind: Kind) -> &mut Option<Slot> {
        match kind {
            Kind::Programmed => &mut self.programmed,
            Kind::Listeners => &mut self.listeners,
            Kind::Certificate => &mut self.certificate,
        }
    }

    fn forget_if(&mut self, kind: Kind, is_useless: impl Fn(&Slot) -> bool) {
        let slot = self.slot(kind);
        if slot.as_ref().is_some_and(is_useless) {
            *slot = None;
        }
    }

    /// After the end of the stream, what others write is newer.
    fn is_superseded_by(&mut self, now: &PodConditionFacts) -> bool {
        let Some(at_end) = self.ended.clone() else {
            return false;
        };
        for kind in Kind::ALL {
            let now = now.of(kind);
            let changed = now != at_end.of(kind);
            self.forget_if(kind, |slot| {
                let own = slot.written.as_ref();
                changed && !own.is_some_and(|own| own.is_told_by(now))
            });
        }
        self.is_empty()
    }

    fn is_empty(&self) -> bool {
        Kind::ALL.iter().all(|kind| self.said(*kind).is_none())
    }
}

// === impl Slot ===

impl Slot {
    fn is_written(&self) -> bool {
        self.written.as_ref() == Some(&self.said)
    }
}

// === impl Kind ===

impl Kind {
    const ALL: [Self; 3] = [Self::Programmed, Self::Listeners, Self::Certificate];

    fn condition_type(self) -> &'static str {
        match self {
            Self::Programmed => sidegate_api::names::POD_PROGRAMMED_CONDITION,
            Self::Listeners => sidegate_api::names::POD_LISTENERS_CONDITION,
            Self::Certificate => sidegate_api::names::POD_CERTIFICATE_CONDITION,
        }
    }

    /// How long it waits for its turn. When many pods start, what they enforce
    /// is to be told first.
    fn delay(self) -> Duration {
        match self {
            Self::Programmed | Self::Listeners => Duration::ZERO,
            Self::Certificate => Duration::from_secs(1),
        }
    }

    /// Whether what others write is written over while the stream stands. A
    /// certificate that was shown elsewhere may be a newer one.
    fn is_put_right(self) -> bool {
        match self {
            Self::Programmed | Self::Listeners => true,
            Self::Certificate => false,
        }
    }
}

// === impl PodConditionFacts ===

impl PodConditionFacts {
    fn of(&self, kind: Kind) -> Option<&crate::world::PodCondition> {
        match kind {
            Kind::Programmed => self.programmed.as_deref(),
            Kind::Listeners => self.listeners.as_deref(),
            Kind::Certificate => self.certificate.as_deref(),
        }
    }
}
