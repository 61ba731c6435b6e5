//! The laws of decisions, over random rules and questions, and a second
//! implementation that looks at every rule.

use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;
use crate::policy_config::{Effect, PrincipalMatch, RuleConfig};
use crate::principal::{Claims, PeerIdentity};

const READS_ARGS: &str = "has(args.x) && args.x == 1";
const NEEDS_A: &str = "'a' in scopes";
const LACKS_A: &str = "!('a' in scopes)";
const IS_T1: &str = "tool == 't1'";
const FAILS: &str = "1 / 0 == 1";

/// A question with everything that it is decided by.
#[derive(Debug, Clone)]
struct Asked {
    action: Action,
    server: String,
    name: String,
    method: String,
    arguments: Option<String>,
}

/// A decision as a value.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    allowed: bool,
    rule: Option<String>,
    audited: bool,
    reason: Option<DenialReason>,
    missing: String,
}

impl Told {
    fn of(decision: Decision) -> Self {
        match decision {
            Decision::Allow(permit) => Self {
                allowed: true,
                rule: permit.rule().map(str::to_owned),
                audited: permit.audited(),
                reason: None,
                missing: String::new(),
            },
            Decision::Deny(denial) => Self {
                allowed: false,
                rule: denial.rule.map(|rule| rule.to_string()),
                audited: false,
                reason: Some(denial.reason),
                missing: denial.missing_scopes.to_string(),
            },
        }
    }

    fn allow(rule: Option<&RuleConfig>, audited: bool) -> Self {
        let rule = rule.map(|rule| rule.name.clone());
        Self {
            allowed: true,
            rule,
            audited,
            reason: None,
            missing: String::new(),
        }
    }

    fn deny(reason: DenialReason, rule: Option<&RuleConfig>, missing: &ScopeSet) -> Self {
        let rule = rule.map(|rule| rule.name.clone());
        let missing = missing.to_string();
        Self {
            allowed: false,
            rule,
            audited: false,
            reason: Some(reason),
            missing,
        }
    }
}

impl Asked {
    fn resource(&self) -> Resource<'_> {
        let (server, name) = (self.server.as_str(), self.name.as_str());
        match self.action {
            Action::CallTool | Action::UseTask => Resource::Tool { server, name },
            Action::GetPrompt => Resource::Prompt { server, name },
            Action::ReadResource | Action::SubscribeResource | Action::Complete => {
                Resource::McpResource { server, uri: name }
            }
            Action::UseSession | Action::CallMethod => Resource::Server { server },
            Action::Chat => Resource::Model { name },
        }
    }

    fn ask(&self, policies: &PolicySet, who: &Principal) -> Told {
        let context = Context {
            method: &self.method,
            arguments: self.arguments.as_deref(),
        };
        Told::of(policies.decide(who, self.action, &self.resource(), &context))
    }
}

fn compile(config: &PolicyConfig) -> PolicySet {
    PolicySet::compile(config)
        .unwrap_or_else(|issues| panic!("{config:?} {issues:?}"))
        .policies
}

// === the second implementation ===

