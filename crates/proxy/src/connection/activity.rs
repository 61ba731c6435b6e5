//! What a connection is waiting for, and for how long it may.
//!
//! The reader, the writer and the requests of a connection note here what they
//! do; the task that drives the connection owns the one timer and asks
//! [`Activity::look`] whenever it fires. In the steady state a request costs
//! two loads of the clock and no timer operation.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// How long an answer may still take when the client has closed its sending
/// side. A client that went away looks the same until something is written to
/// it, and its calls must not run on: so this is short.
pub(crate) const HALF_CLOSED_GRACE: Duration = Duration::from_secs(1);

/// "Not now" in the fields that hold a moment.
const NEVER: u64 = u64::MAX;

/// The limits on waiting that a connection was accepted with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// From the first byte of a head to its last (`limits.headerTimeout`).
    pub(crate) header: Duration,
    /// Between requests, and for a peer that does not read
    /// (`limits.idleTimeout`).
    pub(crate) idle: Duration,
}

/// What the connection should do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// Nothing is overdue before this moment.
    Again(Instant),
    /// No request for `limits.idleTimeout`.
    Idle,
    /// A head is not complete after `limits.headerTimeout`.
    SlowHead,
    /// The peer has not read for `limits.idleTimeout`.
    SlowReader,
}

/// Notes about one connection; moments are milliseconds since it was opened.
#[derive(Debug)]
pub(crate) struct Activity {
    opened: Instant,
    in_flight: AtomicUsize,
    idle_since: AtomicU64,
    head_since: AtomicU64,
    write_blocked_since: AtomicU64,
    input_ended_since: AtomicU64,
    holding_end: AtomicBool,
    /// Something began that ends a wait earlier than was planned.
    look_again: AtomicBool,
}

/// One request that has not been answered to its last byte.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Activity>);

// === impl Activity ===

impl Activity {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            opened: Instant::now(),
            in_flight: AtomicUsize::new(0),
            idle_since: AtomicU64::new(0),
            head_since: AtomicU64::new(NEVER),
            write_blocked_since: AtomicU64::new(NEVER),
            input_ended_since: AtomicU64::new(NEVER),
            holding_end: AtomicBool::new(false),
            look_again: AtomicBool::new(false),
        })
    }

    /// Counts a request until the guard is dropped.
    pub(crate) fn begin_request(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        InFlight(Arc::clone(self))
    }

    /// Notes whether a head has begun and not ended.
    pub(crate) fn head_is_partial(&self, partial: bool) {
        self.mark(&self.head_since, partial);
    }

    /// Notes whether the peer takes what is written.
    pub(crate) fn write_is_blocked(&self, blocked: bool) {
        self.mark(&self.write_blocked_since, blocked);
    }

    /// Whether the end of the input is to be kept from the library for now: it
    /// would drop the answer that is still being made.
    pub(crate) fn hold_end_of_input(&self) -> bool {
        self.mark(&self.input_ended_since, true);
        let since = self.input_ended_since.load(Ordering::Acquire);
        let hold = self.has_requests() && self.now() < deadline(since, HALF_CLOSED_GRACE);
        self.holding_end.store(hold, Ordering::Release);
        hold
    }

    /// Whether the library must be asked to read again, because the end of the
    /// input was kept from it and the answer is out.
    pub(crate) fn must_read_again(&self) -> bool {
        self.holding_end.load(Ordering::Acquire) && !self.has_requests()
    }

    /// Whether a wait began since the last call that the planned look may come
    /// too late for.
    pub(crate) fn must_look_again(&self) -> bool {
        self.look_again.load(Ordering::Acquire) && self.look_again.swap(false, Ordering::AcqRel)
    }

    /// What is overdue, or when to look again. Looking early is never wrong.
    pub(crate) fn look(&self, patience: &Patience) -> Look {
        let now = self.now();
        let idle_since = self.idle_since.load(Ordering::Acquire);
        let blocked_until = deadline(
            self.write_blocked_since.load(Ordering::Acquire),
            patience.idle,
        );
        if blocked_until <= now {
            return Look::SlowReader;
        }
        if self.has_requests() {
            // Anything may end meanwhile: look again after the shortest wait.
            let ended = self.input_ended_since.load(Ordering::Acquire);
            let release = deadline(ended, HALF_CLOSED_GRACE);
            let release = if release > now { release } else { NEVER };
            let again = deadline(now, patience.header.min(patience.idle));
            return Look::Again(self.moment(again.min(release).min(blocked_until)));
        }
        // A head that was waiting behind another request begins now.
        let head_since = self.head_since.load(Ordering::Acquire);
        let (until, overdue) = if head_since == NEVER {
            (deadline(idle_since, patience.idle), Look::Idle)
        } else {
            (
                deadline(head_since.max(idle_since), patience.header),
                Look::SlowHead,
            )
        };
        if until <= now {
            overdue
        } else {
            Look::Again(self.moment(until.min(blocked_until)))
        }
    }

    pub(crate) fn has_requests(&self) -> bool {
        self.in_flight.load(Ordering::Acquire) > 0
    }

    fn mark(&self, since: &AtomicU64, holds: bool) {
        let marked = since.load(Ordering::Relaxed) != NEVER;
        if holds != marked {
            since.store(if holds { self.now() } else { NEVER }, Ordering::Release);
            if holds {
                self.look_again.store(true, Ordering::Release);
            }
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(NEVER - 1)
    }

    fn moment(&self, since_opened: u64) -> Instant {
        self.opened + Duration::from_millis(since_opened)
    }
}

