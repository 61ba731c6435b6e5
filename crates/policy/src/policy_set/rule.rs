//! One compiled rule, and whether it applies to a question.

use std::sync::Arc;

use super::pattern::Pattern;
use super::principals::PrincipalRule;
use crate::condition::{Condition, Facts};
use crate::policy_config::Effect;
use crate::principal::Principal;
use crate::scope::ScopeSet;

/// A rule without its names, which are in the index.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) name: Arc<str>,
    pub(super) effect: Effect,
    /// Empty: all, and also what is behind no server.
    pub(super) servers: Vec<Pattern>,
    pub(super) required_scopes: ScopeSet,
    /// Empty: everyone.
    pub(super) principals: Vec<PrincipalRule>,
    pub(super) condition: Option<Condition>,
}

/// What a rule is held against.
#[derive(Debug)]
pub(super) struct Question<'a> {
    pub(super) principal: &'a Principal,
    pub(super) trust_domain: &'a str,
    pub(super) server: Option<&'a str>,
    pub(super) facts: Facts<'a>,
    /// False where arguments are not there yet: in lists, and for tasks.
    pub(super) arguments_known: bool,
}

impl Rule {
    /// Whether the rule applies to the question as it is.
    pub(super) fn applies(&self, question: &Question<'_>) -> bool {
        let held = question.principal.scopes();
        held.contains_all(&self.required_scopes) && self.applies_with(question, held)
    }

    /// Whether the rule applies to whoever holds these scopes, leaving aside
    /// whether they are enough.
    pub(super) fn applies_with(&self, question: &Question<'_>, held: &ScopeSet) -> bool {
        self.covers_server(question.server)
            && self.covers_principal(question)
            && self.condition_holds(question, held)
    }

    /// Whether nothing but its condition keeps the rule from applying.
    pub(super) fn lacks_only_its_condition(&self, question: &Question<'_>) -> bool {
        self.condition.is_some()
            && question
                .principal
                .scopes()
                .contains_all(&self.required_scopes)
            && self.covers_server(question.server)
            && self.covers_principal(question)
    }

    pub(super) fn covers_server(&self, server: Option<&str>) -> bool {
        self.servers.is_empty()
            || server.is_some_and(|server| self.servers.iter().any(|name| name.matches(server)))
    }

    fn covers_principal(&self, question: &Question<'_>) -> bool {
        let Question {
            principal,
            trust_domain,
            ..
        } = question;
        self.principals.is_empty()
            || self
                .principals
                .iter()
                .any(|entry| entry.matches(principal, trust_domain))
    }

    /// A condition that cannot be evaluated must not open anything: then an
    /// Allow does not match and a Deny does. While the arguments are unknown it
    /// is the other way round, as nothing is opened by that yet.
    fn condition_holds(&self, question: &Question<'_>, held: &ScopeSet) -> bool {
        let Some(condition) = &self.condition else {
            return true;
        };
        if condition.reads_arguments() && !question.arguments_known {
            return self.effect == Effect::Allow;
        }
        condition
            .holds(&question.facts, held)
            .unwrap_or(self.effect == Effect::Deny)
    }
}
