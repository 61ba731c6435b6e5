//! What older gateways close, and listen on, on pods that a gateway may select,
//! too.
//!
//! Policies are additive: on a pod that two gateways select, the policy of the
//! one opens the port of the other's server, unless it closes that as well. And
//! when the other has no policy, that of the one closes ports on which the
//! other's sidecar listens. The older gateway has the pod (see [`crate::rank`]),
//! so the younger gives way. It does so before there is such a pod: once there is
//! one, its policy goes, but not at the same moment.
//!
//! The policy of an older one needs no look at younger ones: a pod that it
//! selects is its own, or that of one that is older still.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::networking::v1::NetworkPolicy;
use sidegate_api::gateway::McpGateway;

use super::policy::{closed_by, is_closed_in, sidecar_ports};
use super::selectors::may_meet;
use super::state::{Listening, Overlap};
use super::wishes::Wish;

/// Ports of older gateways, each with the name of one of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Guarded {
    closed: BTreeMap<u16, String>,
    listening: BTreeMap<u16, String>,
    /// One of which nobody knows what it closes.
    unread: Option<String>,
}

// === impl Guarded ===

impl Guarded {
    /// Adds an older gateway, if it may select pods that are wanted by `own`.
    pub(super) fn add(&mut self, own: &Wish, name: &str, older: &Wish) {
        if !may_meet(&own.selector, &older.selector) {
            return;
        }
        let all = [
            (&mut self.closed, &older.closed),
            (&mut self.listening, &older.listening),
        ];
        for (known, ports) in all {
            for port in ports {
                known.entry(*port).or_insert_with(|| name.to_owned());
            }
        }
    }

    /// There is an older one that cannot be read, and could not be before.
    pub(super) fn cannot_read(&mut self, name: &str) {
        self.unread.get_or_insert_with(|| name.to_owned());
    }

    /// Whether older ones may close more than is known.
    pub(super) fn is_partial(&self) -> bool {
        self.unread.is_some()
    }

    pub(super) fn ports(&self) -> BTreeSet<u16> {
        self.closed.keys().copied().collect()
    }

    /// A port that the gateway's policy would have to close and must not: its own
    /// sidecars listen there, or those of an older one.
    pub(super) fn overlap(&self, gateway: &McpGateway) -> Option<Overlap> {
        let mut closed = closed_by(gateway);
        if closed.is_empty() {
            return None;
        }
        let own = sidecar_ports(&gateway.spec);
        let found = self.closed.iter().find(|(port, _)| own.contains(port));
        let found = found.map(|it| (it, Listening::Younger)).or_else(|| {
            // What it closes for another one, too.
            closed.extend(self.ports());
            let found = self
                .listening
                .iter()
                .find(|(port, _)| closed.contains(port));
            found.map(|it| (it, Listening::Older))
        });
        let ((port, older), listening) = found?;
        Some(Overlap {
            older: older.clone(),
            port: *port,
            listening,
        })
    }

    /// A port that a policy closes, as it is, and on which an older gateway's
    /// sidecars listen.
    pub(super) fn cut_off_by(&self, policy: &NetworkPolicy) -> Option<Overlap> {
        let mut listening = self.listening.iter();
        let (port, older) = listening.find(|(port, _)| is_closed_in(policy, **port))?;
        Some(Overlap {
            older: older.clone(),
            port: *port,
            listening: Listening::Older,
        })
    }

    /// What a person should know: ports of the gateway's pods are closed which
    /// it does not name, or its policy follows nothing.
    pub(crate) fn note(&self, gateway: &McpGateway) -> Option<String> {
        let own = closed_by(gateway);
        if own.is_empty() {
            return None;
        }
        if let Some(older) = &self.unread {
            return Some(format!(
                "its NetworkPolicy stays as it is, because McpGateway {older}, which is older and \
                 may select the same pods, cannot be read: mend what its status says, or delete it"
            ));
        }
        let (port, older) = self.closed.iter().find(|(port, _)| !own.contains(port))?;
        Some(format!(
            "its NetworkPolicy also closes port {port}, as that of McpGateway {older} does, which \
             is older and may select the same pods: name a label in both selectors that keeps the \
             pods apart, and it is open again"
        ))
    }
}

#[cfg(test)]
mod tests {
    use kube::ResourceExt as _;
    use serde_json::{Value, json};
    use sidegate_api::gateway::Exposure;

    use super::super::policy::policy_of;
    use super::super::state::PolicyState;
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

