//! From rules as data to compiled ones, with everything that is wrong with
//! them.

use std::collections::{BTreeSet, HashSet};

use super::index::NameIndex;
use super::pattern::Pattern;
use super::principals::PrincipalRule;
use super::rule::Rule;
use super::{Compiled, Indexes, PolicySet, RuleIssue};
use crate::condition::{Checked, Condition};
use crate::policy_config::{Effect, PolicyConfig, PrincipalMatch, RuleConfig};
use crate::resource::is_ambiguous_uri;
use crate::scope::{Scope, ScopeHierarchy, ScopeSet};

/// Methods that are decided by what they name, with the field that names it.
const NAMING_METHODS: [(&str, &str); 7] = [
    ("tools/call", "tools"),
    ("prompts/get", "prompts"),
    ("resources/read", "resources"),
    ("resources/subscribe", "resources"),
    ("resources/unsubscribe", "resources"),
    ("subscriptions/listen", "resources"),
    ("completion/complete", "prompts` or `resources"),
];
const TASK_METHODS: &str = "tasks/";

pub(super) fn compile(config: &PolicyConfig) -> Result<Compiled, Vec<RuleIssue>> {
    let PolicyConfig {
        mode,
        trust_domain,
        scope_hierarchy,
        rules,
    } = config;
    let mut notes = Notes::default();
    let hierarchy = ScopeHierarchy::new(scope_hierarchy.clone()).unwrap_or_else(|error| {
        notes.issue("scopeHierarchy", error.to_string());
        ScopeHierarchy::default()
    });
    let mut conditions = Condition::compile_all(rules).into_iter();
    let mut names = HashSet::new();
    let mut drafts = Vec::with_capacity(rules.len());
    for (at, rule) in rules.iter().enumerate() {
        notes.rule = at;
        if !names.insert(rule.name.as_str()) {
            notes.issue(
                "name",
                format!("`{}` is the name of another rule too", rule.name),
            );
        }
        drafts.push(draft(rule, conditions.next().flatten(), &mut notes));
    }
    let Notes {
        issues,
        warnings,
        rule: _,
    } = notes;
    if !issues.is_empty() {
        return Err(issues);
    }
    let tool_names: BTreeSet<&str> = drafts
        .iter()
        .flat_map(|draft| &draft.tools)
        .filter(|pattern| !pattern.is_prefix)
        .map(|pattern| &*pattern.text)
        .collect();
    let policies = PolicySet {
        mode: *mode,
        trust_domain: trust_domain.as_str().into(),
        hierarchy,
        tool_names: tool_names.into_iter().map(str::to_owned).collect(),
        base_rules: base_rules(&drafts),
        allow: Indexes::new(&drafts, Effect::Allow),
        deny: Indexes::new(&drafts, Effect::Deny),
        rules: drafts.into_iter().map(|draft| draft.rule).collect(),
    };
    Ok(Compiled { policies, warnings })
}

/// A rule with its names, before they go into the indexes.
#[derive(Debug)]
struct Draft {
    rule: Rule,
    tools: Vec<Pattern>,
    prompts: Vec<Pattern>,
    resources: Vec<Pattern>,
    models: Vec<Pattern>,
    methods: Vec<Pattern>,
}

/// What is found on the way.
#[derive(Debug, Default)]
struct Notes {
    rule: usize,
    issues: Vec<RuleIssue>,
    warnings: Vec<RuleIssue>,
}

impl Notes {
    fn issue(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.issues.push(RuleIssue {
            rule: self.rule,
            field: field.into(),
            message: message.into(),
        });
    }

    fn warn(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.warnings.push(RuleIssue {
            rule: self.rule,
            field: field.into(),
            message: message.into(),
        });
    }
}

fn draft(
    config: &RuleConfig,
    condition: Option<Result<Checked, Vec<String>>>,
    notes: &mut Notes,
) -> Draft {
    let RuleConfig {
        name,
        effect,
        servers,
        tools,
        prompts,
        resources,
        models,
        methods,
        required_scopes,
        principals,
        when: _,
    } = config;
    if name.is_empty() {
        notes.issue(
            "name",
            "is empty: audit lines and answers name the rule by it",
        );
    }
    if [tools, prompts, resources, models, methods]
        .iter()
        .all(|names| names.is_empty())
    {
        notes.issue(
            "tools",
            "the rule names nothing: fill one of `tools`, `prompts`, `resources`, `models`, `methods`; [\"*\"] is all",
        );
    }
    if !servers.is_empty() && !models.is_empty() {
        notes.issue(
            "models",
            "are not behind a server: put them into a rule without `servers`",
        );
    }
    check_resources(resources, notes);
    check_methods(*effect, methods, notes);
    Draft {
        tools: patterns("tools", tools, notes),
        prompts: patterns("prompts", prompts, notes),
        resources: patterns("resources", resources, notes),
        models: patterns("models", models, notes),
        methods: patterns("methods", methods, notes),
        rule: Rule {
            name: name.as_str().into(),
            effect: *effect,
            servers: patterns("servers", servers, notes),
            required_scopes: scopes(*effect, required_scopes, notes),
            principals: principal_rules(principals, notes),
            condition: condition.and_then(|checked| take_condition(*effect, checked, notes)),
        },
    }
}

