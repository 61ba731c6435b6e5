//! What the shipped objects and the injected containers may do to a node, and
//! who can read their keys.

use std::sync::Arc;

use serde_json::{Value, json};
use sidegate_operator::injector::{Gateway, InjectorSettings, inject, inject_identity};
use sidegate_operator::manifests::{self, Images, NAMESPACE};

fn shipped() -> Vec<Value> {
    manifests::objects(&Images {
        operator: "operator:1".to_owned(),
        sidecar: "sidegate:1".to_owned(),
    })
}

fn settings() -> InjectorSettings {
    InjectorSettings::new("sidegate:1", "https://operator.example:9443")
}

/// A pod after injection.
fn injected(caller: bool) -> Value {
    let mut pod = json!({
        "metadata": {"name": "demo", "labels": {"app": "demo"}},
        "spec": {"containers": [
            {"name": "app", "image": "x", "ports": [{"containerPort": 8080}]},
        ]},
    });
    let spec = json!({
        "selector": {"matchLabels": {"app": "demo"}},
        "servers": [{"name": "demo", "port": 8080, "resources": ["https://demo.example/mcp"]}],
    });
    let gateway = Gateway {
        namespace: "crm".to_owned(),
        name: "demo".to_owned(),
        uid: "0c5c9d0e-0000-4000-8000-000000000001".to_owned(),
        spec: Arc::new(serde_json::from_value(spec).expect("a spec")),
    };
    let injection = if caller {
        pod["metadata"]["annotations"] = json!({"sidegate.dev/identity": "Files"});
        inject_identity(&pod, &settings())
    } else {
        inject(&pod, &gateway, &settings())
    };
    let patch = serde_json::to_value(injection.expect("a patch").patch).expect("JSON");
    let patch: json_patch::Patch = serde_json::from_value(patch).expect("a patch");
    json_patch::patch(&mut pod, &patch).expect("it fits");
    pod
}

/// Asserts that a container can do nothing to its node.
fn assert_hardened(container: &Value, pod: &Value) {
    let own = &container["securityContext"];
    let of_pod = &pod["securityContext"];
    let set = |field: &str| match own.get(field) {
        Some(value) => value.clone(),
        None => of_pod[field].clone(),
    };
    let name = &container["name"];
    assert_eq!(set("runAsNonRoot"), true, "{name}");
    assert!(set("runAsUser").as_u64() > Some(0), "{name}");
    assert_eq!(set("seccompProfile")["type"], "RuntimeDefault", "{name}");
    assert_eq!(own["allowPrivilegeEscalation"], false, "{name}");
    assert_eq!(own["readOnlyRootFilesystem"], true, "{name}");
    assert_eq!(own["capabilities"], json!({"drop": ["ALL"]}), "{name}");
    assert_eq!(own.get("privileged"), None, "{name}");
    let memory = &container["resources"]["limits"]["memory"];
    assert!(memory.is_string(), "{name} has no bound of its memory");
    for host in ["hostNetwork", "hostPID", "hostIPC"] {
        assert_eq!(pod.get(host), None, "{name}");
    }
    for port in container["ports"].as_array().into_iter().flatten() {
        assert_eq!(port.get("hostPort"), None, "{name}");
    }
}

/// CFG-013: no root, no writable image, no capability.
#[test]
fn no_container_of_ours_may_do_more_than_it_needs() {
    let deployment = shipped().into_iter().find(|it| it["kind"] == "Deployment");
    let template = deployment.expect("a Deployment")["spec"]["template"]["spec"].take();
    let containers = template["containers"].as_array().expect("containers");
    assert_eq!(containers.len(), 1);
    assert_hardened(&containers[0], &template);
    assert_eq!(template.get("volumes"), None, "nothing of the node");
    for (caller, count) in [(false, 2), (true, 1)] {
        let pod = injected(caller);
        let spec = &pod["spec"];
        let ours = spec["initContainers"].as_array().expect("containers");
        assert_eq!(ours.len(), count);
        for container in ours {
            assert_hardened(container, spec);
        }
    }
}

/// WHK-013: a native sidecar starts before everything else and is waited for,
/// and learns of the end before the app does.
#[test]
fn the_sidecar_is_there_before_the_app_and_after_it() {
    let pod = injected(false);
    let sidecar = &pod["spec"]["initContainers"][1];
    assert_eq!(sidecar["name"], "sidegate");
    assert_eq!(sidecar["restartPolicy"], "Always");
    assert_eq!(sidecar["startupProbe"]["httpGet"]["path"], "/readyz");
    let drain = sidecar["lifecycle"]["preStop"]["exec"]["command"].to_string();
    assert!(drain.contains("drain"), "{drain}");
    let app = &pod["spec"]["containers"][0]["lifecycle"]["preStop"];
    assert!(app["sleep"]["seconds"].as_u64() > Some(0), "{app}");
}

