//! Which gateway has a pod.

use std::net::SocketAddr;
use std::sync::Arc;

use sidegate_api::gateway::Exposure;

use super::gateways::Entry;
use super::{SeenGateway, World};
use crate::key::Key;

/// Who has a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Nobody.
    NoGateway,
    /// Nobody can say: there is a gateway whose selector was never read.
    Unknown,
    /// The oldest gateway that selects it, valid or not.
    Gateway(Key),
}

/// The ports of the servers of a gateway, by where the sidecar listens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ServerPorts {
    /// Those that the sidecar has, too.
    pub(crate) same: Vec<u16>,
    /// Those that the server alone has.
    pub(crate) separate: Vec<u16>,
}

/// A pod whose servers have ports of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// The gateway that has it.
    pub(crate) gateway: Key,
    /// What no other pod has.
    pub(crate) uid: Arc<str>,
    /// Where the servers would be reached.
    pub(crate) addresses: Vec<SocketAddr>,
}

// === impl World ===

impl World {
    /// Who has a pod. Of equally old gateways, the first name decides.
    pub(crate) fn owner(&self, pod: &Key) -> Owner {
        let Some(namespace) = self.namespaces.get(&pod.namespace) else {
            return Owner::NoGateway;
        };
        let gateways = namespace.pods.get(&pod.name).map(|it| &it.gateways);
        let owner = gateways
            .into_iter()
            .flatten()
            .filter_map(|gateway| Some((namespace.gateways.get(gateway)?.rank(), gateway)))
            .min();
        match owner {
            // After a downgrade of the operator, say: what a sidecar enforces
            // must not be taken from it because of that.
            None if namespace.gateways.values().any(Entry::is_unknown) => Owner::Unknown,
            None => Owner::NoGateway,
            Some((_, name)) => Owner::Gateway(Key {
                namespace: Arc::clone(&pod.namespace),
                name: Arc::clone(name),
            }),
        }
    }

    /// The pods that a gateway selects, whoever has them.
    pub(crate) fn pods_of(&self, gateway: &Key) -> Vec<Key> {
        let namespace = self.namespaces.get(&gateway.namespace);
        let entry = namespace.and_then(|namespace| namespace.gateways.get(&gateway.name));
        let pods = entry.map(|entry| entry.pods.iter().cloned());
        super::keys(&gateway.namespace, pods.into_iter().flatten())
    }

    /// The gateways of its namespace that have a pod rather than this one, where
    /// both select it.
    pub(crate) fn older_than(&self, gateway: &Key) -> Vec<Arc<SeenGateway>> {
        let Some(namespace) = self.namespaces.get(&gateway.namespace) else {
            return Vec::new();
        };
        let Some(own) = namespace.gateways.get(&gateway.name).map(Entry::rank) else {
            return Vec::new();
        };
        let older = namespace.gateways.values().filter(|it| it.rank() < own);
        older.map(|it| Arc::clone(&it.object)).collect()
    }

    /// The pods that can be dialled at ports which the server alone has.
    pub(crate) fn dial_targets(&self) -> Vec<Target> {
        let mut targets = Vec::new();
        for (namespace, it) in &self.namespaces {
            for (name, entry) in &it.gateways {
                let ports = ServerPorts::of(&entry.object).separate;
                if ports.is_empty() {
                    continue;
                }
                let pods = entry.pods.iter().filter_map(|pod| it.pods.get(pod));
                for pod in pods.filter(|pod| pod.facts.counted) {
                    let addresses = pod.facts.addresses.iter();
                    targets.push(Target {
                        gateway: Key {
                            namespace: Arc::clone(namespace),
                            name: Arc::clone(name),
                        },
                        uid: Arc::clone(&pod.facts.uid),
                        addresses: addresses
                            .flat_map(|it| ports.iter().map(|port| (*it, *port).into()))
                            .collect(),
                    });
                }
            }
        }
        targets.retain(|target| !target.addresses.is_empty());
        targets
    }

    /// The ports of the servers of the gateway that has a pod.
    pub(crate) fn server_ports(&self, pod: &Key) -> ServerPorts {
        match self.owner(pod) {
            Owner::NoGateway | Owner::Unknown => ServerPorts::default(),
            Owner::Gateway(gateway) => self
                .gateway(&gateway)
                .map(|object| ServerPorts::of(&object))
                .unwrap_or_default(),
        }
    }
}

// === impl ServerPorts ===

impl ServerPorts {
    /// The ports of a gateway; none of one that cannot be read.
    pub(crate) fn of(gateway: &SeenGateway) -> Self {
        let mut ports = Self::default();
        let Ok(gateway) = &gateway.0 else {
            return ports;
        };
        for server in &gateway.spec.servers {
            match server.exposure {
                Exposure::SamePort => ports.same.push(server.port),
                Exposure::SeparatePort => ports.separate.push(server.port),
            }
        }
        ports
    }
}
