//! The NetworkPolicy of a gateway whose servers have a port of their own.
//!
//! Under exposure `SeparatePort` the server's own port is open beside the
//! sidecar's. The policy admits every port but that one, and whoever enforces
//! policies in the cluster closes it. It belongs to its gateway and goes with
//! it. One of somebody else with its name is left alone, and where somebody
//! else's decides about the same pods there is none of ours.

mod known;
mod policy;

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource as _, ResourceExt as _};
use sidegate_api::gateway::McpGateway;
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tracing::{info, warn};

use self::known::{Change, Known};
use self::policy::{closed_ports, name_of, owner_uid, policy_of};
use crate::authority::is_ours;
use crate::chain::Chain;
use crate::events::CONTROLLER;
use crate::key::Key;
use crate::queue::{Queue, Request};

const PATIENCE: Duration = Duration::from_secs(10);
/// No watch tells that somebody's own policy is gone: it is looked for again.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// The policies that are there, and those that are wanted.
pub(crate) struct NetworkPolicies {
    client: Client,
    queue: Arc<Queue>,
    known: Arc<Mutex<Known>>,
    asked: Arc<Mutex<Asked>>,
    synced: watch::Receiver<bool>,
    watch: AbortHandle,
}

/// The gateways that want a policy: what others decide is about them.
type Asked = HashSet<Key>;

/// What became of a gateway's policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PolicyState {
    /// It was created, changed or deleted.
    Written,
    /// It is as it should be, or not wanted.
    Unchanged,
    /// Somebody else's has its name.
    Foreign(Key),
    /// Somebody else's decides already who reaches the gateway's pods, which
    /// must not reach these ports.
    Decided(Key, BTreeSet<u16>),
}

/// Why a policy could not be written.
#[derive(Debug, Error)]
pub(crate) enum PolicyError {
    /// The API server refuses it.
    #[error("NetworkPolicy {0} cannot be written")]
    Write(Key, #[source] kube::Error),
    /// It changed meanwhile.
    #[error("NetworkPolicy {0} changed meanwhile")]
    Outdated(Key),
    /// There is no answer.
    #[error("the API server did not answer in time about NetworkPolicy {0}")]
    Timeout(Key),
}

// === impl NetworkPolicies ===

impl NetworkPolicies {
    /// Follows the policies until it is dropped. What somebody changes or
    /// deletes asks for a reconcile of the gateway.
    pub(crate) fn new(client: Client, namespace: Option<&str>, queue: Arc<Queue>) -> Self {
        let api: Api<NetworkPolicy> = match namespace {
            Some(namespace) => Api::namespaced(client.clone(), namespace),
            None => Api::all(client.clone()),
        };
        let (known, asked) = (Arc::<Mutex<Known>>::default(), Arc::default());
        let (synced_tx, synced) = watch::channel(false);
        let follower = Follower {
            known: Arc::clone(&known),
            asked: Arc::clone(&asked),
            queue: Arc::clone(&queue),
        };
        let task = follower.follow(api, synced_tx);
        Self {
            client,
            queue,
            known,
            asked,
            synced,
            watch: tokio::spawn(task).abort_handle(),
        }
    }

    /// Makes the policy of a gateway what it should be: for one that is accepted
    /// and has its pods, in a namespace that allows injection.
    ///
    /// # Errors
    /// It could not be written; try again.
    pub(crate) async fn apply(&self, gateway: &McpGateway) -> Result<PolicyState, PolicyError> {
        let wanted = policy_of(gateway);
        match self.decided(gateway, wanted.as_ref()).await? {
            Some(decided) => {
                self.bring_about(gateway, None).await?;
                Ok(decided)
            }
            None => self.bring_about(gateway, wanted).await,
        }
    }

    /// Leaves the policy of a gateway as it is, unless somebody else decides:
    /// for one that is not accepted any more, whose sidecars go on.
    ///
    /// # Errors
    /// It could not be deleted; try again.
    pub(crate) async fn keep(&self, gateway: &McpGateway) -> Result<PolicyState, PolicyError> {
        match self.decided(gateway, policy_of(gateway).as_ref()).await? {
            Some(_) => self.bring_about(gateway, None).await,
            None => Ok(PolicyState::Unchanged),
        }
    }

    /// Takes the policy of a gateway away: for one whose pods another one has.
    ///
    /// # Errors
    /// It could not be deleted; try again.
    pub(crate) async fn remove(&self, gateway: &McpGateway) -> Result<PolicyState, PolicyError> {
        self.bring_about(gateway, None).await
    }

    /// The gateway is gone.
    pub(crate) fn forget(&self, gateway: &Key) {
        lock(&self.asked).remove(gateway);
    }

