//! How often keys are fetched at most.
//!
//! Anyone can send tokens with made-up key ids, so what those cause is bounded:
//! at most two fetches within the cooldown. The first is made at once whatever
//! happened before, so that a rotation is noticed with the first token of the
//! new key; a second one only when it stays at two with the scheduled ones
//! counted in.

use std::collections::VecDeque;
use std::time::Duration;

/// Fetches within any cooldown.
const MOST: usize = 2;

/// The recent fetches; times are monotonic.
#[derive(Debug, Default)]
pub(super) struct FetchWindow {
    recent: VecDeque<Duration>,
    last_wanted: Option<Duration>,
}

impl FetchWindow {
    /// Whether a request may cause a fetch now.
    pub(super) fn admits_wanted(&mut self, now: Duration, cooldown: Duration) -> bool {
        self.forget(now, cooldown);
        let first = self
            .last_wanted
            .is_none_or(|last| !is_within(last, now, cooldown));
        first || self.recent.len() < MOST
    }

    pub(super) fn record_wanted(&mut self, now: Duration) {
        self.last_wanted = Some(now);
        self.recent.push_back(now);
    }

    pub(super) fn record_scheduled(&mut self, now: Duration) {
        self.recent.push_back(now);
        // Retries without keys are not held to the window and could fill it.
        while self.recent.len() > MOST {
            self.recent.pop_front();
        }
    }

    /// How long until a scheduled fetch fits in; none when it does now.
    pub(super) fn room_after(&mut self, now: Duration, cooldown: Duration) -> Option<Duration> {
        self.forget(now, cooldown);
        let excess = self.recent.len().checked_sub(MOST)?;
        let leaving = self.recent.get(excess)?;
        Some(leaving.saturating_add(cooldown).saturating_sub(now))
    }

    fn forget(&mut self, now: Duration, cooldown: Duration) {
        while self
            .recent
            .front()
            .is_some_and(|&oldest| !is_within(oldest, now, cooldown))
        {
            self.recent.pop_front();
        }
    }
}

fn is_within(then: Duration, now: Duration, cooldown: Duration) -> bool {
    now.saturating_sub(then) < cooldown
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COOLDOWN: Duration = Duration::from_secs(30);

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn want(window: &mut FetchWindow, millis: u64) -> bool {
        let admitted = window.admits_wanted(at(millis), COOLDOWN);
        if admitted {
            window.record_wanted(at(millis));
        }
        admitted
    }

    #[test]
    fn two_requests_cause_a_fetch_and_the_third_waits_for_the_cooldown() {
        let mut window = FetchWindow::default();
        assert!(want(&mut window, 0));
        assert!(want(&mut window, 1));
        assert!(!want(&mut window, 2));
        assert!(!want(&mut window, 29_999));
        assert!(want(&mut window, 30_000), "the first has left the window");
        assert!(!want(&mut window, 30_000));
        assert!(want(&mut window, 30_001), "the second too");
    }

    #[test]
    fn the_first_is_made_at_once_whatever_the_schedule_did() {
        let mut window = FetchWindow::default();
        for millis in [0, 1_000, 3_000] {
            window.record_scheduled(at(millis));
        }
        assert!(want(&mut window, 3_001));
        assert!(
            !want(&mut window, 3_002),
            "with the scheduled ones it is enough"
        );
    }

    #[test]
    fn a_scheduled_fetch_waits_for_room() {
        let mut window = FetchWindow::default();
        assert_eq!(window.room_after(at(0), COOLDOWN), None);
        assert!(want(&mut window, 0) && want(&mut window, 10_000));
        assert_eq!(window.room_after(at(12_000), COOLDOWN), Some(at(18_000)));
        assert_eq!(window.room_after(at(30_000), COOLDOWN), None);
    }

    proptest! {
        #[test]
        fn requests_alone_never_cause_more_than_two(steps in proptest::collection::vec(0_u64..20_000, 1..60)) {
            let mut window = FetchWindow::default();
            let mut now = 0;
            let mut fetched: Vec<u64> = Vec::new();
            for step in steps {
                now += step;
                if want(&mut window, now) {
                    fetched.push(now);
                }
            }
            for three in fetched.windows(3) {
                prop_assert!(three[2] - three[0] >= 30_000, "{three:?}");
            }
        }
    }
}
