//! What is known of the cluster, and what a change is about.
//!
//! Pure: watches tell it what changed, and it answers with the gateways and
//! pods that this is about. Which gateways select a pod is kept up to date both
//! ways, so that a change costs a look at what it touches and nothing else.

mod gateways;
mod owners;
mod pods;
mod providers;
mod selectors;
mod services;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use kube::core::DeserializeGuard;
use kube::{Resource as _, ResourceExt as _};
use sidegate_api::gateway::McpGateway;
use sidegate_api::provider::LlmProvider;

use crate::key::Key;

use self::gateways::Entry;
use self::pods::PodEntry;
use self::providers::Users;
use self::selectors::Selectors;

pub(crate) use self::gateways::{View, Winner};
pub(crate) use self::owners::{Owner, ServerPorts, Target};
pub(crate) use self::pods::{PodCondition, PodConditionFacts, PodFacts, PodView};
pub(crate) use self::services::{ServiceFacts, ServiceNames};

/// A gateway as it was read. One that does not fit its type is kept as such,
/// so that it stops nothing and can be told so.
pub(crate) type SeenGateway = DeserializeGuard<McpGateway>;
/// A provider as it was read.
pub(crate) type SeenProvider = DeserializeGuard<LlmProvider>;

/// Everything that the watches have told.
#[derive(Debug, Default)]
pub(crate) struct World {
    namespaces: HashMap<Arc<str>, Namespace>,
    providers: HashMap<Key, Arc<SeenProvider>>,
    users: Users,
}

#[derive(Debug, Default)]
struct Namespace {
    /// Whether it has the label that allows injection.
    enabled: bool,
    gateways: BTreeMap<Arc<str>, Entry>,
    /// The gateways by what they select.
    selectors: Selectors,
    pods: HashMap<Arc<str>, PodEntry>,
    services: BTreeMap<Arc<str>, ServiceFacts>,
}

/// What a change is about.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Touched {
    /// Gateways whose status may be another one.
    pub(crate) gateways: Vec<Key>,
    /// Pods whose assignment may be another one.
    pub(crate) pods: Vec<Key>,
    /// Providers that have other users.
    pub(crate) providers: Vec<Key>,
    /// Whether the gateway that changed has to be built again.
    pub(crate) build: bool,
    /// Whether it is another object of the same name.
    pub(crate) replaced: bool,
}

/// As [`Touched`], inside a namespace.
#[derive(Debug, Default)]
struct Names {
    gateways: BTreeSet<Arc<str>>,
    pods: BTreeSet<Arc<str>>,
}

// === impl World ===

impl World {
    /// A gateway is there or changed.
    pub(crate) fn set_gateway(&mut self, object: SeenGateway) -> Touched {
        let key = Key::of(&object);
        let providers = self.users.set(&key, Some(&object));
        let namespace = self.namespace(&key.namespace);
        let (names, news) = namespace.set_gateway(&key.name, Arc::new(object));
        Touched {
            build: news.spec,
            replaced: news.replaced,
            providers,
            ..names.in_namespace(&key.namespace)
        }
    }

    /// What a gateway became by a write of ours. It is taken only in place of
    /// the version that was written to: what a watch told meanwhile is newer.
    pub(crate) fn gateway_written(&mut self, before: &SeenGateway, mut after: SeenGateway) {
        // As the watch does: who owns which field takes as much room as the rest.
        after.managed_fields_mut().clear();
        let key = Key::of(&after);
        let entry = self
            .namespaces
            .get_mut(&key.namespace)
            .and_then(|namespace| namespace.gateways.get_mut(&key.name));
        if let Some(entry) = entry
            && entry.object.meta().resource_version == before.meta().resource_version
        {
            entry.object = Arc::new(after);
        }
    }

    /// Whether the gateways of a namespace are these, in these versions.
    pub(crate) fn gateways_are(
        &self,
        namespace: &str,
        versions: &BTreeMap<Arc<str>, String>,
    ) -> bool {
        match self.namespaces.get(namespace) {
            Some(namespace) => namespace.gateways_are(versions),
            None => versions.is_empty(),
        }
    }

    /// A gateway is gone.
    pub(crate) fn remove_gateway(&mut self, key: &Key) -> Touched {
        Touched {
            // What was built of it is to be forgotten.
            build: true,
            providers: self.users.set(key, None),
            ..self.remove(key, |namespace| namespace.remove_gateway(&key.name))
        }
    }

    /// A pod is there or changed.
    pub(crate) fn set_pod(&mut self, key: &Key, pod: PodFacts) -> Touched {
        let namespace = self.namespace(&key.namespace);
        let names = namespace.set_pod(&key.name, pod);
        names.in_namespace(&key.namespace)
    }

    /// A pod is gone.
    pub(crate) fn remove_pod(&mut self, key: &Key) -> Touched {
        self.remove(key, |namespace| namespace.remove_pod(&key.name))
    }

