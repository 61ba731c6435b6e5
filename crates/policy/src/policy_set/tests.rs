mod faults;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::principal::{Claims, PeerIdentity};

fn config(rules: &serde_json::Value) -> PolicyConfig {
    let policy = json!({
        "trustDomain": "td",
        "scopeHierarchy": {"db:admin": ["db:read", "db:write"]},
        "rules": rules,
    });
    serde_json::from_value(policy).expect("a policy")
}

fn compile(rules: &serde_json::Value) -> PolicySet {
    PolicySet::compile(&config(rules))
        .expect("rules that compile")
        .policies
}

fn audit(rules: &serde_json::Value) -> PolicySet {
    let config = PolicyConfig {
        mode: Mode::Audit,
        ..config(rules)
    };
    PolicySet::compile(&config)
        .expect("rules that compile")
        .policies
}

fn issues(rules: &serde_json::Value) -> Vec<(usize, String, String)> {
    let issues = PolicySet::compile(&config(rules)).expect_err("something is wrong");
    issues
        .into_iter()
        .map(|issue| (issue.rule, issue.field, issue.message))
        .collect()
}

fn scopes(text: &str) -> ScopeSet {
    text.split_whitespace()
        .map(|scope| scope.parse().expect("a scope"))
        .collect()
}

/// Ann of `https://idp` by her client `app`, with these scopes.
fn ann(held: &str) -> Principal {
    let claims = Claims {
        issuer: "https://idp".into(),
        subject: "ann".into(),
        client_id: Some("app".into()),
        scopes: scopes(held),
        expires_at: 0,
        all: json!({"groups": ["dev", "ops"], "level": 7, "staff": true, "org": "acme", "x": [["dev"]]})
            .as_object()
            .expect("an object")
            .clone(),
    };
    Principal::verified(None, Some(Arc::new(claims))).expect("a principal")
}

fn workload(spiffe_id: &str) -> Principal {
    let peer = PeerIdentity::new(Some(spiffe_id.parse().expect("a SPIFFE id")));
    Principal::verified(Some(peer), None).expect("a principal")
}

const SERVER: &str = "support";

fn tool(name: &str) -> Resource<'_> {
    Resource::Tool {
        server: SERVER,
        name,
    }
}

fn uri(uri: &str) -> Resource<'_> {
    Resource::McpResource {
        server: SERVER,
        uri,
    }
}

fn call(policies: &PolicySet, who: &Principal, name: &str) -> Decision {
    let context = Context {
        method: "tools/call",
        arguments: None,
    };
    policies.decide(who, Action::CallTool, &tool(name), &context)
}

fn method(policies: &PolicySet, action: Action, method: &str) -> Decision {
    let context = Context {
        method,
        arguments: None,
    };
    policies.decide(
        &ann(""),
        action,
        &Resource::Server { server: SERVER },
        &context,
    )
}

/// A decision in one line.
fn told(decision: Decision) -> String {
    match decision {
        Decision::Allow(permit) => match (permit.rule(), permit.audited()) {
            (Some(rule), false) => format!("allow by {rule}"),
            (None, false) => "allow".to_owned(),
            (None, true) => "allow in audit".to_owned(),
            (Some(rule), true) => format!("allow in audit by {rule}"),
        },
        Decision::Deny(denial) => {
            let mut text = format!("deny {}", denial.reason.as_str());
            if let Some(rule) = denial.rule {
                text += &format!(" by {rule}");
            }
            if !denial.missing_scopes.is_empty() {
                text += &format!(" needs {}", denial.missing_scopes);
            }
            text
        }
    }
}

