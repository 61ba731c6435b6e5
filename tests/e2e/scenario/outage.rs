//! What goes on while there is no operator.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::actors::{Call, Counts};
use crate::cluster::{kubectl, name, pods, rolled_out, until};
use crate::exposure::kill_sidecar;
use crate::traffic::good_token;

const OPERATOR: &str = "app.kubernetes.io/name=sidegate-operator";

/// Killed, not asked to stop.
pub(crate) fn operator_away() -> Result<String> {
    let load = Call::new().token(&good_token()?).load()?;
    let namespace = ["-n", "sidegate-system"];
    let scale = ["scale", "deployment/sidegate-operator", "--replicas=0"];
    kubectl(&[&scale[..], &namespace].concat())?;
    let kill = [
        "delete",
        "pods",
        "-l",
        OPERATOR,
        "--force",
        "--grace-period=0",
    ];
    kubectl(&[&kill[..], &namespace].concat())?;
    until("there is no operator", 30, || {
        Ok(pods("sidegate-system", OPERATOR)?.is_empty().then_some(()))
    })?;
    sleep(Duration::from_secs(5));
    let good = load.stop::<Counts>()?.all_good(200)?;
    Ok(format!("{good} calls"))
}

/// From what it keeps in memory beside it.
pub(crate) fn restart_alone() -> Result<String> {
    let pods = pods("crm", "app=support-mcp")?;
    for pod in &pods {
        kill_sidecar(name(pod))?;
        let pod = format!("pod/{}", name(pod));
        kubectl(&[
            "wait",
            "-n",
            "crm",
            "--for=condition=Ready",
            &pod,
            "--timeout=30s",
        ])
        .context("its sidecar was killed")?;
    }
    let load = Call::new().token(&good_token()?).load()?;
    sleep(Duration::from_secs(2));
    let good = load.stop::<Counts>()?.all_good(50)?;
    Ok(format!("{good} calls"))
}

pub(crate) fn operator_back() -> Result<String> {
    let load = Call::new().token(&good_token()?).load()?;
    let scale = ["scale", "deployment/sidegate-operator", "--replicas=2"];
    kubectl(&[&scale[..], &["-n", "sidegate-system"]].concat())?;
    rolled_out("sidegate-system", "sidegate-operator")?;
    kubectl(&[
        "wait",
        "-n",
        "crm",
        "--for=condition=Ready",
        "mcpgw/support",
        "--timeout=60s",
    ])?;
    let good = load.stop::<Counts>()?.all_good(50)?;
    Ok(format!("{good} calls"))
}
