//! What is known of the cluster, and which gateways a change is about.
//!
//! Pure: watches tell it what changed, and it answers with the gateways that
//! have to be reconciled. Which pods a gateway matches is kept up to date, so
//! that a change of one pod costs one look at the gateways of its namespace
//! and nothing else.

mod gateways;
mod pods;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use kube::Resource as _;
use kube::core::DeserializeGuard;
use sidegate_api::gateway::McpGateway;
use sidegate_api::provider::LlmProvider;

use crate::key::Key;

use self::gateways::Entry;
pub(crate) use self::gateways::{View, Winner};
pub(crate) use self::pods::{PodCounts, PodFacts};

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
}

#[derive(Debug, Default)]
struct Namespace {
    /// Whether it has the label that allows injection.
    enabled: bool,
    gateways: BTreeMap<Arc<str>, Entry>,
    pods: HashMap<Arc<str>, PodFacts>,
}

// === impl World ===

impl World {
    /// A gateway is there or changed.
    pub(crate) fn set_gateway(&mut self, object: SeenGateway) -> Vec<Key> {
        let key = Key::of(&object);
        let namespace = self.namespace(&key.namespace);
        let touched = namespace.set_gateway(&key.name, Arc::new(object));
        keys(&key.namespace, touched)
    }

    /// What a gateway became by a write of ours. It is taken only in place of
    /// the version that was written to: what a watch told meanwhile is newer.
    pub(crate) fn gateway_written(&mut self, before: &SeenGateway, after: SeenGateway) {
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

    /// A gateway is gone.
    pub(crate) fn remove_gateway(&mut self, key: &Key) -> Vec<Key> {
        let touched = self
            .namespaces
            .get_mut(&key.namespace)
            .map(|namespace| namespace.remove_gateway(&key.name));
        keys(&key.namespace, touched.unwrap_or_default())
    }

    /// A pod is there or changed.
    pub(crate) fn set_pod(&mut self, key: &Key, pod: PodFacts) -> Vec<Key> {
        let namespace = self.namespace(&key.namespace);
        let touched = namespace.set_pod(&key.name, pod);
        keys(&key.namespace, touched)
    }

    /// A pod is gone.
    pub(crate) fn remove_pod(&mut self, key: &Key) -> Vec<Key> {
        let touched = self
            .namespaces
            .get_mut(&key.namespace)
            .map(|namespace| namespace.remove_pod(&key.name));
        keys(&key.namespace, touched.unwrap_or_default())
    }

    /// A namespace is there, with or without the label that allows injection.
    pub(crate) fn set_namespace(&mut self, name: &Arc<str>, enabled: bool) -> Vec<Key> {
        let namespace = self.namespace(name);
        if namespace.enabled == enabled {
            return Vec::new();
        }
        namespace.enabled = enabled;
        let gateways = namespace.gateways.keys().cloned().collect();
        keys(name, gateways)
    }

    /// A namespace is gone. What was in it went before.
    pub(crate) fn remove_namespace(&mut self, name: &Arc<str>) {
        self.namespaces.remove(name);
    }

    /// A provider is there or changed; says whether that is news.
    pub(crate) fn set_provider(&mut self, object: SeenProvider) -> bool {
        let version = object.meta().resource_version.clone();
        let before = self.providers.insert(Key::of(&object), Arc::new(object));
        before.is_none_or(|before| before.meta().resource_version != version)
    }

    /// What a provider became by a write of ours; as for gateways.
    pub(crate) fn provider_written(&mut self, before: &SeenProvider, after: SeenProvider) {
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

    /// Everything about a gateway that its reconcile needs.
    pub(crate) fn view(&self, key: &Key) -> Option<View> {
        self.namespaces.get(&key.namespace)?.view(&key.name)
    }

    /// A provider.
    pub(crate) fn provider(&self, key: &Key) -> Option<Arc<SeenProvider>> {
        self.providers.get(key).cloned()
    }

    /// The keys of all gateways.
    pub(crate) fn gateways(&self) -> Vec<Key> {
        self.namespaces
            .iter()
            .flat_map(|(name, namespace)| keys(name, namespace.gateways.keys().cloned().collect()))
            .collect()
    }

    /// The keys of all providers.
    pub(crate) fn providers(&self) -> Vec<Key> {
        self.providers.keys().cloned().collect()
    }

    fn namespace(&mut self, name: &Arc<str>) -> &mut Namespace {
        self.namespaces.entry(Arc::clone(name)).or_default()
    }
}

fn keys(namespace: &Arc<str>, names: Vec<Arc<str>>) -> Vec<Key> {
    names
        .into_iter()
        .map(|name| Key {
            namespace: Arc::clone(namespace),
            name,
        })
        .collect()
}
