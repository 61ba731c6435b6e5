//! What older gateways close on pods that a gateway may select, too.
//!
//! Policies are additive: on a pod that two gateways select, the policy of the
//! one opens the port of the other's server, unless it closes that as well. The
//! older gateway has the pod (see [`crate::rank`]), so the younger gives way. It
//! does so before there is such a pod: once there is one, its policy goes, but
//! not at the same moment.

use std::collections::{BTreeMap, BTreeSet};

use kube::ResourceExt as _;
use sidegate_api::gateway::McpGateway;

use super::policy::{closed_by, selector, sidecar_ports};
use super::selectors::may_meet;
use super::state::Overlap;

/// Ports that older gateways close, and the name of one that does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Guarded(BTreeMap<u16, String>);

// === impl Guarded ===

impl Guarded {
    /// What the policy of a gateway has to close for those that are `older`, of
    /// its own namespace.
    pub(crate) fn of<'a>(
        gateway: &McpGateway,
        older: impl IntoIterator<Item = &'a McpGateway>,
    ) -> Self {
        let mut guarded = Self::default();
        let own = selector(&gateway.spec.selector);
        for other in older {
            let closed = closed_by(other);
            let theirs = &other.spec.selector;
            // An empty selector selects nothing.
            if closed.is_empty() || theirs.is_empty() || !may_meet(&own, &selector(theirs)) {
                continue;
            }
            for port in closed {
                guarded.0.entry(port).or_insert_with(|| other.name_any());
            }
        }
        guarded
    }

    pub(super) fn ports(&self) -> BTreeSet<u16> {
        self.0.keys().copied().collect()
    }

    /// A port on which the gateway's own sidecars listen, so that its policy
    /// cannot close it.
    pub(super) fn overlap(&self, gateway: &McpGateway) -> Option<Overlap> {
        let listening = sidecar_ports(&gateway.spec.servers);
        let (port, older) = self.0.iter().find(|(port, _)| listening.contains(port))?;
        Some(Overlap {
            older: older.clone(),
            port: *port,
        })
    }

    /// What a person should know: ports of the gateway's pods are closed which
    /// it does not name.
    pub(crate) fn note(&self, gateway: &McpGateway) -> Option<String> {
        let own = closed_by(gateway);
        let (port, older) = self.0.iter().find(|(port, _)| !own.contains(port))?;
        Some(format!(
            "its NetworkPolicy also closes port {port}, as that of McpGateway {older} does, which \
             is older and may select the same pods: name a label in both selectors that keeps the \
             pods apart, and it is open again"
        ))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::policy::policy_of;
    use super::*;

    fn gateway(name: &str, labels: &Value, servers: &[(u16, u16)]) -> McpGateway {
        let servers: Vec<_> = servers
            .iter()
            .map(|(port, listen_port)| {
                json!({
                    "name": format!("s{port}"), "port": port, "exposure": "SeparatePort",
                    "listenPort": listen_port, "resources": ["https://a.example/mcp"],
                })
            })
            .collect();
        serde_json::from_value(json!({
            "apiVersion": "sidegate.dev/v1alpha1",
            "kind": "McpGateway",
            "metadata": {"name": name, "namespace": "crm", "uid": name},
            "spec": {"selector": {"matchLabels": labels}, "servers": servers},
        }))
        .expect("a gateway")
    }

    fn admits(gateway: &McpGateway, guarded: &Guarded, port: u16) -> bool {
        let policy = policy_of(gateway, &guarded.ports()).expect("a policy");
        let policy = serde_json::to_value(policy).expect("JSON");
        let ports = policy["spec"]["ingress"][0]["ports"].as_array().cloned();
        ports.expect("ports").iter().any(|it| {
            let from = it["port"].as_u64().unwrap_or(u64::MAX);
            let to = it["endPort"].as_u64().unwrap_or(from);
            it["protocol"] == "TCP" && (from..=to).contains(&port.into())
        })
    }

    #[test]
    fn a_younger_policy_does_not_open_what_an_older_one_closes() {
        let older = gateway("older", &json!({"app": "a"}), &[(8080, 9080)]);
        let younger = gateway("younger", &json!({"tier": "x"}), &[(8090, 9090)]);
        assert!(admits(&younger, &Guarded::default(), 8080), "the trap");
        let guarded = Guarded::of(&younger, [&older]);
        for port in [8080, 8090] {
            assert!(!admits(&younger, &guarded, port), "{port}");
        }
        for port in [8079, 8081, 9080, 9090, 15021] {
            assert!(admits(&younger, &guarded, port), "{port}");
        }
        assert_eq!(guarded.overlap(&younger), None);
        let note = guarded.note(&younger).expect("a note");
        assert!(
            note.contains("port 8080, as that of McpGateway older does"),
            "{note}"
        );
    }

    #[test]
    fn gateways_that_cannot_have_the_same_pods_do_not_mind_each_other() {
        let younger = gateway("younger", &json!({"app": "b"}), &[(8090, 9090)]);
        let apart = gateway("older", &json!({"app": "a"}), &[(8080, 9080)]);
        let on_loopback = gateway("loopback", &json!({"tier": "x"}), &[]);
        let empty = gateway("empty", &json!({}), &[(8080, 9080)]);
        let guarded = Guarded::of(&younger, [&apart, &on_loopback, &empty]);
        assert_eq!(guarded, Guarded::default());
        assert_eq!(guarded.note(&younger), None);
        let same_port = gateway("older", &json!({"tier": "x"}), &[(8090, 9080)]);
        assert_eq!(Guarded::of(&younger, [&same_port]).note(&younger), None);
    }

    #[test]
    fn a_port_of_its_own_sidecars_cannot_be_closed() {
        let older = gateway("older", &json!({"tier": "x"}), &[(9090, 9080)]);
        let younger = gateway("younger", &json!({"app": "b"}), &[(8090, 9090)]);
        let overlap = Guarded::of(&younger, [&older]).overlap(&younger);
        assert_eq!(
            overlap,
            Some(Overlap {
                older: "older".to_owned(),
                port: 9090
            })
        );
    }
}
