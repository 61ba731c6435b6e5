//! Services, and the names that they give to pods.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;

use super::{Names, Namespace, PodFacts, World};
use crate::key::Key;

/// Most names that a pod gets: more would not fit into a certificate that
/// anybody wants to read.
const MAX_NAMES: usize = 128;
/// RFC 1035, section 2.3.4.
const MAX_NAME_BYTES: usize = 253;
const MAX_LABEL_BYTES: usize = 63;

/// What matters of a Service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ServiceFacts {
    /// The labels of the pods that it leads to; none lead to none.
    selector: BTreeMap<String, String>,
    /// Whether its pods have names of their own.
    headless: bool,
}

// === impl ServiceFacts ===

impl ServiceFacts {
    /// The facts of a Service.
    pub(crate) fn of(service: Service) -> Self {
        let spec = service.spec.unwrap_or_default();
        // Such a one is another name for something outside.
        let leads_elsewhere = spec.type_.as_deref() == Some("ExternalName");
        Self {
            selector: match leads_elsewhere {
                true => BTreeMap::new(),
                false => spec.selector.unwrap_or_default(),
            },
            headless: spec.cluster_ip.as_deref() == Some("None"),
        }
    }

    fn selects(&self, pod: &PodFacts) -> bool {
        !self.selector.is_empty()
            && self
                .selector
                .iter()
                .all(|(label, value)| pod.labels.get(label) == Some(value))
    }
}

// === impl World ===

impl World {
    /// The names by which Services lead to a pod, in small letters.
    pub(crate) fn service_names(&self, pod: &Key, cluster_domain: &str) -> Option<Vec<String>> {
        let namespace = self.namespaces.get(&pod.namespace)?;
        let facts = &namespace.pods.get(&pod.name)?.facts;
        let host = facts.hostname.as_ref().unwrap_or(&pod.name);
        let mut names = Vec::new();
        for (service, it) in &namespace.services {
            if it.selects(facts) {
                names.extend(forms(service, &pod.namespace, cluster_domain));
                if it.headless && is_label(host) {
                    let own = format!("{host}.{service}");
                    names.extend(forms(&own, &pod.namespace, cluster_domain));
                }
            }
        }
        names.retain(|name| is_name(name));
        names.truncate(MAX_NAMES);
        Some(names)
    }
}

/// As resolvers find a Service: in its namespace, from others, and in full.
fn forms(service: &str, namespace: &str, cluster_domain: &str) -> [String; 4] {
    [
        service.to_owned(),
        format!("{service}.{namespace}"),
        format!("{service}.{namespace}.svc"),
        format!("{service}.{namespace}.svc.{cluster_domain}"),
    ]
}

fn is_name(name: &str) -> bool {
    name.len() <= MAX_NAME_BYTES && name != "localhost" && name.split('.').all(is_label)
}

