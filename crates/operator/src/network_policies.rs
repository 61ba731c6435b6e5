//! The NetworkPolicy of a gateway whose servers have a port of their own.
//!
//! Under exposure `SeparatePort` the server's own port is open beside the
//! sidecar's. The policy admits every port but that one, and whoever enforces
//! policies in the cluster closes it. It belongs to its gateway and goes with
//! it. One of somebody else with its name is left alone, and where somebody
//! else's decides about the same pods there is none of ours. Policies add up, so
//! one also closes what older gateways close on pods that both may select, and
//! gives way where sidecars of an older one listen.

mod follow;
mod guarded;
mod known;
mod policy;
mod selectors;
mod state;
#[cfg(test)]
mod tests;
mod wishes;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt as _};
use sidegate_api::gateway::McpGateway;
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tracing::{info, warn};

use self::follow::Follower;
pub(crate) use self::guarded::Guarded;
use self::known::Known;
use self::policy::{closed_by, name_of, needs_policy, owner_uid, policy_of};
pub(crate) use self::state::PolicyState;
use self::wishes::{Wish, Wishes};
use crate::events::CONTROLLER;
use crate::key::Key;
use crate::ours::is_ours;
use crate::queue::{Queue, Request};
use crate::world::SeenGateway;

const PATIENCE: Duration = Duration::from_secs(10);
/// No watch tells that somebody's own policy is gone: it is looked for again.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// The policies that are there, and those that are wanted.
pub(crate) struct NetworkPolicies {
    client: Client,
    queue: Arc<Queue>,
    known: Arc<Mutex<Known>>,
    wishes: Arc<Wishes>,
    synced: watch::Receiver<bool>,
    watch: AbortHandle,
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
        let (known, wishes) = (Arc::<Mutex<Known>>::default(), Arc::default());
        let (synced_tx, synced) = watch::channel(false);
        let follower = Follower {
            known: Arc::clone(&known),
            wishes: Arc::clone(&wishes),
            queue: Arc::clone(&queue),
        };
        let task = follower.follow(api, synced_tx);
        Self {
            client,
            queue,
            known,
            wishes,
            synced,
            watch: tokio::spawn(task).abort_handle(),
        }
    }

    /// What matters to the policy of a gateway about those that are `older`, of
    /// its own namespace.
    pub(crate) fn guarded(&self, gateway: &McpGateway, older: &[Arc<SeenGateway>]) -> Guarded {
        let mut guarded = Guarded::default();
        // It may have one from before it was broken.
        if !needs_policy(gateway) && self.policy_of(gateway).is_none() {
            return guarded;
        }
        let own = Wish::of(gateway);
        for other in older {
            let key = Key::of(&**other);
            let wish = match &other.0 {
                Ok(other) => Some(Wish::of(other)),
                // It still has its pods, and its policy.
                Err(_) => self.wishes.last(&key),
            };
            match wish {
                Some(wish) => guarded.add(&own, &key.name, &wish),
                None => guarded.cannot_read(&key.name),
            }
        }
        guarded
    }

    /// Makes the policy of a gateway what it should be: for one that is accepted
    /// and has its pods, in a namespace that allows injection. What older ones
    /// close is `guarded`.
    ///
    /// # Errors
    /// It could not be written; try again.
    pub(crate) async fn apply(
        &self,
        gateway: &McpGateway,
        guarded: &Guarded,
    ) -> Result<PolicyState, PolicyError> {
        let overlaps = || guarded.overlap(gateway).map(PolicyState::Overlaps);
        match self.decided(gateway).await?.or_else(overlaps) {
            Some(state) => {
                self.bring_about(gateway, None).await?;
                Ok(state)
            }
            // It may close something for one that cannot be read.
            None if guarded.is_partial() && self.policy_of(gateway).is_some() => {
                self.leave(gateway, guarded).await
            }
            None => {
                let wanted = policy_of(gateway, &guarded.ports());
                self.bring_about(gateway, wanted).await
            }
        }
    }

    /// Leaves the policy of a gateway as it is, unless somebody else decides or it
    /// cuts off an older gateway: for one that is not accepted any more, whose
    /// sidecars go on.
    ///
    /// # Errors
    /// It could not be deleted; try again.
    pub(crate) async fn keep(
        &self,
        gateway: &McpGateway,
        guarded: &Guarded,
    ) -> Result<PolicyState, PolicyError> {
        match self.decided(gateway).await? {
            Some(_) => self.bring_about(gateway, None).await,
            None => self.leave(gateway, guarded).await,
        }
    }

    async fn leave(
        &self,
        gateway: &McpGateway,
        guarded: &Guarded,
    ) -> Result<PolicyState, PolicyError> {
        let policy = self.policy_of(gateway);
        match policy.and_then(|policy| guarded.cut_off_by(&policy)) {
            Some(overlap) => {
                self.bring_about(gateway, None).await?;
                Ok(PolicyState::Overlaps(overlap))
            }
            None => Ok(PolicyState::Unchanged),
        }
    }

    /// Takes the policy of a gateway away: for one whose pods another one has.
    ///
    /// # Errors
    /// It could not be deleted; try again.
    pub(crate) async fn remove(&self, gateway: &McpGateway) -> Result<PolicyState, PolicyError> {
        self.wish(gateway);
        self.bring_about(gateway, None).await
    }

    /// The gateway is gone.
    pub(crate) fn forget(&self, gateway: &Key) {
        self.ask_for(self.wishes.forget(gateway));
    }

    /// Notes which ports a gateway wants to be closed. Policies of others depend
    /// on it.
    fn wish(&self, gateway: &McpGateway) {
        self.ask_for(self.wishes.set(gateway));
    }

    fn ask_for(&self, gateways: Vec<Key>) {
        for key in gateways {
            self.queue.add(Request::Gateway(key), Duration::ZERO);
        }
    }

    /// Whether somebody else decides about the pods of a gateway that wants a
    /// policy.
    async fn decided(&self, gateway: &McpGateway) -> Result<Option<PolicyState>, PolicyError> {
        // Before the look: what comes after it asks again.
        self.wish(gateway);
        let closed = closed_by(gateway);
        if closed.is_empty() {
            return Ok(None);
        }
        let own = own_key(gateway);
        self.until_synced(&own).await?;
        let other = Known::lock(&self.known).decides(gateway, &own);
        Ok(other.map(|other| PolicyState::Decided(other, closed)))
    }

    /// The policy that a gateway has.
    fn policy_of(&self, gateway: &McpGateway) -> Option<Arc<NetworkPolicy>> {
        let known = Known::lock(&self.known).ours(&own_key(gateway))?;
        (owner_uid(&known) == gateway.metadata.uid.as_deref()).then_some(known)
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
        let known = Known::lock(&self.known).ours(&key);
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
                let _told_by_watch = Known::lock(&self.known).remove(key);
                info!(policy = %key, "a network policy is not wanted any more and was deleted");
                Ok(PolicyState::Written)
            }
            // It went by itself; its watch tells.
            Reply::Other => Ok(PolicyState::Unchanged),
        }
    }

    /// Remembers it at once, before its watch tells the same.
    fn wrote(&self, key: &Key, written: NetworkPolicy) -> PolicyState {
        let _nothing_new = Known::lock(&self.known).put(written);
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

fn own_key(gateway: &McpGateway) -> Key {
    let namespace = gateway.namespace().unwrap_or_default();
    Key::new(&namespace, &name_of(gateway))
}
