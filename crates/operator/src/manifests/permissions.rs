//! What the operator may do: one table, from which the roles are made.

use serde_json::{Value, json};

use super::{INJECTOR_CONFIGURATION, NAME};
use crate::names::{AUTHORITY_SECRET, TRUST_CONFIG_MAP};

/// What the operator may do with some resources.
pub(super) struct Permission {
    pub(super) group: &'static str,
    pub(super) resources: &'static [&'static str],
    /// The only names, unless there is none. A name cannot restrict what is
    /// created by POST.
    pub(super) names: &'static [&'static str],
    pub(super) verbs: &'static [&'static str],
}

/// In every namespace. No Secrets: the owner of a namespace lets the operator
/// read single ones, by the command that a gateway's status tells.
pub(super) const EVERYWHERE: [Permission; 10] = [
    Permission {
        group: "sidegate.dev",
        resources: &["mcpgateways", "llmproviders"],
        names: &[],
        verbs: &["get", "list", "watch"],
    },
    Permission {
        group: "sidegate.dev",
        resources: &["mcpgateways/status", "llmproviders/status"],
        names: &[],
        verbs: &["patch"],
    },
    // Pods are counted, Services give pods their names, the label of
    // namespaces is read. Of ConfigMaps only those are read that a gateway
    // refers to, key sets and authorities, and the operator's own.
    Permission {
        group: "",
        resources: &["pods", "services", "namespaces", "configmaps"],
        names: &[],
        verbs: &["list", "watch"],
    },
    // The condition that says what a sidecar enforces.
    Permission {
        group: "",
        resources: &["pods/status"],
        names: &[],
        verbs: &["patch"],
    },
    // The roots that sidecars trust, in every namespace that opted in. What is
    // created by server-side apply has its name in the request, so here a name
    // does restrict it.
    Permission {
        group: "",
        resources: &["configmaps"],
        names: &[TRUST_CONFIG_MAP],
        verbs: &["create", "patch"],
    },
    // For servers that cannot leave their port to the sidecar.
    Permission {
        group: "networking.k8s.io",
        resources: &["networkpolicies"],
        names: &[],
        verbs: &["get", "list", "watch", "create", "patch", "delete"],
    },
    // Whose token a sidecar shows.
    Permission {
        group: "authentication.k8s.io",
        resources: &["tokenreviews"],
        names: &[],
        verbs: &["create"],
    },
    // The roots by which the API server knows the webhook.
    Permission {
        group: "admissionregistration.k8s.io",
        resources: &["mutatingwebhookconfigurations"],
        names: &[INJECTOR_CONFIGURATION],
        verbs: &["list", "watch", "patch"],
    },
    // kube's recorder writes and counts with these.
    Permission {
        group: "events.k8s.io",
        resources: &["events"],
        names: &[],
        verbs: &["create", "patch"],
    },
    // Who the operator is, for the commands that grant it something.
    Permission {
        group: "authentication.k8s.io",
        resources: &["selfsubjectreviews"],
        names: &[],
        verbs: &["create"],
    },
];

/// In the operator's own namespace: its Lease, and the Secret with the keys of
/// its authority.
pub(super) const AT_HOME: [Permission; 4] = [
    Permission {
        group: "coordination.k8s.io",
        resources: &["leases"],
        names: &[],
        verbs: &["create"],
    },
    Permission {
        group: "coordination.k8s.io",
        resources: &["leases"],
        names: &[NAME],
        verbs: &["get", "update"],
    },
    Permission {
        group: "",
        resources: &["secrets"],
        names: &[],
        verbs: &["create"],
    },
    Permission {
        group: "",
        resources: &["secrets"],
        names: &[AUTHORITY_SECRET],
        verbs: &["list", "watch", "update"],
    },
];

/// As a role has them.
pub(super) fn rules(permissions: &[Permission]) -> Vec<Value> {
    permissions
        .iter()
        .map(|permission| {
            let Permission {
                group,
                resources,
                names,
                verbs,
            } = permission;
            let mut rule = json!({
                "apiGroups": [group],
                "resources": resources,
                "verbs": verbs,
            });
            if let (false, Some(rule)) = (names.is_empty(), rule.as_object_mut()) {
                rule.insert("resourceNames".to_owned(), json!(names));
            }
            rule
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_a_wildcard_and_nothing_gives_more_than_it_says() {
        for permission in EVERYWHERE.iter().chain(&AT_HOME) {
            let all = [permission.resources, permission.verbs, permission.names].concat();
            assert!(!all.contains(&"*") && permission.group != "*");
            for verb in ["escalate", "bind", "impersonate", "deletecollection"] {
                assert!(!permission.verbs.contains(&verb), "{all:?}");
            }
            for resource in [
                "roles",
                "clusterroles",
                "rolebindings",
                "nodes",
                "pods/exec",
            ] {
                assert!(!permission.resources.contains(&resource), "{all:?}");
            }
        }
    }

    #[test]
    fn secrets_are_the_operators_own_and_named() {
        for permission in &EVERYWHERE {
            let secret = permission.resources.iter().find(|it| it.contains("secret"));
            assert_eq!(secret, None);
        }
        for permission in AT_HOME
            .iter()
            .filter(|it| it.resources.contains(&"secrets"))
        {
            let creates = permission.verbs == ["create"];
            assert!(creates || permission.names == [AUTHORITY_SECRET]);
        }
    }

    #[test]
    fn what_others_own_is_never_written_without_a_name() {
        let written = EVERYWHERE.iter().filter(|it| {
            let writes = ["patch", "update", "delete"];
            it.names.is_empty() && it.verbs.iter().any(|verb| writes.contains(verb))
        });
        let written: Vec<_> = written.flat_map(|it| it.resources).collect();
        assert_eq!(
            written,
            [
                &"mcpgateways/status",
                &"llmproviders/status",
                &"pods/status",
                &"networkpolicies",
                &"events",
            ]
        );
    }

    #[test]
    fn a_rule_has_names_only_when_there_are_some() {
        let rules = rules(&AT_HOME);
        assert_eq!(rules[0].get("resourceNames"), None);
        assert_eq!(rules[1]["resourceNames"], json!([NAME]));
    }
}
