//! The body of a refused HTTP/2 request.
//!
//! An answer that is complete before its request is makes the library reset
//! the stream (RFC 9113 section 8.1), and some clients (curl 7.88) take that
//! for a broken answer. A small message is on its way already: it is let in
//! and thrown away, within bounds that make a large or slow upload not worth
//! waiting for.

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

/// Reads and forgets the rest of a small body.
pub(super) async fn discard<B: Body<Data = Bytes>>(body: B) {
    if body.is_end_stream() || body.size_hint().lower() > MOST as u64 {
        return;
    }
    // Whatever ends it, the answer goes out now.
    let _ = timeout(LONGEST, read_little(body)).await;
}

async fn read_little<B: Body<Data = Bytes>>(body: B) {
    let mut body = pin!(body);
    let mut left = MOST;
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        let Some(rest) = left.checked_sub(length) else {
            return;
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
        discard(body).await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_body_is_not_waited_for() {
        let (_pieces_tx, body) = body();
        let begun = Instant::now();
        discard(body).await;
        assert!(begun.elapsed() <= LONGEST + Duration::from_millis(2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_body_is_not_read() {
        let (pieces_tx, body) = body();
        for _ in 0..3 {
            let piece = Frame::data(Bytes::from(vec![0; MOST / 2]));
            pieces_tx.send(Ok(piece)).expect("is read");
        }
        let begun = Instant::now();
        discard(body).await;
        assert_eq!(
            begun.elapsed(),
            Duration::ZERO,
            "given up at the third piece"
        );
        assert!(pieces_tx.is_closed());
    }
}
