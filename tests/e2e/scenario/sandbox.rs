//! What a node does to its pods when it is started again.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::actors::Call;
use crate::cluster::{condition, find_condition, get, kubectl, name, on_node, pods, until};
use crate::node;
use crate::traffic::good_token;

const SANDBOX: &str = "PodReadyToStartContainers";
const CERTIFICATE: &str = "sidegate.dev/Certificate";

/// The same pod in another sandbox, with empty memory volumes. Its sidecar has
/// lost the certificate without which it would get nothing in the old one.
pub(crate) fn lost() -> Result<String> {
    let pods = pods("crm", "app=support-mcp")?;
    let name = name(pods.first().context("there is no pod")?).to_owned();
    let before = until("the certificate was shown in this sandbox", 60, || {
        shown_in_its_sandbox(&name)
    })?;
    let uid = before["metadata"]["uid"].as_str().context("no uid")?;
    let volume =
        format!("/var/lib/kubelet/pods/{uid}/volumes/kubernetes.io~empty-dir/sidegate-state");
    on_node(&["find", &volume, "-mindepth", "1", "-delete"], "")?;
    node::kill(&node::sandbox(uid)?)?;
    let after = until("it is shown in the next one", 90, || {
        let now = shown_in_its_sandbox(&name)?;
        Ok(now.filter(|now| transition(now) != transition(&before)))
    })?;
    ensure!(after["metadata"]["uid"] == uid, "it is another pod");
    for wanted in [format!("pod/{name}"), "mcpgw/support".to_owned()] {
        let ready = ["--for=condition=Ready", &wanted, "--timeout=60s"];
        kubectl(&[&["wait", "-n", "crm"], &ready[..]].concat())?;
    }
    Call::new().token(&good_token()?).send()?.is(200)?;
    let (_, _, shown) = condition(&after, CERTIFICATE);
    Ok(shown)
}

/// The pod, when what is said of its certificate is about its sandbox.
fn shown_in_its_sandbox(name: &str) -> Result<Option<Value>> {
    let pod = get(&["pod", "-n", "crm", name])?;
    let (_, _, shown) = condition(&pod, CERTIFICATE);
    let is_there = condition(&pod, SANDBOX).0 == "True";
    let is_about_it = !transition(&pod).is_empty() && shown.ends_with(&transition(&pod));
    Ok((is_there && is_about_it).then_some(pod))
}

/// When the sandbox came.
fn transition(pod: &Value) -> String {
    let found = find_condition(pod, SANDBOX);
    let time = found.and_then(|condition| condition["lastTransitionTime"].as_str());
    time.unwrap_or_default().to_owned()
}
