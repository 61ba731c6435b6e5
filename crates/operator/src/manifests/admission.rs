//! What makes the API server ask the operator about new pods.

use serde_json::{Value, json};
use sidegate_api::names::{INJECTION_ENABLED, INJECTION_LABEL};

use super::{INJECTOR_CONFIGURATION, NAME, NAMESPACE, labels};
use crate::injector::policy::excluded_namespaces;
use crate::names::WEBHOOK;
use crate::webhook::PATH;

/// Longer than the webhook takes for anything.
const TIMEOUT_SECONDS: u32 = 5;

/// The webhook's configuration, without the roots: the operator adds these,
/// and a second application leaves them.
///
/// In a namespace that opted in nothing starts unguarded while the operator is
/// away, hence `Fail`; other namespaces are never asked about. There is no
/// object selector and no match condition: which pods are guarded is said by
/// gateways, and the pods that cannot be must be refused.
pub(super) fn webhook() -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": INJECTOR_CONFIGURATION, "labels": labels()},
        "webhooks": [{
            "name": WEBHOOK,
            "admissionReviewVersions": ["v1"],
            "clientConfig": {"service": {
                "name": NAME,
                "namespace": NAMESPACE,
                "path": PATH,
            }},
            "rules": [{
                "apiGroups": [""],
                "apiVersions": ["v1"],
                "operations": ["CREATE"],
                "resources": ["pods"],
                "scope": "Namespaced",
            }],
            "namespaceSelector": {"matchExpressions": [
                {"key": INJECTION_LABEL, "operator": "In", "values": [INJECTION_ENABLED]},
                {
                    "key": "kubernetes.io/metadata.name",
                    "operator": "NotIn",
                    "values": excluded_namespaces(),
                },
            ]},
            "failurePolicy": "Fail",
            "sideEffects": "None",
            "reinvocationPolicy": "IfNeeded",
            "timeoutSeconds": TIMEOUT_SECONDS,
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only() -> Value {
        let webhook = webhook();
        let webhooks = webhook["webhooks"].as_array().expect("webhooks");
        assert_eq!(webhooks.len(), 1);
        webhooks[0].clone()
    }

    /// WHK-007.
    #[test]
    fn an_outage_blocks_only_the_namespaces_that_opted_in() {
        let webhook = only();
        assert_eq!(webhook["failurePolicy"], "Fail");
        assert!(webhook["timeoutSeconds"].as_u64().expect("a number") <= 5);
        let required = webhook["namespaceSelector"]["matchExpressions"].as_array();
        let required = required.expect("requirements");
        assert_eq!(
            required[0],
            json!({"key": "sidegate.dev/injection", "operator": "In", "values": ["enabled"]})
        );
        assert_eq!(required[1]["operator"], "NotIn");
        for name in ["kube-system", "kube-public", "kube-node-lease", NAMESPACE] {
            let values = required[1]["values"].as_array().expect("names");
            assert!(values.contains(&json!(name)), "{name}");
        }
    }

    /// WHK-008.
    #[test]
    fn no_pod_of_such_a_namespace_passes_by() {
        let webhook = only();
        for absent in ["objectSelector", "matchConditions"] {
            assert_eq!(webhook.get(absent), None, "{absent}");
        }
        assert_eq!(webhook["rules"].as_array().map(Vec::len), Some(1));
        assert_eq!(webhook["rules"][0]["operations"], json!(["CREATE"]));
        assert_eq!(webhook["rules"][0]["resources"], json!(["pods"]));
        // Whoever comes later may have added a container.
        assert_eq!(webhook["reinvocationPolicy"], "IfNeeded");
        assert_eq!(webhook["sideEffects"], "None");
    }

    #[test]
    fn roots_are_left_to_the_operator() {
        assert_eq!(only()["clientConfig"].get("caBundle"), None);
    }
}
