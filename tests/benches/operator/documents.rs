//! Objects of the size that real ones have.

use serde_json::{Value, json};
use sidegate_testkit::issuer::TestIssuer;

/// Who issues the callers' tokens.
pub(crate) const ISSUER: &str = "https://idp.example.com/";
/// What the server is called.
pub(crate) const RESOURCE: &str = "https://localhost/mcp";
/// Rules of each gateway.
const RULES: usize = 20;

/// A gateway for the pods of an app, with some rules of which the last one
/// permits `tool`.
pub(crate) fn gateway(name: &str, app: &str, port: u16, issuer: &TestIssuer, tool: &str) -> Value {
    json!({
        "apiVersion": "sidegate.dev/v1alpha1",
        "kind": "McpGateway",
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": app}},
            "servers": [{"name": "server", "port": port, "resources": [RESOURCE]}],
            "tls": {"mode": "Plaintext"},
            "authentication": {"jwt": [{
                "issuer": ISSUER,
                "jwks": {"inline": issuer.jwks().to_string()},
            }]},
            "authorization": {"rules": rules(tool)},
        },
    })
}

/// What makes a gateway permit another tool.
pub(crate) fn permits(tool: &str) -> Value {
    json!({"spec": {"authorization": {"rules": rules(tool)}}})
}

fn rules(tool: &str) -> Vec<Value> {
    let mut rules: Vec<_> = (0..RULES)
        .map(|index| {
            json!({
                "name": format!("rule-{index}"),
                "tools": [format!("get_{index}_*"), format!("list_{index}")],
                "requiredScopes": [format!("scope:{index}:read")],
                "when": "!has(args.priority) || args.priority != 'urgent'",
            })
        })
        .collect();
    rules.push(json!({"name": "changing", "tools": [tool]}));
    rules
}

/// A service account.
pub(crate) fn account(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}})
}

/// A pod as the injector leaves it.
pub(crate) fn pod(name: &str, app: &str, account: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "labels": {
                "app": app,
                "app.kubernetes.io/part-of": "benchmark",
                "pod-template-hash": "6d5f7c9b8d",
            },
            "annotations": {
                "sidegate.dev/injected": "0123456789abcdef",
                "example.com/revision": "0b5cf3a1d7f44e0fa1b2",
            },
        },
        "spec": {
            "serviceAccountName": account,
            "automountServiceAccountToken": false,
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "initContainers": [hold(), sidecar()],
            "containers": [app_container()],
            "volumes": [
                {"name": "sidegate-token", "projected": {"sources": [{"serviceAccountToken": {
                    "audience": "sidegate.dev", "expirationSeconds": 3600, "path": "token",
                }}]}},
                {"name": "sidegate-trust", "configMap": {"name": "sidegate-trust"}},
                {"name": "sidegate-state", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}},
                {"name": "sidegate-hold", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
                {"name": "data", "emptyDir": {}},
            ],
        },
    })
}

fn restricted() -> Value {
    json!({
        "runAsUser": 64020,
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": {"drop": ["ALL"]},
    })
}

fn hold() -> Value {
    json!({
        "name": "sidegate-hold",
        "image": "sidegate:0.1.0",
        "restartPolicy": "Always",
        "args": ["hold", "--socket", "/run/sidegate/hold/socket", "8080"],
        "securityContext": restricted(),
        "resources": {"requests": {"cpu": "1m", "memory": "4Mi"}, "limits": {"memory": "16Mi"}},
        "volumeMounts": [{"name": "sidegate-hold", "mountPath": "/run/sidegate/hold"}],
    })
}

fn sidecar() -> Value {
    let ready = json!({"path": "/readyz", "port": 15021});
    json!({
        "name": "sidegate",
        "image": "sidegate:0.1.0",
        "restartPolicy": "Always",
        "args": [
            "run", "--control-plane", "https://sidegate-operator.sidegate-system.svc:9443",
            "--trust-domain", "cluster.local", "--log-level", "info",
            "--hold", "/run/sidegate/hold/socket",
        ],
        "env": [
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        ],
        "ports": [{"name": "sidegate-health", "containerPort": 15021}],
        "startupProbe": {"httpGet": ready, "periodSeconds": 1, "failureThreshold": 600},
        "readinessProbe": {"httpGet": ready, "periodSeconds": 5, "failureThreshold": 2},
        "lifecycle": {"preStop": {"exec": {"command": ["/sidegate", "drain", "--seconds", "30"]}}},
        "securityContext": restricted(),
        "resources": {"requests": {"cpu": "20m", "memory": "32Mi"}, "limits": {"memory": "256Mi"}},
        "volumeMounts": [
            {"name": "sidegate-token", "mountPath": "/run/sidegate/token", "readOnly": true},
            {"name": "sidegate-trust", "mountPath": "/run/sidegate/trust", "readOnly": true},
            {"name": "sidegate-state", "mountPath": "/run/sidegate/state"},
            {"name": "sidegate-hold", "mountPath": "/run/sidegate/hold"},
        ],
    })
}

fn app_container() -> Value {
    let variables: Vec<_> = (0..12)
        .map(|index| json!({"name": format!("SETTING_{index}"), "value": "a value of some length"}))
        .collect();
    json!({
        "name": "server",
        "image": "registry.example.com/team/mcp-server:1.4.2",
        "ports": [{"name": "mcp", "containerPort": 8080}],
        "env": variables,
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
        "livenessProbe": {"httpGet": {"path": "/app-health/server/livez", "port": 15021}},
        "readinessProbe": {"httpGet": {"path": "/app-health/server/readyz", "port": 15021}},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    })
}

/// What a kubelet says of a pod that runs. No two pods have the same `index`.
pub(crate) fn running(index: usize) -> Value {
    let address = format!("10.{}.{}.{}", index >> 16, index >> 8 & 255, index & 255);
    let condition = |name: &str| json!({"type": name, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let container = |name: &str| {
        json!({
            "name": name,
            "image": "registry.example.com/team/mcp-server:1.4.2",
            "imageID": "registry.example.com/team/mcp-server@sha256:\
                        0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            "containerID": "containerd://\
                            0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            "ready": true,
            "started": true,
            "restartCount": 0,
            "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
        })
    };
    json!({"status": {
        "phase": "Running",
        "hostIP": "192.0.2.1",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "startTime": "2026-01-01T00:00:00Z",
        "conditions": [
            condition("PodScheduled"), condition("Initialized"),
            condition("ContainersReady"), condition("Ready"),
        ],
        "initContainerStatuses": [container("sidegate-hold"), container("sidegate")],
        "containerStatuses": [container("server")],
    }})
}