#[test]
fn pol_001_002_003_what_no_rule_allows_is_denied() {
    let none = compile(&json!([]));
    assert_eq!(told(call(&none, &ann(""), "get")), "deny no_rule");
    let policies = compile(&json!([
        {"name": "read", "tools": ["get_*"], "requiredScopes": ["db:read"]},
        {"name": "drop", "tools": ["db.drop"], "requiredScopes": ["db:admin"]},
    ]));
    let reader = ann("db:read");
    assert_eq!(told(call(&policies, &reader, "get_a")), "allow by read");
    assert_eq!(
        told(call(&policies, &reader, "db.drop")),
        "deny missing_scope by drop needs db:admin"
    );
    assert_eq!(
        told(call(&policies, &ann("db:admin db:read"), "secret.list")),
        "deny no_rule"
    );
}

#[test]
fn a_deny_rule_wins_whatever_the_order() {
    let allow = json!({"name": "all", "tools": ["*"]});
    let deny = json!({"name": "no-drop", "effect": "Deny", "tools": ["drop_table"]});
    for rules in [json!([allow, deny]), json!([deny, allow])] {
        let policies = compile(&rules);
        assert_eq!(
            told(call(&policies, &ann(""), "drop_table")),
            "deny denied_by_rule by no-drop"
        );
        assert_eq!(
            told(call(&policies, &ann(""), "drop_tables")),
            "allow by all"
        );
    }
}

#[test]
fn kinds_of_names_are_kept_apart() {
    let policies = compile(&json!([
        {"name": "t", "tools": ["x"]},
        {"name": "p", "prompts": ["x"]},
        {"name": "r", "resources": ["x"]},
        {"name": "m", "models": ["x"]},
    ]));
    let none = Context::default();
    let of = |action, resource| told(policies.decide(&ann(""), action, &resource, &none));
    assert_eq!(of(Action::CallTool, tool("x")), "allow by t");
    let prompt = Resource::Prompt {
        server: SERVER,
        name: "x",
    };
    assert_eq!(of(Action::GetPrompt, prompt), "allow by p");
    assert_eq!(of(Action::Complete, prompt), "allow by p");
    assert_eq!(of(Action::ReadResource, uri("x")), "allow by r");
    assert_eq!(of(Action::SubscribeResource, uri("x")), "allow by r");
    assert_eq!(of(Action::Complete, uri("x")), "allow by r");
    assert_eq!(
        of(Action::Chat, Resource::Model { name: "x" }),
        "allow by m"
    );
}

#[test]
fn one_rule_may_name_several_kinds() {
    let policies = compile(&json!([{"name": "all", "tools": ["a"], "prompts": ["b"]}]));
    let prompt = Resource::Prompt {
        server: SERVER,
        name: "b",
    };
    assert_eq!(told(call(&policies, &ann(""), "a")), "allow by all");
    let decision = policies.decide(&ann(""), Action::GetPrompt, &prompt, &Context::default());
    assert_eq!(told(decision), "allow by all");
}

#[test]
fn actions_that_do_not_fit_the_resource_are_denied_in_every_mode() {
    let rules = json!([{"name": "all", "tools": ["*"], "prompts": ["*"], "resources": ["*"]},
        {"name": "models", "models": ["*"]}]);
    for policies in [compile(&rules), audit(&rules)] {
        for (action, resource) in [
            (Action::GetPrompt, tool("x")),
            (Action::UseSession, tool("x")),
            (Action::Chat, tool("x")),
            (Action::CallTool, uri("x")),
            (Action::UseTask, uri("x")),
            (
                Action::CallTool,
                Resource::Prompt {
                    server: SERVER,
                    name: "x",
                },
            ),
            (Action::CallTool, Resource::Model { name: "x" }),
            (Action::CallTool, Resource::Server { server: SERVER }),
        ] {
            let decision = policies.decide(&ann(""), action, &resource, &Context::default());
            assert_eq!(told(decision), "deny no_rule", "{action:?} {resource:?}");
        }
    }
}

