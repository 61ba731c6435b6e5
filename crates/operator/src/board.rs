//! Which pod enforces what, as this replica knows it.
//!
//! Everything that watches told ([`World`]) and everything that was built from
//! it is here, under one lock, so that what a pod is assigned is always made of
//! one state. Streams follow their pod and are told when something about it
//! changes; what sidecars report goes on to the conditions of their pods.
//!
//! An assignment is stamped with how much of the cluster it was made of. The
//! stamp grows with what the gateway watch and the references tell. Pods and
//! Services do not count: a replica whose gateway watch hangs must not stamp
//! old content with the number of a new pod. While a change of a gateway is not
//! built yet, or cannot be, the stamp of its last good program stays.

mod assignment;
mod changes;
mod programs;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::value::RawValue;
use sidegate_config::control::{ForeignListener, RejectReason, SnapshotVersion};
use tokio::sync::watch;

use self::assignment::Followed;
use self::programs::Programs;
use crate::key::Key;
use crate::pod_condition::PodConditions;
use crate::world::World;

pub(crate) use self::changes::{Asked, revision_of};
pub(crate) use self::programs::{Assessment, Draft, Published};

/// A pod and no successor of the same name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PodRef {
    /// Its namespace and name.
    pub(crate) key: Key,
    /// What no other pod has.
    pub(crate) uid: Arc<str>,
}

/// What a stream needs to know of a pod before it trusts a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KnownPod {
    /// The pod's uid.
    pub(crate) uid: Arc<str>,
    /// The service account that it runs as.
    pub(crate) service_account: Arc<str>,
    /// Whether its sidecar once enforced something, and so has a certificate.
    pub(crate) ever_programmed: bool,
}

/// What the sidecars of a gateway enforce.
#[derive(Clone)]
pub(crate) struct Program {
    /// The gateway.
    pub(crate) gateway: Key,
    /// The content hash.
    pub(crate) hash: String,
    /// The version of the format.
    pub(crate) schema_version: u32,
    /// The configuration, serialized once for all.
    pub(crate) config: Arc<RawValue>,
}

/// What a pod is to enforce.
#[derive(Debug, Clone)]
pub(crate) enum Assigned {
    /// No gateway has it.
    NoGateway,
    /// A gateway has it for which nothing valid was built yet. There is nothing
    /// to say.
    Waiting,
    /// This.
    Program(Arc<Program>),
}

/// All that a stream tells a pod.
#[derive(Debug, Clone)]
pub(crate) struct Assignment {
    /// What it is to enforce.
    pub(crate) assigned: Assigned,
    /// How much of the cluster was seen when this was made.
    pub(crate) revision: u64,
    /// Names for its certificate.
    pub(crate) dns_names: Vec<String>,
    /// Names of its Services.
    pub(crate) service_hosts: Vec<String>,
}

/// What a sidecar says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PodReport {
    /// It enforces nothing: it has just begun.
    NothingInForce,
    /// It enforces this; nothing, when the hash is empty.
    Confirmed(SnapshotVersion),
    /// It does not enforce this, but what it enforced before.
    Rejected {
        /// What it was sent.
        version: SnapshotVersion,
        /// Why.
        reason: RejectReason,
        /// Why, in a sentence.
        message: String,
    },
    /// It is too old for this.
    Outdated {
        /// What there is to enforce.
        version: SnapshotVersion,
        /// The format that it does not know.
        schema_version: u32,
    },
    /// What other processes of the pod listen on.
    Listeners(Vec<ForeignListener>),
    /// Its stream ended. What it enforced, it goes on to enforce.
    Disconnected,
}

/// Names that certificates may carry.
#[derive(Debug, Clone)]
pub(crate) struct Naming {
    /// The domain of the cluster's Services, as `cluster.local`.
    pub(crate) cluster_domain: String,
}

/// Which pod enforces what.
pub(crate) struct Board {
    state: Mutex<State>,
    revision: watch::Sender<u64>,
    synced: watch::Sender<bool>,
    conditions: Arc<PodConditions>,
}

struct State {
    world: World,
    programs: Programs,
    followed: HashMap<Key, Followed>,
    /// The highest resource version that was seen.
    revision: u64,
    /// Whether everything was told.
    synced: bool,
    naming: Naming,
}

// === impl Board ===

impl Board {
    /// A board that knows nothing.
    pub(crate) fn new(naming: Naming, conditions: Arc<PodConditions>) -> Self {
        let state = State {
            world: World::default(),
            programs: Programs::default(),
            followed: HashMap::new(),
            revision: 0,
            synced: false,
            naming,
        };
        Self {
            state: Mutex::new(state),
            revision: watch::Sender::new(0),
            synced: watch::Sender::new(false),
            conditions,
        }
    }

    /// Whether everything was told. Before that, nobody is to be told
    /// anything.
    pub(crate) fn synced(&self) -> bool {
        *self.synced.borrow()
    }

    /// A pod, if there is one of that name.
    pub(crate) fn known(&self, pod: &Key) -> Option<KnownPod> {
        let state = self.lock();
        let facts = state.world.pod(pod)?;
        Some(KnownPod {
            uid: Arc::clone(&facts.uid),
            service_account: Arc::clone(&facts.service_account),
            ever_programmed: facts.ever_programmed,
        })
    }

    /// What a pod is to enforce, now and from now on. None when it is not
    /// known; the channel closes when the pod is gone.
    pub(crate) fn follow(&self, pod: &PodRef) -> Option<watch::Receiver<Assignment>> {
        let mut state = self.lock();
        let facts = state.world.pod(&pod.key)?;
        if facts.uid != pod.uid {
            return None;
        }
        state.follow(pod)
    }

    /// Waits until this replica has seen as much. Then everybody who follows a
    /// pod is told, unless a change of its gateway is still being built: then,
    /// as soon as it is.
    pub(crate) async fn wait_for_revision(&self, at_least: u64) {
        let mut revision = self.revision.subscribe();
        let reached = revision.wait_for(|seen| *seen >= at_least).await;
        // The sender is this board's, so it is there; the guard must go.
        drop(reached);
        self.lock().stamp_again(at_least);
    }

    /// A sidecar reports; it is written into the conditions of its pod.
    pub(crate) fn report(&self, pod: &PodRef, report: PodReport) {
        let ports = {
            let mut state = self.lock();
            let Some(facts) = state.world.pod(&pod.key) else {
                return;
            };
            if facts.uid != pod.uid {
                return;
            }
            if let PodReport::Confirmed(version) = &report
                && !version.hash.is_empty()
            {
                state.world.programmed_once(&pod.key);
            }
            if matches!(report, PodReport::Disconnected) {
                state.forget_unfollowed(&pod.key);
            }
            state.world.server_ports(&pod.key)
        };
        self.conditions.report(pod, report, &ports);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Board").finish_non_exhaustive()
    }
}

impl fmt::Debug for Program {
    /// Without the configuration, which holds secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program")
            .field("gateway", &self.gateway)
            .field("hash", &self.hash)
            .field("schema_version", &self.schema_version)
            .finish_non_exhaustive()
    }
}
