//! What a person needs to find out why a step failed.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cluster::{file, get, kubectl, name};

/// Writes logs, events and objects into a folder.
pub(crate) fn collect() -> PathBuf {
    let folder = file("target/e2e");
    // Of the time before.
    let _ = fs::remove_dir_all(&folder);
    let _ = fs::create_dir_all(&folder);
    for (file, arguments) in [
        ("pods.txt", &["get", "pods", "-A", "-o", "wide"][..]),
        ("pods.yaml", &["get", "pods", "-A", "-o", "yaml"]),
        (
            "events.txt",
            &["get", "events", "-A", "--sort-by=.lastTimestamp"],
        ),
        ("gateways.yaml", &["get", "mcpgateways", "-A", "-o", "yaml"]),
        (
            "objects.yaml",
            &[
                "get",
                "services,endpointslices,networkpolicies,configmaps,leases",
                "-A",
                "-o",
                "yaml",
            ],
        ),
        (
            "webhooks.yaml",
            &["get", "mutatingwebhookconfigurations", "-o", "yaml"],
        ),
        ("nodes.txt", &["describe", "nodes"]),
    ] {
        save(&folder, file, kubectl(arguments));
    }
    logs(&folder);
    folder
}

fn logs(folder: &Path) {
    let Ok(pods) = get(&["pods", "-A"]) else {
        return;
    };
    for pod in pods["items"].as_array().into_iter().flatten() {
        let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default();
        let kinds = ["initContainerStatuses", "containerStatuses"];
        let containers = kinds
            .iter()
            .filter_map(|kind| pod["status"][kind].as_array());
        for container in containers.flatten() {
            let container = container["name"].as_str().unwrap_or_default();
            for (suffix, previous) in [("", "--previous=false"), (".previous", "--previous")] {
                let log = kubectl(&[
                    "logs",
                    "-n",
                    namespace,
                    name(pod),
                    "-c",
                    container,
                    previous,
                ]);
                let file = format!("{namespace}.{}.{container}{suffix}.log", name(pod));
                if previous == "--previous=false" || log.is_ok() {
                    save(folder, &file, log);
                }
            }
        }
    }
}

fn save(folder: &Path, file: &str, text: anyhow::Result<String>) {
    let text = text.unwrap_or_else(|error| format!("{error:#}\n"));
    // There is nobody to tell.
    let _ = fs::write(folder.join(file), text);
}
