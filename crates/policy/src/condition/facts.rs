//! The variables of conditions.
//!
//! What they are is told at `RuleConfig::when`.

use std::collections::HashMap;
use std::sync::OnceLock;

use cel::common::types::{CelList, CelMap, CelString};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;

use super::arguments::{self, key};
use super::regexes::{self, CompiledRegex};
use crate::principal::Principal;
use crate::resource::Context;
use crate::scope::{Scope, ScopeSet};

/// The facts of one question; what costs something is made when a condition
/// first reads it.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    principal: &'a Principal,
    trust_domain: &'a str,
    tool: &'a str,
    model: &'a str,
    server: &'a str,
    method: &'a str,
    arguments: Option<&'a str>,
    /// None: they cannot be read.
    parsed_arguments: OnceLock<Option<CelMap<'a>>>,
    claims: OnceLock<CelMap<'a>>,
    description: OnceLock<CelMap<'a>>,
}

impl<'a> Facts<'a> {
    pub(crate) fn new(
        principal: &'a Principal,
        trust_domain: &'a str,
        tool: &'a str,
        model: &'a str,
        server: &'a str,
        context: &Context<'a>,
    ) -> Self {
        Self {
            principal,
            trust_domain,
            tool,
            model,
            server,
            method: context.method,
            arguments: context.arguments,
            parsed_arguments: OnceLock::new(),
            claims: OnceLock::new(),
            description: OnceLock::new(),
        }
    }

    pub(crate) fn method(&self) -> &'a str {
        self.method
    }

    pub(super) fn arguments_len(&self) -> usize {
        self.arguments.map_or(0, str::len)
    }

    /// Whether a condition read the arguments, and they were not readable.
    pub(super) fn arguments_failed(&self) -> bool {
        self.parsed_arguments.get().is_some_and(Option::is_none)
    }

    fn arguments(&self) -> Option<&CelMap<'a>> {
        self.parsed_arguments
            .get_or_init(|| match self.arguments {
                Some(text) => arguments::parse(text),
                None => Some(CelMap::default()),
            })
            .as_ref()
    }

    fn claims(&self) -> &CelMap<'a> {
        self.claims.get_or_init(|| {
            self.principal
                .claims()
                .map(|claims| arguments::from_claims(&claims.all))
                .unwrap_or_default()
        })
    }

    fn description(&self) -> &CelMap<'a> {
        self.description
            .get_or_init(|| describe(self.principal, self.trust_domain))
    }
}

fn describe<'a>(principal: &'a Principal, trust_domain: &str) -> CelMap<'a> {
    let token = principal.claims();
    let spiffe_id = principal.peer().and_then(|peer| peer.spiffe_id());
    let service_account = spiffe_id
        .filter(|id| id.trust_domain() == trust_domain)
        .and_then(|id| id.service_account())
        .map(|(namespace, name)| format!("{namespace}/{name}"));
    let borrowed = |text: Option<&'a str>| CelString::from(text.unwrap_or_default());
    let facts = [
        ("subject", borrowed(token.map(|token| &*token.subject))),
        ("issuer", borrowed(token.map(|token| &*token.issuer))),
        (
            "client",
            borrowed(token.and_then(|token| token.client_id.as_deref())),
        ),
        ("spiffeId", borrowed(spiffe_id.map(|id| id.as_str()))),
        (
            "serviceAccount",
            CelString::from(service_account.unwrap_or_default()),
        ),
    ];
    let entries = facts.map(|(name, text)| (key(name), Box::new(text) as Box<dyn Val + 'a>));
    CelMap::from(HashMap::from(entries))
}

/// One evaluation of one condition.
pub(super) struct Evaluation<'e, 'a> {
    facts: &'e Facts<'a>,
    scopes: &'e ScopeSet,
    regexes: &'e [CompiledRegex],
    scope_list: OnceLock<CelList<'e>>,
}

impl<'e, 'a> Evaluation<'e, 'a> {
    pub(super) fn new(
        facts: &'e Facts<'a>,
        scopes: &'e ScopeSet,
        regexes: &'e [CompiledRegex],
    ) -> Self {
        Self {
            facts,
            scopes,
            regexes,
            scope_list: OnceLock::new(),
        }
    }

    fn scope_list(&self) -> &CelList<'e> {
        self.scope_list.get_or_init(|| {
            let scopes = self.scopes.iter().map(Scope::as_ref);
            let texts = scopes.map(|scope| Box::new(CelString::from(scope)) as Box<dyn Val + 'e>);
            CelList::from(texts.collect::<Vec<_>>())
        })
    }
}

impl VariableResolver for Evaluation<'_, '_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        let text = |text: &'b str| Some(CowVal::owned(CelString::from(text)));
        match variable {
            "args" => Some(CowVal::Borrowed(self.facts.arguments()?)),
            "claims" => Some(CowVal::Borrowed(self.facts.claims())),
            "principal" => Some(CowVal::Borrowed(self.facts.description())),
            "scopes" => Some(CowVal::Borrowed(self.scope_list())),
            "tool" => text(self.facts.tool),
            "server" => text(self.facts.server),
            "model" => text(self.facts.model),
            "method" => text(self.facts.method),
            name => Some(CowVal::Borrowed(regexes::named(name, self.regexes)?)),
        }
    }
}
