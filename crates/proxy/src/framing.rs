//! Strict HTTP/1 framing below the HTTP library.
//!
//! The library accepts framing that two parsers can read differently
//! (`Content-Length` beside `Transfer-Encoding`, bare line feeds, chunk
//! extensions) and repairs it before a handler sees the request. This reader
//! sits between the socket and the library, follows every message of the
//! connection exactly (RFC 9112) and ends the input at the first ambiguity:
//!
//! - A fault in a head: the head is passed on, nothing after it is. The request
//!   path asks [`FramingFault::take_fault`] once per request and answers 400.
//! - A fault in a body: reading fails at the faulty byte.
//!
//! In both cases no byte behind the fault can become another request. Bytes are
//! never changed or copied; a body is skipped by count.

mod chunked;
mod head;
mod watch;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::connection::activity::Activity;

pub(crate) use self::watch::MAX_HEAD_BYTES;
use self::watch::{End, Watch};

/// What is wrong with the framing of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    ControlCharacter,
    BareLineFeed,
    BareCarriageReturn,
    RequestLine,
    ObsoleteFold,
    HeaderName,
    SpaceBeforeColon,
    ContentLength,
    RepeatedContentLength,
    TransferEncoding,
    RepeatedTransferEncoding,
    LengthAndTransferEncoding,
    OldVersionTransferEncoding,
    OldVersionWithoutLength,
    MissingHost,
    RepeatedHost,
    HeadTooLarge,
    ChunkSize,
    ChunkExtension,
    ChunkEnd,
    Trailers,
}

/// The verdict on a connection's framing, shared with the request path.
#[derive(Debug, Default)]
pub struct FramingFault {
    /// Position of the faulty request on its connection, and the fault.
    in_head: OnceLock<(u64, Fault)>,
    in_body: OnceLock<Fault>,
    /// How many requests have asked so far.
    asked: AtomicU64,
}

/// A connection whose input is followed; see the module's documentation.
#[derive(Debug)]
pub(crate) struct FramedIo<T> {
    io: T,
    /// Bytes that were read to find out the protocol.
    prefix: Vec<u8>,
    /// None on HTTP/2, which frames by itself.
    watch: Option<Watch>,
    fault: Arc<FramingFault>,
    activity: Arc<Activity>,
    ended: Option<End>,
}

// === impl Fault ===

impl Fault {
    /// The word for answers, audit lines and metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::ControlCharacter => "control_character_in_head",
            Self::BareLineFeed => "bare_line_feed",
            Self::BareCarriageReturn => "bare_carriage_return",
            Self::RequestLine => "request_line",
            Self::ObsoleteFold => "folded_header",
            Self::HeaderName => "header_name",
            Self::SpaceBeforeColon => "space_before_colon",
            Self::ContentLength => "content_length",
            Self::RepeatedContentLength => "repeated_content_length",
            Self::TransferEncoding => "transfer_encoding",
            Self::RepeatedTransferEncoding => "repeated_transfer_encoding",
            Self::LengthAndTransferEncoding => "content_length_and_transfer_encoding",
            Self::OldVersionTransferEncoding => "transfer_encoding_in_http_1_0",
            Self::OldVersionWithoutLength => "no_length_in_http_1_0",
            Self::MissingHost => "missing_host",
            Self::RepeatedHost => "repeated_host",
            Self::HeadTooLarge => "head_too_large",
            Self::ChunkSize => "chunk_size",
            Self::ChunkExtension => "chunk_extension",
            Self::ChunkEnd => "chunk_end",
            Self::Trailers => "trailers",
        }
    }
}

// === impl FramingFault ===

