//! A decision by names and scopes does not allocate.
//!
//! In a binary of its own, since counting replaces the allocator.

use std::sync::Arc;

use allocation_counter::measure;
use sidegate_policy::decision::Decision;
use sidegate_policy::policy_config::{Effect, PolicyConfig, RuleConfig};
use sidegate_policy::policy_set::PolicySet;
use sidegate_policy::principal::{Claims, Principal};
use sidegate_policy::resource::{Action, Context, Resource};

fn rules() -> PolicyConfig {
    let names = |name: &str| vec![name.to_owned()];
    let rule = |name: &str, tools: &str| RuleConfig {
        name: name.to_owned(),
        tools: names(tools),
        ..RuleConfig::default()
    };
    PolicyConfig {
        trust_domain: "td".to_owned(),
        rules: vec![
            RuleConfig {
                required_scopes: names("db:read"),
                ..rule("exact", "get_customer")
            },
            RuleConfig {
                required_scopes: names("db:read"),
                ..rule("pattern", "list_*")
            },
            RuleConfig {
                effect: Effect::Deny,
                ..rule("deny", "drop_*")
            },
            RuleConfig {
                when: Some("args.id == 1".to_owned()),
                ..rule("when", "set")
            },
        ],
        ..PolicyConfig::default()
    }
}

#[test]
fn an_allow_without_condition_does_not_allocate() {
    let policies = PolicySet::compile(&rules())
        .expect("rules that compile")
        .policies;
    let claims = Claims {
        issuer: "i".into(),
        subject: "s".into(),
        client_id: None,
        scopes: ["db:read", "db:write"]
            .iter()
            .map(|text| text.parse().expect("a scope"))
            .collect(),
        expires_at: 0,
        all: serde_json::Map::new(),
    };
    let principal = Principal::verified(None, Some(Arc::new(claims))).expect("a principal");
    let context = Context {
        method: "tools/call",
        arguments: Some(r#"{"id": 1}"#),
    };
    let allocations = |name, expected: &str| {
        let resource = Resource::Tool { server: "s", name };
        let mut decision = None;
        let count = measure(|| {
            decision = Some(policies.decide(&principal, Action::CallTool, &resource, &context));
        });
        let Some(Decision::Allow(permit)) = decision else {
            panic!("{name} is allowed")
        };
        assert_eq!(permit.rule(), Some(expected));
        count.count_total
    };
    assert_eq!(allocations("get_customer", "exact"), 0);
    assert_eq!(allocations("list_customers", "pattern"), 0);
    assert_ne!(allocations("set", "when"), 0, "allocations are counted");
}