    fn of<'a>(gateway: &McpGateway, older: impl IntoIterator<Item = &'a McpGateway>) -> Guarded {
        let mut guarded = Guarded::default();
        for older in older {
            guarded.add(&Wish::of(gateway), &older.name_any(), &Wish::of(older));
        }
        guarded
    }

    /// One whose servers share their ports with the sidecars.
    fn same_port(name: &str, labels: &Value, ports: &[u16]) -> McpGateway {
        let servers: Vec<_> = ports.iter().map(|port| (*port, 1)).collect();
        let mut gateway = gateway(name, labels, &servers);
        for server in &mut gateway.spec.servers {
            server.exposure = Exposure::SamePort;
            server.listen_port = None;
        }
        gateway
    }

    fn overlap(older: &str, port: u16, listening: Listening) -> Option<Overlap> {
        Some(Overlap {
            older: older.to_owned(),
            port,
            listening,
        })
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
        let guarded = of(&younger, [&older]);
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
        let guarded = of(&younger, [&apart, &on_loopback, &empty]);
        assert_eq!(guarded.ports(), BTreeSet::new());
        assert_eq!(guarded.overlap(&younger), None);
        assert_eq!(guarded.note(&younger), None);
        let same_port = gateway("older", &json!({"tier": "x"}), &[(8090, 9080)]);
        assert_eq!(of(&younger, [&same_port]).note(&younger), None);
    }

    #[test]
    fn a_port_of_its_own_sidecars_cannot_be_closed() {
        let older = gateway("older", &json!({"tier": "x"}), &[(9090, 9080)]);
        let younger = gateway("younger", &json!({"app": "b"}), &[(8090, 9090)]);
        let found = of(&younger, [&older]).overlap(&younger);
        assert_eq!(found, overlap("older", 9090, Listening::Younger));
    }

    /// Whoever may create a gateway must not cut off those of others.
    #[test]
    fn a_port_of_an_older_ones_sidecars_is_not_closed() {
        let (older_pods, own_pods) = (json!({"app": "a"}), json!({"tier": "x"}));
        let older = same_port("older", &older_pods, &[8080]);
        let younger = gateway("younger", &own_pods, &[(8080, 9080)]);
        let found = of(&younger, [&older]).overlap(&younger);
        assert_eq!(found, overlap("older", 8080, Listening::Older));
        let policy = policy_of(&younger, &BTreeSet::new()).expect("a policy");
        assert_eq!(of(&younger, [&older]).cut_off_by(&policy), found);
        let words = PolicyState::Overlaps(found.expect("one")).to_string();
        assert!(
            words.contains("sidecars that listen on port 8080"),
            "{words}"
        );
        // The other way round the older one closes what is its own.
        let guarded = of(&same_port("younger", &own_pods, &[8080]), [&younger]);
        assert_eq!(guarded.overlap(&older), None, "it has no policy");
        // Beside each other, and on pods that are kept apart.
        let beside = gateway("younger", &own_pods, &[(8090, 9080)]);
        assert_eq!(of(&beside, [&older]).overlap(&beside), None);
        let policy = policy_of(&beside, &BTreeSet::new()).expect("a policy");
        assert_eq!(of(&beside, [&older]).cut_off_by(&policy), None);
        let apart = gateway("younger", &json!({"app": "b"}), &[(8080, 9080)]);
        assert_eq!(of(&apart, [&older]).overlap(&apart), None);
        // Of an older one with a policy, the port beside the server's.
        let separate = gateway("older", &older_pods, &[(8070, 8080)]);
        let found = of(&younger, [&separate]).overlap(&younger);
        assert_eq!(found, overlap("older", 8080, Listening::Older));
        // The probes of the pod.
        let probes = gateway("younger", &own_pods, &[(15021, 9080)]);
        assert_eq!(closed_by(&probes), BTreeSet::new());
    }

    /// The second closes a port, the third closes it, too, on pods that it shares
    /// with the first, whose sidecars listen there.
    #[test]
    fn nor_is_it_closed_for_a_third_one() {
        let first = same_port("first", &json!({"app": "a"}), &[8080]);
        let second = gateway("second", &json!({"app": "b"}), &[(8080, 9080)]);
        let third = gateway("third", &json!({"tier": "x"}), &[(8090, 9090)]);
        assert_eq!(of(&second, [&first]).overlap(&second), None, "apart");
        let found = of(&third, [&first, &second]).overlap(&third);
        assert_eq!(found, overlap("first", 8080, Listening::Older));
        assert_eq!(of(&third, [&second]).overlap(&third), None);
    }

    #[test]
    fn of_one_that_cannot_be_read_nobody_knows_what_it_closes() {
        let younger = gateway("younger", &json!({"tier": "x"}), &[(8090, 9090)]);
        let mut guarded = of(&younger, []);
        assert!(!guarded.is_partial());
        guarded.cannot_read("older");
        assert!(guarded.is_partial());
        assert_eq!(guarded.overlap(&younger), None);
        let note = guarded.note(&younger).expect("a note");
        assert!(note.contains("McpGateway older"), "{note}");
        let without = same_port("younger", &json!({"tier": "x"}), &[8090]);
        assert_eq!(guarded.note(&without), None, "it has no policy");
    }
}
