//! Calls through the Service, with certificate and token.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use sidegate_policy::clock::{Clock as _, SystemClock};

use crate::actors::{Call, Called, Counts, URL, token};
use crate::cluster::{kubectl, name, pods, rolled_out};

const TICKET: (&str, &str) = (
    "create_support_ticket",
    r#"{"customer_id": "C-1001", "subject": "x"}"#,
);

/// A change is enforced within this time after it is stored.
const ENFORCED: Duration = Duration::from_secs(2);

pub(crate) fn good_token() -> Result<String> {
    token("alice", "customer:read", URL)
}

pub(crate) fn rules() -> Result<String> {
    let good = good_token()?;
    let called = Call::new().token(&good).send()?;
    called.is(200)?;
    ensure!(
        called.body.contains("C-1001"),
        "the answer is {}",
        called.body
    );
    let ticket = Call::new().token(&good).tool(TICKET.0, TICKET.1).send()?;
    ticket.is(403).context("a tool that no rule allows")?;
    Call::new().send()?.is(401).context("without a token")?;
    let other = token("alice", "customer:read", "https://other.example/mcp")?;
    Call::new()
        .token(&other)
        .send()?
        .is(401)
        .context("a token for somebody else")?;
    let scopeless = token("alice", "", URL)?;
    Call::new()
        .token(&scopeless)
        .send()?
        .is(403)
        .context("a token without scopes")?;
    let stranger = Call::new().token(&good).without_certificate().send()?;
    ensure!(
        stranger.status.is_none() && stranger.error.is_some(),
        "without a certificate: {stranger:?}"
    );
    Ok(String::new())
}

/// From the command that changes it until a call shows it.
pub(crate) fn change() -> Result<String> {
    let good = good_token()?;
    let call = Call::new().token(&good).tool(TICKET.0, TICKET.1);
    let allow = json!([{"op": "add", "path": "/spec/authorization/rules/-", "value": {
        "name": "tickets", "tools": [TICKET.0], "requiredScopes": ["customer:read"],
    }}]);
    let allowed = enforced(&call.clone().until(200), &allow, 200)?;
    let revoke = json!([{"op": "remove", "path": "/spec/authorization/rules/1"}]);
    let revoked = enforced(&call.until(403), &revoke, 403)?;
    kubectl(&[
        "wait",
        "-n",
        "crm",
        "--for=condition=Ready",
        "mcpgw/support",
        "--timeout=20s",
    ])?;
    Ok(format!(
        "allowed after {allowed:?}, revoked after {revoked:?}"
    ))
}

fn enforced(call: &Call, patch: &Value, status: u16) -> Result<Duration> {
    let calling = call.start()?;
    let patch = patch.to_string();
    let begin = SystemClock.unix_millis();
    kubectl(&[
        "patch",
        "mcpgw",
        "support",
        "-n",
        "crm",
        "--type=json",
        "-p",
        &patch,
    ])?;
    let stored = SystemClock.unix_millis();
    let called: Called = calling.stop()?;
    called.is(status)?;
    // The command needs a while before and after the change is stored.
    let since = |then: i64| called.sent_at_ms.saturating_sub(then).max(0).unsigned_abs();
    let [most, least] = [begin, stored].map(|then| Duration::from_millis(since(then)));
    ensure!(least < ENFORCED, "it took {least:?} to {most:?}");
    Ok(most)
}

/// A rolling update and an evicted pod; no call is lost.
pub(crate) fn replaced() -> Result<String> {
    let load = Call::new().token(&good_token()?).load()?;
    kubectl(&["rollout", "restart", "-n", "crm", "deployment/support"])?;
    rolled_out("crm", "support")?;
    let pods = pods("crm", "app=support-mcp")?;
    let first = pods.first().context("no pod")?;
    evict(name(first))?;
    rolled_out("crm", "support")?;
    // The last of the old pods has to stop under load, too.
    let gone = ["wait", "-n", "crm", "--for=delete", "--timeout=60s"];
    kubectl(&[&gone[..], &[&format!("pod/{}", name(first))]].concat())?;
    let good = load.stop::<Counts>()?.all_good(200)?;
    Ok(format!("{good} calls, none lost"))
}

/// As a drain of a node does it.
fn evict(pod: &str) -> Result<()> {
    let eviction = json!({
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod, "namespace": "crm"},
    });
    let path = format!("/api/v1/namespaces/crm/pods/{pod}/eviction");
    let create = ["kubectl", "create", "--raw", &path, "-f", "-"];
    crate::cluster::on_node(&create, &eviction.to_string()).map(drop)
}
