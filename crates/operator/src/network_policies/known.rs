//! The policies that there are: ours, and those that decide already who
//! reaches a gateway's pods.
//!
//! Policies are additive. Ours admits everybody to every port but the closed
//! ones, so beside another one that selects the same pods it would open what
//! that one closes: where there is such a policy, ours must not be.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt as _;
use sidegate_api::gateway::McpGateway;

use super::policy::{owner_uid, selector};
use super::selectors::may_meet;
use crate::key::Key;
use crate::ours::is_ours;

const INGRESS: &str = "Ingress";

/// Every policy that the watch has told.
#[derive(Debug, Default)]
pub(super) struct Known {
    ours: HashMap<Key, Arc<NetworkPolicy>>,
    /// What others select, by namespace and name.
    others: HashMap<Arc<str>, BTreeMap<Arc<str>, LabelSelector>>,
}

/// What a change is about.
#[derive(Debug, PartialEq)]
pub(super) enum Change {
    /// The policy of a gateway.
    Ours(Arc<NetworkPolicy>),
    /// What others decide in this namespace.
    Others(Arc<str>),
}

// === impl Known ===

impl Known {
    pub(super) fn lock(shared: &Mutex<Self>) -> MutexGuard<'_, Self> {
        shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn ours(&self, key: &Key) -> Option<Arc<NetworkPolicy>> {
        self.ours.get(key).cloned()
    }

    /// Somebody else's policy about the ingress of pods that the gateway may
    /// have, now or later. One with the name of the gateway's own is found when
    /// that is created.
    pub(super) fn decides(&self, gateway: &McpGateway, own: &Key) -> Option<Key> {
        let ours = selector(&gateway.spec.selector);
        let here = self.others.get(&own.namespace)?;
        let mut here = here.iter().filter(|(name, _)| **name != own.name);
        let (name, _) = here.find(|(_, theirs)| may_meet(&ours, theirs))?;
        Some(Key {
            namespace: Arc::clone(&own.namespace),
            name: Arc::clone(name),
        })
    }

    /// A policy is there. Says what is news.
    pub(super) fn put(&mut self, policy: NetworkPolicy) -> Vec<Change> {
        let key = Key::of(&policy);
        let mut changes = Vec::new();
        let other = selects_as_other(&policy);
        if self.set_other(&key, other) {
            changes.push(Change::Others(Arc::clone(&key.namespace)));
        }
        let ours = is_ours(&policy).then(|| Arc::new(policy));
        let before = match &ours {
            Some(policy) => self.ours.insert(key, Arc::clone(policy)),
            None => self.ours.remove(&key),
        };
        if before != ours {
            changes.extend(ours.or(before).map(Change::Ours));
        }
        changes
    }

    /// A policy is gone. Says what is news.
    pub(super) fn remove(&mut self, key: &Key) -> Vec<Change> {
        let mut changes = Vec::new();
        if self.set_other(key, None) {
            changes.push(Change::Others(Arc::clone(&key.namespace)));
        }
        changes.extend(self.ours.remove(key).map(Change::Ours));
        changes
    }

    /// There are these and no others. Says what is news.
    pub(super) fn replace(&mut self, all: Vec<NetworkPolicy>) -> Vec<Change> {
        let there: BTreeSet<_> = all.iter().map(Key::of).collect();
        let ours = self.ours.keys().cloned();
        let others = self.others.iter().flat_map(|(namespace, names)| {
            let namespace = Arc::clone(namespace);
            names.keys().map(move |name| Key {
                namespace: Arc::clone(&namespace),
                name: Arc::clone(name),
            })
        });
        let before: BTreeSet<Key> = ours.chain(others).collect();
        let mut changes = Vec::new();
        for gone in before.difference(&there) {
            changes.extend(self.remove(gone));
        }
        for policy in all {
            changes.extend(self.put(policy));
        }
        changes
    }

