//! What matters of a pod.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use super::Namespace;
use crate::injector::SIDECAR;

/// What matters of a pod; the rest is forgotten as soon as it was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PodFacts {
    /// Its labels.
    pub(crate) labels: BTreeMap<String, String>,
    /// Whether it is to be counted: it is neither being deleted nor finished.
    pub(crate) counted: bool,
    /// Whether it is ready.
    pub(crate) ready: bool,
    /// Whether it has a sidecar.
    pub(crate) injected: bool,
}

/// The pods of a gateway, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PodCounts {
    /// Those that it selects.
    pub(crate) matched: u32,
    /// Those with a sidecar.
    pub(crate) injected: u32,
    /// Those that are ready.
    pub(crate) ready: u32,
}

// === impl PodFacts ===

impl PodFacts {
    /// The facts of a pod.
    pub(crate) fn of(pod: Pod) -> Self {
        let status = pod.status.unwrap_or_default();
        let finished = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
        let ready = status
            .conditions
            .iter()
            .flatten()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True");
        let containers = pod.spec.and_then(|spec| spec.init_containers);
        let injected = containers.iter().flatten().any(|container| {
            container.name == SIDECAR && container.restart_policy.as_deref() == Some("Always")
        });
        Self {
            labels: pod.metadata.labels.unwrap_or_default(),
            counted: pod.metadata.deletion_timestamp.is_none() && !finished,
            ready,
            injected,
        }
    }
}

// === impl Namespace ===

impl Namespace {
    /// Returns the gateways that the change is about.
    pub(super) fn set_pod(&mut self, name: &Arc<str>, pod: PodFacts) -> Vec<Arc<str>> {
        if self.pods.get(name) == Some(&pod) {
            return Vec::new();
        }
        let mut touched = Vec::new();
        for (gateway, entry) in &mut self.gateways {
            let matches = entry.selects(&pod);
            let matched = if matches {
                !entry.pods.insert(Arc::clone(name))
            } else {
                entry.pods.remove(name)
            };
            if matched || matches {
                touched.push(Arc::clone(gateway));
            }
        }
        self.pods.insert(Arc::clone(name), pod);
        touched
    }

    /// Returns the gateways that the change is about.
    pub(super) fn remove_pod(&mut self, name: &Arc<str>) -> Vec<Arc<str>> {
        self.pods.remove(name);
        let mut touched = Vec::new();
        for (gateway, entry) in &mut self.gateways {
            if entry.pods.remove(name) {
                touched.push(Arc::clone(gateway));
            }
        }
        touched
    }
}
