//! Drives HTTP on a connection, and ends it when it must end: the one place
//! with a timer.

use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use super::activity::{Look, Patience};
use super::self_wake::SelfWake;
use super::service::RequestService;
use crate::framing::FramedIo;

/// How long an idle connection may take to close in good order.
const CLOSE_GRACE: Duration = Duration::from_secs(5);

/// HTTP on a connection.
#[expect(
    clippy::large_enum_variant,
    reason = "boxing HTTP/1 too would cost every connection an allocation; tasks are sized by it anyway"
)]
pub(super) enum Http<S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    One(http1::Connection<TokioIo<FramedIo<S>>, RequestService>),
    Two(Box<http2::Connection<TokioIo<FramedIo<S>>, RequestService, TokioExecutor>>),
}

/// How serving ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// Either side closed in good order, or the peer broke the protocol and
    /// was told so.
    Closed,
    /// A limit on waiting was reached.
    TimedOut,
}

/// Serves until the connection ends or must end.
pub(super) async fn drive<S>(
    http: &mut Http<S>,
    service: &RequestService,
    patience: &Patience,
) -> Ended
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = &service.activity;
    let mut timer = pin!(sleep_until(next_look(activity.look(patience))));
    let mut must_close = pin!(must_close(service));
    let mut closing = false;
    let self_wake = SelfWake::new();
    std::future::poll_fn(|cx| {
        if !closing && must_close.as_mut().poll(cx).is_ready() {
            closing = true;
            http.graceful_shutdown();
        }
        if self_wake.poll(cx, |cx| http.poll(cx)).is_ready() {
            return Poll::Ready(Ended::Closed);
        }
        // The end of the input was kept back for an answer that is out now.
        // Once only: the library may be waiting for something else.
        if activity.must_read_again() && self_wake.poll(cx, |cx| http.poll(cx)).is_ready() {
            return Poll::Ready(Ended::Closed);
        }
        if activity.must_look_again() {
            timer.as_mut().reset(next_look(activity.look(patience)));
        }
        while timer.as_mut().poll(cx).is_ready() {
            match activity.look(patience) {
                Look::Again(moment) => timer.as_mut().reset(moment),
                Look::Idle if !closing => {
                    closing = true;
                    http.graceful_shutdown();
                    timer.as_mut().reset(Instant::now() + CLOSE_GRACE);
                    // Polled again, for it may close at once.
                    cx.waker().wake_by_ref();
                }
                overdue @ (Look::Idle | Look::SlowHead | Look::SlowReader) => {
                    let remote = service.connection.remote;
                    debug!(peer = %remote, ?overdue, "connection closed");
                    return Poll::Ready(Ended::TimedOut);
                }
            }
        }
        Poll::Pending
    })
    .await
}

/// Resolves when the connection must take no further request.
///
/// Idle HTTP/1 connections stay open until the drain closes them all: closing
/// one may cross with a request. HTTP/2 has frames for it.
async fn must_close(service: &RequestService) {
    let drain = &service.shared.drain;
    if service.http1 {
        drain.closing().await;
    } else {
        tokio::select! {
            () = drain.draining() => {}
            () = service.transport.retired() => {}
        }
    }
}

fn next_look(look: Look) -> Instant {
    match look {
        Look::Again(moment) => moment,
        Look::Idle | Look::SlowHead | Look::SlowReader => Instant::now(),
    }
}

// === impl Http ===

impl<S> Http<S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    /// Ready when nothing is left to do. Errors are not told apart: they are
    /// the peer's, and every request has recorded its own outcome.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let polled = match self {
            Self::One(connection) => connection.poll_without_shutdown(cx),
            Self::Two(connection) => Pin::new(&mut **connection).poll(cx),
        };
        polled.map(|ended| {
            if let Err(error) = ended {
                debug!(%error, "connection ended");
            }
        })
    }

    fn graceful_shutdown(&mut self) {
        match self {
            Self::One(connection) => Pin::new(connection).graceful_shutdown(),
            Self::Two(connection) => Pin::new(&mut **connection).graceful_shutdown(),
        }
    }
}
