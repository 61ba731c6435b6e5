//! Which crates depend on which, and what the sidecar must not link.

use std::collections::BTreeSet;

use anyhow::Result;
use serde_json::Value;

use crate::workspace::Workspace;

/// Each crate and what of ours it may depend on, from the lowest level up.
/// ARCHITECTURE.md draws it. `proxy` and `operator` never know each other, and
/// the crates that own their constructor arguments do not know `config`.
const ALLOWED: [(&str, &[&str]); 15] = [
    ("sidegate-api", &[]),
    ("sidegate-policy", &[]),
    ("sidegate-mcp", &[]),
    ("sidegate-telemetry", &[]),
    ("sidegate-llm", &["sidegate-mcp"]),
    ("sidegate-authn", &["sidegate-policy", "sidegate-telemetry"]),
    ("sidegate-tls", &["sidegate-policy", "sidegate-telemetry"]),
    ("sidegate-config", &["sidegate-api", "sidegate-policy"]),
    (
        "sidegate-proxy",
        &[
            "sidegate-config",
            "sidegate-policy",
            "sidegate-authn",
            "sidegate-tls",
            "sidegate-mcp",
            "sidegate-llm",
            "sidegate-telemetry",
        ],
    ),
    (
        "sidegate-operator",
        &[
            "sidegate-api",
            "sidegate-config",
            "sidegate-policy",
            "sidegate-telemetry",
            "sidegate-tls",
        ],
    ),
    ("sidegate", BINARY),
    ("sidegate-dev", BINARY),
    (
        "xtask",
        &["sidegate-api", "sidegate-config", "sidegate-telemetry"],
    ),
    ("sidegate-tests", &[]),
    // Only tests: what runs in the pods of the test cluster, and the scenario.
    (
        "sidegate-e2e",
        &["sidegate-dev", "sidegate-policy", "sidegate-testkit"],
    ),
];

const BINARY: &[&str] = &[
    "sidegate-api",
    "sidegate-config",
    "sidegate-policy",
    "sidegate-proxy",
    "sidegate-telemetry",
];

/// Crates for tests: they may depend on anything, and only tests on them.
const TEST_ONLY: &str = "sidegate-testkit";

/// What no pod may carry, and why.
const UNLINKED: [(&str, &str); 6] = [
    ("kube", "the sidecar does not talk to the API server"),
    ("kube-core", "the sidecar does not talk to the API server"),
    ("kube-client", "the sidecar does not talk to the API server"),
    (
        "k8s-openapi",
        "the sidecar reads resources without the types of Kubernetes",
    ),
    ("rmcp", "the sidecar reads MCP with its own strict scanner"),
    (
        "sidegate-dev",
        "nothing of the development identity provider goes into a pod",
    ),
];

pub(crate) fn run(workspace: &Workspace) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for package in workspace.packages()? {
        problems.extend(wrong_directions(&package));
    }
    let arguments = "tree --locked -e normal -p sidegate --prefix none --format {p}";
    let linked = workspace.cargo(&arguments.split(' ').collect::<Vec<_>>())?;
    problems.extend(wrongly_linked(&linked));
    Ok(problems)
}

