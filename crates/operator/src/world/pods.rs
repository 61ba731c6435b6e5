//! What matters of a pod.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodSpec, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use sidegate_api::names::{
    POD_CERTIFICATE_CONDITION, POD_LISTENERS_CONDITION, POD_PROGRAMMED_CONDITION,
};

use super::{Names, Namespace};
use crate::injector::SIDECAR;

/// The kubelet's condition whose time is that of the pod's last change of
/// sandbox. A node that started again makes new ones, with empty memory volumes.
const SANDBOX_CONDITION: &str = "PodReadyToStartContainers";

/// What matters of a pod; the rest is forgotten as soon as it was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PodFacts {
    /// What no other pod has.
    pub(crate) uid: Arc<str>,
    /// The service account that it runs as.
    pub(crate) service_account: Arc<str>,
    /// Its labels.
    pub(crate) labels: BTreeMap<String, String>,
    /// Whether it is to be counted: it is neither being deleted nor finished.
    pub(crate) counted: bool,
    /// Whether it is ready.
    pub(crate) ready: bool,
    /// Whether it has a sidecar.
    pub(crate) injected: bool,
    /// The name that a headless Service gives it, if it is not its own.
    pub(crate) hostname: Option<Arc<str>>,
    /// Its addresses.
    pub(crate) addresses: Vec<IpAddr>,
    /// TCP ports that its containers declare, without those of the sidecar.
    pub(crate) declared: BTreeSet<u16>,
    /// When its sandbox came or went last, in seconds since 1970.
    pub(crate) sandbox_unix: Option<i64>,
    /// What its sidecar said last.
    pub(crate) conditions: PodConditionFacts,
    /// A container that does not stay up although the sidecar runs.
    pub(crate) failing_container: Option<Arc<str>>,
}

/// The conditions that the operator writes on a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PodConditionFacts {
    /// What the sidecar enforces.
    pub(crate) programmed: Option<Arc<PodCondition>>,
    /// What other processes listen on.
    pub(crate) listeners: Option<Arc<PodCondition>>,
    /// Which certificate its sidecar showed.
    pub(crate) certificate: Option<Arc<PodCondition>>,
}

/// A condition of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodCondition {
    /// Whether it holds.
    pub(crate) holds: bool,
    /// Why, in one word.
    pub(crate) reason: String,
    /// Why, or what.
    pub(crate) message: String,
    /// Since when it holds, or does not.
    pub(crate) since: Option<Time>,
}

/// A pod of a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodView {
    /// Its name.
    pub(crate) name: Arc<str>,
    /// Whether it is ready.
    pub(crate) ready: bool,
    /// Whether it has a sidecar.
    pub(crate) injected: bool,
    /// What no other pod has.
    pub(crate) uid: Arc<str>,
    /// Its addresses.
    pub(crate) addresses: Vec<IpAddr>,
    /// What its sidecar said last.
    pub(crate) conditions: PodConditionFacts,
    /// A container that does not stay up although the sidecar runs.
    pub(crate) failing_container: Option<Arc<str>>,
    /// TCP ports that its containers declare, without those of the sidecar.
    pub(crate) declared: BTreeSet<u16>,
    /// Another gateway that has it.
    pub(crate) had_by: Option<Arc<str>>,
}

/// A pod and the gateways that select it, counted or not: one that is being
/// deleted is still served.
#[derive(Debug)]
pub(super) struct PodEntry {
    pub(super) facts: PodFacts,
    pub(super) gateways: BTreeSet<Arc<str>>,
}

// === impl PodFacts ===

impl PodFacts {
    /// The facts of a pod.
    pub(crate) fn of(pod: Pod) -> Self {
        let status = pod.status.unwrap_or_default();
        let spec = pod.spec.unwrap_or_default();
        let finished = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
        let ready = condition(&status, "Ready").is_some_and(|ready| ready.holds);
        let conditions = PodConditionFacts {
            programmed: condition(&status, POD_PROGRAMMED_CONDITION).map(Arc::new),
            listeners: condition(&status, POD_LISTENERS_CONDITION).map(Arc::new),
            certificate: condition(&status, POD_CERTIFICATE_CONDITION).map(Arc::new),
        };
        let injected = spec.init_containers.iter().flatten().any(|container| {
            container.name == SIDECAR && container.restart_policy.as_deref() == Some("Always")
        });
        Self {
            declared: declared(&spec),
            uid: pod.metadata.uid.unwrap_or_default().into(),
            service_account: spec.service_account_name.unwrap_or_default().into(),
            labels: pod.metadata.labels.unwrap_or_default(),
            counted: pod.metadata.deletion_timestamp.is_none() && !finished,
            ready,
            injected,
            hostname: spec.hostname.map(Arc::from),
            addresses: addresses(&status),
            failing_container: failing_container(&status),
            sandbox_unix: condition(&status, SANDBOX_CONDITION)
                .and_then(|it| it.since)
                .map(|since| since.0.as_second()),
            conditions,
        }
    }

