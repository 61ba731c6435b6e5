use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

const GATEWAY: &str = r#"apiVersion: sidegate.dev/v1alpha1
kind: McpGateway
metadata: {name: demo}
spec:
  selector: {matchLabels: {app: demo}}
  servers: [{name: demo, port: 8080, resources: ["https://demo.example.com/mcp"]}]
"#;

fn refused(text: &str) -> String {
    parse("f", text)
        .map(|_| ())
        .expect_err("is refused")
        .to_string()
}

/// The one ConfigMap with this value.
fn value_of(yaml: &str) -> Result<String, Violations> {
    let text =
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: m}}\ndata: {{v: {yaml}}}\n");
    let documents = parse("f", &text)?;
    let value = documents
        .config_maps
        .first()
        .and_then(|map| map.data.get("v").cloned());
    Ok(String::from_utf8(value.unwrap_or_default()).expect("UTF-8"))
}

#[test]
fn documents_are_read_and_empty_ones_skipped() {
    let text = format!("# nothing\n---\n---\n{GATEWAY}---\n...\n---\n# end\n");
    let documents = parse("f", &text).expect("documents");
    assert_eq!(documents.gateways.len(), 1);
    assert_eq!(documents.gateways[0].namespace, "default");
    assert_eq!(documents.gateways[0].spec.servers[0].port, 8080);
    assert!(parse("f", "").expect("nothing").gateways.is_empty());
}

#[test]
fn line_ends_and_marks_of_other_systems_do_not_matter() {
    for text in [GATEWAY.replace('\n', "\r\n"), format!("\u{feff}{GATEWAY}")] {
        assert_eq!(parse("f", &text).expect("documents").gateways.len(), 1);
    }
}

#[test]
fn every_violation_of_a_text_is_told_with_its_line() {
    let text = "a: no\nb: 010\na: &x 1\nc: !t 2\n";
    let refused = refused(text);
    let lines: Vec<_> = refused.lines().collect();
    assert_eq!(lines.len(), 5, "{refused}");
    for (line, start) in lines
        .iter()
        .zip(["f:1: `no`", "f:2: `010`", "f:3: ", "f:3: ", "f:4: "])
    {
        assert!(line.starts_with(start), "{refused}");
    }
}

#[test]
fn what_must_be_quoted_is_text_when_it_is() {
    for text in [
        "no",
        "010",
        "1_000",
        "12:30",
        "0o7",
        ".inf",
        "2026-07-28",
        "=",
        "<<",
        "null",
        "5",
    ] {
        assert_eq!(value_of(&format!("\"{text}\"")).expect("text"), text);
        assert_eq!(value_of(&format!("'{text}'")).expect("text"), text);
        assert!(value_of(text).is_err(), "{text}");
    }
}

#[test]
fn kinds_of_others_are_ignored_and_misspelt_ones_of_ours_are_not() {
    let foreign =
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a, odd: [1]}\nspec: {x: 1}\n";
    let documents = parse("f", foreign).expect("ignored");
    assert!(documents.gateways.is_empty() && documents.config_maps.is_empty());
    for (api_version, kind) in [
        ("sidegate.dev/v1alpha1", "McpGatway"),
        ("sidegate.dev/v1", "McpGateway"),
        ("x.sidegate.dev/v1alpha1", "McpGateway"),
        ("v1", "McpGateway"),
        ("sidegate.io/v1alpha1", "LlmProvider"),
    ] {
        let text = format!("apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: a}}\n");
        assert!(refused(&text).contains("is not known"), "{text}");
    }
}

#[test]
fn values_of_a_secret_are_decoded_and_not_shown() {
    let text = "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: ns}\n\
                data: {a: Y2FuYXJ5, b: \"Y2Fu\\nYXJ5\\n\"}\nstringData: {b: plain}\n";
    let documents = parse("f", text).expect("documents");
    let secret = documents.secret("ns", "s").expect("the secret");
    assert_eq!(secret.secret_type, "Opaque");
    assert_eq!(secret.data["a"].expose(), b"canary");
    assert_eq!(
        secret.data["b"].expose(),
        b"plain",
        "as the API server has it"
    );
    let shown = format!("{documents:?}");
    assert!(
        !shown.contains("canary") && !shown.contains("plain") && !shown.contains("Y2Fu"),
        "{shown}"
    );
    assert!(documents.secret("default", "s").is_none());
}

#[test]
fn an_object_is_there_once_in_all_files() {
    let mut documents = parse("one.yaml", GATEWAY).expect("documents");
    let other = GATEWAY.replace("name: demo}", "name: demo, namespace: other}");
    documents
        .merge(parse("two.yaml", &other).expect("documents"))
        .expect("another object");
    let twice = parse("three.yaml", GATEWAY).expect("documents");
    let refused = documents.merge(twice).expect_err("twice").to_string();
    let expected = "three.yaml:3: McpGateway default/demo: is already in one.yaml:3";
    assert_eq!(refused, expected);
}

