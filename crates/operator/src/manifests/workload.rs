//! The Deployment and what goes with it.

use serde_json::{Value, json};

use super::{Images, NAME, STREAMS_PORT, at_home, labels, selected};
use crate::health::HEALTH_PORT;
use crate::webhook::WEBHOOK_PORT;

/// What the API server dials for a webhook that names no port.
const HTTPS_PORT: u16 = 443;
/// Until every node knows that a pod which is stopping gets no connections any
/// more.
const PRE_STOP_SECONDS: u32 = 5;

pub(super) fn service() -> Value {
    let port = |name: &str, port: u16| json!({"name": name, "port": port, "targetPort": name, "protocol": "TCP"});
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": at_home(),
        "spec": {
            "selector": selected(),
            "ports": [port("webhook", HTTPS_PORT), port("streams", STREAMS_PORT)],
        },
    })
}

/// One replica answers while nodes are drained.
pub(super) fn disruption_budget() -> Value {
    json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": at_home(),
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": selected()},
        },
    })
}

pub(super) fn deployment(images: &Images) -> Value {
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
                    "containers": [container(images)],
                },
            },
        },
    })
}

fn container(images: &Images) -> Value {
    let probe = |path: &str| json!({"httpGet": {"path": path, "port": "health"}});
    let port = |name: &str, port: u16| json!({"name": name, "containerPort": port});
    json!({
        "name": "operator",
        "image": images.operator,
        "args": [
            "run",
            "--leader-elect",
            "--identity=$(POD_NAME)",
            format!("--sidecar-image={}", images.sidecar),
        ],
        "env": [
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        ],
        "ports": [
            port("health", HEALTH_PORT),
            port("streams", STREAMS_PORT),
            port("webhook", WEBHOOK_PORT),
        ],
        "livenessProbe": probe("/healthz"),
        "readinessProbe": probe("/readyz"),
        "lifecycle": {"preStop": {"sleep": {"seconds": PRE_STOP_SECONDS}}},
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

#[cfg(test)]
mod tests {
    use super::*;

    fn images() -> Images {
        Images {
            operator: "operator".to_owned(),
            sidecar: "sidecar".to_owned(),
        }
    }

    #[test]
    fn everything_selects_the_pods_by_their_labels() {
        let deployment = deployment(&images());
        let labels = &deployment["spec"]["template"]["metadata"]["labels"];
        for selector in [
            &deployment["spec"]["selector"]["matchLabels"],
            &service()["spec"]["selector"],
            &disruption_budget()["spec"]["selector"]["matchLabels"],
        ] {
            for (key, value) in selector.as_object().expect("labels") {
                assert_eq!(&labels[key], value);
            }
        }
    }

    #[test]
    fn the_service_names_ports_that_the_container_has() {
        let container = container(&images());
        let ports = container["ports"].as_array().expect("ports");
        for port in service()["spec"]["ports"].as_array().expect("ports") {
            assert!(ports.iter().any(|it| it["name"] == port["targetPort"]));
        }
    }
}
