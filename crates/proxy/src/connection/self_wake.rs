//! A waker that does not go through the scheduler for a task that is running.
//!
//! The two halves of an HTTP connection talk through channels, and here both
//! ends are polled by one task: the request that reads its body wakes the
//! connection that it runs on. To the scheduler that is a task which yields: it
//! is queued again and another worker is woken to look for it, twice per
//! request. Such a wake-up is noted here instead, and the task polls once more
//! before it returns.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// Polls in one turn; after that other tasks come first.
const MOST_POLLS: usize = 32;

/// Not being polled: a wake-up goes to the scheduler.
const IDLE: u8 = 0;
/// Being polled: a wake-up is noted.
const POLLING: u8 = 1;
/// Being polled, and woken since.
const WOKEN: u8 = 2;

/// Polls a task's work, and again when it woke itself meanwhile.
#[derive(Debug)]
pub(super) struct SelfWake {
    noting: Arc<Noting>,
    waker: Waker,
}

#[derive(Debug)]
struct Noting {
    state: AtomicU8,
    task: Mutex<Waker>,
}

// === impl SelfWake ===

impl SelfWake {
    pub(super) fn new() -> Self {
        let noting = Arc::new(Noting {
            state: AtomicU8::new(IDLE),
            task: Mutex::new(Waker::noop().clone()),
        });
        let waker = Waker::from(Arc::clone(&noting));
        Self { noting, waker }
    }

    /// Polls until the work is ready, or waits for something outside of it.
    pub(super) fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        mut work: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.noting.belongs_to(cx.waker());
        for _ in 0..MOST_POLLS {
            self.noting.state.store(POLLING, Ordering::Release);
            let polled = work(&mut Context::from_waker(&self.waker));
            if polled.is_ready() {
                // Nobody polls it again, so nobody needs to be woken.
                return polled;
            }
            let rested = self.noting.state.compare_exchange(
                POLLING,
                IDLE,
                Ordering::AcqRel,
                Ordering::Acquire,
            );
            if rested.is_ok() {
                return Poll::Pending;
            }
        }
        self.noting.state.store(IDLE, Ordering::Release);
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

// === impl Noting ===

impl Noting {
    fn belongs_to(&self, task: &Waker) {
        let mut known = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.will_wake(task) {
            known.clone_from(task);
        }
    }
}

impl Wake for Noting {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let noted = self
            .state
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
                (state != IDLE).then_some(WOKEN)
            });
        if noted.is_err() {
            self.task
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Debug, Default)]
    struct Counted(AtomicUsize);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn counted() -> (Arc<Counted>, Waker) {
        let counted = Arc::new(Counted::default());
        (Arc::clone(&counted), Waker::from(counted))
    }

    #[test]
    fn work_that_wakes_itself_is_polled_again_without_the_scheduler() {
        let (scheduled, task) = counted();
        let mut polls = 0;
        let polled = SelfWake::new().poll(&mut Context::from_waker(&task), |cx| {
            polls += 1;
            if polls < 3 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(polls)
        });
        assert_eq!(polled, Poll::Ready(3));
        assert_eq!(scheduled.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn work_that_waits_is_woken_through_the_scheduler() {
        let (scheduled, task) = counted();
        let mut waiting = None;
        let once = SelfWake::new();
        let polled: Poll<()> = once.poll(&mut Context::from_waker(&task), |cx| {
            waiting = Some(cx.waker().clone());
            Poll::Pending
        });
        assert!(polled.is_pending());
        assert_eq!(scheduled.0.load(Ordering::Relaxed), 0);
        waiting.expect("kept").wake();
        assert_eq!(scheduled.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn work_that_never_rests_lets_others_run() {
        let (scheduled, task) = counted();
        let mut polls = 0;
        let polled: Poll<()> = SelfWake::new().poll(&mut Context::from_waker(&task), |cx| {
            polls += 1;
            cx.waker().wake_by_ref();
            Poll::Pending
        });
        assert!(polled.is_pending());
        assert_eq!(polls, MOST_POLLS);
        assert_eq!(scheduled.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_wake_up_from_another_thread_is_never_lost() {
        // Many rounds of a race between the end of a poll and a wake-up.
        for _ in 0..2_000 {
            let (scheduled, task) = counted();
            let once = SelfWake::new();
            let mut polls = 0;
            let mut other = None;
            let polled: Poll<()> = once.poll(&mut Context::from_waker(&task), |cx| {
                polls += 1;
                if other.is_none() {
                    let waker = cx.waker().clone();
                    other = Some(std::thread::spawn(move || waker.wake()));
                }
                Poll::Pending
            });
            assert!(polled.is_pending());
            other.expect("spawned").join().expect("wakes");
            assert_eq!(polls + scheduled.0.load(Ordering::Relaxed), 2);
        }
    }
}
