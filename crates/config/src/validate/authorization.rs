//! `spec.authorization`: to a policy, and through its compiler.

use std::collections::{BTreeMap, HashSet};

use sidegate_api::gateway::{Authorization, Effect, Mode, PrincipalMatch, Rule, TlsMode};
use sidegate_policy::policy_config::{self, PolicyConfig, RuleConfig};
use sidegate_policy::policy_set::{PolicySet, RuleIssue};
use sidegate_policy::scope::Scope;

use super::{Bounds, Check, names};
use crate::documents::path;

const MAX_RULES: usize = 1_000;
const MAX_PRINCIPALS: usize = 32;

const MAX_HIERARCHY: usize = 256;
const INCLUDED: Bounds = Bounds {
    items: 0..=64,
    chars: 256,
};

const RULES: &str = "spec.authorization.rules";
const HIERARCHY: &str = "spec.authorization.scopeHierarchy";

pub(super) fn check(check: &mut Check<'_>) -> PolicyConfig {
    let Authorization {
        mode,
        scope_hierarchy,
        rules,
    } = &check.spec.authorization;
    if rules.is_empty() {
        check.warn(RULES, "there is no rule, so every call is denied");
    }
    check.at_most(RULES, rules.len(), MAX_RULES);
    if *mode == Mode::Audit {
        let message = "Audit: calls to MCP servers that no rule allows pass, and are marked";
        check.warn("spec.authorization.mode", message);
    }
    check_hierarchy(check, scope_hierarchy);
    for (index, rule) in rules.iter().enumerate() {
        check_rule(check, &format!("{RULES}[{index}]"), rule);
    }
    let policy = PolicyConfig {
        mode: match mode {
            Mode::Enforce => policy_config::Mode::Enforce,
            Mode::Audit => policy_config::Mode::Audit,
        },
        trust_domain: check.options.trust_domain.clone(),
        scope_hierarchy: scope_hierarchy.clone(),
        rules: rules.iter().map(rule_config).collect(),
    };
    match PolicySet::compile(&policy) {
        Ok(compiled) => {
            for issue in compiled.warnings {
                check.warn(&field_of(&issue), &issue.message);
            }
        }
        Err(issues) => {
            let hierarchy = check
                .violations
                .iter()
                .any(|it| it.field().starts_with(HIERARCHY));
            for issue in issues {
                let field = field_of(&issue);
                let known = check.has_refused(&field) || (hierarchy && field == HIERARCHY);
                if !known {
                    check.refuse(&field, issue.message);
                }
            }
        }
    }
    policy
}

/// The compiler stops at the first scope that is none; people fix all at once.
fn check_hierarchy(check: &mut Check<'_>, hierarchy: &BTreeMap<String, Vec<String>>) {
    check.at_most(HIERARCHY, hierarchy.len(), MAX_HIERARCHY);
    let scope = |text: &str| {
        text.parse::<Scope>()
            .map(drop)
            .map_err(|error| error.to_string())
    };
    for (name, included) in hierarchy {
        let field = path::key(HIERARCHY, name);
        check.refuse_err(&field, scope(name));
        check.texts(&field, included, &INCLUDED, scope);
    }
}

fn field_of(issue: &RuleIssue) -> String {
    if issue.field.starts_with("scopeHierarchy") {
        return format!("spec.authorization.{}", issue.field);
    }
    format!("{RULES}[{}].{}", issue.rule, issue.field)
}

/// What the compiler does not look at: bounds, and what other parts of the
/// gateway say.
fn check_rule(check: &mut Check<'_>, field: &str, rule: &Rule) {
    let Rule {
        name,
        effect: _,
        servers,
        tools,
        prompts,
        resources,
        models,
        methods,
        required_scopes,
        principals,
        when: _,
    } = rule;
    if !name.is_empty() && !names::is_dns_label(name) {
        check.refuse(&format!("{field}.name"), names::DNS_LABEL);
    }
    for (list, texts, most, chars) in [
        ("servers", servers, 32, 63),
        ("tools", tools, 256, 256),
        ("prompts", prompts, 256, 256),
        ("resources", resources, 64, 2_048),
        ("models", models, 256, 256),
        ("methods", methods, 32, 128),
    ] {
        if let Some(texts) = texts {
            check_list(check, &format!("{field}.{list}"), texts, most, chars);
        }
    }
    check_bounds(
        check,
        &format!("{field}.requiredScopes"),
        required_scopes,
        32,
        256,
    );
    for (index, server) in servers.iter().flatten().enumerate() {
        check_server(check, &format!("{field}.servers[{index}]"), server);
    }
    let Some(principals) = principals else { return };
    let field = format!("{field}.principals");
    if principals.is_empty() {
        check.refuse(
            &field,
            "is empty and would match nobody: remove it, or describe somebody",
        );
    }
    check.at_most(&field, principals.len(), MAX_PRINCIPALS);
    for (index, entry) in principals.iter().enumerate() {
        check_principal(check, &format!("{field}[{index}]"), entry);
    }
}

fn check_server(check: &mut Check<'_>, field: &str, server: &str) {
    let servers = &check.spec.servers;
    if !servers.iter().any(|known| known.name == server) {
        let known: Vec<_> = servers.iter().map(|server| server.name.as_str()).collect();
        let message = format!(
            "there is no server `{server}`, but {}; without `servers` a rule is about all",
            known.join(", ")
        );
        check.refuse(field, message);
    }
}

