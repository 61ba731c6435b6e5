//! Which pod enforces what, as this replica knows it.
//!
//! Everything that watches told ([`World`]) and everything that was built from
//! it is here, under one lock, so that what a pod is assigned is always made of
//! one state. Streams follow their pod and are told when something about it
//! changes; what sidecars report goes on to the conditions of their pods.
//!
//! An assignment is stamped with a revision of the cluster, and a sidecar takes
//! nothing else with a lower stamp than what it enforces. So a rule that was
//! removed does not come back when a sidecar moves to a replica that lags,
//! because every stamp is exact: a program with stamp `s` is made of its gateway
//! as it was at `s`, with all changes up to `s` and with none after.
//!
//! - Only the gateway watch raises stamps. It tells changes in their order, so
//!   one at `s` says that all before are known. What was seen of pods, Services,
//!   Secrets or ConfigMaps says nothing about gateways: a replica whose gateway
//!   watch hangs must not stamp old rules with the number of a new Secret.
//! - While a change is not built, or is not valid, the last good program keeps
//!   the stamp that it had before the change.
//! - From a list, an object comes before all that the list has; its program has
//!   the object's own version then ([`Programs`]).
//!
//! Of two stamps the higher one is therefore of the same or a later state of
//! the gateway. One number cannot order two things, so what a gateway refers to
//! is not in the stamp. Each Secret and ConfigMap has its own number beside it,
//! its resource version as this replica read it ([`Program::references`]): a
//! sidecar takes nothing for which any of them is lower than it was before,
//! however high the stamp. A replica whose watch of one object lags waits for
//! that watch, which always tells as much: the number is the object's own.
//!
//! - A sidecar remembers numbers also of what its gateway does not refer to any
//!   more, for it may do so again (`ReferenceVersions::not_forgetting`).
//! - An object that is gone gives no program, so the last good one keeps the
//!   numbers that it was built of; one that is made again has a higher number.
//! - The same content is sent again when it is of something newer. Otherwise a
//!   sidecar would take what came between two equal states from a replica that
//!   has seen no more than that. Who writes an object all the time makes nobody
//!   send all the time: the newest is sent within a second ([`retelling`]).
//!
//! Waiting for a higher stamp ends. A sidecar may know of one by a list that
//! another replica read when no gateway changed, so the watch here would never
//! tell as much. Then the gateways of the namespace are read ([`Board::confirm`]):
//! if at revision `r` they are what is known here, what is known is exact at
//! `r`. If they are not, the watch is late, and there is nothing to serve.

mod assignment;
mod changes;
mod programs;
mod progress;
mod retelling;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::value::RawValue;
use sidegate_config::control::{ForeignListener, ReferenceVersions, RejectReason, SnapshotVersion};
use tokio::sync::watch;
use tokio::time::Instant;

use self::assignment::Followed;
use self::programs::Programs;
use self::progress::Progress;
use crate::key::Key;
use crate::pod_condition::{PodConditions, ShownCertificate};
use crate::queue::Queue;
use crate::world::World;

pub(crate) use self::changes::{Asked, revision_of};
pub(crate) use self::programs::{Assessment, Draft, Published};
pub(crate) use self::progress::Versions;

/// How long a watch may usually take to tell what another replica knows.
const USUAL_LAG: Duration = Duration::from_millis(500);

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
    /// When its sandbox came or went last, in seconds since 1970.
    pub(crate) sandbox_unix: Option<i64>,
    /// The certificate that it showed, to whichever replica.
    pub(crate) certificate: Option<ShownCertificate>,
}

/// What the sidecars of a gateway enforce.
#[derive(Clone)]
pub(crate) struct Program {
    /// The gateway.
    pub(crate) gateway: Key,
    /// The generation of the gateway's spec.
    pub(crate) generation: Option<i64>,
    /// The versions of everything else that it was made of.
    pub(crate) references: ReferenceVersions,
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
    /// The revision at which its gateway was what this is made of.
    pub(crate) revision: u64,
    /// When a watch told the last change of what it is to enforce.
    pub(crate) changed_at: Option<Instant>,
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
    /// It enforces this, which is newer than all that this replica has seen,
    /// and has been for a while.
    Behind {
        /// What it enforces.
        in_force: SnapshotVersion,
    },
    /// What other processes of the pod listen on.
    Listeners(Vec<ForeignListener>),
    /// It showed this certificate.
    Certificate(ShownCertificate),
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
    /// Changes when more is known.
    progressed: watch::Sender<()>,
    /// Namespaces where a sidecar knows more.
    behind: Queue<Arc<str>>,
    /// Gateways whose streams are to be told the same content of newer objects.
    retellings: Queue<Key>,
    synced: watch::Sender<bool>,
    conditions: Arc<PodConditions>,
}

struct State {
    world: World,
    programs: Programs,
    followed: HashMap<Key, Followed>,
    progress: Progress,
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
            progress: Progress::default(),
            synced: false,
            naming,
        };
        Self {
            state: Mutex::new(state),
            progressed: watch::Sender::new(()),
            behind: Queue::default(),
            retellings: Queue::default(),
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
            sandbox_unix: facts.sandbox_unix,
            certificate: facts
                .conditions
                .certificate
                .as_deref()
                .and_then(ShownCertificate::of),
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

    /// A sidecar reports; it is written into the conditions of its pod.
    pub(crate) fn report(&self, pod: &PodRef, report: PodReport) {
        let (conditions, ports) = {
            let state = self.lock();
            let Some(facts) = state.world.pod(&pod.key) else {
                return;
            };
            if facts.uid != pod.uid {
                return;
            }
            let conditions = facts.conditions.clone();
            (conditions, state.world.server_ports(&pod.key))
        };
        if report == PodReport::Disconnected {
            self.conditions.ended(pod, &conditions);
        } else {
            self.conditions.report(pod, report, &ports);
        }
    }

    /// Somebody does not follow the pod any more. Nothing is kept for one that
    /// nobody follows.
    pub(crate) fn unfollowed(&self, pod: &PodRef) {
        self.lock().forget_unfollowed(&pod.key);
    }

    #[cfg(test)]
    pub(crate) fn count_followed(&self) -> usize {
        self.lock().followed.len()
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

impl Program {
    /// Whether that is the same content, made of the same. The same content of
    /// something newer has to be told, too: another replica may know only what
    /// was between them, and bring it back to who has not heard that it is over.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        self.is_content_of(other) && self.references == other.references
    }

    /// The same content of the same spec, of whatever objects.
    pub(crate) fn is_content_of(&self, other: &Self) -> bool {
        (&self.hash, self.generation) == (&other.hash, other.generation)
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
