//! The body of every answer that leaves the sidecar.
//!
//! One concrete type, so that a connection serves one body type whatever the
//! answer is: a few bytes of our own, or a stream from an upstream that holds
//! its place in the counters until the last byte.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::held::Held;

/// Why a body broke off. The reason is for logs; a client sees only that the
/// answer did not end properly.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The upstream failed in the middle of its answer.
    #[error("the upstream broke off its answer")]
    Upstream(#[source] hyper::Error),
    /// The answer grew over `limits.maxResponseBytes`.
    #[error("the answer is larger than the limit")]
    TooLarge,
    /// The stream could not be read strictly, or an event grew over
    /// `limits.maxEventBytes`.
    #[error("the event stream cannot be passed on: {0}")]
    Stream(String),
    /// The request took longer than `limits.requestTimeout`.
    #[error("the upstream took too long")]
    TimedOut,
}

/// A boxed stream of data frames.
pub(crate) type Frames = Pin<Box<dyn Body<Data = Bytes, Error = BodyError> + Send + 'static>>;

/// The body type of every answer.
pub struct ResponseBody {
    kind: Kind,
    /// What the request holds until its answer has ended.
    held: Option<Held>,
}

enum Kind {
    Full(Option<Bytes>),
    Frames(Frames),
}

impl ResponseBody {
    /// No bytes.
    #[must_use]
    pub fn empty() -> Self {
        Self::full(Bytes::new())
    }

    /// Exactly these bytes.
    #[must_use]
    pub fn full(bytes: Bytes) -> Self {
        let bytes = (!bytes.is_empty()).then_some(bytes);
        Self {
            kind: Kind::Full(bytes),
            held: None,
        }
    }

    pub(crate) fn frames(frames: Frames) -> Self {
        Self {
            kind: Kind::Frames(frames),
            held: None,
        }
    }

    /// Keeps `held` until the answer has been sent or dropped.
    pub(crate) fn holding(mut self, held: Held) -> Self {
        self.held = Some(held);
        self
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").finish_non_exhaustive()
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.kind {
            Kind::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Frames(frames) => frames.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Full(bytes) => bytes.is_none(),
            Kind::Frames(frames) => frames.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Full(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Kind::Frames(frames) => frames.size_hint(),
        }
    }
}
