//! What is to be reconciled, and when.
//!
//! A request waits once, however often it was made; the earliest time counts.
//! One object is never reconciled twice at a time. `kube`'s own controller has
//! such a queue for one watch of one kind; here pods, namespaces and
//! references of many names ask for gateways.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::key::Key;

/// The first wait after a failure; it doubles up to [`MAX_BACKOFF`].
const MIN_BACKOFF: Duration = Duration::from_millis(500);
const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// What was written waits so long for its next turn: who fights over an object
/// with somebody else would write it as often as the two can.
const PACE: Duration = Duration::from_millis(250);

/// An object that is to be reconciled.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Request {
    /// A gateway.
    Gateway(Key),
    /// A provider.
    Provider(Key),
}

/// The requests that wait.
#[derive(Debug)]
pub(crate) struct Queue<R = Request> {
    inner: Mutex<Inner<R>>,
    changed: Notify,
}

#[derive(Debug)]
struct Inner<R> {
    /// Whether nobody takes anything.
    is_closed: bool,
    due: HashMap<R, Due>,
    order: BTreeSet<(Instant, R)>,
    running: HashSet<R>,
    failures: HashMap<R, u32>,
    /// When the next turn of what was written may begin.
    paced: HashMap<R, Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Due {
    at: Instant,
    asked: Instant,
}

/// A request whose turn it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Taken<R> {
    /// What is to be done.
    pub(crate) request: R,
    /// When it was first asked for.
    pub(crate) asked: Instant,
}

/// How a reconcile ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Nothing more to do until something changes.
    Done,
    /// The same, and the object was written, or would have been.
    Wrote,
    /// To be tried again, later each time.
    Failed,
}

// === impl Queue ===

impl<R> Default for Queue<R> {
    fn default() -> Self {
        Self {
            inner: Mutex::default(),
            changed: Notify::new(),
        }
    }
}

impl<R: Clone + Ord + Hash> Queue<R> {
    /// One that is closed.
    pub(crate) fn closed() -> Self {
        let queue = Self::default();
        queue.close();
        queue
    }

    /// Asks for a reconcile after `delay`. While the queue is closed, nobody
    /// would take it, and nothing is kept.
    pub(crate) fn add(&self, request: R, delay: Duration) {
        let now = Instant::now();
        let due = Due {
            at: now + delay,
            asked: now,
        };
        {
            let mut inner = self.lock();
            if inner.is_closed {
                return;
            }
            inner.add(request, due);
        }
        self.changed.notify_one();
    }

    /// Waits for the next request that is due. [`Queue::end`] must be told how
    /// it ended.
    pub(crate) async fn next(&self) -> Taken<R> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // From here on, no change is missed.
            changed.as_mut().enable();
            let until = match self.lock().take(Instant::now()) {
                Ok(taken) => {
                    // Whoever else waits has to know what comes next.
                    self.changed.notify_one();
                    return taken;
                }
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
    pub(crate) fn end(&self, request: &R, ended: Ended) {
        {
            let mut inner = self.lock();
            if inner.is_closed {
                return;
            }
            inner.end(request, ended, Instant::now());
        }
        self.changed.notify_one();
    }

    /// Begins with nothing, not even with what was being reconciled. Whoever
    /// opens it asks for everything.
    pub(crate) fn open(&self) {
        *self.lock() = Inner::default();
    }

    /// Forgets everything; nobody takes anything any more.
    pub(crate) fn close(&self) {
        *self.lock() = Inner {
            is_closed: true,
            ..Inner::default()
        };
    }

    /// How many wait.
    pub(crate) fn depth(&self) -> usize {
        self.lock().due.len()
    }

    fn lock(&self) -> MutexGuard<'_, Inner<R>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Inner ===

impl<R> Default for Inner<R> {
    fn default() -> Self {
        Self {
            is_closed: false,
            due: HashMap::new(),
            order: BTreeSet::new(),
            running: HashSet::new(),
            failures: HashMap::new(),
            paced: HashMap::new(),
        }
    }
}

impl<R: Clone + Ord + Hash> Inner<R> {
    fn add(&mut self, request: R, mut wanted: Due) {
        if let Some(earliest) = self.paced.get(&request) {
            wanted.at = wanted.at.max(*earliest);
        }
        let due = match self.due.get_mut(&request) {
            Some(due) if due.at <= wanted.at => return,
            Some(due) => {
                self.order.remove(&(due.at, request.clone()));
                due.at = wanted.at;
                *due
            }
            None => *self.due.entry(request.clone()).or_insert(wanted),
        };
        self.order.insert((due.at, request));
    }

    /// Lets a request that waits wait until `earliest`.
    fn put_off(&mut self, request: &R, earliest: Instant) {
        if let Some(due) = self.due.get_mut(request).filter(|due| due.at < earliest) {
            self.order.remove(&(due.at, request.clone()));
            due.at = earliest;
            self.order.insert((earliest, request.clone()));
        }
    }

    /// The first request that is due and not running, or when to look again.
    fn take(&mut self, now: Instant) -> Result<Taken<R>, Option<Instant>> {
        let first = self
            .order
            .iter()
            .find(|(_, request)| !self.running.contains(request))
            .cloned();
        match first {
            Some((at, request)) if at <= now => {
                self.order.remove(&(at, request.clone()));
                let due = self.due.remove(&request);
                self.running.insert(request.clone());
                let asked = due.map_or(at, |due| due.asked);
                Ok(Taken { request, asked })
            }
            Some((at, _)) => Err(Some(at)),
            None => Err(None),
        }
    }

    fn end(&mut self, request: &R, ended: Ended, now: Instant) {
        self.running.remove(request);
        self.paced.remove(request);
        match ended {
            Ended::Done => {
                self.failures.remove(request);
            }
            Ended::Wrote => {
                self.failures.remove(request);
                self.paced.insert(request.clone(), now + PACE);
                self.put_off(request, now + PACE);
            }
            Ended::Failed => {
                let failures = self.failures.entry(request.clone()).or_default();
                let delay = MIN_BACKOFF.saturating_mul(1 << (*failures).min(16));
                *failures = failures.saturating_add(1);
                let due = Due {
                    at: now + delay.min(MAX_BACKOFF),
                    asked: now,
                };
                self.add(request.clone(), due);
            }
        }
    }
}

#[cfg(test)]
mod tests;
