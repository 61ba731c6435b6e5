//! Which principals a rule is about.

use serde_json::Value;

use crate::policy_config::PrincipalMatch;
use crate::principal::{Claims, Principal, SpiffeId};

/// One entry of `principals`, checked.
#[derive(Debug)]
pub(super) struct PrincipalRule {
    issuer: Option<Box<str>>,
    subjects: Vec<Box<str>>,
    clients: Vec<Box<str>>,
    claims: Vec<(Box<str>, Vec<Box<str>>)>,
    service_accounts: Vec<(Box<str>, Box<str>)>,
    spiffe_ids: Vec<SpiffeId>,
}

/// What is wrong with an entry, by field.
pub(super) type FieldIssue = (String, String);

impl PrincipalRule {
    /// Checks an entry.
    ///
    /// # Errors
    /// Each field that is wrong, with what to write instead.
    pub(super) fn compile(entry: &PrincipalMatch) -> Result<Self, Vec<FieldIssue>> {
        let PrincipalMatch {
            issuer,
            subjects,
            clients,
            claims,
            service_accounts,
            spiffe_ids,
        } = entry;
        let mut issues = Vec::new();
        if *entry == PrincipalMatch::default() {
            issues.push((
                String::new(),
                "describes nobody: name at least one fact".to_owned(),
            ));
        }
        if issuer.as_deref() == Some("") {
            issues.push((".issuer".to_owned(), EMPTY.to_owned()));
        }
        let subjects = texts(".subjects", subjects, &mut issues);
        let clients = texts(".clients", clients, &mut issues);
        let mut accepted_claims = Vec::new();
        for (claim, values) in claims {
            let field = format!(".claims.{claim}");
            if claim.is_empty() || values.is_empty() {
                issues.push((
                    field.clone(),
                    "needs a claim's name and its values".to_owned(),
                ));
            }
            accepted_claims.push((claim.as_str().into(), texts(&field, values, &mut issues)));
        }
        let service_accounts = parsed(
            ".serviceAccounts",
            service_accounts,
            service_account,
            &mut issues,
        );
        let spiffe_ids = parsed(
            ".spiffeIds",
            spiffe_ids,
            |text| text.parse::<SpiffeId>().map_err(|error| error.to_string()),
            &mut issues,
        );
        if !issues.is_empty() {
            return Err(issues);
        }
        let issuer = issuer.as_deref().map(Into::into);
        Ok(Self {
            issuer,
            subjects,
            clients,
            claims: accepted_claims,
            service_accounts,
            spiffe_ids,
        })
    }

    /// Whether the entry describes this principal; `trust_domain` is the own.
    pub(super) fn matches(&self, principal: &Principal, trust_domain: &str) -> bool {
        let Self {
            issuer,
            subjects,
            clients,
            claims,
            service_accounts,
            spiffe_ids,
        } = self;
        let asks_for_token =
            issuer.is_some() || !subjects.is_empty() || !clients.is_empty() || !claims.is_empty();
        let token_matches = !asks_for_token
            || principal
                .claims()
                .is_some_and(|token| self.matches_token(token));
        let spiffe_id = principal.peer().and_then(|peer| peer.spiffe_id());
        let account_matches = service_accounts.is_empty()
            || spiffe_id.is_some_and(|id| is_one_of(id, service_accounts, trust_domain));
        let id_matches =
            spiffe_ids.is_empty() || spiffe_id.is_some_and(|id| spiffe_ids.contains(id));
        token_matches && account_matches && id_matches
    }

    fn matches_token(&self, token: &Claims) -> bool {
        let among = |accepted: &[Box<str>], value: Option<&str>| {
            accepted.is_empty()
                || value.is_some_and(|value| accepted.iter().any(|text| **text == *value))
        };
        self.issuer
            .as_deref()
            .is_none_or(|issuer| *issuer == *token.issuer)
            && among(&self.subjects, Some(&token.subject))
            && among(&self.clients, token.client_id.as_deref())
            && self.claims.iter().all(|(claim, accepted)| {
                token
                    .all
                    .get(&**claim)
                    .is_some_and(|value| claim_matches(value, accepted))
            })
    }
}

/// The trust domain must be the own: another domain's namespaces are not ours.
fn is_one_of(id: &SpiffeId, accounts: &[(Box<str>, Box<str>)], trust_domain: &str) -> bool {
    id.trust_domain() == trust_domain
        && id.service_account().is_some_and(|(namespace, name)| {
            accounts
                .iter()
                .any(|account| *account.0 == *namespace && *account.1 == *name)
        })
}

/// A text, number or truth value matches by its text; a list by one of its
/// elements.
fn claim_matches(value: &Value, accepted: &[Box<str>]) -> bool {
    let is_accepted = |text: &str| accepted.iter().any(|accepted| **accepted == *text);
    match value {
        Value::String(text) => is_accepted(text),
        Value::Bool(true) => is_accepted("true"),
        Value::Bool(false) => is_accepted("false"),
        Value::Number(number) => is_accepted(&number.to_string()),
        Value::Array(values) => values
            .iter()
            .any(|value| !value.is_array() && claim_matches(value, accepted)),
        Value::Null | Value::Object(_) => false,
    }
}

const EMPTY: &str = "is empty: name something, or leave it out";

fn texts(field: &str, texts: &[String], issues: &mut Vec<FieldIssue>) -> Vec<Box<str>> {
    let check = |text: &str| {
        if text.is_empty() {
            Err(EMPTY.to_owned())
        } else {
            Ok(text.into())
        }
    };
    parsed(field, texts, check, issues)
}

fn parsed<T>(
    field: &str,
    texts: &[String],
    parse: impl Fn(&str) -> Result<T, String>,
    issues: &mut Vec<FieldIssue>,
) -> Vec<T> {
    let mut all = Vec::with_capacity(texts.len());
    for (at, text) in texts.iter().enumerate() {
        match parse(text) {
            Ok(value) => all.push(value),
            Err(message) => issues.push((format!("{field}[{at}]"), message)),
        }
    }
    all
}

fn service_account(text: &str) -> Result<(Box<str>, Box<str>), String> {
    let is_name = |name: &str| {
        !name.is_empty()
            && name
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.'))
    };
    match text.split_once('/') {
        Some((namespace, name)) if is_name(namespace) && is_name(name) => {
            Ok((namespace.into(), name.into()))
        }
        _ => Err(format!(
            "`{}` is not a service account: write namespace/name, exactly",
            text.escape_debug()
        )),
    }
}
