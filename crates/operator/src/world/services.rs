//! Services, and the names that they give to pods.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use sidegate_tls::{is_dns_label, is_dns_name};

use super::{Names, Namespace, PodFacts, World};
use crate::key::Key;

/// Most `Host` values that a pod gets.
const MAX_HOSTS: usize = 128;
/// RFC 1035, section 2.3.4.
const MAX_NAME_BYTES: usize = 253;

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

/// The names by which Services lead to a pod, in small letters, in the order of
/// the Services.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ServiceNames {
    /// Those that mean this pod wherever they are resolved, `….NS.svc` and
    /// `….NS.svc.DOMAIN`: a certificate may carry them. A shorter one is
    /// somebody else's, too: `billing.finance` is a pod `billing` of a headless
    /// Service here, and the Service `billing` of the namespace `finance`.
    pub(crate) certificate: Vec<String>,
    /// All that callers may dial, for `Host`.
    pub(crate) hosts: Vec<String>,
}

// === impl World ===

impl World {
    /// The names by which Services lead to a pod.
    pub(crate) fn service_names(&self, pod: &Key, cluster_domain: &str) -> Option<ServiceNames> {
        let namespace = self.namespaces.get(&pod.namespace)?;
        let facts = &namespace.pods.get(&pod.name)?.facts;
        let host = facts.hostname.as_ref().unwrap_or(&pod.name);
        let mut names = ServiceNames::default();
        for (service, it) in &namespace.services {
            if it.selects(facts) {
                names.hosts.push(service.to_string());
                names.add(service, &pod.namespace, cluster_domain);
                if it.headless && is_dns_label(host) {
                    let own = format!("{host}.{service}");
                    names.add(&own, &pod.namespace, cluster_domain);
                }
            }
        }
        names.certificate.retain(|name| is_dns_name(name));
        names.hosts.retain(|host| is_host(host));
        names.hosts.truncate(MAX_HOSTS);
        Some(names)
    }
}

// === impl ServiceNames ===

impl ServiceNames {
    /// Names of a Service, or of a pod in it, that say the namespace.
    fn add(&mut self, name: &str, namespace: &str, cluster_domain: &str) {
        let full = [
            format!("{name}.{namespace}.svc"),
            format!("{name}.{namespace}.svc.{cluster_domain}"),
        ];
        self.hosts.push(format!("{name}.{namespace}"));
        self.hosts.extend_from_slice(&full);
        self.certificate.extend(full);
    }
}

/// Other than a name in a certificate, it may end with a number: a namespace
/// can be one.
fn is_host(name: &str) -> bool {
    name.len() <= MAX_NAME_BYTES && name != "localhost" && name.split('.').all(is_dns_label)
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

    fn names(world: &World, name: &str) -> ServiceNames {
        let names = world.service_names(&Key::new("crm", name), "cluster.local");
        names.expect("a pod")
    }

    #[test]
    fn a_service_names_the_pods_that_it_selects() {
        let mut world = world("p", None);
        assert_eq!(names(&world, "p"), ServiceNames::default());
        let selecting = service(&json!({"selector": {"app": "a"}, "clusterIP": "198.19.0.1"}));
        let touched = world.set_service(&Key::new("crm", "support"), selecting);
        assert_eq!(touched.pods, [Key::new("crm", "p")]);
        let expected = [
            "support",
            "support.crm",
            "support.crm.svc",
            "support.crm.svc.cluster.local",
        ];
        assert_eq!(names(&world, "p").hosts, expected);
        assert_eq!(names(&world, "p").certificate, expected[2..]);
        let elsewhere = service(&json!({"selector": {"app": "b"}}));
        let touched = world.set_service(&Key::new("crm", "support"), elsewhere);
        assert_eq!(touched.pods, [Key::new("crm", "p")]);
        assert_eq!(names(&world, "p"), ServiceNames::default());
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
            assert_eq!(names(&world, "p"), ServiceNames::default(), "{spec}");
        }
        let other = service(&json!({"selector": {"app": "a"}}));
        world.set_service(&Key::new("sales", "support"), other);
        let none = ServiceNames::default();
        assert_eq!(names(&world, "p"), none, "of another namespace");
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
            let mut expected = vec![
                "db.crm.svc".to_owned(),
                "db.crm.svc.cluster.local".to_owned(),
            ];
            if let Some(own) = own {
                expected.push(format!("{own}.db.crm.svc"));
                expected.push(format!("{own}.db.crm.svc.cluster.local"));
            }
            assert_eq!(names.certificate, expected);
            let short = own.map(|own| format!("{own}.db.crm"));
            assert_eq!(names.hosts.get(4), short.as_ref(), "{names:?}");
        }
    }

    /// A headless Service `finance` and a pod with the host name `billing` are
    /// no reason to speak for the Service `billing` of the namespace `finance`.
    #[test]
    fn no_name_is_that_of_another_namespaces_service() {
        let mut world = world("p", Some("billing"));
        let headless = json!({"selector": {"app": "a"}, "clusterIP": "None"});
        world.set_service(&Key::new("crm", "finance"), service(&headless));
        let names = names(&world, "p");
        for name in &names.certificate {
            let ours = name.ends_with(".crm.svc") || name.ends_with(".crm.svc.cluster.local");
            assert!(ours, "{name}");
        }
        assert!(!names.hosts.contains(&"billing.finance".to_owned()));
        let in_full = "billing.finance.crm.svc".to_owned();
        assert!(names.certificate.contains(&in_full) && names.hosts.contains(&in_full));
    }

    #[test]
    fn a_namespace_may_be_a_number() {
        let mut world = World::default();
        let pod = PodFacts {
            labels: BTreeMap::from([("app".to_owned(), "a".to_owned())]),
            ..PodFacts::default()
        };
        let key = Key::new("2024", "p");
        world.set_pod(&key, pod);
        let selecting = service(&json!({"selector": {"app": "a"}}));
        world.set_service(&Key::new("2024", "support"), selecting);
        let names = world.service_names(&key, "cluster.local").expect("a pod");
        assert!(names.hosts.contains(&"support.2024".to_owned()));
        let expected = ["support.2024.svc", "support.2024.svc.cluster.local"];
        assert_eq!(names.certificate, expected);
    }

    #[test]
    fn names_are_bounded_and_odd_ones_dropped() {
        let mut world = world("p", None);
        let selecting = service(&json!({"selector": {"app": "a"}}));
        for name in [
            "localhost",
            "*",
            "UP",
            "-a",
            "a-",
            "a_b",
            "",
            &"x".repeat(64),
        ] {
            world.set_service(&Key::new("crm", name), selecting.clone());
        }
        let ServiceNames { certificate, hosts } = names(&world, "p");
        for name in certificate.iter().chain(&hosts) {
            assert!(name.starts_with("localhost."), "{name}");
        }
        for index in 0..MAX_HOSTS {
            world.set_service(&Key::new("crm", &format!("s{index}")), selecting.clone());
        }
        assert_eq!(names(&world, "p").hosts.len(), MAX_HOSTS);
    }
}
