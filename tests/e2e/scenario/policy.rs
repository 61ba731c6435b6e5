//! The network policy beside a server that keeps its own port.

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::cluster::{audited, get, kubectl, name, until};

const GATEWAY: &str = "mcpgw/wild";
const ANNOTATION: &str = "sidegate.dev/network-policy";
const COLLECTOR: &str = "system:serviceaccount:kube-system:generic-garbage-collector";

/// It is put right, goes when it is not wanted, and comes back. Its gateway is
/// deleted while it is there: then nobody but the cluster takes it away.
pub(crate) fn kept_and_collected() -> Result<String> {
    let policy = until("there is a network policy", 20, wild)?;
    let open = r#"{"spec": {"podSelector": {"matchLabels": {"app": "other"}}}}"#;
    let change = ["patch", "networkpolicy", name(&policy), "--type=merge"];
    in_crm(&[&change[..], &["-p", open]].concat())?;
    until("it is put right", 20, || {
        let now = wild()?;
        Ok(now.filter(|now| now["spec"] == policy["spec"]).map(drop))
    })?;
    in_crm(&["annotate", GATEWAY, &format!("{ANNOTATION}=false")])?;
    until("it is gone when it is not wanted", 20, gone)?;
    in_crm(&["annotate", GATEWAY, &format!("{ANNOTATION}-")])?;
    let policy = until("it is back", 20, wild)?;

    let gateway = get(&["-n", "crm", GATEWAY])?;
    let owner = &policy["metadata"]["ownerReferences"][0]["uid"];
    ensure!(
        *owner == gateway["metadata"]["uid"],
        "it belongs to {owner}"
    );
    in_crm(&["delete", GATEWAY])?;
    until("it is gone with its gateway", 60, gone)?;
    // A request is written down when it is over.
    until("the garbage collector has taken it", 10, || {
        let requests = audited(COLLECTOR)?;
        let taken = requests.iter().any(|request| took(request, &policy));
        Ok(taken.then_some(()))
    })?;
    in_crm(&["delete", "deployment/wild"])?;
    Ok("taken by the garbage collector".to_owned())
}

fn wild() -> Result<Option<Value>> {
    let policies = get(&["networkpolicies", "-n", "crm"])?;
    let items = policies["items"].as_array().cloned().unwrap_or_default();
    let owned = |policy: &Value| policy["metadata"]["ownerReferences"][0]["name"] == "wild";
    Ok(items.into_iter().find(owned))
}

fn gone() -> Result<Option<()>> {
    Ok(wild()?.is_none().then_some(()))
}

/// Whether this request deleted that policy.
fn took(request: &Value, policy: &Value) -> bool {
    let object = &request["objectRef"];
    request["verb"] == "delete"
        && request["responseStatus"]["code"] == 200
        && object["resource"] == "networkpolicies"
        && object["namespace"] == policy["metadata"]["namespace"]
        && object["name"] == policy["metadata"]["name"]
}

fn in_crm(arguments: &[&str]) -> Result<()> {
    kubectl(&[&["-n", "crm"], arguments].concat()).map(drop)
}
