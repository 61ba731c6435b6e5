//! Whether there is a way around the sidecar.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::actors::{CLIENT, Call, Dialled};
use crate::cluster::{Running, apply, condition, get, kubectl, name, pods, rolled_out, until};
use crate::node::{self, status};
use crate::setup::has_sidecar;
use crate::traffic::good_token;

const KILLS: usize = 5;

fn dial(pod: &Value) -> Result<Running> {
    CLIENT.start(&["dial", &address(pod)?])
}

/// Where its server is to be reached.
fn address(pod: &Value) -> Result<String> {
    let ip = pod["status"]["podIP"].as_str().context("no address")?;
    Ok(format!("{ip}:8080"))
}

pub(crate) fn port() -> Result<String> {
    let pods = pods("crm", "app=support-mcp")?;
    for pod in &pods {
        let dialling = dial(pod)?;
        sleep(Duration::from_secs(1));
        let dialled: Dialled = dialling.stop()?;
        ensure!(
            dialled.server == 0 && dialled.other > 0 && dialled.nobody.is_empty(),
            "pod {}: {dialled:?}",
            name(pod)
        );
    }
    Ok(String::new())
}

/// The server's address is written in its code.
pub(crate) fn wildcard() -> Result<String> {
    apply(include_str!("../manifests/wild.yaml"))?;
    let pod = until("the server fails", 60, || {
        let pods = pods("crm", "app=wild-mcp")?;
        Ok(pods
            .into_iter()
            .find(|pod| restarts(pod, "containerStatuses", "server") > 0))
    })?;
    let said = "Address already in use";
    until(&format!("the server says `{said}`"), 20, || {
        // Between two attempts there may be no log at all.
        let log = ["logs", "-n", "crm", name(&pod), "-c", "server"];
        let log = kubectl(&log).unwrap_or_default();
        Ok(log.contains(said).then_some(()))
    })?;
    let failing = until("the gateway says what to change", 30, || {
        let gateway = get(&["mcpgw", "-n", "crm", "wild"])?;
        let failing = gateway["status"]["failing"][0].clone();
        let told = failing["reason"] == "ServerNotStarting";
        let is_ready = condition(&gateway, "Ready").0;
        Ok((told && is_ready == "False").then_some(failing))
    })?;
    let message = failing["message"].as_str().unwrap_or_default();
    for word in ["server", "8080", "127.0.0.1", "HOST", "SeparatePort"] {
        ensure!(message.contains(word), "no {word} in: {message}");
    }
    Ok("ServerNotStarting".to_owned())
}

/// What the status advised: a port of its own for the sidecar, beside a server
/// that keeps its own. This cluster has nobody who enforces network policies,
/// so the operator finds the way around and says so.
pub(crate) fn separate() -> Result<String> {
    change_wild(&json!([
        {"op": "add", "path": "/spec/servers/0/exposure", "value": "SeparatePort"},
        {"op": "add", "path": "/spec/servers/0/listenPort", "value": 9090},
    ]))?;
    kubectl(&["rollout", "restart", "-n", "crm", "deployment/wild"])?;
    rolled_out("crm", "wild")?;
    let wild = || get(&["mcpgw", "-n", "crm", "wild"]);
    until("the way around is found", 60, || {
        let gateway = wild()?;
        let found = condition(&gateway, "BypassPossible").0 == "True";
        Ok((found && condition(&gateway, "Ready").0 == "False").then_some(()))
    })?;
    change_wild(&json!([{"op": "add", "path": "/spec/acceptBypass", "value": true}]))?;
    kubectl(&[
        "wait",
        "-n",
        "crm",
        "--for=condition=Ready",
        "mcpgw/wild",
        "--timeout=30s",
    ])?;
    Ok("BypassPossible is told".to_owned())
}

fn change_wild(patch: &Value) -> Result<()> {
    let patch = patch.to_string();
    kubectl(&[
        "patch",
        "mcpgw",
        "wild",
        "-n",
        "crm",
        "--type=json",
        "-p",
        &patch,
    ])
    .map(drop)
}

