//! The watches that every replica has, and what their news ask for.

use std::collections::HashSet;
use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use kube::api::ListParams;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use sidegate_api::names::{INJECTION_ENABLED, INJECTION_LABEL};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::board::{Asked, Board, revision_of};
use crate::chain::Chain;
use crate::injector::policy;
use crate::key::Key;
use crate::metrics::{Metrics, Watch};
use crate::queue::{Queue, Request};
use crate::world::{PodFacts, SeenGateway, SeenProvider, ServiceFacts};

/// Pods change in crowds; their counts are written down once for all that
/// happens within this time.
const PODS_SETTLE: Duration = Duration::from_millis(500);
const MIN_RETRY: Duration = Duration::from_millis(500);
const MAX_RETRY: Duration = Duration::from_secs(8);
const PATIENCE: Duration = Duration::from_secs(10);

/// What the watches share.
#[derive(Clone)]
pub(crate) struct Watching {
    pub(crate) client: Client,
    /// The one namespace that is watched; all when there is none.
    pub(crate) namespace: Option<String>,
    pub(crate) board: Arc<Board>,
    /// Gateways to build, on every replica.
    pub(crate) builds: Arc<Queue<Key>>,
    /// Statuses to write, for whoever leads.
    pub(crate) statuses: Arc<Queue>,
    pub(crate) metrics: Arc<Metrics>,
    /// How many watches have told everything that there is.
    pub(crate) synced: Arc<AtomicUsize>,
}

/// A change of one object.
enum Change<K> {
    Set(K),
    Remove(Key),
}

/// Turns the events of a watch into changes: what a new list lacks was removed
/// while nobody looked.
struct Listing {
    known: HashSet<Key>,
    listed: Option<HashSet<Key>>,
}

/// How many watches there are.
const WATCHES: usize = Watch::ALL.len();

// === impl Watching ===

impl Watching {
    /// Starts all watches; they end with the set.
    pub(crate) fn start(&self) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        let all = watcher::Config::default;
        let own = self.clone();
        let gateways: Api<SeenGateway> = self.api();
        tasks.spawn(self.clone().follow(
            gateways,
            all(),
            Watch::Gateways,
            move |change, revision| own.gateway(change, revision),
        ));
        let own = self.clone();
        let providers: Api<SeenProvider> = self.api();
        tasks.spawn(
            self.clone()
                .follow(providers, all(), Watch::Providers, move |change, _| {
                    own.provider(change);
                }),
        );
        let own = self.clone();
        let pods: Api<Pod> = self.api();
        tasks.spawn(
            self.clone()
                .follow(pods, all(), Watch::Pods, move |change, _| own.pod(change)),
        );
        let own = self.clone();
        let services: Api<Service> = self.api();
        tasks.spawn(
            self.clone()
                .follow(services, all(), Watch::Services, move |change, _| {
                    own.service(change);
                }),
        );
        let own = self.clone();
        let namespaces: Api<PartialObjectMeta<Namespace>> = Api::all(self.client.clone());
        let config = match &self.namespace {
            Some(name) => all().fields(&format!("metadata.name={name}")),
            None => all(),
        };
        tasks.spawn(self.clone().follow(
            namespaces,
            config,
            Watch::Namespaces,
            move |change, _| own.namespace(change),
        ));
        tasks
    }

    fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        match &self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }

    async fn follow<K>(
        self,
        api: Api<K>,
        config: watcher::Config,
        name: Watch,
        take: impl Fn(Change<K>, Option<u64>) + Send,
    ) where
        K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        let mut events = pin!(watcher(api, config));
        let mut listing = Listing::new();
        let mut retry = MIN_RETRY;
        let mut synced = false;
        // Of a list, nothing counts as seen before all of it is.
        let mut listed_revision = None;
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    retry = MIN_RETRY;
                    self.metrics.watch_told(name);
                    let complete = matches!(event, Event::InitDone);
                    let revision = match &event {
                        Event::Init => {
                            listed_revision = self.present_revision(name).await;
                            None
                        }
                        Event::InitApply(object) => {
                            listed_revision = listed_revision.max(revision_of(object));
                            None
                        }
                        // What the list lacks goes with the list's own number.
                        Event::InitDone => listed_revision,
                        Event::Apply(object) | Event::Delete(object) => revision_of(object),
                    };
                    for change in listing.changes(event) {
                        take(change, revision);
                    }
                    if let (true, Watch::Gateways, Some(revision)) =
                        (complete, name, listed_revision)
                    {
                        self.board.saw(revision);
                    }
                    if complete && !synced {
                        synced = true;
                        info!(watch = name.as_str(), "all objects are known");
                        self.one_is_synced();
                    }
                }
                Err(error) => {
                    self.metrics.watch_failed(name);
                    warn!(watch = name.as_str(), error = %Chain(&error), "a watch failed; it goes on");
                    tokio::time::sleep(retry).await;
                    retry = (retry * 2).min(MAX_RETRY);
                }
            }
        }
    }

    fn one_is_synced(&self) {
        // The next request of another watch is ordered after this.
        let before = self.synced.fetch_add(1, Ordering::SeqCst);
        if before + 1 == WATCHES {
            self.board.everything_is_known();
        }
    }

    /// How far the cluster has got, asked before gateways are listed: what is
    /// missing in the list was removed before that, and no event will tell.
    async fn present_revision(&self, watch: Watch) -> Option<u64> {
        if watch != Watch::Gateways {
            return None;
        }
        let gateways: Api<SeenGateway> = self.api();
        let params = ListParams::default().limit(1);
        let list = gateways.list_metadata(&params);
        match timeout(PATIENCE, list).await {
            Ok(Ok(list)) => list.metadata.resource_version?.parse().ok(),
            // The list itself will say why.
            Ok(Err(_)) | Err(_) => None,
        }
    }

    fn gateway(&self, change: Change<SeenGateway>, revision: Option<u64>) {
        let asked = match change {
            Change::Set(mut gateway) => {
                gateway.managed_fields_mut().clear();
                self.board.set_gateway(gateway, revision)
            }
            Change::Remove(key) => self.board.remove_gateway(&key, revision),
        };
        self.ask(asked, Duration::ZERO);
    }

    fn provider(&self, change: Change<SeenProvider>) {
        match change {
            Change::Set(mut provider) => {
                provider.managed_fields_mut().clear();
                let key = Key::of(&provider);
                if self.board.set_provider(provider) {
                    self.statuses.add(Request::Provider(key), Duration::ZERO);
                }
            }
            Change::Remove(key) => {
                self.board.remove_provider(&key);
                // What it refers to is to be forgotten.
                self.statuses.add(Request::Provider(key), Duration::ZERO);
            }
        }
    }

    fn pod(&self, change: Change<Pod>) {
        let asked = match change {
            Change::Set(pod) => {
                let key = Key::of(&pod);
                self.board.set_pod(&key, PodFacts::of(pod))
            }
            Change::Remove(key) => self.board.remove_pod(&key),
        };
        self.ask(asked, PODS_SETTLE);
    }

    fn service(&self, change: Change<Service>) {
        match change {
            Change::Set(service) => {
                let key = Key::of(&service);
                self.board.set_service(&key, ServiceFacts::of(service));
            }
            Change::Remove(key) => self.board.remove_service(&key),
        }
    }

    fn namespace(&self, change: Change<PartialObjectMeta<Namespace>>) {
        let asked = match change {
            Change::Set(namespace) => {
                let label = namespace.labels().get(INJECTION_LABEL);
                let labelled = label.is_some_and(|value| value == INJECTION_ENABLED);
                let name = Key::of(&namespace).name;
                let enabled = labelled && !policy::is_excluded(&name);
                self.board.set_namespace(&name, enabled)
            }
            Change::Remove(key) => self.board.remove_namespace(&key.name),
        };
        self.ask(asked, Duration::ZERO);
    }

    fn ask(&self, asked: Asked, delay: Duration) {
        for gateway in asked.builds {
            self.builds.add(gateway, Duration::ZERO);
        }
        for gateway in asked.statuses {
            self.statuses.add(Request::Gateway(gateway), delay);
        }
        for provider in asked.providers {
            self.statuses.add(Request::Provider(provider), delay);
        }
    }
}

