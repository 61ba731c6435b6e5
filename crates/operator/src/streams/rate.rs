//! How often something may happen, and how often for each of many.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

/// A rate: so many at once, then one per interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    /// How many at once.
    pub(crate) burst: u32,
    /// The interval in which one more becomes possible.
    pub(crate) every: Duration,
}

/// What a rate has left, for one.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bucket {
    /// When it would be full again (the generic cell rate algorithm).
    full_at: Duration,
}

/// What a rate has left, for each of a bounded number.
#[derive(Debug)]
pub(super) struct RateTable<K> {
    rate: Rate,
    capacity: usize,
    buckets: HashMap<K, Bucket>,
    swept_at: Duration,
}

/// How long to wait for the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooOften(pub(super) Duration);

/// A table that is full is looked through this often at most.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

// === impl Bucket ===

impl Bucket {
    /// Takes one. `now` is the time of a clock that never goes back.
    ///
    /// # Errors
    /// [`TooOften`] when there is none.
    pub(super) fn take(&mut self, rate: Rate, now: Duration) -> Result<(), TooOften> {
        let full_at = self.full_at.max(now) + rate.every;
        let latest = now + rate.every * rate.burst;
        if full_at > latest {
            return Err(TooOften(full_at - latest));
        }
        self.full_at = full_at;
        Ok(())
    }

    /// Takes the next one, which becomes possible after the time that this
    /// gives.
    ///
    /// # Errors
    /// [`TooOften`] when that is longer than `patience`.
    pub(super) fn reserve(
        &mut self,
        rate: Rate,
        now: Duration,
        patience: Duration,
    ) -> Result<Duration, TooOften> {
        let full_at = self.full_at.max(now) + rate.every;
        let wait = full_at.saturating_sub(now + rate.every * rate.burst);
        if wait > patience {
            return Err(TooOften(wait));
        }
        self.full_at = full_at;
        Ok(wait)
    }

    /// Gives one back.
    pub(super) fn give_back(&mut self, rate: Rate) {
        self.full_at = self.full_at.saturating_sub(rate.every);
    }
}

// === impl RateTable ===

impl<K: Eq + Hash> RateTable<K> {
    /// A table for at most `capacity` at a time. Those with nothing taken need
    /// no place.
    pub(super) fn new(rate: Rate, capacity: usize) -> Self {
        Self {
            rate,
            capacity,
            buckets: HashMap::new(),
            swept_at: Duration::ZERO,
        }
    }

    /// Takes one for `key`.
    ///
    /// # Errors
    /// [`TooOften`] when there is none, and for a newcomer while the table is
    /// full: a flood must not make it grow.
    pub(super) fn take(&mut self, key: K, now: Duration) -> Result<(), TooOften> {
        if self.buckets.len() >= self.capacity && !self.buckets.contains_key(&key) {
            self.sweep(now);
            if self.buckets.len() >= self.capacity {
                return Err(TooOften(SWEEP_EVERY));
            }
        }
        self.buckets.entry(key).or_default().take(self.rate, now)
    }

    /// Gives one back.
    pub(super) fn give_back(&mut self, key: &K) {
        if let Some(bucket) = self.buckets.get_mut(key) {
            bucket.give_back(self.rate);
        }
    }

    fn sweep(&mut self, now: Duration) {
        if now.saturating_sub(self.swept_at) < SWEEP_EVERY && !self.swept_at.is_zero() {
            return;
        }
        self.swept_at = now;
        self.buckets.retain(|_, bucket| bucket.full_at > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        burst: 3,
        every: Duration::from_secs(10),
    };

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_burst_then_one_per_interval() {
        let mut bucket = Bucket::default();
        for _ in 0..3 {
            assert_eq!(bucket.take(RATE, at(100)), Ok(()));
        }
        assert_eq!(bucket.take(RATE, at(100)), Err(TooOften(at(10))));
        assert_eq!(bucket.take(RATE, at(109)), Err(TooOften(at(1))));
        assert_eq!(bucket.take(RATE, at(110)), Ok(()));
        assert!(bucket.take(RATE, at(110)).is_err());
        // After a long time there is a burst again, and no more than that.
        for _ in 0..3 {
            assert_eq!(bucket.take(RATE, at(1_000)), Ok(()));
        }
        assert!(bucket.take(RATE, at(1_000)).is_err());
    }

    #[test]
    fn what_is_given_back_can_be_taken() {
        let mut bucket = Bucket::default();
        for _ in 0..100 {
            assert_eq!(bucket.take(RATE, at(1)), Ok(()));
            bucket.give_back(RATE);
        }
        for _ in 0..3 {
            assert_eq!(bucket.take(RATE, at(1)), Ok(()));
        }
        assert!(bucket.take(RATE, at(1)).is_err());
    }

    #[test]
    fn places_in_the_future_are_reserved_in_order() {
        let mut bucket = Bucket::default();
        let mut reserve = || bucket.reserve(RATE, at(1), at(20));
        let waits: Vec<_> = (0..5).map_while(|_| reserve().ok()).collect();
        assert_eq!(waits, [at(0), at(0), at(0), at(10), at(20)]);
        assert_eq!(reserve(), Err(TooOften(at(30))));
    }

    #[test]
    fn one_does_not_pay_for_another() {
        let mut table = RateTable::new(RATE, 10);
        for _ in 0..3 {
            assert_eq!(table.take("a", at(1)), Ok(()));
        }
        assert!(table.take("a", at(1)).is_err());
        assert_eq!(table.take("b", at(1)), Ok(()));
    }

    #[test]
    fn the_table_is_bounded_and_forgets_who_is_quiet() {
        let mut table = RateTable::new(RATE, 2);
        assert_eq!(table.take("a", at(1)), Ok(()));
        assert_eq!(table.take("b", at(5)), Ok(()));
        assert!(table.take("c", at(6)).is_err());
        assert_eq!(table.take("a", at(6)), Ok(()), "it has a place");
        // The one of `b` is full again.
        assert_eq!(table.take("c", at(16)), Ok(()));
        assert_eq!(table.buckets.len(), 2);
        assert!(table.take("d", at(16)).is_err());
    }
}
