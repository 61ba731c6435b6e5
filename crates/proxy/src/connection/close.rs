//! Closing an HTTP/1 connection so that the peer can read the last answer.
//!
//! Closing a socket with unread input makes the kernel send a reset, and a
//! reset makes the peer forget what it has received and not read: a caller that
//! is still uploading would never see its 401. So our side is closed first, and
//! the peer gets a moment to notice, in which little is read.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use super::drive::Ended;
use crate::framing::FramedIo;

/// How long the peer has to read the answer and close.
const LINGER: Duration = Duration::from_millis(500);
/// How much of a refused upload is taken off the peer's hands meanwhile.
const LINGER_BYTES: usize = 16 * 1024;

pub(super) async fn close<S>(mut io: FramedIo<S>, ended: Ended)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if ended == Ended::TimedOut {
        return;
    }
    let until = Instant::now() + LINGER;
    let unread = io.has_unread_input();
    let stream = io.inner_mut();
    let shut = timeout_at(until, stream.shutdown()).await;
    if unread && matches!(shut, Ok(Ok(()))) {
        linger(stream, until).await;
    }
}

/// Reads until the peer closes, up to the limits.
async fn linger<S: AsyncRead + Unpin>(stream: &mut S, until: Instant) {
    let mut discarded = [0; 2048];
    let mut left = LINGER_BYTES;
    while left > 0 {
        match timeout_at(until, stream.read(&mut discarded)).await {
            Ok(Ok(count)) if count > 0 => left = left.saturating_sub(count),
            _ => return,
        }
    }
    tokio::time::sleep_until(until).await;
}
