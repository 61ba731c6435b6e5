//! A set of roots: who is trusted, and which one signs.

use std::fmt;
use std::sync::Arc;

use sidegate_tls::{Authority, AuthorityError};
use thiserror::Error;

use super::purpose::Purpose;
use super::rotation::{self, Facts, MAX_ROOTS, Step, Times};
use super::settings::Lifetimes;

/// A root and what was done with it.
#[derive(Clone)]
pub(super) struct Root {
    pub(super) authority: Arc<Authority>,
    pub(super) times: Times,
}

/// The roots of one purpose, oldest first.
///
/// INVARIANT: one to three, and exactly one of them signs. [`RootSet::new`] is
/// the only way to make one.
#[derive(Clone)]
pub(super) struct RootSet {
    roots: Vec<Root>,
    signer: Root,
}

/// What is wrong with a set of roots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum InvalidSet {
    /// The number is.
    #[error("has {0} roots: one to {MAX_ROOTS} are possible")]
    Number(usize),
    /// Nobody or several would sign.
    #[error("has {0} roots that sign: there must be exactly one")]
    Signers(usize),
    /// A root is there twice.
    #[error("has the same root twice")]
    Twice,
}

// === impl Root ===

impl Root {
    /// A fresh root that is only trusted yet.
    fn create(purpose: Purpose, lifetimes: &Lifetimes, now: i64) -> Result<Self, AuthorityError> {
        // A name of its own: some who verify look roots up by their names.
        let name = format!("{} {now}", purpose.root_name());
        Ok(Self {
            authority: Arc::new(Authority::create(&name, now, lifetimes.root)?),
            times: Times {
                trusted_since: now,
                signs_since: None,
                retired_since: None,
            },
        })
    }

    fn facts(&self) -> Facts {
        Facts {
            times: self.times,
            not_before: self.authority.not_before_unix(),
            not_after: self.authority.not_after_unix(),
        }
    }
}

// === impl RootSet ===

impl RootSet {
    pub(super) fn new(roots: Vec<Root>) -> Result<Self, InvalidSet> {
        if !(1..=MAX_ROOTS).contains(&roots.len()) {
            return Err(InvalidSet::Number(roots.len()));
        }
        for (index, root) in roots.iter().enumerate() {
            let certificate = root.authority.certificate_pem();
            let mut others = roots.iter().skip(index + 1);
            if others.any(|other| other.authority.certificate_pem() == certificate) {
                return Err(InvalidSet::Twice);
            }
        }
        let mut signers = roots.iter().filter(|root| root.times.signs());
        match (signers.next().cloned(), signers.count()) {
            (Some(signer), 0) => Ok(Self { roots, signer }),
            (first, more) => Err(InvalidSet::Signers(usize::from(first.is_some()) + more)),
        }
    }

    /// A set of one fresh root, which signs at once: nobody trusts another.
    pub(super) fn create(
        purpose: Purpose,
        lifetimes: &Lifetimes,
        now: i64,
    ) -> Result<Self, AuthorityError> {
        let mut root = Root::create(purpose, lifetimes, now)?;
        root.times.signs_since = Some(now);
        Ok(Self {
            roots: vec![root.clone()],
            signer: root,
        })
    }

    pub(super) fn roots(&self) -> &[Root] {
        &self.roots
    }

    /// The root that signs.
    pub(super) fn signer(&self) -> &Root {
        &self.signer
    }

    /// Whether a root waits until it may sign.
    pub(super) fn is_changing(&self) -> bool {
        self.roots.iter().any(|root| root.times.is_candidate())
    }

    /// Whether no root can be added.
    pub(super) fn is_full(&self) -> bool {
        self.roots.len() >= MAX_ROOTS
    }

    /// The certificates of all roots, in PEM.
    pub(super) fn certificates_pem(&self) -> String {
        let mut pem = String::new();
        for root in &self.roots {
            pem.push_str(root.authority.certificate_pem().trim_end());
            pem.push('\n');
        }
        pem
    }

    /// What is due.
    pub(super) fn due(&self, lifetimes: &Lifetimes, requested: bool, now: i64) -> Step {
        let facts: Vec<_> = self.roots.iter().map(Root::facts).collect();
        rotation::due(&facts, lifetimes, requested, now)
    }

    /// The set after a step.
    pub(super) fn after(
        &self,
        step: Step,
        purpose: Purpose,
        lifetimes: &Lifetimes,
        now: i64,
    ) -> Result<Self, StepError> {
        let mut roots = self.roots.clone();
        match step {
            Step::Rest => {}
            Step::Create => roots.push(Root::create(purpose, lifetimes, now)?),
            Step::Promote { candidate } => {
                for (index, root) in roots.iter_mut().enumerate() {
                    if index == candidate {
                        root.times.signs_since = Some(now);
                    } else if root.times.signs() {
                        root.times.retired_since = Some(now);
                    }
                }
            }
            Step::Drop { index } => {
                let all = roots.into_iter().enumerate();
                let kept = all.filter(|(at, _)| *at != index);
                roots = kept.map(|(_, root)| root).collect();
            }
        }
        Ok(Self::new(roots)?)
    }
}

/// Without roots, which hold keys.
impl fmt::Debug for RootSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RootSet")
            .field("roots", &self.roots.len())
            .finish_non_exhaustive()
    }
}

/// Why a set cannot go a step.
#[derive(Debug, Error)]
pub(super) enum StepError {
    /// There is no new root.
    #[error("a root cannot be made")]
    Create(#[from] AuthorityError),
    /// The result would be no set.
    #[error("the set that results {0}")]
    Result(#[from] InvalidSet),
}
