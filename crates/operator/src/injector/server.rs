//! What the container of an MCP server gets: variables by which common servers
//! choose their address, and time to finish requests before it stops.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sidegate_api::McpGatewaySpec;
use sidegate_api::gateway::{Exposure, Server};

use super::patch::Patch;
use super::pod::{Container, Object, Pod, text};

const LOOPBACK: &str = "127.0.0.1";
/// Variables that common frameworks take their address from.
const BIND_VARIABLES: [&str; 2] = ["HOST", "FASTMCP_HOST"];
const WILDCARDS: [&str; 3] = ["0.0.0.0", "::", "[::]"];

pub(super) fn prepare(
    pod: &Pod<'_>,
    spec: &McpGatewaySpec,
    drain_seconds: u64,
    patch: &mut Patch,
    warnings: &mut Vec<String>,
) {
    let mut undeclared: BTreeSet<u16> = spec.servers.iter().map(|it| it.port).collect();
    for container in pod.long_running() {
        let declared = |server: &&Server| container.declares(server.port);
        let servers: Vec<_> = spec.servers.iter().filter(declared).collect();
        if servers.is_empty() {
            continue;
        }
        for server in &servers {
            undeclared.remove(&server.port);
        }
        bind_to_loopback(container, &servers, patch, warnings);
        let delayed = delay_stop(container, drain_seconds, patch);
        if !delayed && drain_seconds == 0 {
            warnings.push(format!(
                "the grace period of the pod is too short for container `{}` to finish its \
                 requests: set terminationGracePeriodSeconds to 30",
                container.name
            ));
        }
    }
    warnings.extend(undeclared.into_iter().map(|port| {
        format!(
            "no container of the pod declares port {port}: declare it under `ports` of the \
             server's container, so that the sidecar can prepare it"
        )
    }));
}

fn bind_to_loopback(
    container: &Container<'_>,
    servers: &[&Server],
    patch: &mut Patch,
    warnings: &mut Vec<String>,
) {
    let explicit = own_variables(servers);
    let wanted = variables(servers, &explicit);
    let set: Vec<_> = container.items("env").collect();
    let value_of = |name: &str| set.iter().find(|it| text(it, "name") == Some(name));
    warnings.extend(wanted.iter().filter_map(|name| {
        let value = text(value_of(name)?, "value")?;
        WILDCARDS.contains(&value).then(|| {
            format!(
                "container `{}` sets {name} to {value}; beside the sidecar its server can only \
                 listen on {LOOPBACK}: leave {name} out",
                container.name
            )
        })
    }));
    // What is set goes before what envFrom brings, so a variable that was not
    // asked for could replace one that the pod has there.
    let is_left = |name: &&str| has_env_from(container.object) && !explicit.contains(name);
    let missing = wanted.into_iter().filter(|name| value_of(name).is_none());
    let (left, missing): (Vec<_>, Vec<_>) = missing.partition(is_left);
    if !left.is_empty() {
        warnings.push(format!(
            "container `{}` uses envFrom, so {} were left as they are: make its server listen on \
             {LOOPBACK}, or name the variable in `bindEnv`",
            container.name,
            left.join(", ")
        ));
    }
    if missing.is_empty() {
        return;
    }
    let variables = missing
        .into_iter()
        .map(|name| json!({ "name": name, "value": LOOPBACK }))
        .collect();
    patch.append(&container.place, container.object, "env", variables);
}

/// The variables that the gateway names for servers that share their port with
/// the sidecar.
fn own_variables<'a>(servers: &[&'a Server]) -> Vec<&'a str> {
    let shared = servers
        .iter()
        .filter(|it| it.exposure == Exposure::SamePort);
    shared
        .flat_map(|server| server.bind_env.iter().map(String::as_str))
        .collect()
}

/// The variables to set, each once; none without a server that shares its port.
fn variables<'a>(servers: &[&'a Server], explicit: &[&'a str]) -> Vec<&'a str> {
    if servers.iter().all(|it| it.exposure != Exposure::SamePort) {
        return Vec::new();
    }
    let mut names = Vec::new();
    for name in BIND_VARIABLES.iter().chain(explicit) {
        if !names.contains(name) {
            names.push(*name);
        }
    }
    names
}

fn has_env_from(container: &Object) -> bool {
    let sources = container.get("envFrom").and_then(Value::as_array);
    sources.is_some_and(|it| !it.is_empty())
}

/// A container that is told to stop stops at once, while callers still send to
/// it; its sidecar drains at the same time. Says whether the container waits.
fn delay_stop(container: &Container<'_>, seconds: u64, patch: &mut Patch) -> bool {
    let lifecycle = container.object.get("lifecycle").and_then(Value::as_object);
    let pre_stop = lifecycle.and_then(|it| it.get("preStop"));
    if pre_stop.is_some_and(|it| !it.is_null()) {
        return true;
    }
    // The API server refuses a sleep of nothing.
    if seconds == 0 {
        return false;
    }
    let sleep = json!({ "sleep": { "seconds": seconds } });
    let place = container.place.key("lifecycle");
    match lifecycle {
        Some(_) => patch.add(place.key("preStop"), sleep),
        None => patch.add(place, json!({ "preStop": sleep })),
    }
    true
}

#[cfg(test)]
mod tests;
