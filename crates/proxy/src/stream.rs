//! Answers that are passed on while they come: event streams, and results of
//! calls.
//!
//! An event stream may live for hours. It is filtered event by event, kept
//! alive by comments, and decided again when the policies change or its token
//! ends.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use sidegate_mcp::Item;
use sidegate_mcp::filter::FilterError;
use sidegate_mcp::sse::{SseFilter, SseMeter};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep};

use crate::body::BodyError;
use crate::runtime::Runtime;
use crate::shared::Shared;
use crate::upstream::connection::UpstreamBody;

/// Decides about one item of a list.
pub(crate) type Keep = Box<dyn FnMut(Item<'_>) -> bool + Send>;

/// Told of every task that an answer says was created.
pub(crate) type NoteTask = Box<dyn Fn(&str) + Send>;

/// Whether the stream may go on under the configuration now in force.
pub(crate) type StillAllowed = Box<dyn Fn() -> bool + Send>;

/// How events are checked on their way.
pub(crate) enum EventCheck {
    /// Every message is read, lists are filtered.
    Filter(Box<SseFilter>, Keep),
    /// Only the size of events is watched: the answer to a call.
    Meter(SseMeter),
}

/// The times that govern an event stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StreamTimes {
    /// Silence after which the stream is closed.
    pub(crate) idle: Duration,
    /// Silence after which a comment is sent.
    pub(crate) keep_alive: Duration,
    /// When the caller's token ends.
    pub(crate) token_ends: Option<Instant>,
}

/// An event stream from a server to a client.
pub(crate) struct EventStream {
    upstream: UpstreamBody,
    check: EventCheck,
    note_task: Option<NoteTask>,
    times: StreamTimes,
    still_allowed: StillAllowed,
    changed: Changed,
    timer: Pin<Box<Sleep>>,
    last_data: Instant,
    last_sent: Instant,
    /// Whether the last byte sent ended an event, so that a comment may follow.
    between_events: Boundary,
    ended: bool,
}

type Changed = Pin<Box<dyn Future<Output = watch::Receiver<u64>> + Send>>;

/// A comment of the WHATWG event stream grammar; clients ignore it.
const COMMENT: &[u8] = b":\n\n";

// === impl EventStream ===

impl EventStream {
    pub(crate) fn new(
        upstream: UpstreamBody,
        check: EventCheck,
        times: StreamTimes,
        still_allowed: StillAllowed,
        generation: watch::Receiver<u64>,
    ) -> Self {
        let now = Instant::now();
        let first = now + times.keep_alive.min(times.idle);
        let first = times.token_ends.map_or(first, |end| end.min(first));
        Self {
            upstream,
            check,
            note_task: None,
            times,
            still_allowed,
            changed: changed(generation),
            timer: Box::pin(tokio::time::sleep_until(first)),
            last_data: now,
            last_sent: now,
            between_events: Boundary::default(),
            ended: false,
        }
    }

    /// Has `note` told of the tasks that the stream says were created.
    pub(crate) fn noting_tasks(mut self, note: NoteTask) -> Self {
        self.note_task = Some(note);
        self
    }

    /// Whether the stream must end now: a new configuration refuses it, its
    /// token ended, or the server was silent for too long.
    fn must_end(&mut self, cx: &mut Context<'_>) -> bool {
        while let Poll::Ready(generation) = self.changed.as_mut().poll(cx) {
            if !(self.still_allowed)() {
                return true;
            }
            self.changed = changed(generation);
        }
        let now = Instant::now();
        self.times.token_ends.is_some_and(|end| now >= end)
            || now.duration_since(self.last_data) >= self.times.idle
    }

    /// A comment when the stream was silent for its keep-alive time; sets the
    /// timer for whatever is due next.
    fn poll_comment(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        ready!(self.timer.as_mut().poll(cx));
        let now = Instant::now();
        let due = now.duration_since(self.last_sent) >= self.times.keep_alive
            && self.between_events.is_boundary();
        if due {
            self.last_sent = now;
        }
        let next_comment = (self.last_sent + self.times.keep_alive)
            .max(now + self.times.keep_alive.min(Duration::from_secs(1)));
        let idle_end = self.last_data + self.times.idle;
        let next = [Some(next_comment), Some(idle_end), self.times.token_ends];
        let next = next.into_iter().flatten().min().unwrap_or(next_comment);
        self.timer
            .as_mut()
            .reset(next.max(now + Duration::from_millis(1)));
        Poll::Ready(due.then(|| Bytes::from_static(COMMENT)))
    }

    fn check(&mut self, data: Bytes) -> Result<Bytes, FilterError> {
        self.last_data = Instant::now();
        let passed = match &mut self.check {
            EventCheck::Meter(meter) => {
                meter.push(&data)?;
                data
            }
            EventCheck::Filter(filter, keep) => {
                let mut out = Vec::with_capacity(data.len());
                filter.push(&data, &mut out, keep)?;
                if let (Some(task), Some(note)) = (filter.take_created_task(), &self.note_task) {
                    note(&task);
                }
                Bytes::from(out)
            }
        };
        if !passed.is_empty() {
            self.last_sent = self.last_data;
            self.between_events.push(&passed);
        }
        Ok(passed)
    }

    fn finish(&mut self) -> Result<Bytes, FilterError> {
        match &mut self.check {
            EventCheck::Meter(_) => Ok(Bytes::new()),
            EventCheck::Filter(filter, keep) => {
                let mut out = Vec::new();
                filter.finish(&mut out, keep)?;
                Ok(Bytes::from(out))
            }
        }
    }

