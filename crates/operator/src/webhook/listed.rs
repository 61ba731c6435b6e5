//! A gateway as a list has it, and which of several has a pod.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::DynamicObject;
use serde_json::Value;
use sidegate_api::McpGatewaySpec;
use sidegate_api::selector::LabelSelector;

use crate::injector::Gateway;
use crate::injector::admission::Lookup;
use crate::rank::{rank, selects};

/// A gateway of which the injector can know no more than this.
#[derive(Debug)]
pub(super) struct Listed {
    meta: ObjectMeta,
    spec: Spec,
}

#[derive(Debug)]
enum Spec {
    Read(Arc<McpGatewaySpec>),
    /// It does not fit its type: it is older than a rule, or newer than this
    /// program.
    Unreadable {
        /// Unless even this cannot be read.
        selector: Option<LabelSelector>,
        problem: String,
    },
}

// === impl Listed ===

impl Listed {
    pub(super) fn of(object: DynamicObject) -> Self {
        let DynamicObject {
            metadata,
            mut data,
            types: _,
        } = object;
        let spec = data.get_mut("spec").map(Value::take).unwrap_or_default();
        Self {
            meta: metadata,
            spec: Spec::read(spec),
        }
    }

    /// Whether it selects a pod with these labels, as far as can be known: a
    /// pod is rather refused than left without a guard.
    fn may_select(&self, labels: &BTreeMap<String, String>) -> bool {
        match &self.spec {
            Spec::Read(spec) => selects(&spec.selector, labels),
            Spec::Unreadable { selector, .. } => {
                selector.as_ref().is_none_or(|it| selects(it, labels))
            }
        }
    }

    fn name(&self) -> String {
        self.meta.name.clone().unwrap_or_default()
    }
}

/// Which gateway of a namespace has a pod with these labels.
pub(super) fn gateway_of(
    all: &[Listed],
    namespace: &str,
    labels: &BTreeMap<String, String>,
) -> Lookup {
    let selecting = all.iter().filter(|it| it.may_select(labels));
    let Some(first) = selecting.min_by_key(|it| rank(&it.meta)) else {
        return Lookup::NoGateway;
    };
    match &first.spec {
        Spec::Read(spec) => Lookup::Gateway(Gateway {
            namespace: namespace.to_owned(),
            name: first.name(),
            uid: first.meta.uid.clone().unwrap_or_default(),
            spec: Arc::clone(spec),
        }),
        Spec::Unreadable { problem, .. } => Lookup::Unreadable {
            gateway: first.name(),
            problem: problem.clone(),
        },
    }
}

// === impl Spec ===

impl Spec {
    fn read(spec: Value) -> Self {
        let selector = spec.get("selector").cloned();
        match serde_json::from_value(spec) {
            Ok(spec) => Self::Read(Arc::new(spec)),
            Err(error) => Self::Unreadable {
                selector: selector.and_then(|it| serde_json::from_value(it).ok()),
                problem: error.to_string(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn listed(name: &str, created: &str, spec: &Value) -> Listed {
        Listed::of(
            serde_json::from_value(json!({
                "apiVersion": "sidegate.dev/v1alpha1",
                "kind": "McpGateway",
                "metadata": {
                    "name": name, "uid": format!("uid-{name}"), "creationTimestamp": created,
                },
                "spec": spec,
            }))
            .unwrap(),
        )
    }

    fn spec(app: &str) -> Value {
        json!({
            "selector": { "matchLabels": { "app": app } },
            "servers": [{ "name": "s", "port": 8080, "resources": ["https://x/mcp"] }],
        })
    }

    fn broken(app: &str) -> Value {
        let mut spec = spec(app);
        spec["servers"][0]["port"] = json!("eighty");
        spec
    }

    const OLD: &str = "2026-01-01T00:00:00Z";
    const NEW: &str = "2026-01-02T00:00:00Z";

    fn found(all: &[Listed]) -> String {
        let labels = BTreeMap::from([("app".to_owned(), "demo".to_owned())]);
        match gateway_of(all, "crm", &labels) {
            Lookup::NoGateway => "none".to_owned(),
            Lookup::Gateway(gateway) => {
                assert_eq!(gateway.uid, format!("uid-{}", gateway.name));
                gateway.name
            }
            Lookup::Unreadable { gateway, .. } => format!("unreadable {gateway}"),
            Lookup::Unavailable(reason) => panic!("{reason}"),
        }
    }

    #[test]
    fn the_oldest_that_selects_has_the_pod_then_the_first_name() {
        assert_eq!(found(&[]), "none");
        assert_eq!(found(&[listed("a", OLD, &spec("other"))]), "none");
        let all = [
            listed("a", NEW, &spec("demo")),
            listed("b", OLD, &spec("demo")),
            listed("c", OLD, &spec("demo")),
            listed("0", OLD, &spec("other")),
        ];
        assert_eq!(found(&all), "b");
    }

    #[test]
    fn a_selector_of_nothing_takes_no_pod() {
        let mut all = spec("demo");
        all["selector"] = json!({});
        assert_eq!(found(&[listed("a", OLD, &all)]), "none");
    }

    #[test]
    fn an_unreadable_gateway_counts_by_its_selector() {
        let other = listed("a", OLD, &broken("other"));
        assert_eq!(found(&[other, listed("b", NEW, &spec("demo"))]), "b");
        let first = listed("a", OLD, &broken("demo"));
        assert_eq!(
            found(&[first, listed("b", NEW, &spec("demo"))]),
            "unreadable a"
        );
        let second = listed("b", NEW, &broken("demo"));
        assert_eq!(found(&[second, listed("a", OLD, &spec("demo"))]), "a");
    }

    #[test]
    fn one_whose_selector_is_unreadable_might_select_everything() {
        let newer = json!({ "matchExpressions": [{ "key": "app", "operator": "Like" }] });
        for selector in [newer, json!(null), json!("app")] {
            let mut odd = spec("other");
            odd["selector"] = selector;
            assert_eq!(found(&[listed("a", OLD, &odd)]), "unreadable a");
            // An older one has the pod whatever the newer one means.
            let all = [listed("b", NEW, &odd), listed("a", OLD, &spec("demo"))];
            assert_eq!(found(&all), "a");
        }
        assert_eq!(found(&[listed("a", OLD, &Value::Null)]), "unreadable a");
    }
}
