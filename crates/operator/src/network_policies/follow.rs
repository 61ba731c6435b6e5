//! Following the policies that there are.

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt as _;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource as _};
use sidegate_api::gateway::McpGateway;
use tokio::sync::watch;
use tracing::warn;

use super::known::{Change, Known};
use super::wishes::Wishes;
use crate::chain::Chain;
use crate::key::Key;
use crate::queue::{Queue, Request};

/// Keeps what is known, and asks for the gateways that a change is about.
pub(super) struct Follower {
    pub(super) known: Arc<Mutex<Known>>,
    pub(super) wishes: Arc<Wishes>,
    pub(super) queue: Arc<Queue>,
}

// === impl Follower ===

impl Follower {
    pub(super) async fn follow(self, api: Api<NetworkPolicy>, synced: watch::Sender<bool>) {
        let mut events = pin!(watcher(api, watcher::Config::default()).default_backoff());
        let mut listed = Vec::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => listed = Vec::new(),
                Ok(Event::InitApply(policy)) => listed.push(policy),
                Ok(Event::InitDone) => {
                    let now = std::mem::take(&mut listed);
                    let changes = Known::lock(&self.known).replace(now);
                    self.tell(changes);
                    synced.send_replace(true);
                }
                Ok(Event::Apply(policy)) => {
                    let changes = Known::lock(&self.known).put(policy);
                    self.tell(changes);
                }
                Ok(Event::Delete(policy)) => {
                    let changes = Known::lock(&self.known).remove(&Key::of(&policy));
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
                    for key in self.wishes.of(&namespace) {
                        self.queue.add(Request::Gateway(key), Duration::ZERO);
                    }
                }
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
