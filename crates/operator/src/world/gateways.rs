//! Gateways, the pods that they select, and who of several has them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kube::Resource as _;
use sidegate_api::selector::LabelSelector;

use super::pods::{PodEntry, PodView};
use super::{Names, Namespace, PodFacts, SeenGateway};
use crate::rank::{Rank, rank, selects};

/// A gateway and the pods that it selects.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) object: Arc<SeenGateway>,
    /// The selector that was read last. It cannot be changed, so one that is
    /// unreadable now does not set its pods free.
    selector: Option<LabelSelector>,
    pub(super) pods: BTreeSet<Arc<str>>,
}

/// Everything about a gateway that its status needs.
#[derive(Debug, Clone)]
pub(crate) struct View {
    /// The gateway.
    pub(crate) object: Arc<SeenGateway>,
    /// Whether its namespace allows injection.
    pub(crate) namespace_enabled: bool,
    /// Its pods that are counted, by name.
    pub(crate) pods: Vec<PodView>,
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
    /// Whether it is older; otherwise its name decides.
    pub(crate) is_older: bool,
}

/// What is new about a gateway.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct News {
    /// It asks for something else.
    pub(super) spec: bool,
    /// It is another object of the same name.
    pub(super) replaced: bool,
}

// === impl Namespace ===

impl Namespace {
    pub(super) fn set_gateway(
        &mut self,
        name: &Arc<str>,
        object: Arc<SeenGateway>,
    ) -> (Names, News) {
        let mut names = Names::default();
        let before = self.gateways.get(name);
        let (now, then) = (object.meta(), before.map(|it| it.object.meta()));
        if then.is_some_and(|then| then.resource_version == now.resource_version) {
            // What a write of ours gave, now told by the watch.
            return (names, News::default());
        }
        let replaced = then.is_some_and(|then| then.uid != now.uid);
        let news = News {
            spec: replaced || then.is_none_or(|then| then.generation != now.generation),
            replaced,
        };
        names.gateways.insert(Arc::clone(name));
        let known = before.and_then(|it| it.selector.clone());
        let selector = selector_of(&object).or_else(|| known.clone());
        let same = !replaced
            && selector == known
            && then.is_some_and(|then| then.creation_timestamp == now.creation_timestamp);
        if same && let Some(entry) = self.gateways.get_mut(name) {
            entry.object = object;
            return (names, news);
        }
        self.take_out(name, &mut names);
        let entry = Entry {
            object,
            selector,
            pods: BTreeSet::new(),
        };
        self.put_in(name, entry, &mut names);
        (names, news)
    }

    pub(super) fn remove_gateway(&mut self, name: &Arc<str>) -> Names {
        let mut names = Names::default();
        if self.take_out(name, &mut names) {
            names.gateways.insert(Arc::clone(name));
        }
        names
    }

    fn put_in(&mut self, name: &Arc<str>, mut entry: Entry, names: &mut Names) {
        for (pod, it) in &mut self.pods {
            if entry.selects(&it.facts) {
                entry.pods.insert(Arc::clone(pod));
                it.gateways.insert(Arc::clone(name));
            }
        }
        if let Some(selector) = &entry.selector {
            self.selectors.insert(selector, name);
        }
        names.pods.extend(entry.pods.iter().cloned());
        names.gateways.extend(self.rivals(name, &entry));
        self.gateways.insert(Arc::clone(name), entry);
    }

    fn take_out(&mut self, name: &Arc<str>, names: &mut Names) -> bool {
        let Some(entry) = self.gateways.remove(name) else {
            return false;
        };
        names.gateways.extend(self.rivals(name, &entry));
        if let Some(selector) = &entry.selector {
            self.selectors.remove(selector, name);
        }
        for pod in &entry.pods {
            if let Some(it) = self.pods.get_mut(pod) {
                it.gateways.remove(name);
            }
        }
        names.pods.extend(entry.pods);
        true
    }

