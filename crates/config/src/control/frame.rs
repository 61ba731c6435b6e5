//! Frames: four bytes of length, the most significant first, then that many
//! bytes of JSON.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

const LENGTH_BYTES: usize = 4;
/// Room that a decoder keeps between frames, in bytes.
const KEPT_BYTES: usize = 4 * 1024;

/// Why a frame cannot be written or read. After one that cannot be read,
/// nothing that follows can be.
#[derive(Debug, Error)]
pub enum FrameError {
    /// It is larger than the receiver takes.
    #[error("a frame of {bytes} bytes is larger than {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// What the receiver takes.
        limit: usize,
    },
    /// The message cannot be written.
    #[error("a message cannot be written: {0}")]
    Unwritable(#[source] serde_json::Error),
    /// It is no message. The text is not part of this: it may hold a token.
    #[error("a frame is no message (at byte {at})")]
    Unreadable {
        /// Where the reader stopped.
        at: usize,
    },
}

/// Writes a message as a frame of at most `limit` bytes of JSON.
///
/// # Errors
/// [`FrameError::TooLarge`] and [`FrameError::Unwritable`].
pub fn encode(message: &impl Serialize, limit: usize) -> Result<Vec<u8>, FrameError> {
    let mut frame = vec![0; LENGTH_BYTES];
    serde_json::to_writer(&mut frame, message).map_err(FrameError::Unwritable)?;
    let bytes = frame.len().saturating_sub(LENGTH_BYTES);
    let length = u32::try_from(bytes)
        .ok()
        .filter(|_| bytes <= limit)
        .ok_or(FrameError::TooLarge { bytes, limit })?;
    if let Some(head) = frame.first_chunk_mut::<LENGTH_BYTES>() {
        *head = length.to_be_bytes();
    }
    Ok(frame)
}

/// Collects bytes as they arrive and gives the messages in them. It never
/// holds more than one frame and what arrived with it.
pub struct Decoder {
    arrived: Vec<u8>,
    limit: usize,
}

// === impl Decoder ===

impl Decoder {
    /// A decoder of frames of at most `limit` bytes of JSON.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            arrived: Vec::new(),
            limit,
        }
    }

    /// Takes frames of at most `limit` bytes of JSON from now on.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Takes bytes that arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.arrived.extend_from_slice(bytes);
    }

    /// The next message, if it is whole. To be called until there is none
    /// before more bytes are pushed.
    ///
    /// # Errors
    /// [`FrameError::TooLarge`] as soon as the length is known, and
    /// [`FrameError::Unreadable`].
    pub fn next_message<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let Some((head, rest)) = self.arrived.split_first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let bytes = usize::try_from(u32::from_be_bytes(*head)).unwrap_or(usize::MAX);
        if bytes > self.limit {
            return Err(FrameError::TooLarge {
                bytes,
                limit: self.limit,
            });
        }
        let Some(text) = rest.get(..bytes) else {
            return Ok(None);
        };
        let message = serde_json::from_slice(text)
            .map_err(|error| FrameError::Unreadable { at: error.column() })?;
        self.arrived.drain(..LENGTH_BYTES.saturating_add(bytes));
        // One large frame is no reason to keep its room for as long as the
        // stream stands.
        self.arrived.shrink_to(KEPT_BYTES);
        Ok(Some(message))
    }
}

/// Without what arrived: tokens and configurations do.
impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder")
            .field("arrived_bytes", &self.arrived.len())
            .field("limit", &self.limit)
            .finish()
    }
}
