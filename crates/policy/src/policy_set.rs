//! The compiled rules, and the decision.
//!
//! Rules are a set; their order does not decide anything: a matching Deny rule
//! denies, else a matching Allow rule allows, else it is denied. Where several
//! rules match, the first one is named.

mod compile;
mod index;
mod pattern;
mod principals;
mod rule;
mod subject;

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;

use crate::condition::Facts;
use crate::decision::{Decision, Denial, DenialReason, Permit};
use crate::policy_config::{Mode, PolicyConfig};
use crate::principal::Principal;
use crate::resource::{Action, Context, Resource};
use crate::scope::{ScopeHierarchy, ScopeSet};

use self::index::{NameIndex, Spelling};
use self::rule::{Question, Rule};
use self::subject::{Kind, Subject};

/// The compiled rules of a gateway.
#[derive(Debug)]
pub struct PolicySet {
    mode: Mode,
    trust_domain: Box<str>,
    hierarchy: ScopeHierarchy,
    rules: Vec<Rule>,
    allow: Indexes,
    deny: Indexes,
    tool_names: Vec<String>,
    /// The Allow rules for everyone on MCP servers, by the number of scopes
    /// that they require.
    base_rules: Vec<u32>,
}

/// The rules of one effect, by what they name.
#[derive(Debug, Default)]
struct Indexes {
    tools: NameIndex,
    prompts: NameIndex,
    resources: NameIndex,
    models: NameIndex,
    methods: NameIndex,
}

/// What compiling a policy gives.
#[derive(Debug)]
pub struct Compiled {
    /// The rules, ready to decide.
    pub policies: PolicySet,
    /// What compiles, but is likely not what was meant.
    pub warnings: Vec<RuleIssue>,
}

/// Something about a rule that is wrong, or likely not what was meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleIssue {
    /// The index of the rule; 0 when `field` is `scopeHierarchy`.
    pub rule: usize,
    /// The field of the rule, such as `when` or `tools[1]`.
    pub field: String,
    /// What is wrong and what to do.
    pub message: String,
}

