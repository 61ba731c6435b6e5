//! What compiling says is wrong with rules.

use super::*;

#[test]
fn each_fault_is_reported_at_its_field() {
    for (rule, field, message) in [
        (json!({"name": "", "tools": ["a"]}), "name", "is empty"),
        (json!({"name": "r"}), "tools", "the rule names nothing"),
        (
            json!({"name": "r", "tools": ["a", ""]}),
            "tools[1]",
            "is empty",
        ),
        (
            json!({"name": "r", "tools": ["a*b"]}),
            "tools[0]",
            "not at the end",
        ),
        (
            json!({"name": "r", "prompts": ["**"]}),
            "prompts[0]",
            "not at the end",
        ),
        (
            json!({"name": "r", "resources": ["*x"]}),
            "resources[0]",
            "not at the end",
        ),
        (
            json!({"name": "r", "models": [""]}),
            "models[0]",
            "is empty",
        ),
        (
            json!({"name": "r", "servers": [""], "tools": ["a"]}),
            "servers[0]",
            "is empty",
        ),
        (
            json!({"name": "r", "servers": ["s"], "models": ["m"]}),
            "models",
            "not behind a server",
        ),
        (
            json!({"name": "r", "tools": ["a"], "requiredScopes": ["a b"]}),
            "requiredScopes[0]",
            "is not a scope",
        ),
        (
            json!({"name": "r", "effect": "Deny", "tools": ["a"], "requiredScopes": ["a"]}),
            "requiredScopes",
            "a Deny rule has none",
        ),
        (
            json!({"name": "r", "tools": ["a"], "principals": [{}]}),
            "principals[0]",
            "describes nobody",
        ),
        (
            json!({"name": "r", "tools": ["a"], "principals": [{"subjects": ["x"]}, {"issuer": ""}]}),
            "principals[1].issuer",
            "is empty",
        ),
        (
            json!({"name": "r", "tools": ["a"], "principals": [{"clients": [""]}]}),
            "principals[0].clients[0]",
            "is empty",
        ),
        (
            json!({"name": "r", "tools": ["a"], "principals": [{"claims": {"c": []}}]}),
            "principals[0].claims.c",
            "needs a claim's name",
        ),
        (
            json!({"name": "r", "tools": ["a"], "principals": [{"claims": {"c": [""]}}]}),
            "principals[0].claims.c[0]",
            "is empty",
        ),
        (
            json!({"name": "r", "tools": ["a"], "principals": [{"serviceAccounts": ["web"]}]}),
            "principals[0].serviceAccounts[0]",
            "write namespace/name",
        ),
        (
            json!({"name": "r", "tools": ["a"], "principals": [{"serviceAccounts": ["a/*"]}]}),
            "principals[0].serviceAccounts[0]",
            "write namespace/name",
        ),
        (
            json!({"name": "r", "tools": ["a"], "principals": [{"serviceAccounts": ["a/b/c"]}]}),
            "principals[0].serviceAccounts[0]",
            "write namespace/name",
        ),
        (
            json!({"name": "r", "tools": ["a"], "principals": [{"spiffeIds": ["td/a"]}]}),
            "principals[0].spiffeIds[0]",
            "begins with `spiffe://`",
        ),
        (
            json!({"name": "r", "tools": ["a"], "when": "args.x =="}),
            "when",
            "is not CEL",
        ),
        (
            json!({"name": "r", "methods": ["acme/*"]}),
            "methods[0]",
            "a pattern never opens methods",
        ),
        (
            json!({"name": "r", "methods": ["*"]}),
            "methods[0]",
            "a pattern never opens methods",
        ),
    ] {
        let found = issues(&json!([rule]));
        assert_eq!(found.len(), 1, "{rule}: {found:?}");
        assert_eq!((found[0].0, found[0].1.as_str()), (0, field), "{rule}");
        assert!(found[0].2.contains(message), "{rule}: {found:?}");
    }
}

#[test]
fn methods_that_name_something_are_not_allowed_as_methods() {
    for method in [
        "tools/call",
        "prompts/get",
        "resources/read",
        "resources/subscribe",
        "resources/unsubscribe",
        "completion/complete",
        "tasks/get",
        "tasks/cancel",
        "tasks/*",
        "subscriptions/listen",
    ] {
        let found = issues(&json!([{"name": "r", "methods": ["acme/run", method]}]));
        assert_eq!(found[0].1, "methods[1]");
        assert!(
            found[0].2.contains("is decided by what it names: use `"),
            "{found:?}"
        );
        compile(&json!([{"name": "r", "effect": "Deny", "methods": [method]}]));
    }
    let found = issues(&json!([{"name": "r", "methods": ["tools/call"]}]));
    assert!(
        found[0]
            .2
            .ends_with("is decided by what it names: use `tools`")
    );
}

#[test]
fn names_of_rules_are_unique_and_all_faults_are_told_at_once() {
    let found = issues(&json!([
        {"name": "r", "tools": ["a"]},
        {"name": "r", "tools": ["*b"], "when": "x"},
        {"name": "s", "tools": [""]},
    ]));
    let places: Vec<_> = found
        .iter()
        .map(|(rule, field, _)| (*rule, field.as_str()))
        .collect();
    assert_eq!(
        places,
        [(1, "name"), (1, "tools[0]"), (1, "when"), (2, "tools[0]")]
    );
}

#[test]
fn a_hierarchy_of_no_scopes_is_reported() {
    let config = PolicyConfig {
        scope_hierarchy: BTreeMap::from([("a b".to_owned(), vec![])]),
        ..PolicyConfig::default()
    };
    let issues = PolicySet::compile(&config).expect_err("no scope");
    assert_eq!(issues[0].field, "scopeHierarchy");
}

#[test]
fn what_is_likely_not_meant_is_warned_about() {
    let policy = config(&json!([
        {"name": "a", "tools": ["a"], "when": "args.x == 1"},
        {"name": "b", "resources": ["file:///a/../b", "file:///a/./*", "file:///a/.*", "file:///a"]},
        {"name": "c", "tools": ["a"], "principals": [{"subjects": ["a*"]}]},
        {"name": "d", "tools": ["a"], "when": "!('x' in scopes)"},
    ]));
    let warnings = PolicySet::compile(&policy).expect("compiles").warnings;
    let places: Vec<_> = warnings
        .iter()
        .map(|issue| (issue.rule, issue.field.as_str()))
        .collect();
    assert_eq!(
        places,
        [
            (0, "when"),
            (1, "resources[0]"),
            (1, "resources[1]"),
            (2, "principals[0]"),
            (3, "when")
        ]
    );
}