#[test]
fn servers_narrow_a_rule() {
    let policies = compile(&json!([
        {"name": "one", "servers": ["support"], "tools": ["a"]},
        {"name": "other", "servers": ["billing", "ops*"], "tools": ["*"]},
    ]));
    let on = |server, name| {
        let resource = Resource::Tool { server, name };
        told(policies.decide(&ann(""), Action::CallTool, &resource, &Context::default()))
    };
    assert_eq!(on("support", "a"), "allow by one");
    assert_eq!(on("support", "b"), "deny no_rule");
    assert_eq!(on("billing", "b"), "allow by other");
    assert_eq!(on("ops-1", "b"), "allow by other");
    assert_eq!(on("billings", "b"), "deny no_rule");
}

#[test]
fn all_required_scopes_are_needed_and_all_missing_ones_named() {
    let policies = compile(&json!([
        {"name": "two", "tools": ["x"], "requiredScopes": ["b", "a"]},
    ]));
    assert_eq!(
        told(call(&policies, &ann(""), "x")),
        "deny missing_scope by two needs a b"
    );
    assert_eq!(
        told(call(&policies, &ann("a"), "x")),
        "deny missing_scope by two needs b"
    );
    assert_eq!(told(call(&policies, &ann("a b"), "x")), "allow by two");
    let workload = workload("spiffe://td/ns/a/sa/b");
    assert_eq!(
        told(call(&policies, &workload, "x")),
        "deny missing_scope by two needs a b"
    );
}

#[test]
fn the_nearest_rule_says_which_scopes_are_missing() {
    let policies = compile(&json!([
        {"name": "three", "tools": ["x"], "requiredScopes": ["a", "b", "c"]},
        {"name": "others", "tools": ["x"], "requiredScopes": ["d"], "principals": [{"subjects": ["bob"]}]},
        {"name": "else", "tools": ["x"], "requiredScopes": ["d"], "when": "tool == 'y'"},
        {"name": "one", "tools": ["*"], "requiredScopes": ["e"]},
        {"name": "too", "tools": ["x"], "requiredScopes": ["f"]},
    ]));
    assert_eq!(
        told(call(&policies, &ann(""), "x")),
        "deny missing_scope by one needs e"
    );
    assert_eq!(
        told(call(&policies, &ann("a b"), "x")),
        "deny missing_scope by three needs c"
    );
}

#[test]
fn a_condition_on_scopes_counts_the_required_ones_as_held() {
    let policies = compile(&json!([
        {"name": "both", "tools": ["x"], "requiredScopes": ["a"], "when": "'a' in scopes"},
        {"name": "never", "tools": ["y"], "requiredScopes": ["a"], "when": "'b' in scopes"},
        {"name": "by-way", "tools": ["z"], "requiredScopes": ["db:admin"], "when": "'db:read' in scopes"},
    ]));
    assert_eq!(
        told(call(&policies, &ann(""), "x")),
        "deny missing_scope by both needs a"
    );
    assert_eq!(told(call(&policies, &ann(""), "y")), "deny no_rule");
    assert_eq!(
        told(call(&policies, &ann(""), "z")),
        "deny missing_scope by by-way needs db:admin"
    );
}

#[test]
fn among_matching_rules_the_first_is_named() {
    let policies = compile(&json!([
        {"name": "b", "tools": ["x*"], "requiredScopes": ["s"]},
        {"name": "a", "tools": ["*", "x"]},
        {"name": "c", "tools": ["x"]},
    ]));
    assert_eq!(told(call(&policies, &ann(""), "x")), "allow by a");
    assert_eq!(told(call(&policies, &ann("s"), "x")), "allow by b");
}

