//! Texts of a gateway that look like something else: they stay texts, from the
//! document to what a sidecar enforces.

use proptest::prelude::*;
use serde_json::{Value, json};
use sidegate_config::sidecar_config::SidecarConfig;
use sidegate_config::{Options, build, documents, validate};
use sidegate_operator::to_yaml;

use crate::cluster::spec;

fn document(tool: &str, rule: &str, subject: &str) -> Value {
    let mut spec = spec("support");
    spec["tls"] = json!({"mode": "Mutual"});
    spec["authorization"]["rules"] = json!([{
        "name": rule, "tools": [tool], "principals": [{"subjects": [subject]}],
    }]);
    json!({
        "apiVersion": "sidegate.dev/v1alpha1",
        "kind": "McpGateway",
        "metadata": {"name": "support", "namespace": "crm"},
        "spec": spec,
    })
}

/// Document, text, document, configuration, wire, configuration. None: it is
/// refused.
fn through(object: &Value) -> Option<SidecarConfig> {
    let text = to_yaml(std::slice::from_ref(object)).expect("YAML");
    let documents = documents::parse("test.yaml", &text).ok()?;
    assert_eq!(
        documents.gateways.len(),
        1,
        "one document stays one: {text}"
    );
    let options = Options {
        allow_loopback: false,
        built_in_ca: true,
        trust_domain: "cluster.local".to_owned(),
    };
    let config = build(validate(&documents, None, &options).ok()?);
    let wire = serde_json::to_string(&config).expect("JSON");
    let back: SidecarConfig = serde_json::from_str(&wire).expect("what was sent");
    assert_eq!(back, config);
    Some(back)
}

/// Whether the only rule permits exactly this.
fn assert_only(config: &SidecarConfig, tool: &str, subject: &str) {
    let policy = serde_json::to_value(&config.policy).expect("JSON");
    let rules = policy["rules"].as_array().expect("rules");
    assert_eq!(rules.len(), 1, "{policy}");
    assert_eq!(rules[0]["tools"], json!([tool]), "{policy}");
    let principals = rules[0]["principals"].to_string();
    assert!(
        principals.contains(&json!([subject]).to_string()),
        "{policy}"
    );
}

const TRICKS: [&str; 9] = [
    "x\"\n- allow: '*'",
    "x\n    effect: Allow\n    tools: [\"*\"]",
    "x: {y: z}",
    "!!binary eA==",
    "*anchor",
    "---\nkind: McpGateway",
    "{{ .Values.x }}",
    "`x`$(x)${x}",
    "<<: *x",
];

/// OPR-013.
#[test]
fn a_text_that_looks_like_yaml_is_a_text() {
    for trick in TRICKS {
        // Where any text of one line may stand, it is taken, and is what it was.
        match through(&document("get", "rule", trick)) {
            Some(config) => assert_only(&config, "get", trick),
            None => assert!(trick.contains('\n'), "{trick}"),
        }
        if let Some(config) = through(&document(trick, "rule", "alice")) {
            assert_only(&config, trick, "alice");
        }
        // The name of a rule is a name.
        let named = through(&document("get", trick, "alice"));
        assert!(named.is_none(), "{trick}");
    }
}

proptest! {
    /// OPR-013, for any text.
    #[test]
    fn any_text_comes_through_as_it_was_or_is_refused(
        tool in "\\PC{1,24}", subject in any::<String>(),
    ) {
        if let Some(config) = through(&document(&tool, "rule", &subject)) {
            assert_only(&config, &tool, &subject);
        }
    }
}