fn decide_slowly(config: &PolicyConfig, who: &Principal, asked: &Asked) -> Told {
    let held = who.scopes().clone();
    let matching = |effect, scopes: &ScopeSet| {
        let scopes = scopes.clone();
        config.rules.iter().filter(move |rule| {
            rule.effect == effect && names(rule, asked) && fits(rule, config, who, asked, &scopes)
        })
    };
    let required = |rule: &RuleConfig| set(&rule.required_scopes.join(" "));
    if matches!(asked.resource(), Resource::McpResource { uri, .. } if uri.contains("/../")) {
        return Told::deny(DenialReason::NoRule, None, &ScopeSet::default());
    }
    if let Some(rule) = matching(Effect::Deny, &held).next() {
        return Told::deny(DenialReason::DeniedByRule, Some(rule), &ScopeSet::default());
    }
    if asked.action == Action::UseSession {
        return Told::allow(None, false);
    }
    let mut allowing = matching(Effect::Allow, &held);
    if let Some(rule) = allowing.find(|rule| held.contains_all(&required(rule))) {
        return Told::allow(Some(rule), false);
    }
    if config.mode == Mode::Audit && !matches!(asked.action, Action::CallMethod | Action::Chat) {
        return Told::allow(None, true);
    }
    let hierarchy = ScopeHierarchy::new(config.scope_hierarchy.clone()).expect("a hierarchy");
    let curable = config.rules.iter().filter(|rule| {
        let with = hierarchy.expand(&held.union(&required(rule)));
        rule.effect == Effect::Allow
            && !held.contains_all(&required(rule))
            && names(rule, asked)
            && fits(rule, config, who, asked, &with)
    });
    let unmet = config.rules.iter().find(|rule| {
        let unconditional = RuleConfig {
            when: None,
            ..(*rule).clone()
        };
        rule.effect == Effect::Allow
            && rule.when.is_some()
            && held.contains_all(&required(rule))
            && names(rule, asked)
            && fits(&unconditional, config, who, asked, &held)
    });
    let missing = |rule: &RuleConfig| required(rule).difference(&held);
    match curable.min_by_key(|rule| missing(rule).len()) {
        Some(rule) => Told::deny(DenialReason::MissingScope, Some(rule), &missing(rule)),
        None if unmet.is_some() => {
            Told::deny(DenialReason::ConditionNotMet, unmet, &ScopeSet::default())
        }
        None if asked.action == Action::CallMethod => {
            Told::deny(DenialReason::UnknownMethod, None, &ScopeSet::default())
        }
        None => Told::deny(DenialReason::NoRule, None, &ScopeSet::default()),
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    pattern
        .strip_suffix('*')
        .map_or(pattern == name, |prefix| name.starts_with(prefix))
}

fn names(rule: &RuleConfig, asked: &Asked) -> bool {
    let any = |patterns: &[String], name: &str| patterns.iter().any(|p| matches(p, name));
    let by_method = any(&rule.methods, &asked.method);
    let by_name = match asked.action {
        Action::CallTool | Action::UseTask => any(&rule.tools, &asked.name),
        Action::GetPrompt => any(&rule.prompts, &asked.name),
        Action::ReadResource | Action::SubscribeResource => any(&rule.resources, &asked.name),
        Action::Complete => rule.resources.iter().any(|pattern| {
            let Some((literal, _)) = asked.name.split_once('{') else {
                return matches(pattern, &asked.name);
            };
            let covers_all = pattern.ends_with('*') && matches(pattern, literal);
            let prefix = pattern.trim_end_matches('*');
            covers_all || rule.effect == Effect::Allow && prefix.starts_with(literal)
        }),
        Action::Chat => any(&rule.models, &asked.name),
        Action::UseSession => false,
        Action::CallMethod => by_method,
    };
    by_name || rule.effect == Effect::Deny && by_method
}

fn fits(
    rule: &RuleConfig,
    config: &PolicyConfig,
    who: &Principal,
    asked: &Asked,
    scopes: &ScopeSet,
) -> bool {
    let server = if asked.action == Action::Chat {
        None
    } else {
        Some(asked.server.as_str())
    };
    let on_server = rule.servers.is_empty()
        || server.is_some_and(|server| rule.servers.iter().any(|name| matches(name, server)));
    let by_principal = rule.principals.is_empty()
        || rule.principals.iter().any(|entry| {
            let subject = who.claims().map(|claims| claims.subject.to_string());
            let account = who.peer().and_then(|peer| peer.spiffe_id()).and_then(|id| {
                let (namespace, name) = id.service_account()?;
                (id.trust_domain() == config.trust_domain).then(|| format!("{namespace}/{name}"))
            });
            let one_of = |list: &[String], value: Option<String>| {
                list.is_empty() || value.is_some_and(|value| list.contains(&value))
            };
            one_of(&entry.subjects, subject) && one_of(&entry.service_accounts, account)
        });
    on_server && by_principal && condition(rule, asked, scopes)
}

fn condition(rule: &RuleConfig, asked: &Asked, scopes: &ScopeSet) -> bool {
    match rule.when.as_deref() {
        None => true,
        Some(READS_ARGS) if asked.action == Action::UseTask => rule.effect == Effect::Allow,
        Some(READS_ARGS) => match asked.arguments.as_deref() {
            None | Some("{}") => false,
            Some(arguments) => arguments == r#"{"x":1}"#,
        },
        Some(NEEDS_A) => scopes.contains("a"),
        Some(LACKS_A) => !scopes.contains("a"),
        Some(IS_T1) => {
            matches!(asked.action, Action::CallTool | Action::UseTask) && asked.name == "t1"
        }
        Some(FAILS) => rule.effect == Effect::Deny,
        Some(other) => panic!("no second implementation of {other}"),
    }
}

// === random rules and questions ===

fn set(text: &str) -> ScopeSet {
    text.split_whitespace()
        .map(|scope| scope.parse().expect("a scope"))
        .collect()
}

fn some_of(all: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    subsequence(all, 0..=all.len().min(2))
        .prop_map(|some| some.into_iter().map(str::to_owned).collect())
}

/// Rules by which a further scope never denies.
fn any_rule() -> impl Strategy<Value = RuleConfig> {
    let principals = select(vec![
        vec![],
        vec![],
        vec![PrincipalMatch {
            subjects: vec!["ann".to_owned()],
            ..Default::default()
        }],
        vec![
            PrincipalMatch {
                subjects: vec!["bob".to_owned()],
                ..Default::default()
            },
            PrincipalMatch {
                service_accounts: vec!["ns/sa".to_owned()],
                ..Default::default()
            },
        ],
    ]);
    let names = (
        some_of(&["t1", "t2", "t*", "*", "x*", "t1*"]),
        some_of(&["p1", "p*", "*"]),
        some_of(&["r://a/x", "r://a/*", "r://*", "r://b/", "*", "r://a/x/*"]),
        some_of(&["m1", "m*"]),
        some_of(&["acme/run", "acme/stop"]),
        some_of(&["tools/*", "acme/*", "resources/read", "ping", "*"]),
    );
    let rest = (
        any::<bool>(),
        some_of(&["s1", "s*"]),
        some_of(&["a", "b", "c"]),
        principals,
        select(vec![
            None,
            None,
            None,
            Some(READS_ARGS),
            Some(NEEDS_A),
            Some(IS_T1),
            Some(FAILS),
        ]),
    );
    (names, rest).prop_map(|(names, (allow, servers, required, principals, when))| {
        let (mut tools, prompts, resources, models, methods, denied_methods) = names;
        let models = if servers.is_empty() {
            models
        } else {
            Vec::new()
        };
        let methods = if allow { methods } else { denied_methods };
        if [&tools, &prompts, &resources, &models, &methods]
            .iter()
            .all(|names| names.is_empty())
        {
            tools.push("t1".to_owned());
        }
        let when = if allow {
            when
        } else {
            when.map(|w| if w == NEEDS_A { LACKS_A } else { w })
        };
        RuleConfig {
            name: String::new(),
            effect: if allow { Effect::Allow } else { Effect::Deny },
            servers,
            tools,
            prompts,
            resources,
            models,
            methods,
            required_scopes: if allow { required } else { Vec::new() },
            principals,
            when: when.map(str::to_owned),
        }
    })
}

fn any_policy() -> impl Strategy<Value = PolicyConfig> {
    let rules = prop::collection::vec(any_rule(), 0..8);
    (rules, prop::bool::weighted(0.2)).prop_map(|(mut rules, audit)| {
        for (at, rule) in rules.iter_mut().enumerate() {
            rule.name = format!("rule-{at}");
        }
        PolicyConfig {
            mode: if audit { Mode::Audit } else { Mode::Enforce },
            trust_domain: "td".to_owned(),
            scope_hierarchy: [("c".to_owned(), vec!["a".to_owned()])].into(),
            rules,
        }
    })
}

fn principal(subject: Option<&str>, id: Option<&str>, held: &ScopeSet) -> Option<Principal> {
    let hierarchy = ScopeHierarchy::new([("c".to_owned(), vec!["a".to_owned()])].into());
    let scopes = hierarchy.expect("a hierarchy").expand(held);
    let claims = subject.map(|subject| {
        Arc::new(Claims {
            issuer: "i".into(),
            subject: subject.into(),
            client_id: None,
            scopes,
            expires_at: 0,
            all: serde_json::Map::new(),
        })
    });
    let peer = id.map(|id| PeerIdentity::new(Some(id.parse().expect("an id"))));
    Principal::verified(peer, claims)
}

type Who = (Option<&'static str>, Option<&'static str>, String);

fn any_who() -> impl Strategy<Value = Who> {
    (
        select(vec![Some("ann"), Some("bob"), None]),
        select(vec![
            None,
            Some("spiffe://td/ns/ns/sa/sa"),
            Some("spiffe://other/ns/ns/sa/sa"),
        ]),
        "([abc] ){0,3}",
    )
        .prop_filter("somebody", |(subject, id, _)| {
            subject.is_some() || id.is_some()
        })
}

fn known((subject, id, held): &Who, more: &str) -> Principal {
    principal(*subject, *id, &set(&format!("{held} {more}"))).expect("somebody")
}

fn any_question() -> impl Strategy<Value = Asked> {
    let questions: Vec<(Action, &[&str], &[&str])> = vec![
        (
            Action::CallTool,
            &["t1", "t2", "t12", "x", "y"],
            &["tools/call"],
        ),
        (Action::UseTask, &["t1", "t2", "x"], &["tasks/get"]),
        (Action::GetPrompt, &["p1", "p2", "q"], &["prompts/get"]),
        (
            Action::ReadResource,
            &["r://a/x", "r://a/y", "r://b/", "r://a/../b"],
            &["resources/read"],
        ),
        (
            Action::SubscribeResource,
            &["r://a/x", "s"],
            &["resources/subscribe"],
        ),
        (
            Action::Complete,
            &["r://a/x", "r://a/{n}", "r://a/x/{n}", "{+u}", "r://c/{n}"],
            &["completion/complete"],
        ),
        (Action::UseSession, &[""], &["ping", "tools/list"]),
        (Action::CallMethod, &[""], &["acme/run", "acme/walk"]),
        (Action::Chat, &["m1", "m2", "n"], &[""]),
    ];
    let question = select(questions)
        .prop_flat_map(|(action, names, methods)| (Just(action), select(names), select(methods)));
    let arguments = select(vec![
        None,
        Some("{}"),
        Some(r#"{"x":1}"#),
        Some(r#"{"x":2}"#),
    ]);
    (question, select(vec!["s1", "s2", "o"]), arguments).prop_map(
        |((action, name, method), server, arguments)| Asked {
            action,
            server: server.to_owned(),
            name: name.to_owned(),
            method: method.to_owned(),
            arguments: arguments.map(str::to_owned),
        },
    )
}

fn questions() -> impl Strategy<Value = Vec<Asked>> {
    prop::collection::vec(any_question(), 8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_index_decides_like_looking_at_every_rule(
        policy in any_policy(), who in any_who(), asked in questions(),
    ) {
        let policies = compile(&policy);
        let who = known(&who, "");
        for asked in &asked {
            let expected = decide_slowly(&policy, &who, asked);
            prop_assert_eq!(asked.ask(&policies, &who), expected, "{:?}", asked);
        }
    }

    #[test]
    fn a_further_scope_never_denies(
        policy in any_policy(), who in any_who(), more in "[abc]", asked in questions(),
    ) {
        let policies = compile(&policy);
        let (before, after) = (known(&who, ""), known(&who, &more));
        for asked in asked.iter().filter(|asked| asked.ask(&policies, &before).allowed) {
            prop_assert!(asked.ask(&policies, &after).allowed, "{:?}", asked);
        }
    }

    #[test]
    fn the_missing_scopes_cure_a_denial(
        policy in any_policy(), who in any_who(), asked in questions(),
    ) {
        let policies = compile(&policy);
        for asked in &asked {
            let told = asked.ask(&policies, &known(&who, ""));
            let is_missing = told.reason == Some(DenialReason::MissingScope);
            prop_assert_eq!(is_missing, !told.missing.is_empty());
            if is_missing && who.0.is_some() {
                let cured = known(&who, &told.missing);
                prop_assert!(asked.ask(&policies, &cured).allowed, "{:?}", asked);
            }
        }
    }

    #[test]
    fn removing_an_allow_rule_never_allows(
        policy in any_policy(), at in any::<prop::sample::Index>(), who in any_who(), asked in questions(),
    ) {
        let who = known(&who, "");
        let allowing: Vec<usize> = (0..policy.rules.len())
            .filter(|at| policy.rules[*at].effect == Effect::Allow)
            .collect();
        if !allowing.is_empty() {
            let mut fewer = policy.clone();
            fewer.rules.remove(allowing[at.index(allowing.len())]);
            let (before, after) = (compile(&policy), compile(&fewer));
            for asked in asked.iter().filter(|asked| !asked.ask(&before, &who).allowed) {
                prop_assert!(!asked.ask(&after, &who).allowed, "{:?}", asked);
            }
        }
    }

    #[test]
    fn adding_a_deny_rule_never_allows(
        policy in any_policy(), rule in any_rule(), who in any_who(), asked in questions(),
    ) {
        let who = known(&who, "");
        let mut more = policy.clone();
        more.rules.push(RuleConfig {
            name: "added".to_owned(),
            effect: Effect::Deny,
            required_scopes: Vec::new(),
            ..rule
        });
        let (before, after) = (compile(&policy), compile(&more));
        for asked in asked.iter().filter(|asked| !asked.ask(&before, &who).allowed) {
            prop_assert!(!asked.ask(&after, &who).allowed, "{:?}", asked);
        }
    }

    #[test]
    fn the_order_of_rules_decides_nothing(
        (policy, shuffled) in any_policy().prop_flat_map(|policy| {
            let rules = Just(policy.rules.clone()).prop_shuffle();
            (Just(policy), rules)
        }),
        who in any_who(), asked in questions(),
    ) {
        let who = known(&who, "");
        let policies = compile(&policy);
        let others = compile(&PolicyConfig { rules: shuffled, ..policy });
        for asked in &asked {
            let (told, other) = (asked.ask(&policies, &who), asked.ask(&others, &who));
            prop_assert_eq!(told.allowed, other.allowed, "{:?}", asked);
            prop_assert_eq!(told.reason, other.reason, "{:?}", asked);
            let counts = (told.missing.split(' ').count(), other.missing.split(' ').count());
            prop_assert_eq!(counts.0, counts.1, "{:?}", asked);
        }
    }

    #[test]
    fn what_is_allowed_with_some_arguments_is_visible(
        policy in any_policy(), who in any_who(), asked in questions(),
    ) {
        let policies = compile(&policy);
        let who = known(&who, "");
        let uses = |asked: &&Asked| {
            !matches!(
                asked.action,
                Action::Complete | Action::UseTask | Action::UseSession | Action::CallMethod
            )
        };
        for asked in asked.iter().filter(uses) {
            if asked.ask(&policies, &who).allowed {
                prop_assert!(policies.visible(&who, &asked.resource()), "{:?}", asked);
            }
        }
    }

    #[test]
    fn what_is_not_visible_is_allowed_with_no_arguments(
        policy in any_policy(), who in any_who(), asked in questions(),
    ) {
        let policies = compile(&policy);
        let who = known(&who, "");
        for asked in asked.iter().filter(|asked| asked.action == Action::CallTool) {
            if !policies.visible(&who, &asked.resource()) {
                for arguments in [None, Some("{}"), Some(r#"{"x":1}"#), Some(r#"{"x":2}"#)] {
                    let with = Asked { arguments: arguments.map(str::to_owned), ..asked.clone() };
                    prop_assert!(!with.ask(&policies, &who).allowed, "{:?}", with);
                }
            }
        }
    }
}
