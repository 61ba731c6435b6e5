//! Frames on a connection, in both directions at once.
//!
//! Everything here can be dropped half-way and called again (cancel-safe): one
//! task reads, writes and waits for changes.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;
use sidegate_config::control::frame::{Decoder, FrameError, encode};
use sidegate_config::control::{
    FromOperator, FromSidecar, MAX_HELLO, MAX_TO_OPERATOR, MAX_TO_SIDECAR, SnapshotVersion,
};
use thiserror::Error;
use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf,
};

const READ_BYTES: usize = 2 * 1024;
/// Frames that wait to be written. None of them is a configuration but the one
/// that is being written; a sidecar that lets more wait does not read.
const MAX_WAITING: usize = 16;

/// Why nothing can be read any more.
#[derive(Debug, Error)]
pub(super) enum ReadError {
    #[error("the sidecar hung up")]
    Closed,
    #[error("the connection broke: {0}")]
    Io(#[source] io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// Why a frame cannot be put among those that wait.
#[derive(Debug, Error)]
pub(super) enum PutError {
    #[error("too many messages wait: the sidecar does not read")]
    Full,
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// Reads messages: a hello first, and larger ones after it is known whose it is.
#[derive(Debug)]
pub(super) struct Reader<S> {
    half: ReadHalf<S>,
    decoder: Decoder,
}

/// Writes messages.
#[derive(Debug)]
pub(super) struct Writer<S> {
    half: WriteHalf<S>,
    waiting: VecDeque<Frame>,
    /// Of the first one, so much is written.
    written: usize,
    is_flushed: bool,
}

/// A frame. A configuration in it is that of all streams, and not copied.
struct Frame {
    head: Vec<u8>,
    config: Option<Arc<RawValue>>,
}

/// What follows a configuration.
const TAIL: &[u8] = b"}}";

/// [`Snapshot`](sidegate_config::control::Snapshot) without its configuration.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Head<'a> {
    version: &'a SnapshotVersion,
    service_hosts: &'a [String],
}

/// Both sides of a connection.
pub(super) fn split<S: AsyncRead + AsyncWrite>(stream: S) -> (Reader<S>, Writer<S>) {
    let (read, write) = tokio::io::split(stream);
    let reader = Reader {
        half: read,
        decoder: Decoder::new(MAX_HELLO),
    };
    let writer = Writer {
        half: write,
        waiting: VecDeque::new(),
        written: 0,
        is_flushed: true,
    };
    (reader, writer)
}

// === impl Reader ===

impl<S: AsyncRead> Reader<S> {
    /// The next message.
    pub(super) async fn next(&mut self) -> Result<FromSidecar, ReadError> {
        loop {
            if let Some(message) = self.decoder.next_message()? {
                return Ok(message);
            }
            let mut arrived = [0; READ_BYTES];
            let count = match self.half.read(&mut arrived).await {
                Ok(0) => return Err(ReadError::Closed),
                // The end of a connection without that of its TLS session.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(ReadError::Closed);
                }
                Ok(count) => count,
                Err(error) => return Err(ReadError::Io(error)),
            };
            self.decoder.push(arrived.get(..count).unwrap_or_default());
        }
    }

    /// It is known who is at the other end.
    pub(super) fn recognized(&mut self) {
        self.decoder.set_limit(MAX_TO_OPERATOR);
    }

    /// Gives up what arrived and was not read: no message is read any more.
    pub(super) fn forget(&mut self) {
        self.decoder = Decoder::new(0);
    }

    /// Reads and forgets. A connection that is closed while something was not
    /// read takes with it what the other side did not read yet.
    pub(super) async fn drain(&mut self, most: usize) {
        let mut left = most;
        let mut arrived = [0; READ_BYTES];
        while left > 0 {
            match self.half.read(&mut arrived).await {
                Ok(0) | Err(_) => return,
                Ok(count) => left = left.saturating_sub(count),
            }
        }
    }
}

// === impl Writer ===

impl<S: AsyncWrite> Writer<S> {
    /// Puts a message behind those that wait.
    pub(super) fn put(&mut self, message: &FromOperator) -> Result<(), PutError> {
        let head = encode(message, MAX_TO_SIDECAR)?;
        self.push(Frame { head, config: None })
    }

    /// Puts a snapshot behind those that wait. It is written as
    /// [`FromOperator::Snapshot`] would be.
    pub(super) fn put_snapshot(
        &mut self,
        version: &SnapshotVersion,
        config: &Arc<RawValue>,
        service_hosts: &[String],
    ) -> Result<(), PutError> {
        let frame = Frame::snapshot(version, config, service_hosts)?;
        self.push(frame)
    }

    fn push(&mut self, frame: Frame) -> Result<(), PutError> {
        if self.waiting.len() >= MAX_WAITING {
            return Err(PutError::Full);
        }
        self.waiting.push_back(frame);
        Ok(())
    }

    /// Whether everything was written.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.is_flushed
    }

    /// Writes some more. To be called while it is not idle.
    pub(super) async fn advance(&mut self) -> io::Result<()> {
        let Some(frame) = self.waiting.front() else {
            self.half.flush().await?;
            self.is_flushed = true;
            return Ok(());
        };
        let rest = frame.after(self.written);
        if rest.is_empty() {
            self.waiting.pop_front();
            self.written = 0;
            return Ok(());
        }
        let count = self.half.write(rest).await?;
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.is_flushed = false;
        self.written += count;
        Ok(())
    }

    /// Writes everything, then says that nothing follows.
    pub(super) async fn finish(&mut self) -> io::Result<()> {
        while !self.is_idle() {
            self.advance().await?;
        }
        self.half.shutdown().await
    }
}

// === impl Frame ===

impl Frame {
    fn snapshot(
        version: &SnapshotVersion,
        config: &Arc<RawValue>,
        service_hosts: &[String],
    ) -> Result<Self, FrameError> {
        const BEGIN: &[u8] = br#"{"type":"snapshot","body":"#;
        const CONFIG: &[u8] = br#","config":"#;
        let head = Head {
            version,
            service_hosts,
        };
        let mut head = serde_json::to_vec(&head).map_err(FrameError::Unwritable)?;
        // The object goes on with the configuration.
        head.pop();
        let parts = [BEGIN, head.as_slice(), CONFIG];
        let around: usize = parts.iter().map(|part| part.len()).sum();
        let bytes = around + config.get().len() + TAIL.len();
        let length = u32::try_from(bytes)
            .ok()
            .filter(|_| bytes <= MAX_TO_SIDECAR)
            .ok_or(FrameError::TooLarge {
                bytes,
                limit: MAX_TO_SIDECAR,
            })?;
        let [begin, head, before_config] = parts;
        Ok(Self {
            head: [&length.to_be_bytes(), begin, head, before_config].concat(),
            config: Some(Arc::clone(config)),
        })
    }

    /// The longest piece that follows the first `written` bytes; nothing when
    /// these are all.
    fn after(&self, written: usize) -> &[u8] {
        let config = self.config.as_ref().map(|it| it.get().as_bytes());
        let tail = if config.is_some() { TAIL } else { &[] };
        let mut skip = written;
        for piece in [&self.head, config.unwrap_or_default(), tail] {
            if let Some(rest) = piece.get(skip..)
                && !rest.is_empty()
            {
                return rest;
            }
            skip = skip.saturating_sub(piece.len());
        }
        &[]
    }
}

/// Without what is in it: a configuration holds secrets.
impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("head_bytes", &self.head.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
