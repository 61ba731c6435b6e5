//! What a decision costs with 10 rules and with 10,000.
//!
//! Prints the time per decision and its ratio; a decision must not cost more
//! for rules that do not name what is asked for.

use std::error::Error;
use std::hint::black_box;
use std::io::{Write, stdout};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sidegate_policy::policy_config::{Effect, PolicyConfig, RuleConfig};
use sidegate_policy::policy_set::PolicySet;
use sidegate_policy::principal::{Claims, Principal};
use sidegate_policy::resource::{Action, Context, Resource};
use sidegate_policy::scope::Scope;

const FEW: usize = 10;
const MANY: usize = 10_000;
/// As many as a resource may hold.
const RESOURCE_RULES: usize = 1_000;
const ROUNDS: usize = 9;
const DECISIONS: u32 = 200_000;

/// A way to write rules, and what is asked of them.
struct Case {
    name: &'static str,
    rule: fn(usize) -> RuleConfig,
    asked: fn(usize) -> String,
    arguments: Option<&'static str>,
}

const CASES: [Case; 5] = [
    Case {
        name: "exact names",
        rule: |at| RuleConfig {
            tools: vec![format!("tool_{at:05}")],
            ..rule(at)
        },
        asked: |at| format!("tool_{at:05}"),
        arguments: None,
    },
    Case {
        name: "patterns",
        rule: |at| RuleConfig {
            tools: vec![format!("group_{at:05}_*")],
            ..rule(at)
        },
        asked: |at| format!("group_{at:05}_get"),
        arguments: None,
    },
    Case {
        name: "patterns, none matches",
        rule: |at| RuleConfig {
            tools: vec![format!("group_{at:05}_*")],
            ..rule(at)
        },
        asked: |_| "another_tool_of_that_length".to_owned(),
        arguments: None,
    },
    Case {
        name: "half of them Deny",
        rule: |at| RuleConfig {
            tools: vec![format!("tool_{at:05}")],
            effect: if at % 2 == 0 {
                Effect::Allow
            } else {
                Effect::Deny
            },
            required_scopes: if at % 2 == 0 { scopes() } else { Vec::new() },
            ..rule(at)
        },
        asked: |at| format!("tool_{at:05}"),
        arguments: None,
    },
    Case {
        name: "one condition on arguments",
        rule: |at| RuleConfig {
            tools: vec![format!("tool_{at:05}")],
            when: Some("has(args.id) && args.id.startsWith('c-')".to_owned()),
            ..rule(at)
        },
        asked: |at| format!("tool_{at:05}"),
        arguments: Some(r#"{"id": "c-42", "fields": ["name", "address"]}"#),
    },
];

fn main() -> Result<(), Box<dyn Error>> {
    let principal = principal()?;
    let mut out = stdout().lock();
    writeln!(
        out,
        "{:<28} {FEW:>10} {MANY:>10} {:>7}",
        "time per decision", "ratio"
    )?;
    for case in &CASES {
        let asked = (case.asked)(FEW / 2 - 1);
        let few = compile(case, FEW)?;
        let many = compile(case, MANY)?;
        let (few, many) = time(&few, &many, &principal, &asked, case.arguments);
        let ratio = many.as_secs_f64() / few.as_secs_f64();
        let (few, many) = (few.as_nanos(), many.as_nanos());
        writeln!(
            out,
            "{:<28} {few:>7} ns {many:>7} ns {ratio:>7.2}",
            case.name
        )?;
    }
    for case in &CASES {
        let start = Instant::now();
        black_box(compile(case, RESOURCE_RULES)?);
        let took = start.elapsed().as_micros();
        writeln!(
            out,
            "compile {RESOURCE_RULES} rules, {:<28} {took:>7} us",
            case.name
        )?;
    }
    Ok(())
}

fn scopes() -> Vec<String> {
    vec!["db:read".to_owned()]
}

fn rule(at: usize) -> RuleConfig {
    RuleConfig {
        name: format!("rule-{at}"),
        required_scopes: scopes(),
        ..RuleConfig::default()
    }
}

fn compile(case: &Case, rules: usize) -> Result<PolicySet, Box<dyn Error>> {
    let config = PolicyConfig {
        trust_domain: "td".to_owned(),
        rules: (0..rules).map(case.rule).collect(),
        ..PolicyConfig::default()
    };
    match PolicySet::compile(&config) {
        Ok(compiled) => Ok(compiled.policies),
        Err(issues) => Err(format!("{issues:?}").into()),
    }
}

fn principal() -> Result<Principal, Box<dyn Error>> {
    let claims = Claims {
        issuer: "https://idp.example.com".into(),
        subject: "ann".into(),
        client_id: None,
        scopes: ["db:read", "db:write"]
            .iter()
            .map(|scope| scope.parse::<Scope>())
            .collect::<Result<_, _>>()?,
        expires_at: i64::MAX,
        all: serde_json::Map::new(),
    };
    Principal::verified(None, Some(Arc::new(claims))).ok_or_else(|| "nobody".into())
}

/// The best of several rounds, taken in turns so that a slow moment of the
/// machine meets both.
fn time(
    few: &PolicySet,
    many: &PolicySet,
    principal: &Principal,
    asked: &str,
    arguments: Option<&str>,
) -> (Duration, Duration) {
    let mut best = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        best.0 = best.0.min(round(few, principal, asked, arguments));
        best.1 = best.1.min(round(many, principal, asked, arguments));
    }
    best
}

fn round(
    policies: &PolicySet,
    principal: &Principal,
    asked: &str,
    arguments: Option<&str>,
) -> Duration {
    let resource = Resource::Tool {
        server: "support",
        name: asked,
    };
    let context = Context {
        method: "tools/call",
        arguments,
    };
    let start = Instant::now();
    for _ in 0..DECISIONS {
        let (principal, resource) = (black_box(principal), black_box(&resource));
        let _ = black_box(policies.decide(principal, Action::CallTool, resource, &context));
    }
    start.elapsed() / DECISIONS
}
