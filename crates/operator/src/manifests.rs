//! The objects that run the operator in a cluster, from one table of
//! permissions.

use serde_json::{Value, json};

use crate::health::HEALTH_PORT;

/// The namespace that the objects are made for.
pub const NAMESPACE: &str = "sidegate-system";
/// The name of the Deployment, the service account, the roles and the Lease.
pub const NAME: &str = "sidegate-operator";

/// What the operator may do with some resources.
struct Permission {
    group: &'static str,
    resources: &'static [&'static str],
    /// The only names, unless there is none.
    names: &'static [&'static str],
    verbs: &'static [&'static str],
}

/// In every namespace. No Secrets: the owner of a namespace lets the operator
/// read single ones, by the command that a gateway's status tells.
const EVERYWHERE: [Permission; 5] = [
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
    // Pods are counted, the label of namespaces is read. Of ConfigMaps only
    // those are read that a gateway refers to: key sets and authorities.
    Permission {
        group: "",
        resources: &["pods", "namespaces", "configmaps"],
        names: &[],
        verbs: &["list", "watch"],
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

/// In the operator's own namespace: its Lease. A name cannot restrict what is
/// created.
const AT_HOME: [Permission; 2] = [
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
];

/// All objects, in the order in which they can be applied. The
/// CustomResourceDefinitions come before them and are not among them.
#[must_use]
pub fn objects(image: &str) -> Vec<Value> {
    vec![
        namespace(),
        json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": at_home(),
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": NAME, "labels": labels()},
            "rules": rules(&EVERYWHERE),
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": NAME, "labels": labels()},
            "roleRef": role_ref("ClusterRole"),
            "subjects": subjects(),
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": at_home(),
            "rules": rules(&AT_HOME),
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": at_home(),
            "roleRef": role_ref("Role"),
            "subjects": subjects(),
        }),
        deployment(image),
    ]
}

fn namespace() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": NAMESPACE,
            "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
        },
    })
}

fn deployment(image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": at_home(),
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": selected()},
            "template": {
                "metadata": {"labels": labels()},
                "spec": {
                    "serviceAccountName": NAME,
                    "securityContext": {
                        "runAsNonRoot": true,
                        "runAsUser": 65532,
                        "runAsGroup": 65532,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "topologySpreadConstraints": [{
                        "maxSkew": 1,
                        "topologyKey": "kubernetes.io/hostname",
                        "whenUnsatisfiable": "ScheduleAnyway",
                        "labelSelector": {"matchLabels": selected()},
                    }],
                    "containers": [container(image)],
                },
            },
        },
    })
}

fn container(image: &str) -> Value {
    let probe = |path: &str| json!({"httpGet": {"path": path, "port": "health"}});
    json!({
        "name": "operator",
        "image": image,
        "args": ["run", "--leader-elect", "--identity=$(POD_NAME)"],
        "env": [
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        ],
        "ports": [{"name": "health", "containerPort": HEALTH_PORT}],
        "livenessProbe": probe("/healthz"),
        "readinessProbe": probe("/readyz"),
        "resources": {
            "requests": {"cpu": "50m", "memory": "64Mi"},
            "limits": {"memory": "512Mi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": true,
        },
    })
}

fn rules(permissions: &[Permission]) -> Vec<Value> {
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

fn role_ref(kind: &str) -> Value {
    json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": NAME})
}

fn subjects() -> Value {
    json!([{"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}])
}

fn at_home() -> Value {
    json!({"name": NAME, "namespace": NAMESPACE, "labels": labels()})
}

fn labels() -> Value {
    json!({
        "app.kubernetes.io/name": NAME,
        "app.kubernetes.io/part-of": "sidegate",
        "app.kubernetes.io/component": "operator",
    })
}

fn selected() -> Value {
    json!({"app.kubernetes.io/name": NAME})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_nowhere_and_nothing_is_a_wildcard() {
        for permission in EVERYWHERE.iter().chain(&AT_HOME) {
            assert!(!permission.resources.contains(&"secrets"));
            let all = [permission.resources, permission.verbs].concat();
            assert!(!all.contains(&"*") && permission.group != "*");
        }
    }

    #[test]
    fn the_lease_is_restricted_by_its_name() {
        let rules = rules(&AT_HOME);
        assert_eq!(rules[0].get("resourceNames"), None);
        assert_eq!(rules[1]["resourceNames"], json!([NAME]));
    }

    #[test]
    fn the_pods_are_selected_by_their_labels() {
        let deployment = deployment("image");
        let selected = &deployment["spec"]["selector"]["matchLabels"];
        let labels = &deployment["spec"]["template"]["metadata"]["labels"];
        for (key, value) in selected.as_object().expect("labels") {
            assert_eq!(&labels[key], value);
        }
    }
}