fn patterns(field: &str, names: &[String], notes: &mut Notes) -> Vec<Pattern> {
    let mut patterns = Vec::with_capacity(names.len());
    for (at, name) in names.iter().enumerate() {
        match Pattern::parse(name) {
            Ok(pattern) => patterns.push(pattern),
            Err(message) => notes.issue(format!("{field}[{at}]"), message),
        }
    }
    patterns
}

/// Ambiguous URIs are denied before a rule is looked at, so a rule for one is
/// not an error, but not of use either.
fn check_resources(uris: &[String], notes: &mut Notes) {
    for (at, uri) in uris.iter().enumerate() {
        // The last segment of a prefix is open: `/a/.*` is about `/a/.hidden`.
        let complete = match uri.strip_suffix('*') {
            Some(prefix) => prefix.rsplit_once('/').map_or("", |(complete, _)| complete),
            None => uri,
        };
        if is_ambiguous_uri(complete) {
            notes.warn(
                format!("resources[{at}]"),
                "never matches: URIs with dot segments, encoded slashes, backslashes or control characters are always denied",
            );
        }
    }
}

fn check_methods(effect: Effect, methods: &[String], notes: &mut Notes) {
    if effect == Effect::Deny {
        return;
    }
    for (at, method) in methods.iter().enumerate() {
        let naming = NAMING_METHODS.iter().find(|(name, _)| name == method);
        let message = if let Some((_, field)) = naming {
            format!("`{method}` is decided by what it names: use `{field}`")
        } else if method.starts_with(TASK_METHODS) {
            format!("`{method}` is decided by what it names: use `tools`")
        } else if method.ends_with('*') {
            "a pattern never opens methods: write the exact name of each".to_owned()
        } else {
            continue;
        };
        notes.issue(format!("methods[{at}]"), message);
    }
}

fn scopes(effect: Effect, texts: &[String], notes: &mut Notes) -> ScopeSet {
    if effect == Effect::Deny && !texts.is_empty() {
        notes.issue(
            "requiredScopes",
            "a Deny rule has none: whoever lacks them would be let through; use an Allow rule",
        );
    }
    let mut scopes = Vec::with_capacity(texts.len());
    for (at, text) in texts.iter().enumerate() {
        match text.parse::<Scope>() {
            Ok(scope) => scopes.push(scope),
            Err(error) => notes.issue(format!("requiredScopes[{at}]"), error.to_string()),
        }
    }
    scopes.into_iter().collect()
}

fn principal_rules(entries: &[PrincipalMatch], notes: &mut Notes) -> Vec<PrincipalRule> {
    let mut rules = Vec::with_capacity(entries.len());
    for (at, entry) in entries.iter().enumerate() {
        match PrincipalRule::compile(entry) {
            Ok(rule) => rules.push(rule),
            Err(issues) => {
                for (field, message) in issues {
                    notes.issue(format!("principals[{at}]{field}"), message);
                }
            }
        }
        let literal = entry.subjects.iter().chain(&entry.clients);
        if literal.into_iter().any(|text| text.ends_with('*')) {
            notes.warn(
                format!("principals[{at}]"),
                "a `*` is an ordinary character in the description of a principal",
            );
        }
    }
    rules
}

fn take_condition(
    effect: Effect,
    checked: Result<Checked, Vec<String>>,
    notes: &mut Notes,
) -> Option<Condition> {
    match checked {
        Ok(checked) => {
            for warning in checked.warnings_for(effect) {
                notes.warn("when", warning);
            }
            Some(checked.condition)
        }
        Err(messages) => {
            for message in messages {
                notes.issue("when", message);
            }
            None
        }
    }
}

/// The rules that say what to sign in with: for everyone, about something on
/// MCP servers.
fn base_rules(drafts: &[Draft]) -> Vec<u32> {
    let mut rules: Vec<(usize, u32)> = (0..)
        .zip(drafts)
        .filter(|(_, draft)| {
            let Draft {
                rule,
                tools,
                prompts,
                resources,
                models: _,
                methods,
            } = draft;
            rule.effect == Effect::Allow
                && rule.principals.is_empty()
                && [tools, prompts, resources, methods]
                    .iter()
                    .any(|names| !names.is_empty())
        })
        .map(|(at, draft)| (draft.rule.required_scopes.len(), at))
        .collect();
    rules.sort_unstable();
    rules.into_iter().map(|(_, at)| at).collect()
}

impl Indexes {
    fn new(drafts: &[Draft], effect: Effect) -> Self {
        let index = |names: fn(&Draft) -> &[Pattern]| {
            let of_effect = (0..)
                .zip(drafts)
                .filter(|(_, draft)| draft.rule.effect == effect);
            NameIndex::new(
                of_effect
                    .flat_map(|(at, draft)| names(draft).iter().map(move |pattern| (at, pattern))),
            )
        };
        Self {
            tools: index(|draft| &draft.tools),
            prompts: index(|draft| &draft.prompts),
            resources: index(|draft| &draft.resources),
            models: index(|draft| &draft.models),
            methods: index(|draft| &draft.methods),
        }
    }
}
