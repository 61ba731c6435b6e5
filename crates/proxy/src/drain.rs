//! Stopping without a failed request.
//!
//! A drain has three phases, and [`crate::run`] leads through them:
//!
//! 1. *Leaving*: not ready any more, but everything is still served, new
//!    connections too. Every HTTP/1 answer carries `Connection: close`, HTTP/2
//!    peers are told to go away. Callers need this time: an endpoint is removed
//!    from their tables only seconds after readiness is lost, and an idle
//!    keep-alive connection that is closed under a request costs that request.
//! 2. *Closing*: the listeners are closed, idle connections too; requests and
//!    streams in progress go on. A port that `sidegate hold` holds cannot be
//!    closed: who connects to it now is reset at once, because nobody says
//!    whether another sidecar will come for those who wait.
//! 3. The end: no connection is left, or `limits.drainTimeout` has passed.
//!
//! In a pod, Leaving always takes [`LEAVING`], because a quiet second proves
//! nothing about the next one. Where every listener is on loopback (the desk,
//! tests) nobody has to be told, and Leaving ends early once no connection was
//! open for [`QUIET`].

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

/// How long callers may still connect after readiness is lost.
pub const LEAVING: Duration = Duration::from_secs(5);

/// Without any open connection for this long, nobody is calling.
pub const QUIET: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serving,
    Leaving,
    Closing,
}

/// Whether the sidecar is stopping, and how many connections are open.
#[derive(Debug)]
pub struct Drain {
    phase: watch::Sender<Phase>,
    open: Mutex<Open>,
    /// Changes whenever the last connection closes or a first one opens.
    any_open: watch::Sender<bool>,
}

#[derive(Debug)]
struct Open {
    count: usize,
    quiet_since: Instant,
}

/// One open connection, counted until it is dropped.
#[derive(Debug)]
pub struct OpenConnection(Arc<Drain>);

// === impl Drain ===

impl Drain {
    /// Nothing is stopping and nothing is open.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            phase: watch::Sender::new(Phase::Serving),
            open: Mutex::new(Open {
                count: 0,
                quiet_since: Instant::now(),
            }),
            any_open: watch::Sender::new(false),
        })
    }

    /// Begins the drain; once begun, it cannot be taken back.
    pub fn begin(&self) {
        self.enter(Phase::Leaving);
    }

    /// Has every connection close as soon as it has nothing in progress.
    pub(crate) fn close(&self) {
        self.enter(Phase::Closing);
    }

    /// Whether the drain has begun.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        *self.phase.borrow() >= Phase::Leaving
    }

    /// Resolves when the drain begins, at once when it has begun.
    pub async fn draining(&self) {
        self.reached(Phase::Leaving).await;
    }

    /// Resolves when connections shall close.
    pub(crate) async fn closing(&self) {
        self.reached(Phase::Closing).await;
    }

    /// Counts a connection, or refuses it when `limit` are open.
    pub(crate) fn open(self: &Arc<Self>, limit: usize) -> Option<OpenConnection> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.count >= limit {
            return None;
        }
        open.count += 1;
        if open.count == 1 {
            self.any_open.send_replace(true);
        }
        Some(OpenConnection(Arc::clone(self)))
    }

    /// How many connections are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .count
    }

    /// Waits until callers have had the time to leave: [`LEAVING`], or with
    /// `quick` only until no connection was open for [`QUIET`]. Never longer
    /// than to `latest`.
    pub(crate) async fn left(&self, quick: bool, latest: Instant) {
        let until = latest.min(Instant::now() + LEAVING);
        if quick {
            // Either way the wait is over.
            let _ = timeout_at(until, self.quiet(QUIET)).await;
        } else {
            sleep_until(until).await;
        }
    }

    /// Resolves when the drain has begun and no connection is open.
    pub async fn drained(&self) {
        self.draining().await;
        self.quiet(Duration::ZERO).await;
    }

    /// Resolves when no connection has been open for `period`.
    async fn quiet(&self, period: Duration) {
        let mut any_open = self.any_open.subscribe();
        loop {
            any_open.mark_unchanged();
            let quiet_since = {
                let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
                (open.count == 0).then_some(open.quiet_since)
            };
            let changed = any_open.changed();
            let wait = match quiet_since {
                Some(since) if since + period <= Instant::now() => return,
                Some(since) => timeout_at(since + period, changed).await.unwrap_or(Ok(())),
                None => changed.await,
            };
            if wait.is_err() {
                // The sender lives in `self`.
                return;
            }
        }
    }

    fn enter(&self, phase: Phase) {
        self.phase.send_if_modified(|current| {
            let later = *current < phase;
            *current = phase.max(*current);
            later
        });
    }

    async fn reached(&self, phase: Phase) {
        // It fails only without a sender, and the sender lives in `self`.
        let _ = self
            .phase
            .subscribe()
            .wait_for(|current| *current >= phase)
            .await;
    }
}

