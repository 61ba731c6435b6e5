//! Reading a body whole, within bounds of size, time and memory.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::Instant;

use crate::held::{Buffered, BufferedGuard};

/// The bounds of one read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CollectLimits {
    /// Most bytes of this body.
    pub(crate) max: usize,
    /// Longest silence between two pieces.
    pub(crate) idle: Duration,
    /// Longest time for all of it: a peer that sends a byte now and then must
    /// not hold its place for ever.
    pub(crate) total: Duration,
    /// Most bytes of all bodies in memory.
    pub(crate) budget: usize,
}

/// Why a body was not read to its end.
#[derive(Debug)]
pub(crate) enum CollectError<E> {
    TooLarge,
    TimedOut,
    OutOfMemory,
    BrokenOff(E),
}

/// A body in memory, and the memory that it is counted with.
#[derive(Debug)]
pub(crate) struct Collected {
    pub(crate) bytes: Bytes,
    pub(crate) guards: Vec<BufferedGuard>,
}

/// Reads `body` to its end. A body that comes in one piece is not copied.
///
/// # Errors
/// [`CollectError`]; at the first byte over a bound, not at the end.
pub(crate) async fn collect<B>(
    body: B,
    limits: CollectLimits,
    budget: &Arc<Buffered>,
) -> Result<Collected, CollectError<B::Error>>
where
    B: Body<Data = Bytes>,
{
    let mut body = pin!(body);
    let mut pieces = Pieces::None;
    let mut guards = Vec::new();
    let mut length = 0_usize;
    let begun = Instant::now();
    let mut now = begun;
    loop {
        let until = (now + limits.idle).min(begun + limits.total);
        let frame = match tokio::time::timeout_at(until, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) => return Err(CollectError::BrokenOff(error)),
            Ok(None) => {
                return Ok(Collected {
                    bytes: pieces.into_bytes(),
                    guards,
                });
            }
            Err(_elapsed) => return Err(CollectError::TimedOut),
        };
        // Trailers carry nothing that MCP knows; they end here.
        let Ok(data) = frame.into_data() else {
            continue;
        };
        length = length.saturating_add(data.len());
        if length > limits.max {
            return Err(CollectError::TooLarge);
        }
        guards.push(
            budget
                .take(data.len(), limits.budget)
                .ok_or(CollectError::OutOfMemory)?,
        );
        pieces = pieces.and(data);
        if body.is_end_stream() {
            return Ok(Collected {
                bytes: pieces.into_bytes(),
                guards,
            });
        }
        now = Instant::now();
    }
}

enum Pieces {
    None,
    One(Bytes),
    Many(BytesMut),
}

impl Pieces {
    fn and(self, data: Bytes) -> Self {
        match self {
            Self::None => Self::One(data),
            Self::One(first) => {
                let mut all = BytesMut::with_capacity((first.len() + data.len()) * 2);
                all.extend_from_slice(&first);
                all.extend_from_slice(&data);
                Self::Many(all)
            }
            Self::Many(mut all) => {
                all.extend_from_slice(&data);
                Self::Many(all)
            }
        }
    }

    fn into_bytes(self) -> Bytes {
        match self {
            Self::None => Bytes::new(),
            Self::One(bytes) => bytes,
            Self::Many(bytes) => bytes.freeze(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll, ready};

    use http_body::Frame;
    use http_body_util::Full;

    use super::*;

    fn limits(max: usize, budget: usize) -> CollectLimits {
        CollectLimits {
            max,
            idle: Duration::from_secs(1),
            total: Duration::from_secs(3),
            budget,
        }
    }

    #[tokio::test]
    async fn a_body_of_exactly_the_limit_is_read_and_one_more_byte_is_not() {
        let budget = Arc::default();
        let body = || Full::new(Bytes::from_static(b"12345678"));
        let read = collect(body(), limits(8, 100), &budget)
            .await
            .expect("fits");
        assert_eq!(&read.bytes[..], b"12345678");
        let refused = collect(body(), limits(7, 100), &budget).await;
        assert!(matches!(refused, Err(CollectError::TooLarge)));
    }

    #[tokio::test]
    async fn memory_is_counted_over_all_bodies() {
        let budget = Arc::default();
        let body = || Full::new(Bytes::from_static(b"12345678"));
        let first = collect(body(), limits(8, 15), &budget).await.expect("fits");
        let second = collect(body(), limits(8, 15), &budget).await;
        assert!(matches!(second, Err(CollectError::OutOfMemory)));
        drop(first);
        assert!(collect(body(), limits(8, 15), &budget).await.is_ok());
    }

    /// A body that sends a byte whenever the time for the next one is nearly
    /// over.
    struct Dripping(Pin<Box<tokio::time::Sleep>>);

    impl Body for Dripping {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            ready!(self.0.as_mut().poll(cx));
            self.0 = Box::pin(tokio::time::sleep(Duration::from_millis(900)));
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b" ")))))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_drips_is_not_waited_for_for_ever() {
        let body = Dripping(Box::pin(tokio::time::sleep(Duration::ZERO)));
        let begun = Instant::now();
        let refused = collect(body, limits(1000, 1000), &Arc::default()).await;
        assert!(matches!(refused, Err(CollectError::TimedOut)));
        assert_eq!(begun.elapsed(), Duration::from_secs(3));
    }
}