fn check_principal(check: &mut Check<'_>, field: &str, entry: &PrincipalMatch) {
    let PrincipalMatch {
        issuer,
        subjects,
        clients,
        claims,
        service_accounts,
        spiffe_ids,
    } = entry;
    for (list, texts, chars) in [
        ("subjects", subjects, 512),
        ("clients", clients, 512),
        ("serviceAccounts", service_accounts, 317),
        ("spiffeIds", spiffe_ids, 2_048),
    ] {
        if let Some(texts) = texts {
            check_list(check, &format!("{field}.{list}"), texts, 64, chars);
        }
    }
    for (list, texts) in [("subjects", subjects), ("clients", clients)] {
        check_printable(check, &format!("{field}.{list}"), texts.iter().flatten());
    }
    check_workloads(check, field, service_accounts, spiffe_ids);
    if let Some(claims) = claims {
        let field = format!("{field}.claims");
        if claims.is_empty() || claims.len() > 16 {
            check.refuse(&field, "must name 1 to 16 claims");
        }
        for (claim, values) in claims {
            let field = path::key(&field, claim);
            check_list(check, &field, values, 64, 512);
            check_printable(check, &field, values.iter());
        }
    }
    let issuers = &check.spec.authentication.jwt;
    let of_token = subjects.is_some() || clients.is_some() || claims.is_some();
    match issuer {
        Some(issuer) if !issuers.iter().any(|known| known.issuer == *issuer) => {
            let message = format!("`{issuer}` is not configured in spec.authentication.jwt");
            check.refuse(&format!("{field}.issuer"), message);
        }
        None if of_token && issuers.len() > 1 => {
            // A subject of one issuer is somebody else than that of another.
            let message = "needs `issuer`, because there are several issuers, and each names its \
                           subjects, clients and claims by itself";
            check.refuse(field, message);
        }
        None if of_token && issuers.is_empty() => {
            check.warn(field, "matches nobody: no issuer of tokens is configured");
        }
        Some(_) | None => {}
    }
    let of_certificate = service_accounts.is_some() || spiffe_ids.is_some();
    if of_certificate && check.spec.tls.mode != TlsMode::Mutual {
        let message = "matches nobody: only with tls.mode Mutual do callers have a SPIFFE id";
        check.warn(field, message);
    }
}

/// Values of claims come from people's systems; a control character in one is
/// a slip of the editor.
fn check_printable<'a>(
    check: &mut Check<'_>,
    field: &str,
    texts: impl Iterator<Item = &'a String>,
) {
    for (index, text) in texts.enumerate() {
        if text.chars().any(|letter| letter < ' ') {
            check.refuse(
                &format!("{field}[{index}]"),
                "must not have control characters",
            );
        }
    }
}

fn check_workloads(
    check: &mut Check<'_>,
    field: &str,
    service_accounts: &Option<Vec<String>>,
    spiffe_ids: &Option<Vec<String>>,
) {
    for (index, account) in service_accounts.iter().flatten().enumerate() {
        let names = account.split_once('/');
        let shaped = |(namespace, name): (&str, &str)| {
            names::is_dns_label(namespace) && names::is_dns_name(name)
        };
        if !names.is_some_and(shaped) {
            let message = format!(
                "`{}` is not a service account: write namespace/name, exactly",
                account.escape_debug()
            );
            check.refuse(&format!("{field}.serviceAccounts[{index}]"), message);
        }
    }
    for (index, id) in spiffe_ids.iter().flatten().enumerate() {
        let rest = id.strip_prefix("spiffe://");
        if rest.is_some_and(|rest| !rest.contains('/')) {
            let message = "is a trust domain and no workload: add the workload's path";
            check.refuse(&format!("{field}.spiffeIds[{index}]"), message);
        }
    }
}

/// A list that is there must have something in it.
fn check_list(check: &mut Check<'_>, field: &str, texts: &[String], most: usize, chars: usize) {
    if texts.is_empty() {
        check.refuse(
            field,
            "is empty: remove it, or write [\"*\"] where all names are meant",
        );
    }
    check_bounds(check, field, texts, most, chars);
}

/// Bounds and repetitions only: whether a name is one, the compiler says.
fn check_bounds(check: &mut Check<'_>, field: &str, texts: &[String], most: usize, chars: usize) {
    check.at_most(field, texts.len(), most);
    let mut seen = HashSet::new();
    for (index, text) in texts.iter().enumerate() {
        if !seen.insert(text) {
            let message = format!("`{text}` is there twice: remove one");
            check.refuse(&format!("{field}[{index}]"), message);
        } else if text.chars().nth(chars).is_some() {
            let message = format!("must be at most {chars} characters long");
            check.refuse(&format!("{field}[{index}]"), message);
        }
    }
}

fn rule_config(rule: &Rule) -> RuleConfig {
    let Rule {
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
        when,
    } = rule;
    RuleConfig {
        name: name.clone(),
        effect: match effect {
            Effect::Allow => policy_config::Effect::Allow,
            Effect::Deny => policy_config::Effect::Deny,
        },
        servers: listed(servers),
        tools: listed(tools),
        prompts: listed(prompts),
        resources: listed(resources),
        models: listed(models),
        methods: listed(methods),
        required_scopes: required_scopes.clone(),
        principals: principals.iter().flatten().map(principal_match).collect(),
        when: when.clone(),
    }
}

fn principal_match(entry: &PrincipalMatch) -> policy_config::PrincipalMatch {
    let PrincipalMatch {
        issuer,
        subjects,
        clients,
        claims,
        service_accounts,
        spiffe_ids,
    } = entry;
    policy_config::PrincipalMatch {
        issuer: issuer.clone(),
        subjects: listed(subjects),
        clients: listed(clients),
        claims: claims.clone().unwrap_or_default(),
        service_accounts: listed(service_accounts),
        spiffe_ids: listed(spiffe_ids),
    }
}

/// Absent and empty differ for people only: empty was refused.
fn listed(texts: &Option<Vec<String>>) -> Vec<String> {
    texts.clone().unwrap_or_default()
}
