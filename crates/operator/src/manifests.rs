//! The objects that run the operator in a cluster.

mod admission;
mod permissions;
mod workload;

use serde_json::{Value, json};

use self::permissions::{AT_HOME, EVERYWHERE, rules};
use crate::injector::policy;
pub use crate::names::{INJECTOR_CONFIGURATION, NAME, NAMESPACE};
use crate::streams::STREAMS_PORT;

/// What is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Images {
    /// The operator's image.
    pub operator: String,
    /// The image of the sidecars that pods get.
    pub sidecar: String,
}

/// Where sidecars reach the config stream of an operator in this namespace.
#[must_use]
pub fn control_plane_url(namespace: &str) -> String {
    format!("https://{NAME}.{namespace}.svc:{STREAMS_PORT}")
}

/// All objects, in the order in which they can be applied. The
/// CustomResourceDefinitions come before them and are not among them. Last
/// come those that refuse pods: the API server asks about none of the
/// operator's own, so it can start all the same.
#[must_use]
pub fn objects(images: &Images) -> Vec<Value> {
    let mut objects = vec![
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
        workload::service(),
        workload::disruption_budget(),
        workload::deployment(images),
        admission::webhook(),
    ];
    objects.extend(policy::manifests());
    objects
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
