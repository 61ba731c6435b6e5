//! What is known of older gateways, also of those that cannot be read.

use serde_json::{Value, json};

use super::*;
use crate::silent_api_server;

fn policies() -> NetworkPolicies {
    NetworkPolicies::new(silent_api_server::client(), None, Arc::default())
}

fn seen(name: &str, spec: &Value) -> Arc<SeenGateway> {
    let object = json!({
        "apiVersion": "sidegate.dev/v1alpha1", "kind": "McpGateway",
        "metadata": {"name": name, "namespace": "crm", "uid": name}, "spec": spec,
    });
    Arc::new(serde_json::from_value(object).expect("a gateway, or what is none"))
}

fn spec(label: &str, port: u16) -> Value {
    json!({
        "selector": {"matchLabels": {label: "x"}},
        "servers": [{
            "name": "s", "port": port, "exposure": "SeparatePort", "listenPort": port + 1000,
            "resources": ["https://a.example/mcp"],
        }],
    })
}

fn read(gateway: &SeenGateway) -> &McpGateway {
    gateway.0.as_ref().expect("it can be read")
}

/// A policy that forgot what an unreadable gateway closes would open it.
#[tokio::test]
async fn what_an_older_gateway_closed_stays_closed_while_it_cannot_be_read() {
    let policies = policies();
    let younger = seen("younger", &spec("tier", 8090));
    let younger = read(&younger);
    let older = seen("older", &spec("app", 8080));
    let unreadable = seen("older", &json!({"selector": 1}));
    assert!(unreadable.0.is_err());
    let before = policies.guarded(younger, &[Arc::clone(&older)]);
    assert_eq!(before.ports(), [8080].into());

    // A leader that never saw it otherwise knows nothing about it.
    let nothing = policies.guarded(younger, &[Arc::clone(&unreadable)]);
    assert!(nothing.is_partial());
    policies.wish(read(&older));
    let after = policies.guarded(younger, &[Arc::clone(&unreadable)]);
    assert_eq!(after, before);
    assert!(!after.is_partial());

    policies.forget(&Key::new("crm", "older"));
    assert!(policies.guarded(younger, &[unreadable]).is_partial());
    assert_eq!(policies.guarded(younger, &[]), Guarded::default());
}

/// It is not written anew while it may close something for one that cannot be
/// read; one that is not there is written with what is known.
#[tokio::test]
async fn a_policy_stays_while_an_older_gateway_cannot_be_read() {
    let mut policies = policies();
    let younger = seen("younger", &spec("tier", 8090));
    let younger = read(&younger);
    assert!(policies.policy_of(younger).is_none());
    let mut guarded = Guarded::default();
    guarded.cannot_read("older");
    let written = policy_of(younger, &[8080].into()).expect("a policy");
    policies.wrote(&own_key(younger), written);
    assert!(policies.policy_of(younger).is_some());
    let (synced_tx, synced) = watch::channel(true);
    policies.synced = synced;
    let state = policies.apply(younger, &guarded).await;
    // Else it would have been written, and there is nobody to answer.
    assert_eq!(state.expect("nothing is written"), PolicyState::Unchanged);
    drop(synced_tx);
}