    fn poll_upstream(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        loop {
            let step = match ready!(Pin::new(&mut self.upstream).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.check(data),
                    Err(_trailers) => continue,
                },
                Some(Err(error)) => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(BodyError::Upstream(error))));
                }
                None => {
                    self.ended = true;
                    self.finish()
                }
            };
            match step {
                // Half an event: wait for the rest of it.
                Ok(out) if out.is_empty() && !self.ended => {}
                Ok(out) if out.is_empty() => return Poll::Ready(None),
                Ok(out) => return Poll::Ready(Some(Ok(out))),
                Err(error) => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(BodyError::Stream(error.to_string()))));
                }
            }
        }
    }
}

impl Body for EventStream {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        loop {
            if this.ended || this.must_end(cx) {
                this.ended = true;
                return Poll::Ready(None);
            }
            if let Poll::Ready(frame) = this.poll_upstream(cx) {
                return Poll::Ready(frame.map(|data| data.map(Frame::data)));
            }
            match ready!(this.poll_comment(cx)) {
                Some(comment) => return Poll::Ready(Some(Ok(Frame::data(comment)))),
                None => continue,
            }
        }
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream")
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

fn changed(mut generation: watch::Receiver<u64>) -> Changed {
    Box::pin(async move {
        if generation.changed().await.is_err() {
            // The sidecar is going away; there is no other configuration to come.
            std::future::pending::<()>().await;
        }
        generation
    })
}

/// Follows the end of what was sent: true at the start and after a blank line.
#[derive(Debug)]
struct Boundary {
    tail: [u8; 4],
}

impl Default for Boundary {
    fn default() -> Self {
        Self { tail: *b"\n\n\n\n" }
    }
}

impl Boundary {
    fn push(&mut self, sent: &[u8]) {
        for byte in sent.iter().skip(sent.len().saturating_sub(4)) {
            self.tail.rotate_left(1);
            let [.., last] = &mut self.tail;
            *last = *byte;
        }
    }

    fn is_boundary(&self) -> bool {
        self.tail.ends_with(b"\n\n")
            || self.tail.ends_with(b"\r\n\r\n")
            || self.tail.ends_with(b"\r\r")
    }
}

/// The result of a call, passed on up to `limits.maxResponseBytes`.
pub(crate) struct CappedBody {
    upstream: UpstreamBody,
    left: usize,
    ends: Instant,
    timer: Option<Pin<Box<Sleep>>>,
}

impl CappedBody {
    pub(crate) fn new(upstream: UpstreamBody, max: usize, ends: Instant) -> Self {
        Self {
            upstream,
            left: max,
            ends,
            timer: None,
        }
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let ends = self.ends;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(ends)));
        timer.as_mut().poll(cx)
    }
}

impl Body for CappedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        loop {
            let Poll::Ready(frame) = Pin::new(&mut this.upstream).poll_frame(cx) else {
                ready!(this.poll_deadline(cx));
                return Poll::Ready(Some(Err(BodyError::TimedOut)));
            };
            let data = match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => data,
                    Err(_trailers) => continue,
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(BodyError::Upstream(error)))),
                None => return Poll::Ready(None),
            };
            let Some(left) = this.left.checked_sub(data.len()) else {
                return Poll::Ready(Some(Err(BodyError::TooLarge)));
            };
            this.left = left;
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.upstream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.upstream.size_hint()
    }
}

/// The instant at which a token ends, on the timers' clock.
pub(crate) fn token_end(expires_at: i64, leeway: Duration, now_unix: i64) -> Instant {
    // A token may already live on its leeway alone.
    let leeway = i64::try_from(leeway.as_millis()).unwrap_or(i64::MAX);
    let left = expires_at.saturating_sub(now_unix).saturating_mul(1000);
    let left = u64::try_from(left.saturating_add(leeway)).unwrap_or(0);
    Instant::now() + Duration::from_millis(left)
}

/// Tells of configurations that come after `began`, with which the request was
/// decided. One that came while the server was thinking counts as well.
pub(crate) fn generation(shared: &Shared, began: &Arc<Runtime>) -> watch::Receiver<u64> {
    let mut receiver = shared.generation.subscribe();
    let in_force = shared.runtime.load();
    if !in_force.as_ref().is_some_and(|now| Arc::ptr_eq(now, began)) {
        receiver.mark_changed();
    }
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_when_no_request_with_its_token_would_begin() {
        let ends_in = |expires_at: i64| {
            let end = token_end(expires_at, Duration::from_secs(30), 1000);
            end.duration_since(Instant::now()).as_secs()
        };
        assert_eq!(ends_in(1010), 40);
        assert_eq!(ends_in(1000), 30);
        assert_eq!(ends_in(975), 5);
        assert_eq!(ends_in(970), 0);
        assert_eq!(ends_in(i64::MIN), 0);
    }

    #[test]
    fn a_comment_fits_only_between_events() {
        let mut boundary = Boundary::default();
        assert!(boundary.is_boundary());
        boundary.push(b"data: x\n");
        assert!(!boundary.is_boundary());
        boundary.push(b"\n");
        assert!(boundary.is_boundary());
        boundary.push(b"data: x\r\n");
        assert!(!boundary.is_boundary());
        boundary.push(b"\r\n");
        assert!(boundary.is_boundary());
        boundary.push(b"data: \r\r");
        assert!(boundary.is_boundary());
    }
}
