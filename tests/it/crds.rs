//! The resource definitions, as a real API server takes, fills and explains
//! them.

mod cases;
mod documents;
mod fields;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::{Value, json};
use sidegate_testkit::apiserver::{Answer, ApiServer};

const DEFINITIONS: [&str; 2] = ["llmproviders.sidegate.dev", "mcpgateways.sidegate.dev"];

fn workspace(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// The shared API server with both definitions.
fn server() -> &'static ApiServer {
    applied().0
}

fn applied() -> &'static (&'static ApiServer, Answer) {
    static APPLIED: OnceLock<(&'static ApiServer, Answer)> = OnceLock::new();
    APPLIED.get_or_init(|| {
        let server = ApiServer::shared();
        let dir = workspace("manifests/crds").display().to_string();
        let answer = server.kubectl(&["apply", "--server-side", "-f", &dir], "");
        server.until_established();
        (server, answer)
    })
}

/// The smallest gateway that is served, in a namespace of its own.
fn gateway(namespace: &str) -> Value {
    server().namespace(namespace);
    let mut gateway = cases::gateway();
    gateway["metadata"]["namespace"] = json!(namespace);
    gateway
}

fn apply(object: &Value) -> Answer {
    let apply = ["apply", "--server-side", "-f", "-"];
    server().kubectl(&apply, &object.to_string())
}

fn get(kind: &str, namespace: &str, name: &str) -> Value {
    let get = ["get", kind, name, "-n", namespace, "-o", "json"];
    serde_json::from_str(&server().kubectl(&get, "").succeeded()).unwrap()
}

/// `kubectl get` as people see it: the words of each line.
fn table(arguments: &[&str]) -> Vec<Vec<String>> {
    let all = [&["get"], arguments].concat();
    let shown = server().kubectl(&all, "").succeeded();
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
    shown.lines().map(words).collect()
}

#[test]
fn the_definitions_are_taken_without_a_warning() {
    let (_, answer) = applied();
    assert!(answer.success, "{}", answer.stderr);
    assert_eq!(answer.stderr, "");
    let expected = DEFINITIONS.map(|name| {
        format!("customresourcedefinition.apiextensions.k8s.io/{name} serverside-applied")
    });
    assert_eq!(answer.stdout.lines().collect::<Vec<_>>(), expected);
    for name in DEFINITIONS {
        let get = ["get", "crd", name, "-o", "json"];
        let stored: Value = serde_json::from_str(&server().kubectl(&get, "").succeeded()).unwrap();
        let conditions = stored["status"]["conditions"].as_array().unwrap();
        let wrong = |it: &&Value| it["type"] == "NonStructuralSchema" && it["status"] == "True";
        assert_eq!(conditions.iter().find(wrong), None);
    }
}

#[test]
fn the_selector_cannot_be_changed_but_the_rest_can() {
    let mut gateway = gateway("selector");
    let _ = apply(&gateway).succeeded();
    gateway["spec"]["servers"][0]["port"] = json!(9090);
    let _ = apply(&gateway).succeeded();
    gateway["spec"]["selector"]["matchLabels"]["app"] = json!("other");
    let refused = apply(&gateway).failed();
    assert!(
        refused.contains("the selector cannot be changed: create another gateway"),
        "{refused}"
    );
    let stored = get("mcpgw", "selector", "demo");
    assert_eq!(stored["spec"]["selector"]["matchLabels"]["app"], "demo");
    assert_eq!(stored["metadata"]["generation"], 2);
}

#[test]
fn every_field_is_explained() {
    for root in ["mcpgw", "llmp"] {
        let paths = objects_of(root);
        assert!(paths.len() >= 10, "{paths:?}");
        for path in paths {
            let text = server().kubectl(&["explain", &path], "").succeeded();
            assert!(!text.contains("<no description>"), "{path}:\n{text}");
            assert!(text.contains("DESCRIPTION:"), "{path}:\n{text}");
        }
    }
}

/// The paths of the fields of a kind that have fields themselves.
fn objects_of(root: &str) -> Vec<String> {
    let recursive = ["explain", root, "--recursive"];
    let text = server().kubectl(&recursive, "").succeeded();
    let (_, fields) = text.split_once("FIELDS:").unwrap();
    let mut open: Vec<(usize, &str)> = Vec::new();
    let mut objects = vec![root.to_owned()];
    for line in fields.lines() {
        let Some((name, kind)) = line.trim_start().split_once('\t') else {
            continue;
        };
        let indent = line.len() - line.trim_start().len();
        open.retain(|(before, _)| *before < indent);
        open.push((indent, name));
        let names: Vec<_> = open.iter().map(|(_, name)| *name).collect();
        let ours = matches!(names.first(), Some(&"spec" | &"status"));
        if ours && kind.contains("Object") {
            objects.push(format!("{root}.{}", names.join(".")));
        }
    }
    objects
}

#[test]
fn short_names_categories_and_columns_are_as_documented() {
    let _ = apply(&gateway("columns")).succeeded();
    let provider = json!({
        "apiVersion": "sidegate.dev/v1alpha1",
        "kind": "LlmProvider",
        "metadata": {"name": "groq", "namespace": "columns"},
        "spec": {"type": "OpenAICompatible", "preset": "groq"},
    });
    let _ = apply(&provider).succeeded();
    let status = json!({"status": {
        "conditions": [{
            "type": "Ready", "status": "False", "reason": "NoReadyPods", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }],
        "dataPlane": {"matched": 2, "injected": 2, "programmed": 1, "summary": "1/2"},
    }});
    let status = status.to_string();
    let patch = [
        &["patch", "mcpgw", "demo", "-n", "columns"][..],
        &["--subresource=status", "--type=merge", "-p", &status],
    ]
    .concat();
    let _ = server().kubectl(&patch, "").succeeded();

    let shown = table(&["mcpgw", "-n", "columns"]);
    assert_eq!(shown[0], ["NAME", "READY", "PROGRAMMED", "MODE", "AGE"]);
    assert_eq!(shown[1][..4], ["demo", "False", "1/2", "Enforce"]);
    let wide = table(&["mcpgw", "-n", "columns", "-o", "wide"]);
    assert_eq!(wide[0][5..], ["REASON", "TLS"]);
    assert_eq!(wide[1][5..], ["NoReadyPods", "Plaintext"]);
    let shown = table(&["llmp", "-n", "columns"]);
    assert_eq!(shown[0], ["NAME", "READY", "TYPE", "PRESET", "AGE"]);
    assert_eq!(shown[1][..3], ["groq", "OpenAICompatible", "groq"]);
    for category in ["sidegate", "mcp"] {
        let mut found = table(&[category, "-n", "columns", "-o", "name"]).concat();
        found.sort();
        let expected = [
            "llmprovider.sidegate.dev/groq",
            "mcpgateway.sidegate.dev/demo",
        ];
        assert_eq!(found, expected, "{category}");
    }
}

#[test]
fn the_status_is_written_apart_from_the_spec() {
    let mut gateway = gateway("status");
    gateway["status"] = json!({"dataPlane": {"summary": "9/9"}});
    let _ = apply(&gateway).succeeded();
    let stored = get("mcpgw", "status", "demo");
    assert_eq!(stored.get("status"), None, "written with the spec");

    // Two managers, each with its own condition, as applied by name.
    for (manager, condition) in [("one", "Accepted"), ("two", "Ready")] {
        let status = json!({
            "apiVersion": "sidegate.dev/v1alpha1",
            "kind": "McpGateway",
            "metadata": {"name": "demo", "namespace": "status"},
            "spec": {"selector": {"matchLabels": {"app": "another"}}},
            "status": {"conditions": [{
                "type": condition, "status": "True", "reason": condition, "message": "",
                "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z",
            }]},
        });
        let manager = format!("--field-manager={manager}");
        let apply = [
            "apply",
            "--server-side",
            "--subresource=status",
            &manager,
            "-f",
            "-",
        ];
        let _ = server().kubectl(&apply, &status.to_string()).succeeded();
    }
    let stored = get("mcpgw", "status", "demo");
    let conditions = stored["status"]["conditions"].as_array().unwrap();
    let types: Vec<_> = conditions.iter().map(|it| &it["type"]).collect();
    assert_eq!(types, ["Accepted", "Ready"]);
    assert_eq!(stored["metadata"]["generation"], 1, "the spec is as before");
    assert_eq!(stored["spec"]["selector"]["matchLabels"]["app"], "demo");
}

#[test]
fn a_thousand_rules_with_everything_fit() {
    let mut gateway = gateway("thousand");
    let rule = |index: usize| {
        json!({
            "name": format!("rule-{index}"),
            "tools": ["get_customer", "list_*"],
            "requiredScopes": ["customer:read"],
            "principals": [{"serviceAccounts": ["crm/console"]}],
            "when": "!has(args.priority) || args.priority != 'urgent'",
        })
    };
    gateway["spec"]["authorization"]["rules"] = (0..1_000).map(rule).collect();
    let _ = apply(&gateway).succeeded();
    let stored = get("mcpgw", "thousand", "demo");
    let rules = stored["spec"]["authorization"]["rules"].as_array().unwrap();
    assert_eq!(rules.len(), 1_000);
}