// === impl Listing ===

impl Listing {
    fn new() -> Self {
        Self {
            known: HashSet::new(),
            listed: None,
        }
    }

    fn changes<K: Resource>(&mut self, event: Event<K>) -> Vec<Change<K>> {
        match event {
            Event::Init => {
                self.listed = Some(HashSet::new());
                Vec::new()
            }
            Event::InitApply(object) => {
                let key = Key::of(&object);
                if let Some(listed) = &mut self.listed {
                    listed.insert(key.clone());
                }
                self.known.insert(key);
                vec![Change::Set(object)]
            }
            Event::InitDone => {
                let listed = self.listed.take().unwrap_or_default();
                let gone: Vec<_> = self.known.difference(&listed).cloned().collect();
                self.known = listed;
                gone.into_iter().map(Change::Remove).collect()
            }
            Event::Apply(object) => {
                self.known.insert(Key::of(&object));
                vec![Change::Set(object)]
            }
            Event::Delete(object) => {
                let key = Key::of(&object);
                self.known.remove(&key);
                vec![Change::Remove(key)]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.name = Some(name.to_owned());
        pod.metadata.namespace = Some("crm".to_owned());
        pod
    }

    fn told(listing: &mut Listing, event: Event<Pod>) -> Vec<String> {
        let mut told: Vec<_> = listing
            .changes(event)
            .into_iter()
            .map(|change| match change {
                Change::Set(pod) => format!("+{}", pod.name_any()),
                Change::Remove(key) => format!("-{}", key.name),
            })
            .collect();
        told.sort();
        told
    }

    #[test]
    fn what_a_new_list_lacks_is_removed() {
        let mut listing = Listing::new();
        assert_eq!(told(&mut listing, Event::Init), [""; 0]);
        assert_eq!(told(&mut listing, Event::InitApply(pod("a"))), ["+a"]);
        assert_eq!(told(&mut listing, Event::InitApply(pod("b"))), ["+b"]);
        assert_eq!(told(&mut listing, Event::InitDone), [""; 0]);
        assert_eq!(told(&mut listing, Event::Apply(pod("c"))), ["+c"]);
        assert_eq!(told(&mut listing, Event::Delete(pod("a"))), ["-a"]);
        told(&mut listing, Event::Init);
        assert_eq!(told(&mut listing, Event::InitApply(pod("c"))), ["+c"]);
        assert_eq!(told(&mut listing, Event::InitDone), ["-b"]);
        told(&mut listing, Event::Init);
        assert_eq!(told(&mut listing, Event::InitDone), ["-c"]);
    }

    #[test]
    fn an_interrupted_list_removes_nothing() {
        let mut listing = Listing::new();
        told(&mut listing, Event::Init);
        told(&mut listing, Event::InitApply(pod("a")));
        told(&mut listing, Event::InitApply(pod("b")));
        told(&mut listing, Event::InitDone);
        told(&mut listing, Event::Init);
        told(&mut listing, Event::InitApply(pod("a")));
        told(&mut listing, Event::Init);
        told(&mut listing, Event::InitApply(pod("b")));
        assert_eq!(told(&mut listing, Event::InitDone), ["-a"]);
    }
}