    /// The other gateways that select one of its pods, or will as soon as there
    /// is one.
    fn rivals(&self, name: &Arc<str>, entry: &Entry) -> BTreeSet<Arc<str>> {
        let of_pods = entry
            .pods
            .iter()
            .filter_map(|pod| self.pods.get(pod))
            .filter(|pod| pod.facts.counted)
            .flat_map(|pod| &pod.gateways);
        let alike = entry.selector.iter();
        let alike = alike.flat_map(|selector| self.selectors.alike(selector));
        let mut rivals: BTreeSet<_> = of_pods.chain(alike).cloned().collect();
        rivals.remove(name);
        rivals
    }

    /// Whether the gateways are these, in these versions.
    pub(super) fn gateways_are(&self, versions: &BTreeMap<Arc<str>, String>) -> bool {
        let known = self.gateways.iter().map(|(name, entry)| {
            let version = entry.object.meta().resource_version.as_deref();
            (name, version.unwrap_or_default())
        });
        known.eq(versions
            .iter()
            .map(|(name, version)| (name, version.as_str())))
    }

    pub(super) fn view(&self, name: &Arc<str>) -> Option<View> {
        let entry = self.gateways.get(name)?;
        let pods = entry
            .pods
            .iter()
            .filter_map(|pod| self.pods.get_key_value(pod))
            .filter(|(_, it)| it.facts.counted)
            .map(|(pod, it)| PodView {
                name: Arc::clone(pod),
                ready: it.facts.ready,
                injected: it.facts.injected,
                uid: Arc::clone(&it.facts.uid),
                addresses: it.facts.addresses.clone(),
                conditions: it.facts.conditions.clone(),
                failing_container: it.facts.failing_container.clone(),
                declared: it.facts.declared.clone(),
                had_by: self.rival_that_has(it, entry),
            });
        Some(View {
            object: Arc::clone(&entry.object),
            namespace_enabled: self.enabled,
            pods: pods.collect(),
            winner: self.winner(name, entry),
        })
    }

    /// The oldest gateway that is older than `entry` and wants the same pods.
    fn winner(&self, name: &Arc<str>, entry: &Entry) -> Option<Winner> {
        let own = entry.rank();
        let rivals = self.rivals(name, entry);
        let (_, winner) = rivals
            .iter()
            .filter_map(|rival| Some((self.gateways.get(rival)?.rank(), rival)))
            .filter(|(rank, _)| *rank < own)
            .min()?;
        let shared_pods = entry
            .pods
            .iter()
            .filter_map(|pod| self.pods.get(pod))
            .filter(|pod| pod.facts.counted && pod.gateways.contains(winner))
            .count();
        let theirs = self.gateways.get(winner)?.rank();
        Some(Winner {
            name: Arc::clone(winner),
            shared_pods,
            is_older: theirs.0 < own.0,
        })
    }

    /// The other gateway that has a pod which this one selects.
    fn rival_that_has(&self, pod: &PodEntry, entry: &Entry) -> Option<Arc<str>> {
        let ranks = pod.gateways.iter();
        let ranks = ranks.filter_map(|name| Some((self.gateways.get(name)?.rank(), name)));
        let (first, name) = ranks.min()?;
        (first < entry.rank()).then(|| Arc::clone(name))
    }
}

// === impl Entry ===

impl Entry {
    pub(super) fn selects(&self, pod: &PodFacts) -> bool {
        self.selector
            .as_ref()
            .is_some_and(|it| selects(it, &pod.labels))
    }

    /// Whether nobody knows what it selects.
    pub(super) fn is_unknown(&self) -> bool {
        self.selector.is_none()
    }

    /// What orders gateways, before their names: see [`crate::rank`].
    pub(super) fn rank(&self) -> Rank<'_> {
        rank(self.object.meta())
    }
}

fn selector_of(object: &SeenGateway) -> Option<LabelSelector> {
    let gateway = object.0.as_ref().ok()?;
    Some(gateway.spec.selector.clone())
}
