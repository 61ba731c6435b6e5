//! Why there is no stream, and what follows from it.

use std::time::Duration;

use sidegate_config::control::RefusalReason;
use thiserror::Error;

use super::dial::DialError;
use super::stream::StreamError;

/// Why there is no stream.
#[derive(Debug, Error)]
pub(super) enum Lost {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error(transparent)]
    Stream(#[from] StreamError),
}

// === impl Lost ===

impl Lost {
    /// What the operator asked for.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Stream(StreamError::Refused(refusal)) => {
                Some(Duration::from_millis(refusal.retry_after_ms))
            }
            Self::Stream(
                StreamError::Closed
                | StreamError::Broken(_)
                | StreamError::Silent
                | StreamError::Frame(_)
                | StreamError::Greeting,
            )
            | Self::Dial(_) => None,
        }
    }

    /// Whether the operator does not like the certificate that was shown, or
    /// that none was.
    pub(super) fn is_about_certificate(&self) -> bool {
        let refused = match self {
            Self::Stream(StreamError::Refused(refusal)) => {
                return refusal.reason == RefusalReason::WrongCertificate;
            }
            Self::Stream(StreamError::Broken(error)) | Self::Dial(DialError::Handshake(error)) => {
                error
            }
            Self::Stream(_) | Self::Dial(_) => return false,
        };
        let tls = refused
            .get_ref()
            .and_then(|error| error.downcast_ref::<rustls::Error>());
        matches!(tls, Some(rustls::Error::AlertReceived(_)))
    }
}
