//! Containers as the node knows them.

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::cluster::on_node;

const CTR: [&str; 3] = ["ctr", "-n", "k8s.io"];

/// What the status of a pod says of a container; `null` when it says nothing.
pub(crate) fn status(pod: &Value, kind: &str, container: &str) -> Value {
    let statuses = pod["status"][kind].as_array().cloned().unwrap_or_default();
    let found = statuses
        .into_iter()
        .find(|status| status["name"] == container);
    found.unwrap_or_default()
}

/// The id of a container of a pod.
pub(crate) fn container(pod: &Value, kind: &str, name: &str) -> Result<String> {
    let status = status(pod, kind, name);
    let id = status["containerID"].as_str();
    let id = id.and_then(|id| id.strip_prefix("containerd://"));
    Ok(id.context("it has no container")?.to_owned())
}

/// The id of the sandbox of a pod.
pub(crate) fn sandbox(uid: &str) -> Result<String> {
    let filter = format!(
        "labels.\"io.kubernetes.pod.uid\"=={uid},labels.\"io.cri-containerd.kind\"==sandbox"
    );
    let listed = ctr(&["containers", "ls", "-q", &filter])?;
    let id = listed.lines().next().context("the pod has no sandbox")?;
    Ok(id.to_owned())
}

pub(crate) fn kill(id: &str) -> Result<()> {
    ctr(&["tasks", "kill", "-s", "SIGKILL", id]).map(drop)
}

/// The first process of a container, as the node counts processes.
pub(crate) fn process(id: &str) -> Result<String> {
    let listed = ctr(&["tasks", "ls"])?;
    let mut lines = listed.lines().map(str::split_whitespace);
    let found = lines.find_map(|mut words| (words.next() == Some(id)).then(|| words.next()));
    Ok(found.flatten().context("it has no process")?.to_owned())
}

fn ctr(arguments: &[&str]) -> Result<String> {
    on_node(&[&CTR, arguments].concat(), "")
}