/// CFG-013, CFG-014: keys are in memory, in a volume that the sidecar alone
/// mounts, and in no variable or argument.
#[test]
fn keys_are_in_memory_and_for_the_sidecar_alone() {
    let pod = injected(false);
    let volumes = pod["spec"]["volumes"].as_array().expect("volumes");
    let volume = |name: &str| {
        let found = volumes.iter().find(|it| it["name"] == name);
        found.expect("a volume").clone()
    };
    assert_eq!(volume("sidegate-state")["emptyDir"]["medium"], "Memory");
    for private in ["sidegate-state", "sidegate-token"] {
        let lists = ["initContainers", "containers"].into_iter();
        let containers = lists.flat_map(|list| pod["spec"][list].as_array().expect("a list"));
        let mounting: Vec<_> = containers
            .filter(|container| {
                let mounts = container["volumeMounts"].as_array();
                mounts
                    .into_iter()
                    .flatten()
                    .any(|mount| mount["name"] == private)
            })
            .map(|container| container["name"].as_str().expect("a name"))
            .collect();
        assert_eq!(mounting, ["sidegate"], "{private}");
    }
    for list in ["initContainers", "containers"] {
        for container in pod["spec"][list].as_array().expect("a list") {
            for variable in container["env"].as_array().into_iter().flatten() {
                let source = &variable["valueFrom"];
                assert_eq!(source.get("secretKeyRef"), None, "{variable}");
            }
            assert_eq!(container.get("envFrom"), None);
        }
    }
}

/// OPR-008, as it is shipped: the permissions of every role.
#[test]
fn no_role_is_wider_than_what_it_names() {
    let mut rules = 0;
    for object in shipped() {
        let kind = object["kind"].as_str().expect("a kind");
        if kind == "ClusterRoleBinding" || kind == "RoleBinding" {
            let subjects = object["subjects"].as_array().expect("subjects");
            assert_eq!(subjects.len(), 1);
            assert_eq!(subjects[0]["kind"], "ServiceAccount");
            assert_eq!(subjects[0]["namespace"], NAMESPACE);
        }
        for rule in object["rules"].as_array().into_iter().flatten() {
            if kind != "Role" && kind != "ClusterRole" {
                continue;
            }
            rules += 1;
            let list = |field: &str| -> Vec<&str> {
                let list = rule[field].as_array().into_iter().flatten();
                list.filter_map(Value::as_str).collect()
            };
            let all = [list("apiGroups"), list("resources"), list("verbs")].concat();
            assert!(!all.iter().any(|word| word.contains('*')), "{rule}");
            for word in [
                "escalate",
                "bind",
                "impersonate",
                "pods/exec",
                "nodes/proxy",
            ] {
                assert!(!all.contains(&word), "{rule}");
            }
            assert_eq!(rule.get("nonResourceURLs"), None, "{rule}");
            if list("resources").contains(&"secrets") {
                assert_eq!(kind, "Role", "no Secret of the whole cluster: {rule}");
                assert_eq!(object["metadata"]["namespace"], NAMESPACE);
                let named = !list("resourceNames").is_empty();
                assert!(named || list("verbs") == ["create"], "{rule}");
            }
        }
    }
    assert!(rules > 5, "{rules}");
}

/// WHK-007, WHK-008, as they are shipped. Pods are blocked while nobody could
/// guard them, in namespaces that opted in and never in the system's.
#[test]
fn an_outage_of_the_webhook_blocks_nobody_who_did_not_ask() {
    let webhooks: Vec<_> = shipped()
        .into_iter()
        .filter(|it| {
            let kind = it["kind"].as_str().unwrap_or_default();
            kind.ends_with("WebhookConfiguration")
        })
        .collect();
    assert_eq!(webhooks.len(), 1);
    for hook in webhooks[0]["webhooks"].as_array().expect("webhooks") {
        assert!(hook["timeoutSeconds"].as_u64() <= Some(5));
        assert_eq!(hook["sideEffects"], "None");
        let required = hook["namespaceSelector"]["matchExpressions"].to_string();
        assert!(required.contains("sidegate.dev/injection"), "{required}");
        for name in ["kube-system", "kube-public", "kube-node-lease", NAMESPACE] {
            assert!(required.contains(name), "{required}");
        }
        for rule in hook["rules"].as_array().expect("rules") {
            assert_eq!(rule["resources"], json!(["pods"]));
            assert_eq!(rule["operations"], json!(["CREATE"]));
        }
    }
}
