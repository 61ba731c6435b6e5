//! Gateways, the pods that they select, and who of several has them.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource as _;
use sidegate_api::selector::LabelSelector;

use super::{Namespace, PodCounts, PodFacts, SeenGateway};

/// Most pods that a view names.
const MAX_NAMED_PODS: usize = 10;

/// A gateway and the pods that it selects.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) object: Arc<SeenGateway>,
    /// The selector that was read last. It cannot be changed, so one that is
    /// unreadable now does not set its pods free.
    selector: Option<LabelSelector>,
    pub(super) pods: BTreeSet<Arc<str>>,
}

/// Everything about a gateway that its reconcile needs.
#[derive(Debug, Clone)]
pub(crate) struct View {
    /// The gateway.
    pub(crate) object: Arc<SeenGateway>,
    /// Whether its namespace allows injection.
    pub(crate) namespace_enabled: bool,
    /// Its pods.
    pub(crate) pods: PodCounts,
    /// Pods without a sidecar, at most ten.
    pub(crate) without_sidecar: Vec<Arc<str>>,
    /// The gateway that has its pods instead.
    pub(crate) winner: Option<Winner>,
}

/// A gateway that is older than another one for the same pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Winner {
    /// Its name.
    pub(crate) name: Arc<str>,
    /// How many pods both select.
    pub(crate) shared_pods: usize,
}

// === impl Namespace ===

impl Namespace {
    /// Returns the gateways that the change is about.
    pub(super) fn set_gateway(
        &mut self,
        name: &Arc<str>,
        object: Arc<SeenGateway>,
    ) -> Vec<Arc<str>> {
        let before = self.gateways.remove(name);
        let version = object.meta().resource_version.clone();
        let (mut entry, known) = match before {
            Some(before) if before.object.meta().resource_version == version => {
                // What a write of ours gave, now told by the watch.
                self.gateways.insert(Arc::clone(name), before);
                return Vec::new();
            }
            Some(before) => (before, true),
            None => (Entry::new(&object), false),
        };
        let selector = selector_of(&object).or_else(|| entry.selector.clone());
        let same = known
            && selector == entry.selector
            && entry.object.meta().uid == object.meta().uid
            && entry.object.meta().creation_timestamp == object.meta().creation_timestamp;
        let mut touched = vec![Arc::clone(name)];
        if !same {
            touched.extend(self.rivals(&entry));
            entry.selector = selector;
            entry.pods.clear();
            for (pod, facts) in &self.pods {
                if entry.selects(facts) {
                    entry.pods.insert(Arc::clone(pod));
                }
            }
            touched.extend(self.rivals(&entry));
            touched.sort_unstable();
            touched.dedup();
        }
        entry.object = object;
        self.gateways.insert(Arc::clone(name), entry);
        touched
    }

    /// Returns the gateways that the change is about.
    pub(super) fn remove_gateway(&mut self, name: &Arc<str>) -> Vec<Arc<str>> {
        let Some(entry) = self.gateways.remove(name) else {
            return Vec::new();
        };
        let mut touched = self.rivals(&entry);
        touched.push(Arc::clone(name));
        touched
    }

    /// Those that want what an entry wants; the entry itself is not among the
    /// gateways.
    fn rivals(&self, entry: &Entry) -> Vec<Arc<str>> {
        self.gateways
            .iter()
            .filter(|(_, other)| other.is_rival_of(entry))
            .map(|(name, _)| Arc::clone(name))
            .collect()
    }

    pub(super) fn view(&self, name: &Arc<str>) -> Option<View> {
        let entry = self.gateways.get(name)?;
        let mut pods = PodCounts::default();
        let mut without_sidecar = Vec::new();
        for (pod, facts) in entry
            .pods
            .iter()
            .filter_map(|pod| self.pods.get_key_value(pod))
        {
            pods.matched += 1;
            pods.injected += u32::from(facts.injected);
            pods.ready += u32::from(facts.ready);
            if !facts.injected && without_sidecar.len() < MAX_NAMED_PODS {
                without_sidecar.push(Arc::clone(pod));
            }
        }
        Some(View {
            object: Arc::clone(&entry.object),
            namespace_enabled: self.enabled,
            pods,
            without_sidecar,
            winner: self.winner(name, entry),
        })
    }

    /// The oldest gateway that is older than `entry` and wants the same pods.
    fn winner(&self, name: &Arc<str>, entry: &Entry) -> Option<Winner> {
        let age = |name: &Arc<str>, entry: &Entry| (entry.created(), Arc::clone(name));
        let own = age(name, entry);
        self.gateways
            .iter()
            .filter(|(other, it)| *other != name && age(other, it) < own && it.is_rival_of(entry))
            .min_by_key(|(other, it)| age(other, it))
            .map(|(other, it)| Winner {
                name: Arc::clone(other),
                shared_pods: it.pods.intersection(&entry.pods).count(),
            })
    }
}

// === impl Entry ===

impl Entry {
    fn new(object: &Arc<SeenGateway>) -> Self {
        Self {
            object: Arc::clone(object),
            selector: None,
            pods: BTreeSet::new(),
        }
    }

    pub(super) fn selects(&self, pod: &PodFacts) -> bool {
        pod.counted
            && self
                .selector
                .as_ref()
                // An empty selector is refused; it must not take every pod.
                .is_some_and(|it| !it.is_empty() && it.matches(&pod.labels))
    }

    /// Whether both select a pod, or will as soon as there is one.
    fn is_rival_of(&self, other: &Self) -> bool {
        let same_selector = self.selector.is_some() && self.selector == other.selector;
        same_selector || !self.pods.is_disjoint(&other.pods)
    }

    fn created(&self) -> Option<Time> {
        self.object.meta().creation_timestamp.clone()
    }
}

fn selector_of(object: &SeenGateway) -> Option<LabelSelector> {
    let gateway = object.0.as_ref().ok()?;
    Some(gateway.spec.selector.clone())
}