    /// Takes over what streams alone want to know of a newer state. Says
    /// whether that is all that is new.
    fn differs_for_streams_only(&mut self, newer: &Self) -> bool {
        self.sandbox_unix = newer.sandbox_unix;
        self.conditions
            .certificate
            .clone_from(&newer.conditions.certificate);
        self == newer
    }
}

fn declared(spec: &PodSpec) -> BTreeSet<u16> {
    let sidecars = spec.init_containers.iter().flatten();
    let sidecars =
        sidecars.filter(|it| it.name != SIDECAR && it.restart_policy.as_deref() == Some("Always"));
    let ports = spec
        .containers
        .iter()
        .chain(sidecars)
        .flat_map(|container| container.ports.iter().flatten())
        .filter(|port| port.protocol.as_deref().is_none_or(|it| it == "TCP"));
    ports
        .filter_map(|port| u16::try_from(port.container_port).ok())
        .collect()
}

fn condition(status: &PodStatus, condition_type: &str) -> Option<PodCondition> {
    let conditions = status.conditions.iter().flatten();
    conditions
        .into_iter()
        .find(|it| it.type_ == condition_type)
        .map(|it| PodCondition {
            holds: it.status == "True",
            reason: it.reason.clone().unwrap_or_default(),
            message: it.message.clone().unwrap_or_default(),
            since: it.last_transition_time.clone(),
        })
}

fn addresses(status: &PodStatus) -> Vec<IpAddr> {
    let all = status.pod_ips.iter().flatten().map(|it| it.ip.as_str());
    let mut addresses: Vec<IpAddr> = all
        .chain(status.pod_ip.as_deref())
        .filter_map(|address| address.parse().ok())
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// How often it was started again is left out: it changes often and says
/// nothing more.
fn failing_container(status: &PodStatus) -> Option<Arc<str>> {
    let sidecars = status.init_container_statuses.iter().flatten();
    let sidecar_runs = sidecars
        .into_iter()
        .any(|it| it.name == SIDECAR && it.started == Some(true));
    let does_not_stay_up = |container: &&ContainerStatus| {
        let state = container.state.as_ref();
        let down = state.is_some_and(|it| it.waiting.is_some() || it.terminated.is_some());
        container.restart_count > 0 && down
    };
    let containers = status.container_statuses.iter().flatten();
    containers
        .into_iter()
        .find(does_not_stay_up)
        .filter(|_| sidecar_runs)
        .map(|container| container.name.as_str().into())
}

// === impl Namespace ===

impl Namespace {
    pub(super) fn set_pod(&mut self, name: &Arc<str>, pod: PodFacts) -> Names {
        let mut names = Names::default();
        if let Some(before) = self.pods.get_mut(name)
            && before.facts.differs_for_streams_only(&pod)
        {
            return names;
        }
        let before = self.pods.get(name);
        let mut gateways = BTreeSet::new();
        for gateway in self.selectors.candidates(&pod.labels) {
            if let Some(entry) = self.gateways.get_mut(gateway)
                && entry.selects(&pod)
            {
                entry.pods.insert(Arc::clone(name));
                gateways.insert(Arc::clone(gateway));
            }
        }
        let before = before.map(|it| it.gateways.clone()).unwrap_or_default();
        for gateway in before.difference(&gateways) {
            if let Some(entry) = self.gateways.get_mut(gateway) {
                entry.pods.remove(name);
            }
        }
        names.gateways = before.union(&gateways).cloned().collect();
        names.pods.insert(Arc::clone(name));
        let entry = PodEntry {
            facts: pod,
            gateways,
        };
        self.pods.insert(Arc::clone(name), entry);
        names
    }

    pub(super) fn remove_pod(&mut self, name: &Arc<str>) -> Names {
        let mut names = Names::default();
        let Some(entry) = self.pods.remove(name) else {
            return names;
        };
        for gateway in &entry.gateways {
            if let Some(gateway) = self.gateways.get_mut(gateway) {
                gateway.pods.remove(name);
            }
        }
        names.gateways = entry.gateways;
        names.pods.insert(Arc::clone(name));
        names
    }
}
