//! When a root comes, signs and goes. Pure: the time is an argument.
//!
//! A root is first only trusted, for `spread`, so that everybody who trusts
//! has heard of it. Then it signs, and the one before it is retired. A replica
//! may hear of that as late as `spread` and sign with the retired one until
//! then; what it signed lives for `leaf`. After both, nothing that the retired
//! root signed is alive, and it goes.

use super::settings::Lifetimes;

/// Most roots in a set: one that goes, one that signs, one that comes.
pub(super) const MAX_ROOTS: usize = 3;

/// What was done with a root, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) trusted_since: i64,
    pub(super) signs_since: Option<i64>,
    pub(super) retired_since: Option<i64>,
}

/// A root, as far as its schedule is concerned.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts {
    pub(super) times: Times,
    pub(super) not_before: i64,
    pub(super) not_after: i64,
}

/// What is due for a set of roots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing.
    Rest,
    /// A new root is to be trusted.
    Create,
    /// This root is to sign in place of the one that does.
    Promote {
        /// Its place in the set.
        candidate: usize,
    },
    /// This root is not needed any more.
    Drop {
        /// Its place in the set.
        index: usize,
    },
}

/// The next step of a set of roots. `requested` asks for a new root before its
/// time.
pub(super) fn due(roots: &[Facts], lifetimes: &Lifetimes, requested: bool, now: i64) -> Step {
    let Some(signer) = roots.iter().find(|root| root.times.signs()) else {
        return Step::Rest;
    };
    let candidate = roots.iter().position(|root| root.times.is_candidate());
    if let Some((index, root)) = candidate.and_then(|index| Some((index, roots.get(index)?))) {
        // What an expired root signs nobody takes: waiting would help nobody.
        if root.has_spread(lifetimes, now) || signer.not_after <= now {
            return Step::Promote { candidate: index };
        }
    }
    let old = roots.iter().position(|root| root.is_over(lifetimes, now));
    if let Some(index) = old {
        return Step::Drop { index };
    }
    let wanted = requested || signer.is_two_thirds_over(now);
    if wanted && candidate.is_none() && roots.len() < MAX_ROOTS {
        return Step::Create;
    }
    Step::Rest
}

// === impl Times ===

impl Times {
    /// Whether the root signs.
    pub(super) fn signs(&self) -> bool {
        self.signs_since.is_some() && self.retired_since.is_none()
    }

    /// Whether the root is only trusted yet.
    pub(super) fn is_candidate(&self) -> bool {
        self.signs_since.is_none() && self.retired_since.is_none()
    }
}

// === impl Facts ===

impl Facts {
    fn has_spread(&self, lifetimes: &Lifetimes, now: i64) -> bool {
        now >= later(self.times.trusted_since, &[lifetimes.spread_seconds()])
    }

    /// Whether nothing is alive any more that it signed.
    fn is_over(&self, lifetimes: &Lifetimes, now: i64) -> bool {
        let alive = [lifetimes.spread_seconds(), lifetimes.leaf_seconds()];
        self.times
            .retired_since
            .is_some_and(|since| now >= later(since, &alive) || now > self.not_after)
    }

    fn is_two_thirds_over(&self, now: i64) -> bool {
        let life = self.not_after.saturating_sub(self.not_before);
        now >= later(self.not_before, &[life / 3 * 2])
    }
}

fn later(time: i64, by: &[i64]) -> i64 {
    by.iter().fold(time, |time, by| time.saturating_add(*by))
}