/// What the rules say, before the mode is considered.
enum Verdict<'s> {
    DeniedBy(&'s Rule),
    AllowedBy(&'s Rule),
    /// It is something that needs no rule.
    OpenToAll,
    NotAllowed,
}

impl PolicySet {
    /// Compiles the rules.
    ///
    /// # Errors
    /// Everything that is wrong with them; then nothing of them is used.
    pub fn compile(config: &PolicyConfig) -> Result<Compiled, Vec<RuleIssue>> {
        compile::compile(config)
    }

    /// Decides one question.
    #[must_use]
    pub fn decide(
        &self,
        principal: &Principal,
        action: Action,
        resource: &Resource<'_>,
        context: &Context<'_>,
    ) -> Decision {
        let no_rule = || Decision::Deny(Denial::without_rule(DenialReason::NoRule));
        let Some(subject) = Subject::of(action, resource) else {
            return no_rule();
        };
        if subject.is_ambiguous() {
            return no_rule();
        }
        let question = self.question(principal, &subject, context);
        match self.judge(&subject, &question) {
            Verdict::DeniedBy(rule) => Decision::Deny(Denial::by_rule(rule.name.clone())),
            Verdict::AllowedBy(rule) => Decision::Allow(Permit::by_rule(rule.name.clone())),
            Verdict::OpenToAll => Decision::Allow(Permit::of_everyone()),
            Verdict::NotAllowed if self.lets_pass(&subject) => {
                Decision::Allow(Permit::audited_only())
            }
            Verdict::NotAllowed => Decision::Deny(self.denial(&subject, &question)),
        }
    }

    /// Whether a list may show the resource: whether there are arguments with
    /// which the principal might be allowed to use it.
    ///
    /// In mode Audit, lists are not filtered; models still are.
    #[must_use]
    pub fn visible(&self, principal: &Principal, resource: &Resource<'_>) -> bool {
        let subject = Subject::in_list(resource);
        if self.lets_pass(&subject) {
            return true;
        }
        if subject.is_ambiguous() {
            return false;
        }
        subject.methods_of_use().iter().any(|method| {
            let context = Context {
                method,
                arguments: None,
            };
            let question = self.question(principal, &subject, &context);
            matches!(
                self.judge(&subject, &question),
                Verdict::AllowedBy(_) | Verdict::OpenToAll
            )
        })
    }

    /// Which scopes include which.
    #[must_use]
    pub fn hierarchy(&self) -> &ScopeHierarchy {
        &self.hierarchy
    }

    /// What to sign in with at first: the scopes of that Allow rule for
    /// everyone on the server which needs the fewest.
    #[must_use]
    pub fn base_scopes(&self, server: &str) -> ScopeSet {
        self.base_rules
            .iter()
            .filter_map(|at| self.rule(*at))
            .find(|rule| rule.covers_server(Some(server)))
            .map(|rule| rule.required_scopes.clone())
            .unwrap_or_default()
    }

    /// The exact tool names in rules, sorted; the only ones that may be metric
    /// labels.
    #[must_use]
    pub fn tool_names(&self) -> Vec<String> {
        self.tool_names.clone()
    }

    /// Whether denials are carried out.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    fn question<'a>(
        &'a self,
        principal: &'a Principal,
        subject: &Subject<'a>,
        context: &Context<'a>,
    ) -> Question<'a> {
        Question {
            principal,
            trust_domain: &self.trust_domain,
            server: subject.server,
            facts: Facts::new(
                principal,
                &self.trust_domain,
                subject.tool(),
                subject.model(),
                subject.server.unwrap_or_default(),
                context,
            ),
            arguments_known: subject.arguments_known,
        }
    }

    fn judge(&self, subject: &Subject<'_>, question: &Question<'_>) -> Verdict<'_> {
        let mut denied = First::default();
        let method = question.facts.method();
        self.consider(
            &mut denied,
            &self.deny.methods,
            method,
            Spelling::Name,
            question,
        );
        if let Some(index) = self.deny.of(subject.kind) {
            self.consider(
                &mut denied,
                index,
                subject.name,
                subject.spelling_for_deny(),
                question,
            );
        }
        if let Some(rule) = self.found(&denied) {
            return Verdict::DeniedBy(rule);
        }
        let mut allowed = First::default();
        match (subject.kind, self.allow.of(subject.kind)) {
            (Kind::KnownMethod, _) => return Verdict::OpenToAll,
            (_, Some(index)) => {
                let spelling = subject.spelling_for_allow();
                self.consider(&mut allowed, index, subject.name, spelling, question);
            }
            (_, None) => {
                let methods = &self.allow.methods;
                self.consider(&mut allowed, methods, method, Spelling::Name, question);
            }
        }
        self.found(&allowed)
            .map_or(Verdict::NotAllowed, Verdict::AllowedBy)
    }

    /// Keeps the first rule that applies, of those that name it.
    fn consider(
        &self,
        first: &mut First,
        index: &NameIndex,
        name: &str,
        spelling: Spelling,
        question: &Question<'_>,
    ) {
        index.matching(name, spelling, &mut |rules| {
            // Each list is in order, so no rule after the first match, or
            // after an earlier one from another list, can be it.
            for &at in rules {
                if first.0.is_some_and(|found| found <= at) {
                    return;
                }
                if self.rule(at).is_some_and(|rule| rule.applies(question)) {
                    first.0 = Some(at);
                    return;
                }
            }
        });
    }

    /// Mode Audit lets pass what no rule allows, of known methods on MCP
    /// servers.
    fn lets_pass(&self, subject: &Subject<'_>) -> bool {
        let relaxed = match subject.kind {
            Kind::Tool | Kind::Prompt | Kind::Resource | Kind::KnownMethod => true,
            Kind::Model | Kind::UnknownMethod => false,
        };
        self.mode == Mode::Audit && relaxed
    }

    /// Why it is not allowed: the scopes that would cure it, if any would.
    fn denial(&self, subject: &Subject<'_>, question: &Question<'_>) -> Denial {
        let (index, name, spelling) = match self.allow.of(subject.kind) {
            Some(index) => (index, subject.name, subject.spelling_for_allow()),
            None => (&self.allow.methods, question.facts.method(), Spelling::Name),
        };
        let held = question.principal.scopes();
        let mut nearest: Option<(usize, u32)> = None;
        let mut unmet: Option<u32> = None;
        index.matching(name, spelling, &mut |rules| {
            for &at in rules {
                let Some(rule) = self.rule(at) else { continue };
                if unmet.is_none_or(|unmet| at < unmet) && rule.lacks_only_its_condition(question) {
                    unmet = Some(at);
                }
                let missing = missing_count(&rule.required_scopes, held);
                let distance = (missing, at);
                if missing == 0 || nearest.is_some_and(|nearest| nearest <= distance) {
                    continue;
                }
                let with_them = self.hierarchy.expand(&held.union(&rule.required_scopes));
                if rule.applies_with(question, &with_them) {
                    nearest = Some(distance);
                }
            }
        });
        let reason = if subject.kind == Kind::UnknownMethod {
            DenialReason::UnknownMethod
        } else {
            DenialReason::NoRule
        };
        match nearest.and_then(|(_, at)| self.rule(at)) {
            Some(rule) => {
                Denial::of_scopes(rule.name.clone(), rule.required_scopes.difference(held))
            }
            None => match unmet.and_then(|at| self.rule(at)) {
                Some(rule) => Denial::of_condition(rule.name.clone()),
                None => Denial::without_rule(reason),
            },
        }
    }

    fn rule(&self, at: u32) -> Option<&Rule> {
        self.rules.get(usize::try_from(at).ok()?)
    }

    fn found(&self, first: &First) -> Option<&Rule> {
        self.rule(first.0?)
    }
}

/// The first rule that applies.
#[derive(Debug, Default)]
struct First(Option<u32>);

fn missing_count(required: &ScopeSet, held: &ScopeSet) -> usize {
    required
        .iter()
        .filter(|scope| !held.contains(scope.as_ref()))
        .count()
}

// === impl Indexes ===

impl Indexes {
    /// The index of what a subject is named by; None for methods.
    fn of(&self, kind: Kind) -> Option<&NameIndex> {
        match kind {
            Kind::Tool => Some(&self.tools),
            Kind::Prompt => Some(&self.prompts),
            Kind::Resource => Some(&self.resources),
            Kind::Model => Some(&self.models),
            Kind::KnownMethod | Kind::UnknownMethod => None,
        }
    }
}
