//! Time as an argument, so that tests never sleep.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where the time comes from.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Wall-clock time in milliseconds since 1970; for token times and audit
    /// lines.
    fn unix_millis(&self) -> i64;

    /// Wall-clock time in whole seconds since 1970.
    fn unix_seconds(&self) -> i64 {
        self.unix_millis().div_euclid(1000)
    }

    /// Time since an arbitrary start that never goes back; for durations.
    fn monotonic(&self) -> Duration;
}

/// The clock of the machine.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

/// A clock that moves only when it is told to.
#[derive(Debug)]
pub struct ManualClock {
    start_unix_seconds: i64,
    elapsed_nanos: AtomicU64,
}

// === impl SystemClock ===

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the system's time"
    )]
    fn unix_millis(&self) -> i64 {
        let now = SystemTime::now();
        // Before 1970 counts backwards: a clock that is that wrong must not
        // look like the far future.
        match now.duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => {
                i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |millis| -millis)
            }
        }
    }

    fn monotonic(&self) -> Duration {
        use std::sync::OnceLock;
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed()
    }
}

// === impl ManualClock ===

impl ManualClock {
    /// A clock that stands at this second of 1970's count.
    #[must_use]
    pub fn new(unix_seconds: i64) -> Self {
        Self {
            start_unix_seconds: unix_seconds,
            elapsed_nanos: AtomicU64::new(0),
        }
    }

    /// Moves wall-clock and monotonic time on.
    pub fn advance(&self, by: Duration) {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.elapsed_nanos.fetch_add(nanos, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn unix_millis(&self) -> i64 {
        let elapsed = i64::try_from(self.monotonic().as_millis()).unwrap_or(i64::MAX);
        self.start_unix_seconds
            .saturating_mul(1000)
            .saturating_add(elapsed)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.elapsed_nanos.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = ManualClock::new(1_000);
        assert_eq!(
            (clock.unix_seconds(), clock.monotonic()),
            (1_000, Duration::ZERO)
        );
        clock.advance(Duration::from_millis(1_500));
        assert_eq!(clock.unix_millis(), 1_001_500);
        assert_eq!(clock.unix_seconds(), 1_001, "seconds are whole");
        assert_eq!(clock.monotonic(), Duration::from_millis(1_500));
    }

    #[test]
    fn seconds_before_1970_round_down() {
        let clock = ManualClock::new(-2);
        clock.advance(Duration::from_millis(500));
        assert_eq!(clock.unix_seconds(), -2);
    }

    #[test]
    fn the_system_clock_is_past_2020_and_monotonic() {
        let clock = SystemClock;
        assert!(clock.unix_seconds() > 1_577_836_800);
        let first = clock.monotonic();
        assert!(clock.monotonic() >= first);
    }
}
