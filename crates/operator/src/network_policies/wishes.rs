//! Which ports gateways want to be closed.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use sidegate_api::gateway::McpGateway;

use super::policy::{closed_by, selector};
use super::selectors::may_meet;
use crate::key::Key;

/// The gateways that want a policy. What others decide is about them, and what
/// one of them closes is about its neighbours.
#[derive(Debug, Default)]
pub(super) struct Wishes(Mutex<HashMap<Arc<str>, Here>>);

/// Those of one namespace, by the gateway's name.
type Here = HashMap<Arc<str>, Wish>;

#[derive(Debug, Clone, PartialEq)]
struct Wish {
    selector: LabelSelector,
    closed: BTreeSet<u16>,
}

// === impl Wishes ===

impl Wishes {
    /// Notes what a gateway wants. When that is news, gives the others that may
    /// select the same pods.
    pub(super) fn set(&self, gateway: &McpGateway) -> Vec<Key> {
        let key = Key::of(gateway);
        let wish = Wish {
            selector: selector(&gateway.spec.selector),
            closed: closed_by(gateway),
        };
        if wish.closed.is_empty() {
            return self.forget(&key);
        }
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

    /// A gateway wants nothing any more. Gives its neighbours as
    /// [`set`](Self::set) does.
    pub(super) fn forget(&self, gateway: &Key) -> Vec<Key> {
        let mut wishes = self.lock();
        let Some(here) = wishes.get_mut(&gateway.namespace) else {
            return Vec::new();
        };
        let Some(wish) = here.remove(&gateway.name) else {
            return Vec::new();
        };
        let asked = neighbours(here, gateway, &[&wish.selector]);
        if here.is_empty() {
            wishes.remove(&gateway.namespace);
        }
        asked
    }

    /// The gateways of a namespace that want a policy.
    pub(super) fn of(&self, namespace: &Arc<str>) -> Vec<Key> {
        let wishes = self.lock();
        let names = wishes.get(namespace).into_iter().flat_map(HashMap::keys);
        names.map(|name| named(namespace, name)).collect()
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

fn neighbours(here: &Here, gateway: &Key, selectors: &[&LabelSelector]) -> Vec<Key> {
    let others = here.iter().filter(|(name, _)| **name != gateway.name);
    let meeting = others.filter(|(_, other)| {
        let mut selectors = selectors.iter();
        selectors.any(|selector| may_meet(selector, &other.selector))
    });
    let names = meeting.map(|(name, _)| name);
    names.map(|name| named(&gateway.namespace, name)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

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
}