fn restarts(pod: &Value, kind: &str, container: &str) -> u64 {
    status(pod, kind, container)["restartCount"]
        .as_u64()
        .unwrap_or_default()
}

/// A server that tries the wildcard all the time gets the port in no gap.
pub(crate) fn insistent() -> Result<String> {
    apply(include_str!("../manifests/insistent.yaml"))?;
    let pod = until("the pod runs", 60, || {
        let pods = pods("crm", "app=insistent-mcp")?;
        Ok(pods
            .into_iter()
            .find(|pod| is_running(pod, "containerStatuses", "server")))
    })?;
    has_sidecar(&pod)?;
    let dialling = dial(&pod)?;
    for _ in 0..KILLS {
        kill_sidecar(name(&pod))?;
    }
    let dialled: Dialled = dialling.stop()?;
    ensure!(
        dialled.server == 0 && dialled.nobody.is_empty() && dialled.other > 0,
        "{dialled:?}"
    );
    kubectl(&[
        "delete",
        "-n",
        "crm",
        "deployment/insistent",
        "mcpgw/insistent",
    ])?;
    Ok(format!(
        "{KILLS} kills, {} connections, no gap",
        dialled.other
    ))
}

fn is_running(pod: &Value, kind: &str, container: &str) -> bool {
    !status(pod, kind, container)["state"]["running"].is_null()
}

/// Kills the sidecar's process and waits until it runs again.
pub(crate) fn kill_sidecar(pod: &str) -> Result<()> {
    const SIDECARS: &str = "initContainerStatuses";
    let before = get(&["pod", "-n", "crm", pod])?;
    node::kill(&node::container(&before, SIDECARS, "sidegate")?)?;
    let count = restarts(&before, SIDECARS, "sidegate");
    until("the sidecar runs again", 30, || {
        let pod = get(&["pod", "-n", "crm", pod])?;
        let again = restarts(&pod, SIDECARS, "sidegate") > count;
        Ok((again && is_running(&pod, SIDECARS, "sidegate")).then_some(()))
    })
}

/// Its pods answer nobody any more; the next ones have no sidecar.
pub(crate) fn deleted() -> Result<String> {
    let call = Call::new().token(&good_token()?);
    for pod in pods("crm", "app=support-mcp")? {
        call.clone().at(&address(&pod)?).send()?.is(200)?;
    }
    kubectl(&["delete", "-n", "crm", "mcpgw/support"])?;
    until("its pods are not ready", 30, || {
        let pods = pods("crm", "app=support-mcp")?;
        let ready = pods.iter().any(|pod| condition(pod, "Ready").0 == "True");
        Ok((!ready && !pods.is_empty()).then_some(()))
    })?;
    // Whoever knows a pod's address is told by its sidecar.
    for pod in pods("crm", "app=support-mcp")? {
        let answer = call.clone().at(&address(&pod)?).send()?;
        answer.is(503).context("a pod of a deleted gateway")?;
    }
    // And behind the Service there is nobody, as soon as the node knows it.
    until("the Service refuses connections", 20, || {
        let called = call.send()?;
        ensure!(matches!(called.status, None | Some(503)), "{called:?}");
        let error = called.error.unwrap_or_default();
        Ok(error.contains("Connection refused").then_some(()))
    })?;
    kubectl(&["rollout", "restart", "-n", "crm", "deployment/support"])?;
    rolled_out("crm", "support")?;
    for pod in pods("crm", "app=support-mcp")? {
        let sidecars = pod["spec"]["initContainers"].as_array();
        ensure!(
            sidecars.is_none_or(Vec::is_empty),
            "pod {} has {sidecars:?}",
            name(&pod)
        );
        // What has been looked for all the time is seen when it is there.
        let dialling = dial(&pod)?;
        sleep(Duration::from_secs(1));
        let dialled: Dialled = dialling.stop()?;
        ensure!(
            dialled.server > 0,
            "the server is not recognized: {dialled:?}"
        );
    }
    Ok(String::new())
}