// === impl OpenConnection ===

impl Drop for OpenConnection {
    fn drop(&mut self) {
        let mut open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.count -= 1;
        if open.count == 0 {
            open.quiet_since = Instant::now();
            self.0.any_open.send_replace(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAR: Duration = Duration::from_secs(30);

    async fn time_to_leave(drain: &Arc<Drain>, quick: bool) -> Duration {
        drain.begin();
        let begun = Instant::now();
        drain.left(quick, begun + FAR).await;
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn connections_are_counted_to_the_limit() {
        let drain = Drain::new();
        let first = drain.open(2).expect("first");
        let second = drain.open(2).expect("second");
        assert!(drain.open(2).is_none());
        assert_eq!(drain.connections(), 2);
        drop(first);
        assert!(drain.open(2).is_some());
        drop(second);
        assert_eq!(drain.connections(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn in_a_pod_callers_always_get_the_whole_time() {
        assert_eq!(time_to_leave(&Drain::new(), false).await, LEAVING);
    }

    #[tokio::test(start_paused = true)]
    async fn on_the_desk_an_unused_sidecar_leaves_at_once() {
        let drain = Drain::new();
        tokio::time::advance(QUIET).await;
        assert_eq!(time_to_leave(&drain, true).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn on_the_desk_open_connections_delay_leaving() {
        let drain = Drain::new();
        tokio::time::advance(FAR).await;
        let connection = drain.open(1).expect("opens");
        let later = Arc::clone(&drain);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(1500)).await;
            drop(connection);
            // Another one within the quiet second starts it anew.
            tokio::time::sleep(Duration::from_millis(500)).await;
            drop(later.open(1).expect("opens"));
        });
        assert_eq!(
            time_to_leave(&drain, true).await,
            Duration::from_millis(3000)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_stays_cannot_delay_leaving_for_ever() {
        let drain = Drain::new();
        let _connection = drain.open(1).expect("opens");
        assert_eq!(time_to_leave(&drain, true).await, LEAVING);
    }

    #[tokio::test(start_paused = true)]
    async fn the_drain_timeout_cuts_leaving_short() {
        let drain = Drain::new();
        drain.begin();
        let begun = Instant::now();
        drain.left(false, begun + Duration::from_secs(2)).await;
        assert_eq!(begun.elapsed(), Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn drained_means_begun_and_empty() {
        let drain = Drain::new();
        let connection = drain.open(1).expect("opens");
        let mut drained = std::pin::pin!(drain.drained());
        let soon = Duration::from_millis(10);
        assert!(
            tokio::time::timeout(soon, &mut drained).await.is_err(),
            "not begun"
        );
        drain.begin();
        assert!(
            tokio::time::timeout(soon, &mut drained).await.is_err(),
            "not empty"
        );
        drop(connection);
        drained.await;
    }

    #[tokio::test(start_paused = true)]
    async fn phases_only_go_forward() {
        let drain = Drain::new();
        assert!(!drain.is_draining());
        drain.close();
        drain.begin();
        assert!(drain.is_draining());
        drain.closing().await;
    }
}