    /// Whether somebody else decides about the pods of a gateway that wants a
    /// policy.
    async fn decided(
        &self,
        gateway: &McpGateway,
        wanted: Option<&NetworkPolicy>,
    ) -> Result<Option<PolicyState>, PolicyError> {
        let key = Key::of(gateway);
        if wanted.is_none() {
            lock(&self.asked).remove(&key);
            return Ok(None);
        }
        // Before the look: what comes after it asks again.
        lock(&self.asked).insert(key);
        let own = own_key(gateway);
        self.until_synced(&own).await?;
        let other = lock(&self.known).decides(gateway, &own);
        let closed = || closed_ports(&gateway.spec.servers);
        Ok(other.map(|other| PolicyState::Decided(other, closed())))
    }

    async fn until_synced(&self, key: &Key) -> Result<(), PolicyError> {
        let mut synced = self.synced.clone();
        let patience = timeout(PATIENCE, synced.wait_for(|synced| *synced));
        // Without the guard, which must not be held any longer.
        let is_synced = patience.await.is_ok_and(|synced| synced.is_ok());
        match is_synced {
            true => Ok(()),
            false => Err(PolicyError::Timeout(key.clone())),
        }
    }

    async fn bring_about(
        &self,
        gateway: &McpGateway,
        wanted: Option<NetworkPolicy>,
    ) -> Result<PolicyState, PolicyError> {
        let key = own_key(gateway);
        if wanted.is_none() && !*self.synced.borrow() {
            // Once it is known what there is, each owner is asked for.
            return Ok(PolicyState::Unchanged);
        }
        self.until_synced(&key).await?;
        let known = lock(&self.known).ours(&key);
        let (wanted, known) = match (wanted, known) {
            (None, None) => return Ok(PolicyState::Unchanged),
            (None, Some(known)) => {
                // That of a gateway before this one goes by itself.
                if owner_uid(&known) != gateway.metadata.uid.as_deref() {
                    return Ok(PolicyState::Unchanged);
                }
                return self.delete(&key, &known).await;
            }
            (Some(wanted), known) => (wanted, known),
        };
        match known {
            Some(known) if is_as_wanted(&known, &wanted) => Ok(PolicyState::Unchanged),
            // That of a gateway before this one: it cannot have two owners.
            Some(known) if owner_uid(&known) != gateway.metadata.uid.as_deref() => {
                self.delete(&key, &known).await?;
                self.create(gateway, &key, &wanted).await
            }
            Some(known) => self.update(&key, &known, wanted).await,
            None => self.create(gateway, &key, &wanted).await,
        }
    }

    /// Creates it: of two with the same name, the API server takes one.
    async fn create(
        &self,
        gateway: &McpGateway,
        key: &Key,
        wanted: &NetworkPolicy,
    ) -> Result<PolicyState, PolicyError> {
        let params = PostParams {
            field_manager: Some(CONTROLLER.to_owned()),
            ..PostParams::default()
        };
        let api = self.api(key);
        match self.ask(key, api.create(&params, wanted)).await? {
            Reply::Done(written) => Ok(self.wrote(key, written)),
            Reply::Other => match self.ask(key, api.get(&key.name)).await? {
                // The watch is late.
                Reply::Done(there) if is_ours(&there) => Err(PolicyError::Outdated(key.clone())),
                Reply::Done(_) => {
                    let request = Request::Gateway(Key::of(gateway));
                    self.queue.add(request, LOOK_AGAIN);
                    let state = PolicyState::Foreign(key.clone());
                    warn!(policy = %key, "{state}");
                    Ok(state)
                }
                Reply::Other => Err(PolicyError::Outdated(key.clone())),
            },
        }
    }

    async fn update(
        &self,
        key: &Key,
        known: &NetworkPolicy,
        mut wanted: NetworkPolicy,
    ) -> Result<PolicyState, PolicyError> {
        // About the one that was seen: a successor may be somebody else's.
        wanted.metadata.uid.clone_from(&known.metadata.uid);
        let params = PatchParams::apply(CONTROLLER).force();
        let api = self.api(key);
        let patch = Patch::Apply(&wanted);
        match self.ask(key, api.patch(&key.name, &params, &patch)).await? {
            Reply::Done(written) => Ok(self.wrote(key, written)),
            Reply::Other => Err(PolicyError::Outdated(key.clone())),
        }
    }

    async fn delete(&self, key: &Key, known: &NetworkPolicy) -> Result<PolicyState, PolicyError> {
        let params = DeleteParams::default().preconditions(Preconditions {
            uid: known.metadata.uid.clone(),
            resource_version: None,
        });
        let api = self.api(key);
        let deleted = async { api.delete(&key.name, &params).await.map(drop) };
        match self.ask(key, deleted).await? {
            Reply::Done(()) => {
                let _told_by_watch = lock(&self.known).remove(key);
                info!(policy = %key, "a network policy is not wanted any more and was deleted");
                Ok(PolicyState::Written)
            }
            // It went by itself; its watch tells.
            Reply::Other => Ok(PolicyState::Unchanged),
        }
    }

