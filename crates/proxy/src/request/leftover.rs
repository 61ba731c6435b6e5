//! The body of a request that is refused before it was read.
//!
//! An answer that is complete before its request is makes the library reset
//! the stream of HTTP/2 (RFC 9113 section 8.1), and some clients (curl 7.88)
//! take that for a broken answer. Of HTTP/1 it makes the library close the
//! connection, and a client that sends the body after the head (the official
//! Python one) loses its next request. A small message is on its way already:
//! it is let in and thrown away, within bounds that make a large or slow upload
//! not worth waiting for.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::timeout;

/// More than this is not taken off the client's hands.
const MOST: usize = 16 * 1024;
/// Longer than this is not waited for.
const LONGEST: Duration = Duration::from_millis(50);

/// Reads and forgets the rest of a small body; false when it did not end. A
/// client that waits for `100 Continue` is not asked for its body.
pub(super) async fn discard<B: Body<Data = Bytes>>(body: B, expects_continue: bool) -> bool {
    if body.is_end_stream() {
        return true;
    }
    if expects_continue || body.size_hint().lower() > MOST as u64 {
        return false;
    }
    // Whatever ends it, the answer goes out now.
    timeout(LONGEST, read_little(body)).await.unwrap_or(false)
}

async fn read_little<B: Body<Data = Bytes>>(body: B) -> bool {
    let mut body = pin!(body);
    let mut left = MOST;
    loop {
        let length = match body.frame().await {
            Some(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len),
            Some(Err(_)) => return false,
            None => return true,
        };
        let Some(rest) = left.checked_sub(length) else {
            return false;
        };
        left = rest;
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body::Frame;
    use http_body_util::StreamBody;
    use tokio::sync::mpsc;
    use tokio::time::Instant;

    use super::*;

    type Piece = Result<Frame<Bytes>, Infallible>;

    fn body() -> (mpsc::UnboundedSender<Piece>, impl Body<Data = Bytes>) {
        let (pieces_tx, mut pieces_rx) = mpsc::unbounded_channel::<Piece>();
        let stream = futures_util::stream::poll_fn(move |cx| pieces_rx.poll_recv(cx));
        (pieces_tx, StreamBody::new(stream))
    }

    #[tokio::test(start_paused = true)]
    async fn a_small_body_is_read_to_its_end() {
        let (pieces_tx, body) = body();
        let piece = Frame::data(Bytes::from_static(b"{}"));
        pieces_tx.send(Ok(piece)).expect("is read");
        drop(pieces_tx);
        let begun = Instant::now();
        assert!(discard(body, false).await);
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_body_is_not_waited_for() {
        let (_pieces_tx, body) = body();
        let begun = Instant::now();
        assert!(!discard(body, false).await);
        assert!(begun.elapsed() <= LONGEST + Duration::from_millis(2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_waits_to_be_asked_for_is_not_asked_for() {
        let (_pieces_tx, body) = body();
        let begun = Instant::now();
        assert!(!discard(body, true).await);
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_body_is_not_read() {
        let (pieces_tx, body) = body();
        for _ in 0..3 {
            let piece = Frame::data(Bytes::from(vec![0; MOST / 2]));
            pieces_tx.send(Ok(piece)).expect("is read");
        }
        let begun = Instant::now();
        assert!(!discard(body, false).await);
        assert_eq!(
            begun.elapsed(),
            Duration::ZERO,
            "given up at the third piece"
        );
        assert!(pieces_tx.is_closed());
    }
}
