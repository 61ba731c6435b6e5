//! Whether a container or volume is still as the injector makes it.
//!
//! The API server fills in defaults and other webhooks add variables and mounts
//! to every container, so equality is too much to ask. What decides how the
//! sidecar behaves must be as it was made.

use std::path::{Component, Path};

use serde_json::Value;
use sidegate_config::probes::PROBES_VARIABLE;

use super::names::{BINARY, RUN_DIR, VARIABLE_PREFIX};
use super::pod::{Object, text};

/// Members of a container that the API server, or a tool that sizes pods, may
/// choose.
const FREE: [&str; 5] = [
    "imagePullPolicy",
    "resources",
    "resizePolicy",
    "terminationMessagePath",
    "terminationMessagePolicy",
];
/// Members that the API server adds as defaults, wherever they stand.
const DEFAULTS: [&str; 3] = ["successThreshold", "protocol", "defaultMode"];
/// Members that harden a security context.
const HARDENING: [&str; 2] = ["seLinuxOptions", "appArmorProfile"];

/// Says how a container differs from how it is made.
pub(super) fn container(made: &Object, found: &Object) -> Result<(), String> {
    for (key, value) in found {
        let expected = made.contains_key(key) || FREE.contains(&key.as_str());
        if !expected && !is_nothing(value) {
            return Err(format!("it has `{key}`"));
        }
    }
    for (key, made) in made.iter().filter(|(key, _)| !FREE.contains(&key.as_str())) {
        let found = found.get(key).unwrap_or(&Value::Null);
        match key.as_str() {
            "env" => variables(made, found)?,
            "volumeMounts" => mounts(made, found)?,
            "securityContext" => security_context(made, found)?,
            _ => covers(made, found, key)?,
        }
    }
    Ok(())
}

/// Says how a volume differs from how it is made.
pub(super) fn volume(made: &Value, found: &Value) -> Result<(), String> {
    covers(made, found, "the volume")
}

/// Everything that was made is there, and nothing but defaults beside it.
fn covers(made: &Value, found: &Value, what: &str) -> Result<(), String> {
    let differs = || Err(format!("{what} differs"));
    match (made, found) {
        (Value::Object(made), Value::Object(found)) => {
            for (key, value) in found {
                let expected = made.contains_key(key) || DEFAULTS.contains(&key.as_str());
                if !expected && !is_nothing(value) {
                    return Err(format!("{what} has `{key}`"));
                }
            }
            made.iter().try_for_each(|(key, made)| {
                covers(made, found.get(key).unwrap_or(&Value::Null), what)
            })
        }
        (Value::Array(made), Value::Array(found)) if made.len() == found.len() => made
            .iter()
            .zip(found)
            .try_for_each(|(made, found)| covers(made, found, what)),
        _ if made == found => Ok(()),
        _ => differs(),
    }
}

/// Our variables are as they were made; others may be there, but none that
/// the sidecar reads. The probes are compared by their meaning, elsewhere.
fn variables(made: &Value, found: &Value) -> Result<(), String> {
    let (made, found) = (objects(made), objects(found));
    for variable in &made {
        let name = text(variable, "name").unwrap_or_default();
        let mut same = found.iter().filter(|it| text(it, "name") == Some(name));
        let (Some(present), None) = (same.next(), same.next()) else {
            return Err(format!("variable {name} is not there once"));
        };
        if name != PROBES_VARIABLE && *present != *variable {
            return Err(format!("variable {name} differs"));
        }
    }
    let is_made = |name| made.iter().any(|it| text(it, "name") == Some(name));
    let strange = found.iter().filter_map(|it| text(it, "name"));
    match strange
        .filter(|it| it.starts_with(VARIABLE_PREFIX))
        .find(|it| !is_made(it))
    {
        Some(name) => Err(format!("it has variable {name}")),
        None => Ok(()),
    }
}

/// Our mounts are as they were made; others may be there, but none over the
/// program or over what the sidecar reads and writes.
fn mounts(made: &Value, found: &Value) -> Result<(), String> {
    let (made, found) = (objects(made), objects(found));
    for mount in &made {
        if !found.contains(mount) {
            let path = text(mount, "mountPath").unwrap_or_default();
            return Err(format!("the mount at {path} differs"));
        }
    }
    let others = found.iter().filter(|it| !made.contains(it));
    let ours: Vec<_> = made.iter().filter_map(|it| text(it, "mountPath")).collect();
    match others
        .filter_map(|it| text(it, "mountPath"))
        .find(|it| hides(&ours, it))
    {
        Some(path) => Err(format!("it has a mount at {path}")),
        None => Ok(()),
    }
}

fn hides(ours: &[&str], mount: &str) -> bool {
    let mount = Path::new(mount);
    let climbs = mount.components().any(|it| it == Component::ParentDir);
    let overlaps = |ours: &str| mount.starts_with(ours) || Path::new(ours).starts_with(mount);
    let fixed = [RUN_DIR, BINARY];
    climbs || fixed.iter().chain(ours).any(|it| overlaps(it))
}

fn security_context(made: &Value, found: &Value) -> Result<(), String> {
    const WHAT: &str = "securityContext";
    let (Some(made), Some(found)) = (made.as_object(), found.as_object()) else {
        return Err(format!("{WHAT} is missing"));
    };
    for (key, value) in found {
        let harmless = match key.as_str() {
            "privileged" => *value == Value::Bool(false),
            "procMount" => value.as_str() == Some("Default"),
            "capabilities" => drops_all(value),
            key => made.contains_key(key) || HARDENING.contains(&key) || is_nothing(value),
        };
        if !harmless {
            return Err(format!("{WHAT} has `{key}`"));
        }
    }
    made.iter()
        .try_for_each(|(key, made)| match (key.as_str(), found.get(key)) {
            (_, None) => Err(format!("{WHAT} lacks `{key}`")),
            ("capabilities", Some(_)) => Ok(()),
            (_, Some(found)) => covers(made, found, WHAT),
        })
}

fn drops_all(capabilities: &Value) -> bool {
    let drop = capabilities.get("drop").and_then(Value::as_array);
    let drops = drop.is_some_and(|it| it.iter().any(|it| it.as_str() == Some("ALL")));
    drops && capabilities.get("add").is_none_or(is_nothing)
}

fn objects(list: &Value) -> Vec<&Object> {
    let items = list.as_array().into_iter().flatten();
    items.filter_map(Value::as_object).collect()
}

/// A member that says as much as its absence.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}