    /// Remembers it at once, before its watch tells the same.
    fn wrote(&self, key: &Key, written: NetworkPolicy) -> PolicyState {
        let _nothing_new = lock(&self.known).put(written);
        info!(policy = %key, "a network policy was written");
        PolicyState::Written
    }

    async fn ask<T>(
        &self,
        key: &Key,
        asked: impl Future<Output = kube::Result<T>>,
    ) -> Result<Reply<T>, PolicyError> {
        match timeout(PATIENCE, asked).await {
            Ok(Ok(answer)) => Ok(Reply::Done(answer)),
            Ok(Err(kube::Error::Api(status)))
                if status.is_conflict() || status.is_already_exists() || status.is_not_found() =>
            {
                Ok(Reply::Other)
            }
            Ok(Err(error)) => Err(PolicyError::Write(key.clone(), error)),
            Err(_) => Err(PolicyError::Timeout(key.clone())),
        }
    }

    fn api(&self, key: &Key) -> Api<NetworkPolicy> {
        Api::namespaced(self.client.clone(), &key.namespace)
    }
}

impl Drop for NetworkPolicies {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

/// What the API server said.
enum Reply<T> {
    Done(T),
    /// The object is another one than was thought.
    Other,
}

/// Whether nothing has to be written. Labels and fields of others stay.
fn is_as_wanted(known: &NetworkPolicy, wanted: &NetworkPolicy) -> bool {
    let owners = |policy: &NetworkPolicy| policy.metadata.owner_references.clone();
    known.spec == wanted.spec && owners(known) == owners(wanted) && is_ours(known)
}

/// Keeps what is known.
struct Follower {
    known: Arc<Mutex<Known>>,
    asked: Arc<Mutex<Asked>>,
    queue: Arc<Queue>,
}

// === impl Follower ===

impl Follower {
    async fn follow(self, api: Api<NetworkPolicy>, synced: watch::Sender<bool>) {
        let mut events = pin!(watcher(api, watcher::Config::default()).default_backoff());
        let mut listed = Vec::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => listed = Vec::new(),
                Ok(Event::InitApply(policy)) => listed.push(policy),
                Ok(Event::InitDone) => {
                    let now = std::mem::take(&mut listed);
                    let changes = lock(&self.known).replace(now);
                    self.tell(changes);
                    synced.send_replace(true);
                }
                Ok(Event::Apply(policy)) => {
                    let changes = lock(&self.known).put(policy);
                    self.tell(changes);
                }
                Ok(Event::Delete(policy)) => {
                    let changes = lock(&self.known).remove(&Key::of(&policy));
                    self.tell(changes);
                }
                Err(error) => {
                    warn!(error = %Chain(&error), "network policies cannot be watched; it goes on");
                }
            }
        }
    }

    fn tell(&self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Ours(policy) => ask_for_owner(&self.queue, &policy),
                Change::Others(namespace) => {
                    let asked = lock(&self.asked);
                    for key in asked.iter().filter(|it| it.namespace == namespace) {
                        let request = Request::Gateway(key.clone());
                        self.queue.add(request, Duration::ZERO);
                    }
                }
            }
        }
    }
}

fn own_key(gateway: &McpGateway) -> Key {
    let namespace = gateway.namespace().unwrap_or_default();
    Key::new(&namespace, &name_of(gateway))
}

fn ask_for_owner(queue: &Queue, policy: &NetworkPolicy) {
    let namespace = policy.metadata.namespace.as_deref().unwrap_or_default();
    let owners = policy.metadata.owner_references.iter().flatten();
    for owner in owners.filter(|owner| owner.kind == McpGateway::kind(&())) {
        let request = Request::Gateway(Key::new(namespace, &owner.name));
        queue.add(request, Duration::ZERO);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl PolicyState ===

impl fmt::Display for PolicyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Written => f.write_str("the network policy was written"),
            Self::Unchanged => f.write_str("the network policy is as it should be"),
            Self::Foreign(key) => write!(
                f,
                "NetworkPolicy {key} is not the operator's and is left as it is, so nothing \
                 closes the servers' own ports: give it another name"
            ),
            Self::Decided(key, ports) => {
                let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
                write!(
                    f,
                    "NetworkPolicy {key} already decides who reaches these pods, so the operator \
                     writes none: make sure that it does not admit port {}",
                    ports.join(", ")
                )
            }
        }
    }
}
