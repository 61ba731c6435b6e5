//! The answer to a question: a permit, or a denial with its reason.

use std::sync::Arc;

use crate::scope::ScopeSet;

/// What a [`PolicySet`](crate::policy_set::PolicySet) answers.
#[derive(Debug)]
pub enum Decision {
    /// It may be done; the permit is what an upstream call consumes.
    Allow(Permit),
    /// It may not be done.
    Deny(Denial),
}

/// The proof that something was allowed.
///
/// Only a [`PolicySet`](crate::policy_set::PolicySet) makes one, and it cannot
/// be copied: each use was decided for itself.
///
/// ```compile_fail,E0451
/// use sidegate_policy::decision::Permit;
/// let forged = Permit { rule: None, audited: false };
/// ```
///
/// ```compile_fail,E0599
/// fn twice(permit: sidegate_policy::decision::Permit) {
///     let copy = permit.clone();
/// }
/// ```
#[derive(Debug)]
#[must_use = "a permit is there to be used for what it permits"]
pub struct Permit {
    rule: Option<Arc<str>>,
    audited: bool,
}

/// Why something is not allowed, and what would cure it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// The kind of denial.
    pub reason: DenialReason,
    /// The Deny rule that matched, or the Allow rule that came nearest: the one
    /// that the missing scopes would open, or whose `when` does not hold.
    pub rule: Option<Arc<str>>,
    /// The scopes that would turn the denial into an allow; empty when no
    /// scope would.
    pub missing_scopes: ScopeSet,
}

/// The kinds of denial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DenialReason {
    /// A rule with effect Deny matched.
    DeniedByRule,
    /// A rule would allow it, if the principal held further scopes.
    MissingScope,
    /// A rule names it and the principal, but its `when` does not hold.
    ConditionNotMet,
    /// No rule allows it, with whatever scopes.
    NoRule,
    /// The method is unknown, and no rule names it.
    UnknownMethod,
}

// === impl Permit ===

impl Permit {
    pub(crate) fn by_rule(rule: Arc<str>) -> Self {
        Self {
            rule: Some(rule),
            audited: false,
        }
    }

    /// For what every principal may do.
    pub(crate) fn of_everyone() -> Self {
        Self {
            rule: None,
            audited: false,
        }
    }

    /// For what mode Audit lets pass although no rule allows it.
    pub(crate) fn audited_only() -> Self {
        Self {
            rule: None,
            audited: true,
        }
    }

    /// The Allow rule that matched; the first one, where several do. None when
    /// no rule is needed, or mode Audit let it pass.
    #[must_use]
    pub fn rule(&self) -> Option<&str> {
        self.rule.as_deref()
    }

    /// Whether mode Enforce would have denied it.
    #[must_use]
    pub fn audited(&self) -> bool {
        self.audited
    }
}

// === impl Denial ===

impl Denial {
    pub(crate) fn by_rule(rule: Arc<str>) -> Self {
        Self {
            reason: DenialReason::DeniedByRule,
            rule: Some(rule),
            missing_scopes: ScopeSet::default(),
        }
    }

    pub(crate) fn without_rule(reason: DenialReason) -> Self {
        Self {
            reason,
            rule: None,
            missing_scopes: ScopeSet::default(),
        }
    }

    pub(crate) fn of_condition(rule: Arc<str>) -> Self {
        Self {
            reason: DenialReason::ConditionNotMet,
            rule: Some(rule),
            missing_scopes: ScopeSet::default(),
        }
    }

    pub(crate) fn of_scopes(rule: Arc<str>, missing_scopes: ScopeSet) -> Self {
        Self {
            reason: DenialReason::MissingScope,
            rule: Some(rule),
            missing_scopes,
        }
    }
}

// === impl DenialReason ===

impl DenialReason {
    /// The word in metrics and audit lines.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DeniedByRule => "denied_by_rule",
            Self::MissingScope => "missing_scope",
            Self::ConditionNotMet => "condition_not_met",
            Self::NoRule => "no_rule",
            Self::UnknownMethod => "unknown_method",
        }
    }
}