/// The dependencies of a package of `cargo metadata` that go the wrong way.
fn wrong_directions(package: &Value) -> Vec<String> {
    let name = text(package, "name");
    let allowed = ALLOWED.iter().find(|(crate_name, _)| *crate_name == name);
    let dependencies = package.get("dependencies").and_then(Value::as_array);
    let shipped = dependencies
        .into_iter()
        .flatten()
        .filter(|it| text(it, "kind") != "dev")
        .map(|it| text(it, "name"))
        .filter(|it| is_ours(it))
        .collect::<BTreeSet<_>>();
    match allowed {
        _ if name == TEST_ONLY => Vec::new(),
        None => vec![format!(
            "{name}: an unknown crate: give it a level in ALLOWED of crates/xtask/src/deps.rs \
             and in ARCHITECTURE.md"
        )],
        Some((_, allowed)) => shipped
            .into_iter()
            .filter(|dependency| !allowed.contains(dependency))
            .map(|dependency| {
                format!(
                    "{name}: must not depend on {dependency}: see the directions in \
                     ARCHITECTURE.md, and remove it from the crate's Cargo.toml"
                )
            })
            .collect(),
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn is_ours(name: &str) -> bool {
    name == "xtask" || name == "sidegate" || name.starts_with("sidegate-")
}

/// What `cargo tree` lists, one package a line, that no pod may carry.
fn wrongly_linked(listing: &str) -> Vec<String> {
    let linked: BTreeSet<_> = listing
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    if !linked.contains("sidegate") {
        return vec![
            "`cargo tree` did not list sidegate: the check cannot say anything".to_owned(),
        ];
    }
    UNLINKED
        .iter()
        .filter(|(name, _)| linked.contains(name))
        .map(|(name, reason)| {
            format!(
                "sidegate links {name}, but {reason}: \
                 `cargo tree -e normal -p sidegate -i {name}` shows by which way"
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn package(name: &str, dependencies: &[(&str, Option<&str>)]) -> Value {
        let dependencies: Vec<_> = dependencies
            .iter()
            .map(|(name, kind)| json!({ "name": name, "kind": kind }))
            .collect();
        json!({ "name": name, "dependencies": dependencies })
    }

    #[test]
    fn the_drawn_directions_pass() {
        let proxy = [
            ("sidegate-config", None),
            ("sidegate-mcp", None),
            ("hyper", None),
        ];
        assert_eq!(
            wrong_directions(&package("sidegate-proxy", &proxy)),
            [""; 0]
        );
        let testkit = [("sidegate-proxy", None), ("sidegate-dev", None)];
        assert_eq!(wrong_directions(&package(TEST_ONLY, &testkit)), [""; 0]);
    }

    #[test]
    fn every_other_direction_is_refused() {
        for (from, to) in [
            ("sidegate-authn", "sidegate-config"),
            ("sidegate-tls", "sidegate-config"),
            ("sidegate-llm", "sidegate-config"),
            ("sidegate-mcp", "sidegate-config"),
            ("sidegate-policy", "sidegate-config"),
            ("sidegate-telemetry", "sidegate-policy"),
            ("sidegate-proxy", "sidegate-operator"),
            ("sidegate-operator", "sidegate-proxy"),
            ("sidegate-proxy", "sidegate-api"),
            ("sidegate", "sidegate-testkit"),
            ("sidegate", "sidegate-dev"),
            ("sidegate-config", "sidegate-proxy"),
        ] {
            let problems = wrong_directions(&package(from, &[(to, None)]));
            assert_eq!(problems.len(), 1, "{from} -> {to}");
            assert!(problems[0].contains(to), "{problems:?}");
        }
    }

    #[test]
    fn tests_may_use_anything_but_build_scripts_may_not() {
        let on_config = |kind| package("sidegate-mcp", &[("sidegate-config", Some(kind))]);
        assert_eq!(wrong_directions(&on_config("dev")), [""; 0]);
        assert_eq!(wrong_directions(&on_config("build")).len(), 1);
    }

    #[test]
    fn a_crate_without_a_level_is_refused() {
        let problems = wrong_directions(&package("sidegate-extra", &[]));
        assert!(problems[0].contains("unknown crate"), "{problems:?}");
    }

    #[test]
    fn the_table_itself_goes_upwards_only() {
        for (position, (name, allowed)) in ALLOWED.iter().enumerate() {
            for dependency in *allowed {
                let below = &ALLOWED[..position];
                assert!(
                    *dependency == TEST_ONLY || below.iter().any(|(name, _)| name == dependency),
                    "{name} -> {dependency} is not upwards"
                );
            }
        }
    }

    #[test]
    fn a_sidecar_with_a_kubernetes_client_is_refused() {
        let clean = "sidegate v0.1.0 (/x)\nhyper v1.12.0\nkubelike v1.0.0 (*)\n";
        assert_eq!(wrongly_linked(clean), [""; 0]);
        for name in ["kube", "kube-client", "k8s-openapi", "rmcp", "sidegate-dev"] {
            let listing = format!("{clean}{name} v1.0.0 (*)\n");
            let problems = wrongly_linked(&listing);
            assert_eq!(problems.len(), 1);
            assert!(problems[0].starts_with(&format!("sidegate links {name},")));
        }
    }

    #[test]
    fn a_listing_of_something_else_is_no_proof() {
        assert_eq!(wrongly_linked("").len(), 1);
    }
}