fn is_label(label: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !label.is_empty()
        && label.len() <= MAX_LABEL_BYTES
        && label.bytes().all(plain)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

// === impl Namespace ===

impl Namespace {
    pub(super) fn set_service(&mut self, name: &Arc<str>, service: ServiceFacts) -> Names {
        let before = self.services.get(name);
        if before == Some(&service) {
            return Names::default();
        }
        let mut names = self.selected_by(&service);
        if let Some(before) = before {
            names.pods.extend(self.selected_by(before).pods);
        }
        self.services.insert(Arc::clone(name), service);
        names
    }

    pub(super) fn remove_service(&mut self, name: &Arc<str>) -> Names {
        match self.services.remove(name) {
            Some(service) => self.selected_by(&service),
            None => Names::default(),
        }
    }

    fn selected_by(&self, service: &ServiceFacts) -> Names {
        let pods = self.pods.iter();
        let pods = pods.filter(|(_, pod)| service.selects(&pod.facts));
        Names {
            gateways: BTreeSet::new(),
            pods: pods.map(|(name, _)| Arc::clone(name)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn service(spec: &Value) -> ServiceFacts {
        ServiceFacts::of(serde_json::from_value(json!({"spec": spec})).expect("a Service"))
    }

    fn world(name: &str, hostname: Option<&str>) -> World {
        let mut world = World::default();
        let pod = PodFacts {
            labels: BTreeMap::from([("app".to_owned(), "a".to_owned())]),
            counted: true,
            hostname: hostname.map(Arc::from),
            ..PodFacts::default()
        };
        world.set_pod(&Key::new("crm", name), pod);
        world
    }

    fn names(world: &World, name: &str) -> Vec<String> {
        let names = world.service_names(&Key::new("crm", name), "cluster.local");
        names.expect("a pod")
    }

    #[test]
    fn a_service_names_the_pods_that_it_selects() {
        let mut world = world("p", None);
        assert_eq!(names(&world, "p"), [""; 0]);
        let selecting = service(&json!({"selector": {"app": "a"}, "clusterIP": "198.19.0.1"}));
        let touched = world.set_service(&Key::new("crm", "support"), selecting);
        assert_eq!(touched.pods, [Key::new("crm", "p")]);
        let expected = [
            "support",
            "support.crm",
            "support.crm.svc",
            "support.crm.svc.cluster.local",
        ];
        assert_eq!(names(&world, "p"), expected);
        let elsewhere = service(&json!({"selector": {"app": "b"}}));
        let touched = world.set_service(&Key::new("crm", "support"), elsewhere);
        assert_eq!(touched.pods, [Key::new("crm", "p")]);
        assert_eq!(names(&world, "p"), [""; 0]);
    }

    #[test]
    fn a_service_that_selects_nothing_or_leads_elsewhere_names_nothing() {
        let mut world = world("p", None);
        for spec in [
            json!({}),
            json!({"selector": {}}),
            json!({"type": "ExternalName", "selector": {"app": "a"}, "externalName": "b.example"}),
        ] {
            world.set_service(&Key::new("crm", "support"), service(&spec));
            assert_eq!(names(&world, "p"), [""; 0], "{spec}");
        }
        let other = service(&json!({"selector": {"app": "a"}}));
        world.set_service(&Key::new("sales", "support"), other);
        assert_eq!(names(&world, "p"), [""; 0], "of another namespace");
    }

    #[test]
    fn a_headless_service_names_each_pod() {
        let headless = json!({"selector": {"app": "a"}, "clusterIP": "None"});
        for (name, hostname, own) in [
            ("p", None, Some("p")),
            ("p-1", Some("db-1"), Some("db-1")),
            // No label of a name, so it is left out.
            ("p.1", None, None),
            ("p", Some("*"), None),
        ] {
            let mut world = world(name, hostname);
            world.set_service(&Key::new("crm", "db"), service(&headless));
            let names = names(&world, name);
            assert!(names.contains(&"db.crm.svc".to_owned()), "{names:?}");
            let expected = own.map(|own| format!("{own}.db.crm.svc.cluster.local"));
            assert_eq!(names.get(7), expected.as_ref(), "{names:?}");
        }
    }

    #[test]
    fn names_are_bounded_and_odd_ones_dropped() {
        let mut world = world("p", None);
        let selecting = service(&json!({"selector": {"app": "a"}}));
        for name in ["localhost", "*", "UP", "-a", "a-", "", &"x".repeat(64)] {
            world.set_service(&Key::new("crm", name), selecting.clone());
        }
        assert!(!names(&world, "p").iter().any(|it| it == "localhost"));
        let whole = names(&world, "p");
        assert!(
            whole.iter().all(|it| it.starts_with("localhost.")),
            "{whole:?}"
        );
        for index in 0..MAX_NAMES {
            world.set_service(&Key::new("crm", &format!("s{index}")), selecting.clone());
        }
        assert_eq!(names(&world, "p").len(), MAX_NAMES);
    }
}
