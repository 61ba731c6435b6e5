//! The policy that a gateway needs, as a function.

use std::collections::BTreeSet;

use aws_lc_rs::digest::{SHA256, digest};
use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{Resource as _, ResourceExt as _};
use sidegate_api::McpGatewaySpec;
use sidegate_api::gateway::{Exposure, McpGateway, Server};
use sidegate_api::names::RESERVED_PORTS;
use sidegate_api::selector::{LabelOperator, LabelSelector};

use crate::ours::{MANAGED_BY, MANAGED_BY_US};

/// The annotation of a gateway by which no policy is wanted.
const ANNOTATION: &str = "sidegate.dev/network-policy";
const NOT_WANTED: &str = "false";
pub(super) const PREFIX: &str = "sidegate-";
/// Longest name of an object.
const MAX_NAME: usize = 253;
const PORTS: std::ops::RangeInclusive<u16> = 1..=u16::MAX;

/// The name of a gateway's policy. A long one ends in its digest.
pub(super) fn name_of(gateway: &McpGateway) -> String {
    let name = format!("{PREFIX}{}", gateway.name_any());
    if name.len() <= MAX_NAME {
        return name;
    }
    let digest = digest(&SHA256, name.as_bytes());
    let digest: String = digest
        .as_ref()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let kept: String = name.chars().take(MAX_NAME - 1 - digest.len()).collect();
    format!("{}-{digest}", kept.trim_end_matches(['-', '.']))
}

/// The uid of the gateway that a policy belongs to.
pub(super) fn owner_uid(policy: &NetworkPolicy) -> Option<&str> {
    let owners = policy.metadata.owner_references.as_deref()?;
    let owner = owners
        .iter()
        .find(|owner| owner.kind == McpGateway::kind(&()))?;
    Some(&owner.uid)
}

/// The ports that a gateway's policy is there to close; none when all its
/// servers are on loopback, or when its owner does not want one.
pub(super) fn closed_by(gateway: &McpGateway) -> BTreeSet<u16> {
    let opted_out = gateway.annotations().get(ANNOTATION);
    if opted_out.is_some_and(|value| value == NOT_WANTED) {
        return BTreeSet::new();
    }
    closed_ports(&gateway.spec)
}

/// Whether a gateway needs a policy.
pub(super) fn needs_policy(gateway: &McpGateway) -> bool {
    !closed_by(gateway).is_empty()
}

/// The policy that a gateway needs, if it needs one. It closes `guarded`, too.
pub(super) fn policy_of(gateway: &McpGateway, guarded: &BTreeSet<u16>) -> Option<NetworkPolicy> {
    let mut closed = closed_by(gateway);
    if closed.is_empty() {
        return None;
    }
    closed.extend(guarded);
    Some(NetworkPolicy {
        metadata: meta::ObjectMeta {
            name: Some(name_of(gateway)),
            namespace: gateway.namespace(),
            labels: Some([(MANAGED_BY.to_owned(), MANAGED_BY_US.to_owned())].into()),
            owner_references: gateway.controller_owner_ref(&()).map(|owner| vec![owner]),
            ..meta::ObjectMeta::default()
        },
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(selector(&gateway.spec.selector)),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(vec![NetworkPolicyIngressRule {
                from: None,
                ports: Some(open_ports(&closed)),
            }]),
            egress: None,
        }),
    })
}

/// Whether a policy, as it is, keeps callers from a port.
pub(super) fn is_closed_in(policy: &NetworkPolicy, port: u16) -> bool {
    let spec = policy.spec.as_ref();
    let rules = spec.and_then(|spec| spec.ingress.as_deref());
    !rules.unwrap_or_default().iter().any(|rule| {
        // Without ports it is about all of them.
        let ports = rule.ports.as_deref().unwrap_or_default();
        ports.is_empty() || ports.iter().any(|it| admits(it, port))
    })
}

fn admits(ports: &NetworkPolicyPort, port: u16) -> bool {
    let is_tcp = ports.protocol.as_deref().is_none_or(|it| it == "TCP");
    is_tcp
        && match ports.port {
            Some(IntOrString::Int(from)) => {
                let to = ports.end_port.unwrap_or(from);
                (from..=to).contains(&port.into())
            }
            // Not one of ours.
            Some(IntOrString::String(_)) => false,
            None => true,
        }
}

/// Ports on which a server answers beside its sidecar. One on which a sidecar
/// listens as well is not among them.
fn closed_ports(spec: &McpGatewaySpec) -> BTreeSet<u16> {
    let separate = spec
        .servers
        .iter()
        .filter(|server| server.exposure == Exposure::SeparatePort);
    let closed: BTreeSet<_> = separate.map(|server| server.port).collect();
    closed.difference(&sidecar_ports(spec)).copied().collect()
}

/// Ports on which the sidecars of a gateway listen for others.
pub(super) fn sidecar_ports(spec: &McpGatewaySpec) -> BTreeSet<u16> {
    let port = |server: &Server| match server.exposure {
        Exposure::SamePort => Some(server.port),
        Exposure::SeparatePort => server.listen_port,
    };
    let of_servers = spec.servers.iter().filter_map(port);
    let llm = spec.llm.iter().map(|llm| llm.port);
    of_servers.chain(llm).chain(RESERVED_PORTS).collect()
}

/// Every port but the closed ones. Other protocols than TCP stay open: a
/// server of a gateway speaks none of them.
fn open_ports(closed: &BTreeSet<u16>) -> Vec<NetworkPolicyPort> {
    let mut ranges = Vec::new();
    let mut from = Some(*PORTS.start());
    for port in closed {
        if let Some(from) = from
            && from < *port
        {
            ranges.push(range(from, port - 1));
        }
        from = port.checked_add(1);
    }
    if let Some(from) = from {
        ranges.push(range(from, *PORTS.end()));
    }
    for protocol in ["UDP", "SCTP"] {
        ranges.push(NetworkPolicyPort {
            protocol: Some(protocol.to_owned()),
            ..NetworkPolicyPort::default()
        });
    }
    ranges
}

fn range(from: u16, to: u16) -> NetworkPolicyPort {
    NetworkPolicyPort {
        protocol: Some("TCP".to_owned()),
        port: Some(IntOrString::Int(from.into())),
        end_port: (from < to).then(|| to.into()),
    }
}

pub(super) fn selector(selector: &LabelSelector) -> meta::LabelSelector {
    let LabelSelector {
        match_labels,
        match_expressions,
    } = selector;
    let expressions = match_expressions.iter().map(|requirement| {
        let values = requirement.values.clone();
        meta::LabelSelectorRequirement {
            key: requirement.key.clone(),
            operator: operator(requirement.operator).to_owned(),
            values: (!values.is_empty()).then_some(values),
        }
    });
    let expressions: Vec<_> = expressions.collect();
    meta::LabelSelector {
        match_labels: (!match_labels.is_empty()).then(|| match_labels.clone()),
        match_expressions: (!expressions.is_empty()).then_some(expressions),
    }
}

fn operator(operator: LabelOperator) -> &'static str {
    match operator {
        LabelOperator::In => "In",
        LabelOperator::NotIn => "NotIn",
        LabelOperator::Exists => "Exists",
        LabelOperator::DoesNotExist => "DoesNotExist",
    }
}

#[cfg(test)]
mod tests;