#[test]
fn principals_are_alternatives_of_facts_that_all_must_match() {
    let who = |principals: &serde_json::Value, principal: &Principal| {
        let policies = compile(&json!([{"name": "r", "tools": ["x"], "principals": principals}]));
        told(call(&policies, principal, "x")) == "allow by r"
    };
    let (ann, web) = (ann(""), workload("spiffe://td/ns/team.a/sa/web"));
    for (entry, is_ann, is_web) in [
        (json!({"issuer": "https://idp"}), true, false),
        (json!({"issuer": "https://idp/"}), false, false),
        (json!({"subjects": ["bob", "ann"]}), true, false),
        (json!({"subjects": ["an*"]}), false, false),
        (json!({"clients": ["app"]}), true, false),
        (
            json!({"issuer": "https://idp", "subjects": ["ann"], "clients": ["app"]}),
            true,
            false,
        ),
        (
            json!({"issuer": "https://idp", "subjects": ["bob"], "clients": ["app"]}),
            false,
            false,
        ),
        (json!({"claims": {"groups": ["ops"]}}), true, false),
        (json!({"claims": {"groups": ["op"]}}), false, false),
        (
            json!({"claims": {"org": ["acme"], "level": ["7"], "staff": ["true"]}}),
            true,
            false,
        ),
        (
            json!({"claims": {"org": ["acme"], "level": ["8"]}}),
            false,
            false,
        ),
        (json!({"claims": {"absent": ["x"]}}), false, false),
        (json!({"claims": {"x": ["dev"]}}), false, false),
        (json!({"serviceAccounts": ["team.a/web"]}), false, true),
        (json!({"serviceAccounts": ["teamxa/web"]}), false, false),
        (
            json!({"serviceAccounts": ["other/x", "team.a/web"]}),
            false,
            true,
        ),
        (
            json!({"spiffeIds": ["spiffe://td/ns/team.a/sa/web"]}),
            false,
            true,
        ),
        (
            json!({"spiffeIds": ["spiffe://td/ns/team.a/sa/we"]}),
            false,
            false,
        ),
        (
            json!({"serviceAccounts": ["team.a/web"], "subjects": ["ann"]}),
            false,
            false,
        ),
    ] {
        assert_eq!(who(&json!([entry]), &ann), is_ann, "{entry}");
        assert_eq!(who(&json!([entry]), &web), is_web, "{entry}");
    }
    let either = json!([{"subjects": ["ann"]}, {"serviceAccounts": ["team.a/web"]}]);
    assert!(who(&either, &ann) && who(&either, &web));
}

#[test]
fn tls_006_009_service_accounts_are_literal_and_of_the_own_trust_domain() {
    let policies = compile(&json!([
        {"name": "r", "tools": ["x"], "principals": [{"serviceAccounts": ["team.a/web"]}]},
    ]));
    for (id, expected) in [
        ("spiffe://td/ns/team.a/sa/web", "allow by r"),
        ("spiffe://td/ns/teamXa/sa/web", "deny no_rule"),
        ("spiffe://other/ns/team.a/sa/web", "deny no_rule"),
        ("spiffe://td/ns/team.a/sa/web/x", "deny no_rule"),
        ("spiffe://td/ns/b/sa/x", "deny no_rule"),
    ] {
        assert_eq!(told(call(&policies, &workload(id), "x")), expected, "{id}");
    }
}

