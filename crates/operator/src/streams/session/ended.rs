//! Why a stream ends.

use std::io;
use std::time::Duration;

use sidegate_config::control::RefusalReason;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tracing::error;

use crate::streams::refused::{Refused, jitter};
use crate::streams::wire::{PutError, ReadError, Reader, Writer};

/// For the last message of a stream.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// What is read and forgotten at the end, in bytes.
const DRAINED: usize = 256 * 1024;

/// Why a stream ended.
#[derive(Debug)]
pub(in crate::streams) enum Ended {
    HungUp,
    Broken(io::Error),
    Silent,
    Slow,
    Refused(Refused),
}

pub(super) fn replaced() -> Ended {
    let retry_after = Duration::from_secs(10) + jitter(Duration::from_secs(5));
    let message = "another connection of the same pod took the place of this one";
    Refused::new(RefusalReason::Replaced, message, retry_after).into()
}

pub(super) fn gone() -> Ended {
    let message = "the pod is gone, or another one of its name is there";
    Refused::new(RefusalReason::PodGone, message, Duration::from_secs(30)).into()
}

pub(super) fn token_ended() -> Ended {
    let message = "the token has ended: read the file of the projected token again";
    Refused::new(RefusalReason::TokenEnded, message, Duration::from_secs(1)).into()
}
/// Tells the other side why, and gives it time to read that.
pub(in crate::streams) async fn last_words<S: AsyncRead + AsyncWrite>(
    reader: &mut Reader<S>,
    writer: &mut Writer<S>,
) {
    reader.forget();
    let said = timeout(LAST_WORDS, writer.finish()).await;
    if matches!(said, Ok(Ok(()))) {
        let _in_time = timeout(LAST_WORDS, reader.drain(DRAINED)).await;
    }
}

// === impl Ended ===

impl Ended {
    /// The word in metrics and logs.
    pub(in crate::streams) fn word(&self) -> &'static str {
        match self {
            Self::HungUp => "hung_up",
            Self::Broken(_) => "broken",
            Self::Silent => "silent",
            Self::Slow => "slow",
            Self::Refused(refused) => refused.word(),
        }
    }
}

impl From<Refused> for Ended {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<ReadError> for Ended {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Closed => Self::HungUp,
            ReadError::Io(error) => Self::Broken(error),
            ReadError::Frame(error) => Refused::protocol(error.to_string()).into(),
        }
    }
}

impl From<PutError> for Ended {
    fn from(error: PutError) -> Self {
        match error {
            PutError::Full => Self::Slow,
            PutError::Frame(error) => {
                error!(%error, "a message cannot be written");
                Refused::unavailable("a message cannot be written").into()
            }
        }
    }
}
