//! Lines on their way from the requests to the writer.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::AuditEvent;
use super::flood::{Flood, Suppressed, Verdict};
use super::line::{push_decision, push_dropped, push_suppressed};
use super::output::{Failed, Output};
use crate::metrics::Metrics;

/// So long a line waits at most for others to come with it.
const MAX_DELAY: Duration = Duration::from_millis(100);
/// So many bytes do not wait.
const BATCH_BYTES: usize = 64 * 1024;
/// When more bytes than this wait, further lines are dropped.
pub(super) const MAX_WAITING_BYTES: usize = 4 * 1024 * 1024;
/// A buffer that grew beyond this is given back.
const KEPT_BYTES: usize = 256 * 1024;
/// How long a flush waits for a writer that is stuck.
const MAX_FLUSH: Duration = Duration::from_secs(2);

/// The lines that wait, between the threads that record and the one that
/// writes.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// For the writer: there is something to do.
    work: Condvar,
    /// For those who flush: something was written.
    written: Condvar,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct State {
    /// Whole lines.
    waiting: Vec<u8>,
    /// Bytes that the writer has taken and not written yet.
    taken: usize,
    flood: Flood,
    /// Lines lost since the last line that said so.
    dropped: u64,
    /// The time of the latest event, and when it came.
    latest: Option<(i64, Instant)>,
    /// Numbers of the last flush that was asked for and that was done.
    flush_asked: u64,
    flush_done: u64,
    /// No event comes any more.
    closed: bool,
    /// The writer has ended.
    ended: bool,
}

/// What the writer writes at once.
struct Batch {
    lines: Vec<u8>,
    flush: u64,
    is_last: bool,
}

// === impl Queue ===

