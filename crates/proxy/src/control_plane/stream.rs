//! One stream: frames in both directions, with an end to waiting.

use std::io;
use std::time::Duration;

use sidegate_config::control::frame::{Decoder, FrameError, encode};
use sidegate_config::control::{
    FromOperator, FromSidecar, HEARTBEAT_SECONDS, MAX_TO_OPERATOR, MAX_TO_SIDECAR, Refusal, Welcome,
};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, timeout, timeout_at};

/// Nothing for so long: the other side is gone, or does not read.
pub(super) const SILENCE: Duration = Duration::from_secs(3 * HEARTBEAT_SECONDS);
/// For the last words of a stream.
const GOODBYE: Duration = Duration::from_millis(500);
const PIECE_BYTES: usize = 16 * 1024;

/// Why a stream ended.
#[derive(Debug, Error)]
pub(super) enum StreamError {
    /// The operator closed it.
    #[error("the operator closed the connection")]
    Closed,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(#[source] io::Error),
    /// The operator fell silent.
    #[error("nothing was heard from the operator for {} seconds", SILENCE.as_secs())]
    Silent,
    /// What came is not of the protocol.
    #[error("the operator sent something else than messages: {0}")]
    Frame(#[from] FrameError),
    /// A message came where it must not.
    #[error("the operator did not answer the greeting as it should")]
    Greeting,
    /// The operator said why.
    #[error("the operator refuses this sidecar ({:?}): {}", .0.reason, .0.message)]
    Refused(Refusal),
}

/// A stream over a connection.
#[derive(Debug)]
pub(super) struct Stream<S> {
    connection: S,
    decoder: Decoder,
    piece: Box<[u8]>,
    silent_at: Instant,
}

// === impl Stream ===

impl<S: AsyncRead + AsyncWrite + Unpin> Stream<S> {
    pub(super) fn new(connection: S) -> Self {
        Self {
            connection,
            decoder: Decoder::new(MAX_TO_SIDECAR),
            piece: vec![0; PIECE_BYTES].into(),
            silent_at: Instant::now() + SILENCE,
        }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// The connection broke, or the operator does not read.
    pub(super) async fn send(&mut self, message: &FromSidecar) -> Result<(), StreamError> {
        let frame = encode(message, MAX_TO_OPERATOR)?;
        let sending = async {
            self.connection.write_all(&frame).await?;
            self.connection.flush().await
        };
        match timeout(SILENCE, sending).await {
            Ok(sent) => sent.map_err(StreamError::Broken),
            Err(_) => Err(StreamError::Silent),
        }
    }

    /// Says hello and waits for the welcome.
    ///
    /// # Errors
    /// The stream ended, or the operator refuses it.
    pub(super) async fn greet(&mut self, hello: &FromSidecar) -> Result<Welcome, StreamError> {
        self.send(hello).await?;
        loop {
            match self.receive().await? {
                FromOperator::Welcome(welcome) => return Ok(welcome),
                FromOperator::Refused(refusal) => return Err(StreamError::Refused(refusal)),
                FromOperator::Heartbeat | FromOperator::Unknown => {}
                FromOperator::Snapshot(_)
                | FromOperator::Withdrawn(_)
                | FromOperator::Outdated(_)
                | FromOperator::Certificate(_)
                | FromOperator::Renew
                | FromOperator::Authorities(_) => return Err(StreamError::Greeting),
            }
        }
    }

    /// The next message. May be given up and called again: nothing is lost.
    ///
    /// # Errors
    /// The stream ended, or nothing came for [`SILENCE`]. Pieces of a frame are
    /// a sign of life, for a large one takes its time.
    pub(super) async fn receive(&mut self) -> Result<FromOperator, StreamError> {
        loop {
            if let Some(message) = self.decoder.next_message()? {
                return Ok(message);
            }
            let reading = self.connection.read(&mut self.piece);
            let read = match timeout_at(self.silent_at, reading).await {
                Ok(read) => read.map_err(StreamError::Broken)?,
                Err(_) => return Err(StreamError::Silent),
            };
            if read == 0 {
                return Err(StreamError::Closed);
            }
            self.silent_at = Instant::now() + SILENCE;
            self.decoder
                .push(self.piece.get(..read).unwrap_or_default());
        }
    }

    /// Ends it in good order.
    pub(super) async fn close(mut self) {
        // It ends either way.
        let _ = timeout(GOODBYE, self.connection.shutdown()).await;
    }
}

#[cfg(test)]
mod tests {
    use sidegate_config::control::CertificateRequest;
    use tokio::io::{DuplexStream, duplex};

    use super::*;

    fn pair() -> (Stream<DuplexStream>, DuplexStream) {
        let (near, far) = duplex(64 * 1024);
        (Stream::new(near), far)
    }

    fn heartbeat() -> Vec<u8> {
        encode(&FromOperator::Heartbeat, MAX_TO_SIDECAR).expect("fits")
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_a_stream_and_pieces_are_no_silence() {
        let (mut stream, mut far) = pair();
        let began = Instant::now();
        let speaking = tokio::spawn(async move {
            for byte in heartbeat() {
                tokio::time::sleep(SILENCE - Duration::from_secs(1)).await;
                far.write_all(&[byte]).await.expect("sent");
            }
            far
        });
        let message = stream.receive().await.expect("a message");
        assert!(matches!(message, FromOperator::Heartbeat));
        assert!(began.elapsed() > 10 * SILENCE);
        let _far = speaking.await.expect("spoke");
        let quiet = Instant::now();
        let ended = stream.receive().await;
        assert!(matches!(ended, Err(StreamError::Silent)), "{ended:?}");
        assert_eq!(quiet.elapsed(), SILENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn giving_up_to_wait_neither_loses_bytes_nor_prolongs_the_silence() {
        let (mut stream, mut far) = pair();
        let frame = heartbeat();
        let (begin, end) = frame.split_at(3);
        far.write_all(begin).await.expect("sent");
        let impatient = timeout(Duration::from_secs(20), stream.receive()).await;
        assert!(impatient.is_err());
        far.write_all(end).await.expect("sent");
        stream.receive().await.expect("a message");
        let quiet = Instant::now();
        for _ in 0..2 {
            assert!(
                timeout(Duration::from_secs(10), stream.receive())
                    .await
                    .is_err()
            );
        }
        let ended = stream.receive().await;
        assert!(matches!(ended, Err(StreamError::Silent)), "{ended:?}");
        assert_eq!(quiet.elapsed(), SILENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn an_operator_that_does_not_read_is_silent_too() {
        let (near, _far) = duplex(16);
        let mut stream = Stream::new(near);
        let long = FromSidecar::CertificateRequest(CertificateRequest {
            request_pem: "x".repeat(100),
        });
        let sent = stream.send(&long).await;
        assert!(matches!(sent, Err(StreamError::Silent)), "{sent:?}");
    }

    #[tokio::test]
    async fn frames_over_the_limit_and_garbage_end_it() {
        let (mut stream, mut far) = pair();
        let size = u32::try_from(MAX_TO_SIDECAR + 1).expect("a length");
        far.write_all(&size.to_be_bytes()).await.expect("sent");
        let ended = stream.receive().await;
        assert!(
            matches!(ended, Err(StreamError::Frame(FrameError::TooLarge { .. }))),
            "{ended:?}"
        );
        let (mut stream, mut far) = pair();
        far.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .expect("sent");
        assert!(matches!(stream.receive().await, Err(StreamError::Frame(_))));
    }

    #[tokio::test]
    async fn a_frame_at_the_limit_is_taken() {
        let (mut stream, mut far) = pair();
        let welcome = |pod: String| FromOperator::Welcome(Welcome { pod });
        let empty = encode(&welcome(String::new()), MAX_TO_SIDECAR).expect("fits");
        let most = MAX_TO_SIDECAR - (empty.len() - 4);
        assert!(encode(&welcome("x".repeat(most + 1)), MAX_TO_SIDECAR).is_err());
        let frame = encode(&welcome("x".repeat(most)), MAX_TO_SIDECAR).expect("fits");
        tokio::spawn(async move { far.write_all(&frame).await });
        let Ok(FromOperator::Welcome(read)) = stream.receive().await else {
            panic!("a welcome")
        };
        assert_eq!(read.pod.len(), most);
    }
}
