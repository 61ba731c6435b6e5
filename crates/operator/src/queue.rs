//! What is to be reconciled, and when.
//!
//! A request waits once, however often it was made; the earliest time counts.
//! One object is never reconciled twice at a time. `kube`'s own controller has
//! such a queue for one watch of one kind; here pods, namespaces and
//! references of many names ask for gateways, and only a leader takes.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::key::Key;

/// The first wait after a failure; it doubles up to [`MAX_BACKOFF`].
const MIN_BACKOFF: Duration = Duration::from_millis(500);
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// An object that is to be reconciled.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Request {
    /// A gateway.
    Gateway(Key),
    /// A provider.
    Provider(Key),
}

/// The requests that wait.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    due: HashMap<Request, Instant>,
    order: BTreeSet<(Instant, Request)>,
    running: HashSet<Request>,
    failures: HashMap<Request, u32>,
}

/// How a reconcile ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Nothing more to do until something changes.
    Done,
    /// To be tried again, later each time.
    Failed,
}

// === impl Queue ===

impl Queue {
    /// Asks for a reconcile after `delay`.
    pub(crate) fn add(&self, request: Request, delay: Duration) {
        self.lock().add(request, Instant::now() + delay);
        self.changed.notify_waiters();
    }

    /// Waits for the next request that is due. [`Queue::end`] must be told how
    /// it ended.
    pub(crate) async fn next(&self) -> Request {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // From here on, no change is missed.
            changed.as_mut().enable();
            let until = match self.lock().take(Instant::now()) {
                Ok(request) => return request,
                Err(until) => until,
            };
            match until {
                Some(until) => tokio::select! {
                    () = sleep_until(until) => {}
                    () = changed => {}
                },
                None => changed.await,
            }
        }
    }

    /// A request that [`Queue::next`] gave has ended.
    pub(crate) fn end(&self, request: &Request, ended: Ended) {
        self.lock().end(request, ended, Instant::now());
        self.changed.notify_waiters();
    }

    /// Forgets everything, also what is being reconciled.
    pub(crate) fn clear(&self) {
        *self.lock() = Inner::default();
    }

    /// How many wait.
    pub(crate) fn depth(&self) -> usize {
        self.lock().due.len()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Inner ===

impl Inner {
    fn add(&mut self, request: Request, at: Instant) {
        match self.due.get_mut(&request) {
            Some(due) if *due <= at => return,
            Some(due) => {
                self.order.remove(&(*due, request.clone()));
                *due = at;
            }
            None => {
                self.due.insert(request.clone(), at);
            }
        }
        self.order.insert((at, request));
    }

    /// The first request that is due and not running, or when to look again.
    fn take(&mut self, now: Instant) -> Result<Request, Option<Instant>> {
        let first = self
            .order
            .iter()
            .find(|(_, request)| !self.running.contains(request))
            .cloned();
        match first {
            Some((at, request)) if at <= now => {
                self.order.remove(&(at, request.clone()));
                self.due.remove(&request);
                self.running.insert(request.clone());
                Ok(request)
            }
            Some((at, _)) => Err(Some(at)),
            None => Err(None),
        }
    }

    fn end(&mut self, request: &Request, ended: Ended, now: Instant) {
        self.running.remove(request);
        match ended {
            Ended::Done => {
                self.failures.remove(request);
            }
            Ended::Failed => {
                let failures = self.failures.entry(request.clone()).or_default();
                let delay = MIN_BACKOFF.saturating_mul(1 << (*failures).min(16));
                *failures = failures.saturating_add(1);
                self.add(request.clone(), now + delay.min(MAX_BACKOFF));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Duration = Duration::ZERO;

    fn request(name: &str) -> Request {
        Request::Gateway(Key::new("crm", name))
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_once_and_the_earliest_time_counts() {
        let queue = Queue::default();
        let start = Instant::now();
        queue.add(request("a"), Duration::from_secs(9));
        queue.add(request("a"), Duration::from_secs(2));
        queue.add(request("a"), Duration::from_secs(5));
        assert_eq!(queue.depth(), 1);
        assert_eq!(queue.next().await, request("a"));
        assert_eq!(start.elapsed(), Duration::from_secs(2));
        assert_eq!(queue.depth(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_earlier_request_wakes_who_waits_for_a_later_one() {
        let queue = Queue::default();
        queue.add(request("late"), Duration::from_secs(60));
        let adding = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            queue.add(request("now"), NONE);
        };
        let (next, ()) = tokio::join!(queue.next(), adding);
        assert_eq!(next, request("now"));
    }

    #[tokio::test(start_paused = true)]
    async fn one_object_is_not_reconciled_twice_at_a_time() {
        let queue = Queue::default();
        queue.add(request("a"), NONE);
        assert_eq!(queue.next().await, request("a"));
        queue.add(request("a"), NONE);
        queue.add(request("b"), NONE);
        assert_eq!(queue.next().await, request("b"));
        let hour = Duration::from_secs(3600);
        let again = tokio::time::timeout(hour, queue.next()).await;
        assert!(again.is_err(), "it is still running");
        queue.end(&request("a"), Ended::Done);
        assert_eq!(queue.next().await, request("a"));
    }

    #[tokio::test(start_paused = true)]
    async fn failures_wait_longer_each_time_up_to_a_bound() {
        let queue = Queue::default();
        queue.add(request("a"), NONE);
        let mut waits = Vec::new();
        for _ in 0..9 {
            let start = Instant::now();
            let next = queue.next().await;
            waits.push(start.elapsed());
            queue.end(&next, Ended::Failed);
        }
        assert_eq!(waits[1], MIN_BACKOFF);
        assert!(waits.windows(2).all(|pair| pair[0] <= pair[1]), "{waits:?}");
        assert_eq!(waits[8], MAX_BACKOFF);
        let next = queue.next().await;
        queue.end(&next, Ended::Done);
        queue.add(request("a"), NONE);
        let next = queue.next().await;
        let start = Instant::now();
        queue.end(&next, Ended::Failed);
        queue.next().await;
        assert_eq!(start.elapsed(), MIN_BACKOFF, "a success starts anew");
    }

    #[tokio::test(start_paused = true)]
    async fn a_cleared_queue_is_empty_and_works() {
        let queue = Queue::default();
        queue.add(request("a"), NONE);
        queue.next().await;
        queue.add(request("a"), NONE);
        queue.clear();
        assert_eq!(queue.depth(), 0);
        queue.add(request("a"), NONE);
        assert_eq!(
            queue.next().await,
            request("a"),
            "it is not held as running"
        );
    }
}
