use serde_json::{Value, json};

use crate::injector::tests::{apply, gateway, settings};
use crate::injector::{Gateway, inject};

fn pod(container: &Value) -> Value {
    let mut app = json!({"name": "app", "image": "a", "ports": [{"containerPort": 8080}]});
    for (field, value) in container.as_object().expect("fields") {
        app[field] = value.clone();
    }
    json!({
        "metadata": {"name": "demo", "labels": {"app": "demo"}},
        "spec": {"containers": [app]},
    })
}

fn binding(variables: &Value) -> Gateway {
    gateway(&json!([{
        "name": "demo", "port": 8080, "resources": ["https://demo.example.com/mcp"],
        "bindEnv": variables,
    }]))
}

/// The variables that a container gets, and what a person is told.
fn prepared(container: &Value, gateway: &Gateway) -> (Vec<String>, Vec<String>) {
    let pod = pod(container);
    let injection = inject(&pod, gateway, &settings()).expect("injected");
    let patched = apply(&pod, &injection);
    let set = patched["spec"]["containers"][0]["env"].as_array().cloned();
    let set = set.unwrap_or_default();
    let on_loopback = set.iter().filter(|it| it["value"] == "127.0.0.1");
    let names = on_loopback.filter_map(|it| it["name"].as_str().map(str::to_owned));
    (names.collect(), injection.warnings)
}

#[test]
fn variables_that_the_pod_does_not_set_are_set() {
    let none = json!({});
    let (set, told) = prepared(&none, &binding(&json!(["BIND", "HOST"])));
    assert_eq!(set, ["HOST", "FASTMCP_HOST", "BIND"]);
    assert!(told.is_empty(), "{told:?}");
    let own = json!({"env": [{"name": "BIND", "value": "0.0.0.0"}]});
    let (set, told) = prepared(&own, &binding(&json!(["BIND"])));
    assert_eq!(set, ["HOST", "FASTMCP_HOST"], "it is the pod's own");
    assert!(told[0].contains("sets BIND to 0.0.0.0"), "{told:?}");
}

#[test]
fn beside_env_from_only_what_was_asked_for_is_set() {
    let from = json!({"envFrom": [{"configMapRef": {"name": "all"}}]});
    let (set, told) = prepared(&from, &binding(&json!(["BIND", "FASTMCP_HOST"])));
    assert_eq!(set, ["FASTMCP_HOST", "BIND"]);
    assert!(told[0].contains("HOST were left") && told[0].contains("bindEnv"));
    let (set, _) = prepared(&from, &binding(&json!([])));
    assert!(set.is_empty(), "{set:?}");
    let (_, told) = prepared(&from, &binding(&json!(["HOST", "FASTMCP_HOST"])));
    assert!(told.is_empty(), "{told:?}");
}

#[test]
fn beside_a_port_of_its_own_for_the_sidecar_nothing_is_set() {
    let separate = gateway(&json!([{
        "name": "demo", "port": 8080, "exposure": "SeparatePort", "listenPort": 9090,
        "resources": ["https://demo.example.com/mcp"], "bindEnv": ["BIND"],
    }]));
    let (set, _) = prepared(&json!({}), &separate);
    assert!(set.is_empty(), "{set:?}");
}