    /// Says whether it is news.
    fn set_other(&mut self, key: &Key, selector: Option<LabelSelector>) -> bool {
        let Some(selector) = selector else {
            let Some(here) = self.others.get_mut(&key.namespace) else {
                return false;
            };
            let was_there = here.remove(&key.name).is_some();
            if here.is_empty() {
                self.others.remove(&key.namespace);
            }
            return was_there;
        };
        let here = self.others.entry(Arc::clone(&key.namespace)).or_default();
        let before = here.insert(Arc::clone(&key.name), selector.clone());
        before.is_none_or(|before| before != selector)
    }
}

/// The pods about whose ingress somebody else's policy decides.
fn selects_as_other(policy: &NetworkPolicy) -> Option<LabelSelector> {
    let has_owner = owner_uid(policy).is_some();
    if has_owner && is_ours(policy) && policy.name_any().starts_with(super::policy::PREFIX) {
        return None;
    }
    let spec = policy.spec.as_ref()?;
    // Without types it is about ingress.
    let types = spec.policy_types.as_deref().unwrap_or_default();
    let is_ingress = types.is_empty() || types.iter().any(|it| it == INGRESS);
    is_ingress.then(|| spec.pod_selector.clone().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn policy(name: &str, ours: bool, spec: &Value) -> NetworkPolicy {
        let mut policy = json!({
            "metadata": {"name": name, "namespace": "crm"}, "spec": spec,
        });
        if ours {
            policy["metadata"]["labels"] =
                json!({"app.kubernetes.io/managed-by": "sidegate-operator"});
            policy["metadata"]["ownerReferences"] = json!([{
                "apiVersion": "sidegate.dev/v1alpha1", "kind": "McpGateway", "name": "g", "uid": "u",
            }]);
        }
        serde_json::from_value(policy).expect("a policy")
    }

    fn gateway() -> McpGateway {
        serde_json::from_value(json!({
            "apiVersion": "sidegate.dev/v1alpha1",
            "kind": "McpGateway",
            "metadata": {"name": "g", "namespace": "crm"},
            "spec": {"selector": {"matchLabels": {"app": "a"}}, "servers": []},
        }))
        .expect("a gateway")
    }

    #[test]
    fn who_decides_is_somebody_else_about_ingress() {
        let own = Key::new("crm", "sidegate-g");
        let decides = |policy: NetworkPolicy| {
            let mut known = Known::default();
            let _news = known.put(policy);
            known
                .decides(&gateway(), &own)
                .map(|it| it.name.to_string())
        };
        let everything = json!({"podSelector": {}});
        let deny = Some("deny".to_owned());
        assert_eq!(decides(policy("deny", false, &everything)), deny);
        let typed = |types: &[&str]| json!({"podSelector": {}, "policyTypes": types});
        assert_eq!(decides(policy("deny", false, &typed(&["Ingress"]))), deny);
        assert_eq!(decides(policy("deny", false, &typed(&["Egress"]))), None);
        assert_eq!(decides(policy("sidegate-h", true, &everything)), None);
        assert_eq!(decides(policy("deny", true, &everything)), deny, "borrowed");
        // Its creation tells that one.
        assert_eq!(decides(policy("sidegate-g", false, &everything)), None);
        let other = json!({"podSelector": {"matchLabels": {"app": "b"}}});
        assert_eq!(decides(policy("deny", false, &other)), None);
    }

    #[test]
    fn what_is_news_is_told_once() {
        let others = || vec![Change::Others("crm".into())];
        let everything = json!({"podSelector": {}});
        let deny = policy("deny", false, &everything);
        let ours = policy("sidegate-g", true, &everything);
        let told = |policy: &NetworkPolicy| vec![Change::Ours(Arc::new(policy.clone()))];
        let mut known = Known::default();
        assert_eq!(known.put(deny.clone()), others());
        assert_eq!(known.put(deny.clone()), []);
        assert_eq!(known.put(ours.clone()), told(&ours));
        assert_eq!(known.replace(vec![deny.clone(), ours.clone()]), []);
        assert_eq!(known.replace(vec![ours]), others());
        assert_eq!(known.replace(vec![deny]).len(), 2);
        assert_eq!(known.remove(&Key::new("crm", "deny")), others());
        assert!(known.ours.is_empty() && known.others.is_empty());
    }
}