#[test]
fn a_directory_is_read_whole() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("a.yaml"), GATEWAY).expect("written");
    std::fs::write(
        dir.path().join("b.yml"),
        GATEWAY.replace("name: demo}", "name: b}"),
    )
    .expect("written");
    assert_eq!(read_dir(dir.path()).expect("documents").gateways.len(), 2);
    std::fs::write(dir.path().join("c.yaml"), GATEWAY).expect("written");
    std::fs::write(dir.path().join("d.yaml"), "kind: no").expect("written");
    let refused = read_dir(dir.path()).expect_err("refused").to_string();
    let lines: Vec<_> = refused.lines().collect();
    assert!(lines.len() == 2, "{refused}");
    assert!(
        lines[0].contains("c.yaml:3: McpGateway default/demo: is already in"),
        "{refused}"
    );
    assert!(
        lines[1].contains("d.yaml:1: `no` is a boolean"),
        "{refused}"
    );
}

#[test]
fn depth_is_bounded() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let file: Arc<str> = "f".into();
    assert!(tree::read(&file, &nested(tree::MAX_DEPTH)).is_ok());
    let refused = tree::read(&file, &nested(tree::MAX_DEPTH + 1)).expect_err("too deep");
    assert!(
        refused.to_string().contains("nested more than 64"),
        "{refused}"
    );
    assert!(tree::read(&file, &"[".repeat(200_000)).is_err());
    assert!(tree::read(&file, &"- ".repeat(200_000)).is_err());
    assert!(tree::read(&file, &"{a: ".repeat(200_000)).is_err());
}

#[test]
fn a_bomb_of_aliases_is_refused_at_once() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..20 {
        let before = format!("*a{}, ", level - 1).repeat(9);
        text.push_str(&format!("a{level}: &a{level} [{before}]\n"));
    }
    let begun = std::time::Instant::now();
    assert!(refused(&text).contains("alias"));
    assert!(begun.elapsed() < std::time::Duration::from_secs(2));
}

/// Text that every YAML reader may hold.
fn printable() -> impl Strategy<Value = String> {
    "[ -~äöüß€日本\u{1f600}]{0,12}"
}

fn arbitrary_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        printable().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(printable(), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

fn read_one(text: &str) -> Result<Value, Violations> {
    let file: Arc<str> = "f".into();
    let roots = tree::read(&file, text)?;
    second_reading::agree(&file, text, &roots)?;
    Ok(roots.first().map_or(Value::Null, Node::to_json))
}

proptest! {
    #[test]
    fn any_text_is_answered(text in "\\PC*") {
        let _ = parse("f", &text);
    }

    #[test]
    fn any_text_of_yaml_marks_is_answered(text in "[-a:{}\\[\\],&*!|>'\"%@`#?<=~ \n\t0.]{0,60}") {
        let _ = parse("f", &text);
    }

    #[test]
    fn a_damaged_gateway_is_answered(at in 0..GATEWAY.len(), with in "\\PC{0,3}", cut in 0..4_usize) {
        let end = (at + cut).min(GATEWAY.len());
        let (before, after) = (GATEWAY.get(..at).expect("ASCII"), GATEWAY.get(end..).expect("ASCII"));
        let text = format!("{before}{with}{after}");
        if let Ok(documents) = parse("f", &text) {
            for gateway in &documents.gateways {
                let options = crate::Options { allow_loopback: true, built_in_ca: false, trust_domain: "td".to_owned() };
                let name = format!("{}/{}", gateway.namespace, gateway.name);
                let _ = crate::validate(&documents, Some(&name), &options);
            }
        }
    }

    #[test]
    fn json_is_read_as_json(value in arbitrary_json()) {
        let text = serde_json::to_string(&value).expect("JSON");
        prop_assert_eq!(&read_one(&text).expect("is YAML too"), &value);
        let text = serde_json::to_string_pretty(&value).expect("JSON");
        prop_assert_eq!(&read_one(&text).expect("is YAML too"), &value);
    }

    #[test]
    fn what_another_writer_wrote_is_read_back_or_refused(value in arbitrary_json()) {
        let text = serde_yaml::to_string(&value).expect("YAML");
        if let Ok(read) = read_one(&text) {
            prop_assert_eq!(read, value);
        }
    }
}

#[test]
fn block_and_flow_styles_are_alike() {
    let block = "a:\n- b: |\n    x\n    y\n  c: >-\n    folded\n    text\n- \"d\\te\"\n";
    let expected = json!({"a": [{"b": "x\ny\n", "c": "folded text"}, "d\te"]});
    assert_eq!(read_one(block).expect("YAML"), expected);
}