fn deadline(since: u64, wait: Duration) -> u64 {
    since.saturating_add(u64::try_from(wait.as_millis()).unwrap_or(NEVER))
}

// === impl InFlight ===

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.idle_since.store(self.0.now(), Ordering::Release);
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        header: Duration::from_secs(10),
        idle: Duration::from_secs(75),
    };

    async fn pass(seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn idle_counts_from_the_end_of_the_last_request() {
        let activity = Activity::new();
        pass(74).await;
        let request = activity.begin_request();
        pass(600).await;
        assert!(
            matches!(activity.look(&PATIENCE), Look::Again(_)),
            "a request is not idle"
        );
        drop(request);
        pass(74).await;
        assert!(matches!(activity.look(&PATIENCE), Look::Again(_)));
        pass(1).await;
        assert_eq!(activity.look(&PATIENCE), Look::Idle);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_must_be_complete_in_time() {
        let activity = Activity::new();
        pass(70).await;
        activity.head_is_partial(true);
        pass(9).await;
        activity.head_is_partial(true);
        assert_eq!(
            activity.look(&PATIENCE),
            Look::Again(Instant::now() + Duration::from_secs(1)),
            "more bytes of the same head do not give more time"
        );
        pass(1).await;
        assert_eq!(activity.look(&PATIENCE), Look::SlowHead);
        activity.head_is_partial(false);
        assert_eq!(
            activity.look(&PATIENCE),
            Look::Idle,
            "80 s without a request"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_pipelined_head_waits_for_the_request_before_it() {
        let activity = Activity::new();
        let request = activity.begin_request();
        activity.head_is_partial(true);
        pass(60).await;
        drop(request);
        pass(9).await;
        assert!(matches!(activity.look(&PATIENCE), Look::Again(_)));
        pass(1).await;
        assert_eq!(activity.look(&PATIENCE), Look::SlowHead);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_read_is_given_up() {
        let activity = Activity::new();
        let _request = activity.begin_request();
        activity.write_is_blocked(true);
        pass(74).await;
        activity.write_is_blocked(false);
        activity.write_is_blocked(true);
        pass(74).await;
        assert!(
            matches!(activity.look(&PATIENCE), Look::Again(_)),
            "progress gives new time"
        );
        pass(1).await;
        assert_eq!(activity.look(&PATIENCE), Look::SlowReader);
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_input_waits_for_an_answer_but_not_long() {
        let activity = Activity::new();
        assert!(!activity.hold_end_of_input(), "nothing to answer");
        let activity = Activity::new();
        let request = activity.begin_request();
        assert!(activity.hold_end_of_input());
        assert!(!activity.must_read_again());
        assert_eq!(
            activity.look(&PATIENCE),
            Look::Again(Instant::now() + HALF_CLOSED_GRACE)
        );
        pass(1).await;
        assert!(!activity.hold_end_of_input(), "the client is gone");
        drop(request);
        assert!(!activity.must_read_again());
    }
}
