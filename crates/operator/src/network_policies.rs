//! The NetworkPolicy of a gateway whose servers have a port of their own.
//!
//! Under exposure `SeparatePort` the server's own port is open beside the
//! sidecar's. The policy admits every port but that one, and whoever enforces
//! policies in the cluster closes it. It belongs to its gateway and goes with
//! it. One of somebody else with its name is left alone.

mod policy;

use std::collections::HashMap;
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

use self::policy::{name_of, owner_uid, policy_of};
use crate::authority::{MANAGED_BY, MANAGED_BY_US, is_ours};
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
    synced: watch::Receiver<bool>,
    watch: AbortHandle,
}

type Known = HashMap<Key, Arc<NetworkPolicy>>;

/// What became of a gateway's policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PolicyState {
    /// It was created, changed or deleted.
    Written,
    /// It is as it should be, or not wanted.
    Unchanged,
    /// Somebody else's has its name.
    Foreign(Key),
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
        let known = Arc::<Mutex<Known>>::default();
        let (synced_tx, synced) = watch::channel(false);
        let task = follow(api, Arc::clone(&known), Arc::clone(&queue), synced_tx);
        Self {
            client,
            queue,
            known,
            synced,
            watch: tokio::spawn(task).abort_handle(),
        }
    }

    /// Makes the policy of a gateway what it should be: for one that has its
    /// pods.
    ///
    /// # Errors
    /// It could not be written; try again.
    pub(crate) async fn apply(&self, gateway: &McpGateway) -> Result<PolicyState, PolicyError> {
        self.bring_about(gateway, policy_of(gateway)).await
    }

    /// Takes the policy of a gateway away: for one whose pods another one has.
    ///
    /// # Errors
    /// It could not be deleted; try again.
    pub(crate) async fn remove(&self, gateway: &McpGateway) -> Result<PolicyState, PolicyError> {
        self.bring_about(gateway, None).await
    }

    async fn bring_about(
        &self,
        gateway: &McpGateway,
        wanted: Option<NetworkPolicy>,
    ) -> Result<PolicyState, PolicyError> {
        let namespace = gateway.namespace().unwrap_or_default();
        let key = Key::new(&namespace, &name_of(gateway));
        let mut synced = self.synced.clone();
        if wanted.is_none() && !*synced.borrow() {
            // Once it is known what there is, each owner is asked for.
            return Ok(PolicyState::Unchanged);
        }
        let patience = timeout(PATIENCE, synced.wait_for(|synced| *synced));
        // Without the guard, which must not be held any longer.
        let is_synced = patience.await.is_ok_and(|synced| synced.is_ok());
        if !is_synced {
            return Err(PolicyError::Timeout(key));
        }
        let known = lock(&self.known).get(&key).cloned();
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
            Asked::Done(written) => Ok(self.wrote(key, written)),
            Asked::Other => match self.ask(key, api.get(&key.name)).await? {
                // The watch is late.
                Asked::Done(there) if is_ours(&there) => Err(PolicyError::Outdated(key.clone())),
                Asked::Done(_) => {
                    let request = Request::Gateway(Key::of(gateway));
                    self.queue.add(request, LOOK_AGAIN);
                    let state = PolicyState::Foreign(key.clone());
                    warn!(policy = %key, "{state}");
                    Ok(state)
                }
                Asked::Other => Err(PolicyError::Outdated(key.clone())),
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
            Asked::Done(written) => Ok(self.wrote(key, written)),
            Asked::Other => Err(PolicyError::Outdated(key.clone())),
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
            Asked::Done(()) => {
                lock(&self.known).remove(key);
                info!(policy = %key, "a network policy is not wanted any more and was deleted");
                Ok(PolicyState::Written)
            }
            // It went by itself; its watch tells.
            Asked::Other => Ok(PolicyState::Unchanged),
        }
    }

    /// Remembers it at once, before its watch tells the same.
    fn wrote(&self, key: &Key, written: NetworkPolicy) -> PolicyState {
        lock(&self.known).insert(key.clone(), Arc::new(written));
        info!(policy = %key, "a network policy was written");
        PolicyState::Written
    }

    async fn ask<T>(
        &self,
        key: &Key,
        asked: impl Future<Output = kube::Result<T>>,
    ) -> Result<Asked<T>, PolicyError> {
        match timeout(PATIENCE, asked).await {
            Ok(Ok(answer)) => Ok(Asked::Done(answer)),
            Ok(Err(kube::Error::Api(status)))
                if status.is_conflict() || status.is_already_exists() || status.is_not_found() =>
            {
                Ok(Asked::Other)
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
enum Asked<T> {
    Done(T),
    /// The object is another one than was thought.
    Other,
}

/// Whether nothing has to be written. Labels and fields of others stay.
fn is_as_wanted(known: &NetworkPolicy, wanted: &NetworkPolicy) -> bool {
    let owners = |policy: &NetworkPolicy| policy.metadata.owner_references.clone();
    known.spec == wanted.spec && owners(known) == owners(wanted) && is_ours(known)
}

async fn follow(
    api: Api<NetworkPolicy>,
    known: Arc<Mutex<Known>>,
    queue: Arc<Queue>,
    synced: watch::Sender<bool>,
) {
    let ours = watcher::Config::default().labels(&format!("{MANAGED_BY}={MANAGED_BY_US}"));
    let mut events = pin!(watcher(api, ours).default_backoff());
    let mut listed = Known::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => listed = Known::new(),
            Ok(Event::InitApply(policy)) => {
                listed.insert(Key::of(&policy), Arc::new(policy));
            }
            Ok(Event::InitDone) => {
                let now = std::mem::take(&mut listed);
                let before = std::mem::replace(&mut *lock(&known), now.clone());
                for (key, policy) in before.iter().chain(&now) {
                    if before.get(key) != now.get(key) {
                        ask_for_owner(&queue, policy);
                    }
                }
                synced.send_replace(true);
            }
            Ok(Event::Apply(policy)) => {
                let policy = Arc::new(policy);
                let key = Key::of(&*policy);
                let before = lock(&known).insert(key, Arc::clone(&policy));
                if before.is_none_or(|before| *before != *policy) {
                    ask_for_owner(&queue, &policy);
                }
            }
            Ok(Event::Delete(policy)) => {
                if lock(&known).remove(&Key::of(&policy)).is_some() {
                    ask_for_owner(&queue, &policy);
                }
            }
            Err(error) => {
                warn!(error = %Chain(&error), "network policies cannot be watched; it goes on");
            }
        }
    }
}

fn ask_for_owner(queue: &Queue, policy: &NetworkPolicy) {
    let namespace = policy.metadata.namespace.as_deref().unwrap_or_default();
    let owners = policy.metadata.owner_references.iter().flatten();
    for owner in owners.filter(|owner| owner.kind == McpGateway::kind(&())) {
        let request = Request::Gateway(Key::new(namespace, &owner.name));
        queue.add(request, Duration::ZERO);
    }
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
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
        }
    }
}