    /// A Service is there or changed.
    pub(crate) fn set_service(&mut self, key: &Key, service: ServiceFacts) -> Touched {
        let namespace = self.namespace(&key.namespace);
        let names = namespace.set_service(&key.name, service);
        names.in_namespace(&key.namespace)
    }

    /// A Service is gone.
    pub(crate) fn remove_service(&mut self, key: &Key) -> Touched {
        self.remove(key, |namespace| namespace.remove_service(&key.name))
    }

    /// A namespace has the label that allows injection, or not. Returns the
    /// gateways that this is about.
    pub(crate) fn set_namespace(&mut self, name: &Arc<str>, enabled: bool) -> Vec<Key> {
        let namespace = self.namespace(name);
        let names = Names {
            gateways: match namespace.enabled == enabled {
                true => BTreeSet::new(),
                false => namespace.gateways.keys().cloned().collect(),
            },
            pods: BTreeSet::new(),
        };
        namespace.enabled = enabled;
        self.forget_empty(name);
        names.in_namespace(name).gateways
    }

    /// A provider is there or changed; says whether that is news.
    pub(crate) fn set_provider(&mut self, object: SeenProvider) -> bool {
        let version = object.meta().resource_version.clone();
        let before = self.providers.insert(Key::of(&object), Arc::new(object));
        before.is_none_or(|before| before.meta().resource_version != version)
    }

    /// What a provider became by a write of ours; as for gateways.
    pub(crate) fn provider_written(&mut self, before: &SeenProvider, mut after: SeenProvider) {
        after.managed_fields_mut().clear();
        if let Some(known) = self.providers.get_mut(&Key::of(&after))
            && known.meta().resource_version == before.meta().resource_version
        {
            *known = Arc::new(after);
        }
    }

    /// A provider is gone.
    pub(crate) fn remove_provider(&mut self, key: &Key) {
        self.providers.remove(key);
    }

    /// A gateway as it was read last.
    pub(crate) fn gateway(&self, key: &Key) -> Option<Arc<SeenGateway>> {
        let namespace = self.namespaces.get(&key.namespace)?;
        Some(Arc::clone(&namespace.gateways.get(&key.name)?.object))
    }

    /// Everything about a gateway that its status needs.
    pub(crate) fn view(&self, key: &Key) -> Option<View> {
        self.namespaces.get(&key.namespace)?.view(&key.name)
    }

    /// A provider.
    pub(crate) fn provider(&self, key: &Key) -> Option<Arc<SeenProvider>> {
        self.providers.get(key).cloned()
    }

    /// The gateways that refer to a provider, in order.
    pub(crate) fn users_of(&self, provider: &Key) -> impl Iterator<Item = &Key> {
        self.users.of(provider)
    }

    /// A pod.
    pub(crate) fn pod(&self, key: &Key) -> Option<&PodFacts> {
        let namespace = self.namespaces.get(&key.namespace)?;
        Some(&namespace.pods.get(&key.name)?.facts)
    }

    /// The keys of all gateways.
    pub(crate) fn gateways(&self) -> Vec<Key> {
        self.namespaces
            .iter()
            .flat_map(|(name, namespace)| keys(name, namespace.gateways.keys().cloned()))
            .collect()
    }

    /// The keys of all providers.
    pub(crate) fn providers(&self) -> Vec<Key> {
        self.providers.keys().cloned().collect()
    }

    fn namespace(&mut self, name: &Arc<str>) -> &mut Namespace {
        self.namespaces.entry(Arc::clone(name)).or_default()
    }

    fn remove(&mut self, key: &Key, how: impl FnOnce(&mut Namespace) -> Names) -> Touched {
        let Some(namespace) = self.namespaces.get_mut(&key.namespace) else {
            return Touched::default();
        };
        let names = how(namespace);
        self.forget_empty(&key.namespace);
        names.in_namespace(&key.namespace)
    }

    /// The watches tell the end of a namespace and of what was in it in any
    /// order: whichever comes last forgets the namespace.
    fn forget_empty(&mut self, name: &Arc<str>) {
        let empty = self.namespaces.get(name).is_some_and(|it| {
            !it.enabled && it.gateways.is_empty() && it.pods.is_empty() && it.services.is_empty()
        });
        if empty {
            self.namespaces.remove(name);
        }
    }
}

// === impl Names ===

impl Names {
    fn in_namespace(self, namespace: &Arc<str>) -> Touched {
        Touched {
            gateways: keys(namespace, self.gateways),
            pods: keys(namespace, self.pods),
            ..Touched::default()
        }
    }
}

fn keys(namespace: &Arc<str>, names: impl IntoIterator<Item = Arc<str>>) -> Vec<Key> {
    names
        .into_iter()
        .map(|name| Key {
            namespace: Arc::clone(namespace),
            name,
        })
        .collect()
}