impl Queue {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        let (state, work, written) = (Mutex::default(), Condvar::new(), Condvar::new());
        Self {
            state,
            work,
            written,
            metrics,
        }
    }

    pub(super) fn record(&self, event: &AuditEvent<'_>) {
        let mut state = self.lock();
        let before = state.waiting.len();
        let was_holding = state.flood.is_holding();
        if state.closed {
            self.drop_line(&mut state);
            return;
        }
        state.latest = Some((event.time_ms, Instant::now()));
        match state.flood.admit(event) {
            Verdict::Write => self.push(&mut state, |lines| push_decision(lines, event)),
            Verdict::WriteAfter(suppressed) => {
                self.push_suppressed(&mut state, event.time_ms, &suppressed);
                self.push(&mut state, |lines| push_decision(lines, event));
            }
            Verdict::Count => self.metrics.audit_suppressed(1),
        }
        let after = state.waiting.len();
        let wakes = (before == 0 && after > 0)
            || (before < BATCH_BYTES && after >= BATCH_BYTES)
            || (!was_holding && state.flood.is_holding());
        drop(state);
        if wakes {
            self.work.notify_one();
        }
    }

    pub(super) fn flush(&self) {
        let mut state = self.lock();
        if state.ended || state.closed {
            return;
        }
        state.flush_asked += 1;
        let asked = state.flush_asked;
        self.work.notify_one();
        self.wait_until(state, |state| state.flush_done >= asked || state.ended);
    }

    /// No event comes any more; the writer ends when the rest is written.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.work.notify_one();
    }

    /// Waits for the writer to end; false when it is stuck.
    pub(super) fn wait_for_end(&self) -> bool {
        self.wait_until(self.lock(), |state| state.ended)
    }

    fn wait_until(&self, state: MutexGuard<'_, State>, is_so: impl Fn(&State) -> bool) -> bool {
        let (state, _) = self
            .written
            .wait_timeout_while(state, MAX_FLUSH, |state| !is_so(state))
            .unwrap_or_else(PoisonError::into_inner);
        is_so(&state)
    }

    /// The life of the writing thread.
    pub(super) fn write_to(&self, output: &mut Output) {
        let mut is_failing = false;
        let mut spare = Vec::new();
        loop {
            let batch = self.next_batch(spare);
            let result = output.write(&batch.lines);
            match &result {
                Err(failed) if !is_failing => warn!(error = %failed.error, "audit lines are lost"),
                Ok(()) if is_failing => info!("audit lines are written again"),
                Ok(()) | Err(_) => {}
            }
            is_failing = result.is_err();
            if self.settle(&batch, result) {
                return;
            }
            spare = batch.lines;
        }
    }

    /// Notes what became of a batch; true when it was the last one.
    fn settle(&self, batch: &Batch, result: Result<(), Failed>) -> bool {
        let mut state = self.lock();
        state.taken = 0;
        let has_more = match result {
            Ok(()) => self.tell_of_dropped(&mut state),
            Err(failed) => {
                state.dropped += failed.lines;
                self.metrics.audit_dropped(failed.lines);
                false
            }
        };
        state.flush_done = batch.flush;
        let ends = batch.is_last && !has_more;
        state.ended = ends;
        drop(state);
        self.written.notify_all();
        ends
    }

    /// Waits for lines, then for more of them, and takes them all. `spare` is
    /// an old buffer.
    fn next_batch(&self, mut spare: Vec<u8>) -> Batch {
        spare.clear();
        if spare.capacity() > KEPT_BYTES {
            spare = Vec::new();
        }
        let mut state = self.lock();
        while state.is_quiet() {
            // Windows end without an event that would say so.
            state = if state.flood.is_holding() {
                let state = self.work.wait_timeout(state, MAX_DELAY);
                let mut state = state.unwrap_or_else(PoisonError::into_inner).0;
                self.tell_of_suppressed(&mut state, false);
                state
            } else {
                self.work
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner)
            };
        }
        let (mut state, _) = self
            .work
            .wait_timeout_while(state, MAX_DELAY, |state| !state.is_urgent())
            .unwrap_or_else(PoisonError::into_inner);
        let is_last = state.closed;
        let all = is_last || state.flush_asked > state.flush_done;
        self.tell_of_suppressed(&mut state, all);
        let lines = std::mem::replace(&mut state.waiting, spare);
        state.taken = lines.len();
        Batch {
            lines,
            flush: state.flush_asked,
            is_last,
        }
    }

    /// Says how many lines were lost, now that lines are written again.
    fn tell_of_dropped(&self, state: &mut State) -> bool {
        let count = std::mem::take(&mut state.dropped);
        if count > 0 {
            let time_ms = state.now_ms();
            push_dropped(&mut state.waiting, time_ms, count);
        }
        count > 0
    }

    fn tell_of_suppressed(&self, state: &mut State, all: bool) {
        let now_ms = state.now_ms();
        let mut flood = std::mem::take(&mut state.flood);
        flood.take_due(now_ms, all, |suppressed| {
            self.push_suppressed(state, now_ms, &suppressed);
        });
        state.flood = flood;
    }

    fn push_suppressed(&self, state: &mut State, time_ms: i64, suppressed: &Suppressed) {
        self.push(state, |lines| push_suppressed(lines, time_ms, suppressed));
    }

    /// Adds one line, if there is room.
    fn push(&self, state: &mut State, write: impl FnOnce(&mut Vec<u8>)) {
        if state.waiting.len() + state.taken > MAX_WAITING_BYTES {
            self.drop_line(state);
        } else {
            write(&mut state.waiting);
        }
    }

    fn drop_line(&self, state: &mut State) {
        state.dropped += 1;
        self.metrics.audit_dropped(1);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    /// Whether the writer has nothing to do.
    fn is_quiet(&self) -> bool {
        self.waiting.is_empty() && !self.closed && self.flush_asked == self.flush_done
    }

    /// Whether the writer should wait for no more lines.
    fn is_urgent(&self) -> bool {
        self.waiting.len() >= BATCH_BYTES || self.closed || self.flush_asked > self.flush_done
    }

    /// The time of events, as far as it is known.
    fn now_ms(&self) -> i64 {
        let Some((time_ms, came)) = self.latest else {
            return 0;
        };
        let since = i64::try_from(came.elapsed().as_millis()).unwrap_or(i64::MAX);
        time_ms.saturating_add(since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::tests::ALLOWED;

    fn next_batch_of(lines: usize) -> (usize, Duration) {
        let queue = Queue::new(Metrics::new());
        (0..lines).for_each(|_| queue.record(&ALLOWED));
        let started = Instant::now();
        let batch = queue.next_batch(Vec::new());
        (batch.lines.len(), started.elapsed())
    }

    #[test]
    fn few_lines_wait_for_more_and_many_do_not() {
        let (bytes, waited) = next_batch_of(1);
        assert!(
            bytes < BATCH_BYTES && waited >= MAX_DELAY,
            "{bytes} {waited:?}"
        );
        let (bytes, waited) = next_batch_of(1_000);
        assert!(
            bytes >= BATCH_BYTES && waited < MAX_DELAY,
            "{bytes} {waited:?}"
        );
    }

    #[test]
    fn without_a_writer_every_line_is_counted_as_dropped() {
        let metrics = Metrics::new();
        let queue = Queue::new(Arc::clone(&metrics));
        queue.close();
        queue.record(&ALLOWED);
        queue.record(&ALLOWED);
        queue.flush();
        assert!(
            metrics
                .render()
                .contains("\nsidegate_audit_lines_dropped_total 2\n")
        );
        assert!(queue.lock().waiting.is_empty());
    }
}
