//! Which ports gateways want to be closed, and which open.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use sidegate_api::gateway::McpGateway;

use super::policy::{closed_by, selector, sidecar_ports};
use super::selectors::may_meet;
use crate::key::Key;

/// Every gateway as it could be read last. What others decide is about those that
/// want a policy, and so is what their neighbours close, or listen on.
#[derive(Debug, Default)]
pub(super) struct Wishes(Mutex<HashMap<Arc<str>, Here>>);

/// Those of one namespace, by the gateway's name.
type Here = HashMap<Arc<str>, Wish>;

/// What a gateway wants of pods that it selects.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wish {
    pub(super) selector: LabelSelector,
    /// Ports that its policy closes; none when it wants no policy.
    pub(super) closed: BTreeSet<u16>,
    /// Ports on which its sidecars listen.
    pub(super) listening: BTreeSet<u16>,
}

// === impl Wish ===

impl Wish {
    pub(super) fn of(gateway: &McpGateway) -> Self {
        let mut wish = Self {
            selector: selector(&gateway.spec.selector),
            closed: closed_by(gateway),
            listening: sidecar_ports(&gateway.spec),
        };
        // An empty selector selects nothing here, and everything in a policy.
        if gateway.spec.selector.is_empty() {
            wish.closed.clear();
            wish.listening.clear();
        }
        wish
    }
}

// === impl Wishes ===

impl Wishes {
    /// Notes what a gateway wants. When that is news, gives the others that want a
    /// policy and may select the same pods.
    pub(super) fn set(&self, gateway: &McpGateway) -> Vec<Key> {
        let key = Key::of(gateway);
        let wish = Wish::of(gateway);
        let mut wishes = self.lock();
        let here = wishes.entry(Arc::clone(&key.namespace)).or_default();
        let before = here.insert(Arc::clone(&key.name), wish.clone());
        if before.as_ref() == Some(&wish) {
            return Vec::new();
        }
        // One that was made again may have another selector.
        let selectors = before.iter().chain([&wish]).map(|it| &it.selector);
        neighbours(here, &key, &selectors.collect::<Vec<_>>())
    }

    /// A gateway is gone. Gives its neighbours as [`set`](Self::set) does: all, if
    /// it could never be read.
    pub(super) fn forget(&self, gateway: &Key) -> Vec<Key> {
        let mut wishes = self.lock();
        let Some(here) = wishes.get_mut(&gateway.namespace) else {
            return Vec::new();
        };
        let asked = match here.remove(&gateway.name) {
            Some(wish) => neighbours(here, gateway, &[&wish.selector]),
            None => wanting(here, gateway).map(|(name, _)| name).collect(),
        };
        if here.is_empty() {
            wishes.remove(&gateway.namespace);
        }
        asked
    }

    /// The gateways of a namespace that want a policy.
    pub(super) fn of(&self, namespace: &Arc<str>) -> Vec<Key> {
        let wishes = self.lock();
        let here = wishes.get(namespace).into_iter().flatten();
        let wanting = here.filter(|(_, wish)| !wish.closed.is_empty());
        wanting.map(|(name, _)| named(namespace, name)).collect()
    }

    /// What a gateway wanted when it could be read last.
    pub(super) fn last(&self, gateway: &Key) -> Option<Wish> {
        self.lock()
            .get(&gateway.namespace)?
            .get(&gateway.name)
            .cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Here>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn named(namespace: &Arc<str>, name: &Arc<str>) -> Key {
    Key {
        namespace: Arc::clone(namespace),
        name: Arc::clone(name),
    }
}

/// The others that want a policy.
fn wanting<'a>(here: &'a Here, gateway: &'a Key) -> impl Iterator<Item = (Key, &'a Wish)> {
    here.iter()
        .filter(|(name, other)| **name != gateway.name && !other.closed.is_empty())
        .map(|(name, other)| (named(&gateway.namespace, name), other))
}

fn neighbours(here: &Here, gateway: &Key, selectors: &[&LabelSelector]) -> Vec<Key> {
    let meeting = wanting(here, gateway).filter(|(_, other)| {
        let mut selectors = selectors.iter();
        selectors.any(|selector| may_meet(selector, &other.selector))
    });
    meeting.map(|(key, _)| key).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use sidegate_api::gateway::Exposure;

    use super::*;

    fn gateway(name: &str, labels: &Value, ports: &[u16]) -> McpGateway {
        let servers: Vec<_> = ports
            .iter()
            .map(|port| {
                json!({
                    "name": format!("s{port}"), "port": port, "exposure": "SeparatePort",
                    "listenPort": 9999, "resources": ["https://a.example/mcp"],
                })
            })
            .collect();
        serde_json::from_value(json!({
            "apiVersion": "sidegate.dev/v1alpha1",
            "kind": "McpGateway",
            "metadata": {"name": name, "namespace": "crm"},
            "spec": {"selector": {"matchLabels": labels}, "servers": servers},
        }))
        .expect("a gateway")
    }

    #[test]
    fn neighbours_are_asked_for_when_a_wish_is_news() {
        let wishes = Wishes::default();
        let (a, b) = (json!({"app": "a"}), json!({"app": "b"}));
        let tier = json!({"tier": "x"});
        let key = |name: &str| Key::new("crm", name);
        assert_eq!(wishes.set(&gateway("a", &a, &[80])), []);
        assert_eq!(wishes.set(&gateway("b", &b, &[80])), [], "apart");
        let mut met = wishes.set(&gateway("x", &tier, &[81]));
        met.sort();
        assert_eq!(met, [key("a"), key("b")]);
        assert_eq!(wishes.set(&gateway("x", &tier, &[81])), [], "no news");
        assert_eq!(wishes.set(&gateway("a", &a, &[82])), [key("x")]);
        assert_eq!(wishes.set(&gateway("a", &a, &[])), [key("x")], "none");
        assert_eq!(wishes.set(&gateway("a", &a, &[])), []);
        assert_eq!(wishes.forget(&key("x")), [key("b")]);
        assert_eq!(wishes.of(&"crm".into()), [key("b")]);
        assert_eq!(wishes.of(&"other".into()), []);
    }

    #[test]
    fn who_only_listens_is_minded_by_those_that_want_a_policy() {
        let wishes = Wishes::default();
        let (a, tier) = (json!({"app": "a"}), json!({"tier": "x"}));
        let key = |name: &str| Key::new("crm", name);
        let listening = |name: &str, labels: &Value, port: u16| {
            let mut gateway = gateway(name, labels, &[port]);
            gateway.spec.servers[0].exposure = Exposure::SamePort;
            gateway
        };
        wishes.set(&gateway("x", &tier, &[81]));
        assert_eq!(wishes.set(&listening("a", &a, 80)), [key("x")]);
        assert_eq!(wishes.set(&listening("a", &a, 80)), [], "no news");
        assert_eq!(wishes.set(&listening("a", &a, 82)), [key("x")]);
        assert_eq!(wishes.set(&gateway("x", &tier, &[82])), [], "wants none");
        assert_eq!(wishes.of(&"crm".into()), [key("x")]);
        // What it wanted last is known until it is gone.
        let last = wishes.last(&key("a")).expect("it was read");
        assert!(last.listening.contains(&82) && last.closed.is_empty());
        assert_eq!(wishes.forget(&key("a")), [key("x")]);
        assert!(wishes.last(&key("a")).is_none());
        // Nobody knows what that one selected.
        assert_eq!(wishes.forget(&key("never-read")), [key("x")]);
    }
}
