//! When to try again.

use std::time::Duration;

use aws_lc_rs::rand;

/// The first wait is below this, each further one below twice as much.
const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(30);
/// The longest wait that an operator can ask for: one that asks for more has
/// nobody who could tell the sidecar otherwise.
const LONGEST_ASKED: Duration = Duration::from_secs(60);
/// A stream that stood for so long was a good one.
const STOOD: Duration = Duration::from_secs(10);

/// Waits between attempts: exponential, each any part of its limit ("full
/// jitter"), so that the sidecars of an operator that starts again do not come
/// all at once.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

// === impl Backoff ===

impl Backoff {
    /// How long to wait after an attempt that ended. `stood` is how long its
    /// stream stood, `asked` what the operator asked for.
    pub(super) fn next(&mut self, stood: Duration, asked: Option<Duration>) -> Duration {
        if stood >= STOOD {
            self.failures = 0;
        }
        let limit = FIRST
            .saturating_mul(2_u32.saturating_pow(self.failures))
            .min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        let wait = part_of(limit);
        match asked {
            // The part comes on top: all of them were told the same.
            Some(asked) => asked.min(LONGEST_ASKED).saturating_add(wait),
            None => wait,
        }
    }
}

/// Any part of `whole`, to the millisecond.
pub(super) fn part_of(whole: Duration) -> Duration {
    let mut bytes = [0; 8];
    // Without random numbers there is no TLS either.
    if rand::fill(&mut bytes).is_err() {
        return whole;
    }
    let limit = u64::try_from(whole.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(u64::from_le_bytes(bytes) % limit.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Duration = Duration::ZERO;

    #[test]
    fn waits_grow_to_a_limit_and_differ() {
        let mut backoff = Backoff::default();
        for doublings in 0..40 {
            let wait = backoff.next(NONE, None);
            let limit = FIRST * 2_u32.pow(doublings.min(20));
            assert!(wait <= limit.min(LONGEST), "{doublings}: {wait:?}");
        }
        let late: Vec<_> = (0..200).map(|_| backoff.next(NONE, None)).collect();
        assert!(late.iter().any(|wait| *wait > LONGEST / 2));
        assert!(late.iter().any(|wait| *wait < LONGEST / 2));
        assert!(late.iter().all(|wait| *wait <= LONGEST));
    }

    #[test]
    fn a_stream_that_stood_starts_them_anew() {
        let mut backoff = Backoff { failures: 30 };
        let _long = backoff.next(STOOD - Duration::from_millis(1), None);
        assert_eq!(backoff.failures, 31);
        assert!(backoff.next(STOOD, None) <= FIRST);
    }

    #[test]
    fn an_operator_is_obeyed_within_bounds() {
        let mut backoff = Backoff::default();
        let asked = Duration::from_secs(5);
        let wait = backoff.next(NONE, Some(asked));
        assert!(wait >= asked && wait <= asked + FIRST, "{wait:?}");
        let mut backoff = Backoff::default();
        let wait = backoff.next(NONE, Some(Duration::from_secs(1_000_000)));
        assert!(wait >= LONGEST_ASKED && wait <= LONGEST_ASKED + FIRST);
    }
}
