//! Model providers, and the gateways that refer to them.

use std::collections::{BTreeSet, HashMap};

use super::SeenGateway;
use crate::key::Key;

/// Who refers to which provider.
#[derive(Debug, Default)]
pub(super) struct Users {
    of_provider: HashMap<Key, BTreeSet<Key>>,
    of_gateway: HashMap<Key, BTreeSet<Key>>,
}

// === impl Users ===

impl Users {
    /// A gateway is as it is now, or gone. Returns the providers that it began
    /// or ceased to refer to.
    pub(super) fn set(&mut self, gateway: &Key, object: Option<&SeenGateway>) -> Vec<Key> {
        let now = object.map(|object| providers_of(gateway, object));
        let now = now.unwrap_or_default();
        let before = self.of_gateway.remove(gateway).unwrap_or_default();
        for provider in before.difference(&now) {
            if let Some(users) = self.of_provider.get_mut(provider) {
                users.remove(gateway);
                if users.is_empty() {
                    self.of_provider.remove(provider);
                }
            }
        }
        for provider in now.difference(&before) {
            let users = self.of_provider.entry(provider.clone()).or_default();
            users.insert(gateway.clone());
        }
        let changed = before.symmetric_difference(&now).cloned().collect();
        if !now.is_empty() {
            self.of_gateway.insert(gateway.clone(), now);
        }
        changed
    }

    /// The gateways that refer to a provider, in order.
    pub(super) fn of(&self, provider: &Key) -> impl Iterator<Item = &Key> {
        self.of_provider.get(provider).into_iter().flatten()
    }
}

fn providers_of(gateway: &Key, object: &SeenGateway) -> BTreeSet<Key> {
    let spec = object.0.as_ref().ok().map(|gateway| &gateway.spec);
    let routes = spec.and_then(|spec| spec.llm.as_ref());
    let routes = routes.into_iter().flat_map(|llm| &llm.routes);
    routes
        .flat_map(|route| &route.targets)
        .map(|target| match &target.provider.namespace {
            Some(namespace) => Key::new(namespace, &target.provider.name),
            None => Key {
                namespace: gateway.namespace.clone(),
                name: target.provider.name.as_str().into(),
            },
        })
        .collect()
}