impl FramingFault {
    /// The fault in the head of the next request, in the order in which the
    /// requests of the connection arrived. Call it exactly once per request:
    /// the count of calls is the position of the request.
    #[must_use]
    pub fn take_fault(&self) -> Option<&'static str> {
        let position = self.asked.fetch_add(1, Ordering::Relaxed);
        let (faulty, fault) = self.in_head.get()?;
        (*faulty == position).then(|| fault.as_str())
    }

    /// The fault that ended a body, if one did.
    #[must_use]
    pub fn body_fault(&self) -> Option<&'static str> {
        self.in_body.get().map(|fault| fault.as_str())
    }

    /// The fault of a head that no request asked about, because the library
    /// refused that head by itself.
    pub(crate) fn untaken(&self) -> Option<&'static str> {
        let (faulty, fault) = self.in_head.get()?;
        (self.asked.load(Ordering::Relaxed) <= *faulty).then(|| fault.as_str())
    }

    /// Notes how the input ended; `position` counts the heads before it.
    fn note(&self, end: End, position: u64) {
        match end {
            // The cell keeps the first fault: there is never a second.
            End::Head(fault) => drop(self.in_head.set((position, fault))),
            End::Body(fault) => drop(self.in_body.set(fault)),
        }
    }
}

// === impl FramedIo ===

impl<T> FramedIo<T> {
    /// Follows HTTP/1 on `io`, of which `prefix` was read before.
    pub(crate) fn http1(
        io: T,
        prefix: Vec<u8>,
        fault: Arc<FramingFault>,
        activity: Arc<Activity>,
    ) -> Self {
        Self {
            io,
            prefix,
            watch: Some(Watch::new()),
            fault,
            activity,
            ended: None,
        }
    }

    /// Passes HTTP/2 on; of the connection only its activity is noted.
    pub(crate) fn http2(
        io: T,
        prefix: Vec<u8>,
        fault: Arc<FramingFault>,
        activity: Arc<Activity>,
    ) -> Self {
        Self {
            io,
            prefix,
            watch: None,
            fault,
            activity,
            ended: None,
        }
    }

    /// The connection itself, to close it.
    pub(crate) fn inner_mut(&mut self) -> &mut T {
        &mut self.io
    }

    /// Whether input may wait that nobody will read: closing at once would
    /// make the peer lose the answer to a reset.
    pub(crate) fn has_unread_input(&self) -> bool {
        self.ended.is_some()
            || self
                .watch
                .as_ref()
                .is_some_and(|watch| !watch.between_messages())
    }

    /// Looks at what was just read, and takes back what must not be passed on.
    fn follow(&mut self, buf: &mut ReadBuf<'_>, before: usize) -> io::Result<()> {
        let Some(watch) = &mut self.watch else {
            return Ok(());
        };
        let read = buf.filled().get(before..).unwrap_or_default();
        let seen = watch.push(read);
        self.activity.head_is_partial(watch.head_is_partial());
        let Some(end) = seen.end else { return Ok(()) };
        self.fault.note(end, watch.heads_before_end());
        self.ended = Some(end);
        buf.set_filled(before + seen.passed);
        if seen.passed > 0 {
            Ok(())
        } else {
            end.into_result()
        }
    }
}

impl End {
    fn into_result(self) -> io::Result<()> {
        match self {
            Self::Head(_) => Ok(()),
            Self::Body(fault) => Err(io::Error::new(io::ErrorKind::InvalidData, fault.as_str())),
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for FramedIo<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        match this.ended {
            None => {}
            // Neither data nor an end: either would make the library close
            // before the answer is out. The answer closes the connection, and
            // the idle timer stands behind it.
            Some(End::Head(_)) => return Poll::Pending,
            Some(end @ End::Body(_)) => return Poll::Ready(end.into_result()),
        }
        let before = buf.filled().len();
        if this.prefix.is_empty() {
            ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        } else {
            let count = this.prefix.len().min(buf.remaining());
            buf.put_slice(this.prefix.get(..count).unwrap_or_default());
            this.prefix.drain(..count);
        }
        if buf.filled().len() == before && buf.remaining() > 0 {
            let between = this.watch.as_ref().is_some_and(Watch::between_messages);
            return if between && this.activity.hold_end_of_input() {
                Poll::Pending
            } else {
                Poll::Ready(Ok(()))
            };
        }
        Poll::Ready(this.follow(buf, before))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for FramedIo<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.activity.write_is_blocked(written.is_pending());
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.activity.write_is_blocked(flushed.is_pending());
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.activity.write_is_blocked(written.is_pending());
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests;