#[test]
fn arguments_decide_where_a_rule_says_so() {
    let policies = compile(&json!([
        {"name": "tickets", "tools": ["create"],
         "when": "!has(args.priority) || args.priority != 'urgent' || 'lead' in scopes"},
        {"name": "no-prod", "effect": "Deny", "tools": ["create"], "when": "args.env == 'prod'"},
    ]));
    let with = |held: &str, arguments: &str| {
        let context = Context {
            method: "tools/call",
            arguments: Some(arguments),
        };
        told(policies.decide(&ann(held), Action::CallTool, &tool("create"), &context))
    };
    assert_eq!(with("", r#"{"env": "dev"}"#), "allow by tickets");
    assert_eq!(
        with("", r#"{"env": "dev", "priority": "urgent"}"#),
        "deny condition_not_met by tickets"
    );
    assert_eq!(
        with("lead", r#"{"env": "dev", "priority": "urgent"}"#),
        "allow by tickets"
    );
    assert_eq!(
        with("", r#"{"env": "prod"}"#),
        "deny denied_by_rule by no-prod"
    );
    assert_eq!(
        with("", "{}"),
        "deny denied_by_rule by no-prod",
        "an error denies"
    );
}

#[test]
fn an_error_makes_an_allow_not_match_and_a_deny_match() {
    let allow = compile(&json!([{"name": "r", "tools": ["x"], "when": "args.n / 0 == 1"}]));
    assert_eq!(
        told(call(&allow, &ann(""), "x")),
        "deny condition_not_met by r"
    );
    let deny = compile(&json!([
        {"name": "all", "tools": ["*"]},
        {"name": "r", "effect": "Deny", "tools": ["x"], "when": "args.n / 0 == 1"},
    ]));
    assert_eq!(told(call(&deny, &ann(""), "x")), "deny denied_by_rule by r");
}

#[test]
fn a_task_is_decided_like_a_call_of_its_tool_with_unknown_arguments() {
    let policies = compile(&json!([
        {"name": "r", "tools": ["x"], "requiredScopes": ["a"], "when": "args.n == 1"},
        {"name": "d", "effect": "Deny", "tools": ["x"], "when": "args.n == 2"},
        {"name": "no-y", "effect": "Deny", "tools": ["y"], "when": "tool == 'y'"},
        {"name": "y", "tools": ["y"]},
    ]));
    let task = |who: &Principal, name| {
        let context = Context {
            method: "tasks/get",
            arguments: None,
        };
        told(policies.decide(who, Action::UseTask, &tool(name), &context))
    };
    assert_eq!(task(&ann("a"), "x"), "allow by r");
    assert_eq!(task(&ann(""), "x"), "deny missing_scope by r needs a");
    assert_eq!(task(&ann("a"), "y"), "deny denied_by_rule by no-y");
    assert_eq!(task(&ann("a"), "z"), "deny no_rule");
}

#[test]
fn known_methods_need_no_rule_but_may_be_denied() {
    let none = compile(&json!([]));
    assert_eq!(
        told(method(&none, Action::UseSession, "tools/list")),
        "allow"
    );
    let policies = compile(&json!([
        {"name": "no-log", "effect": "Deny", "methods": ["logging/setLevel", "prompts/*"]},
        {"name": "bob", "effect": "Deny", "methods": ["*"], "principals": [{"subjects": ["bob"]}]},
    ]));
    assert_eq!(told(method(&policies, Action::UseSession, "ping")), "allow");
    assert_eq!(
        told(method(&policies, Action::UseSession, "logging/setLevel")),
        "deny denied_by_rule by no-log"
    );
    assert_eq!(
        told(method(&policies, Action::UseSession, "prompts/list")),
        "deny denied_by_rule by no-log"
    );
}

#[test]
fn unknown_methods_need_their_exact_name_in_every_mode() {
    let rules = json!([
        {"name": "own", "methods": ["acme/run"]},
        {"name": "more", "methods": ["acme/more"], "requiredScopes": ["a"]},
        {"name": "no", "effect": "Deny", "methods": ["acme/*"], "servers": ["billing"]},
        {"name": "all", "tools": ["*"], "prompts": ["*"], "resources": ["*"]},
    ]);
    for policies in [compile(&rules), audit(&rules)] {
        let call = |name| told(method(&policies, Action::CallMethod, name));
        assert_eq!(call("acme/run"), "allow by own");
        assert_eq!(call("acme/running"), "deny unknown_method");
        assert_eq!(call("acme/more"), "deny missing_scope by more needs a");
        assert_eq!(call("tools/call"), "deny unknown_method");
        let context = Context {
            method: "acme/run",
            arguments: None,
        };
        let billing = Resource::Server { server: "billing" };
        let decision = policies.decide(&ann(""), Action::CallMethod, &billing, &context);
        assert_eq!(told(decision), "deny denied_by_rule by no");
    }
}

#[test]
fn a_deny_of_a_method_covers_what_the_method_names() {
    let policies = compile(&json!([
        {"name": "all", "tools": ["*"], "resources": ["*"]},
        {"name": "no-calls", "effect": "Deny", "methods": ["tools/call", "resources/sub*"]},
    ]));
    assert_eq!(
        told(call(&policies, &ann(""), "x")),
        "deny denied_by_rule by no-calls"
    );
    assert!(!policies.visible(&ann(""), &tool("x")));
    let with = |action, method| {
        let context = Context {
            method,
            arguments: None,
        };
        told(policies.decide(&ann(""), action, &uri("a"), &context))
    };
    assert_eq!(with(Action::ReadResource, "resources/read"), "allow by all");
    assert_eq!(
        with(Action::SubscribeResource, "resources/subscribe"),
        "deny denied_by_rule by no-calls"
    );
    assert!(
        policies.visible(&ann(""), &uri("a")),
        "it can still be read"
    );
}

#[test]
fn ambiguous_uris_are_denied_before_any_rule_and_in_every_mode() {
    let rules = json!([{"name": "all", "resources": ["*"]}]);
    for policies in [compile(&rules), audit(&rules)] {
        for text in [
            "file:///a/../b",
            "file:///a/%2e%2e/b",
            "file:///a%2fb",
            "file:///a%5Cb",
            "file:///a\\b",
            "file:///\n",
        ] {
            for action in [
                Action::ReadResource,
                Action::SubscribeResource,
                Action::Complete,
            ] {
                let decision = policies.decide(&ann(""), action, &uri(text), &Context::default());
                assert_eq!(told(decision), "deny no_rule", "{text:?}");
            }
        }
    }
    let policies = compile(&json!([{"name": "all", "resources": ["*"], "tools": ["*"]}]));
    assert!(!policies.visible(&ann(""), &uri("file:///a/../b")));
    assert_eq!(
        told(call(&policies, &ann(""), "a/../b")),
        "allow by all",
        "a tool is no URI"
    );
}

#[test]
fn a_template_is_shown_and_completed_when_an_expansion_may_be_read() {
    let policies = compile(&json!([
        {"name": "docs", "resources": ["file:///docs/*"], "requiredScopes": ["a"]},
        {"name": "one", "resources": ["file:///notes/today"]},
        {"name": "secret", "effect": "Deny", "resources": ["file:///docs/secret/*"]},
    ]));
    let shown = |template: &str, held: &str| {
        let resource = Resource::ResourceTemplate {
            server: SERVER,
            uri_template: template,
        };
        let visible = policies.visible(&ann(held), &resource);
        let completed = policies.decide(
            &ann(held),
            Action::Complete,
            &uri(template),
            &Context::default(),
        );
        assert_eq!(
            visible,
            matches!(completed, Decision::Allow(_)),
            "{template}"
        );
        visible
    };
    assert!(shown("file:///docs/{name}", "a"));
    assert!(!shown("file:///docs/{name}", ""));
    assert!(shown("file:///{+path}", ""), "it may become the one note");
    assert!(shown("file:///notes/{day}", ""));
    assert!(!shown("file:///notes/tomorrow/{day}", "a"));
    assert!(
        !shown("file:///docs/secret/{name}", "a"),
        "every expansion is denied"
    );
    assert!(shown("{+uri}", ""));
    assert!(!shown("file:///docs/../{name}", "a"));
}

#[test]
fn lists_show_what_some_arguments_would_allow() {
    let policies = compile(&json!([
        {"name": "args", "tools": ["a"], "when": "args.n == 1"},
        {"name": "no-args", "effect": "Deny", "tools": ["a"], "when": "args.n == 2"},
        {"name": "lead", "tools": ["b"], "when": "'lead' in scopes"},
        {"name": "scoped", "tools": ["c"], "requiredScopes": ["c"]},
        {"name": "all-d", "tools": ["d*"]},
        {"name": "no-d1", "effect": "Deny", "tools": ["d1"]},
        {"name": "read", "resources": ["x"], "when": "method == 'resources/read'"},
    ]));
    for (name, held, expected) in [
        ("a", "", true),
        ("b", "", false),
        ("b", "lead", true),
        ("c", "", false),
        ("c", "c", true),
        ("d1", "", false),
        ("d2", "", true),
        ("e", "", false),
    ] {
        assert_eq!(
            policies.visible(&ann(held), &tool(name)),
            expected,
            "{name} {held}"
        );
    }
    assert!(policies.visible(&ann(""), &uri("x")));
    assert!(policies.visible(&ann(""), &Resource::Server { server: SERVER }));
}

#[test]
fn audit_lets_pass_and_marks_what_no_rule_allows() {
    let policies = audit(&json!([
        {"name": "scoped", "tools": ["a"], "requiredScopes": ["s"]},
        {"name": "b", "tools": ["b"]},
        {"name": "no-c", "effect": "Deny", "tools": ["c"]},
        {"name": "m", "models": ["m"], "requiredScopes": ["s"]},
    ]));
    assert_eq!(policies.mode(), Mode::Audit);
    assert_eq!(told(call(&policies, &ann(""), "a")), "allow in audit");
    assert_eq!(told(call(&policies, &ann("s"), "a")), "allow by scoped");
    assert_eq!(told(call(&policies, &ann(""), "b")), "allow by b");
    assert_eq!(
        told(call(&policies, &ann(""), "c")),
        "deny denied_by_rule by no-c"
    );
    assert_eq!(told(call(&policies, &ann(""), "z")), "allow in audit");
    for name in ["a", "b", "c", "z"] {
        assert!(
            policies.visible(&ann(""), &tool(name)),
            "lists are not filtered: {name}"
        );
    }
    let model = |name| {
        let resource = Resource::Model { name };
        told(policies.decide(&ann(""), Action::Chat, &resource, &Context::default()))
    };
    assert_eq!(model("m"), "deny missing_scope by m needs s");
    assert_eq!(model("n"), "deny no_rule");
    assert!(!policies.visible(&ann(""), &Resource::Model { name: "m" }));
    assert!(policies.visible(&ann("s"), &Resource::Model { name: "m" }));
}

#[test]
fn base_scopes_are_those_of_the_easiest_rule_for_everyone() {
    let policies = compile(&json!([
        {"name": "bot", "tools": ["*"], "principals": [{"clients": ["bot"]}]},
        {"name": "deny", "effect": "Deny", "tools": ["x"]},
        {"name": "model", "models": ["m"]},
        {"name": "two", "tools": ["a"], "requiredScopes": ["a", "b"]},
        {"name": "one", "tools": ["b"], "requiredScopes": ["c"]},
        {"name": "too", "tools": ["c"], "requiredScopes": ["d"]},
        {"name": "billing", "servers": ["billing"], "prompts": ["p"], "requiredScopes": []},
    ]));
    assert_eq!(policies.base_scopes("support"), scopes("c"));
    assert_eq!(policies.base_scopes("billing"), scopes(""));
    assert_eq!(compile(&json!([])).base_scopes("support"), scopes(""));
}

#[test]
fn tool_names_are_the_exact_ones() {
    let policies = compile(&json!([
        {"name": "a", "tools": ["z", "b*", "a"], "prompts": ["p"]},
        {"name": "b", "effect": "Deny", "tools": ["c", "a"]},
    ]));
    assert_eq!(policies.tool_names(), ["a", "c", "z"]);
}

#[test]
fn the_hierarchy_is_that_of_the_configuration() {
    let policies = compile(&json!([]));
    assert_eq!(
        policies.hierarchy().expand(&scopes("db:admin")),
        scopes("db:admin db:read db:write")
    );
}

#[test]
fn policies_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<PolicySet>();
    shared::<Principal>();
}
