//! Why a handshake failed.

use std::io;

use rustls::{CertificateError, Error, InvalidMessage};
use thiserror::Error as ThisError;

use crate::identity::InvalidIdentity;

/// Why a connection was not accepted.
#[derive(Debug, ThisError)]
pub enum AcceptError {
    /// The client took too long.
    #[error("the handshake took too long")]
    Timeout,
    /// Mode Mutual, and the client has no certificate.
    #[error("the client showed no certificate")]
    NoClientCertificate,
    /// The client's certificate is not valid any more.
    #[error("the client certificate has expired")]
    ExpiredClientCertificate,
    /// The client's certificate is not valid yet.
    #[error("the client certificate is not valid yet")]
    EarlyClientCertificate,
    /// The client's certificate does not lead to a trusted authority, or is
    /// not for clients.
    #[error("the client certificate is not trusted: {0}")]
    UntrustedClientCertificate(CertificateError),
    /// The client's certificate does not say clearly who it is.
    #[error("{0}")]
    Identity(#[source] InvalidIdentity),
    /// What came was not TLS.
    #[error("the client does not speak TLS")]
    NotTls,
    /// There is no version or algorithm that both know.
    #[error("the client cannot speak TLS 1.2 or 1.3 as it is offered: {0}")]
    Incompatible(#[source] Error),
    /// The client ended the handshake, usually because it does not trust the
    /// server's certificate.
    #[error("the client refused: {0}")]
    RefusedByClient(#[source] Error),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Io(#[source] io::Error),
    /// The client broke the protocol in another way.
    #[error("the handshake failed: {0}")]
    Other(#[source] Error),
}

// === impl AcceptError ===

impl AcceptError {
    /// The reason in metrics.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::NoClientCertificate => "no_client_certificate",
            Self::ExpiredClientCertificate => "expired_client_certificate",
            Self::EarlyClientCertificate => "early_client_certificate",
            Self::UntrustedClientCertificate(_) => "untrusted_client_certificate",
            Self::Identity(_) => "identity",
            Self::NotTls => "not_tls",
            Self::Incompatible(_) => "incompatible",
            Self::RefusedByClient(_) => "refused_by_client",
            Self::Io(_) => "io",
            Self::Other(_) => "other",
        }
    }
}

/// The acceptor hands its errors out as those of the connection.
impl From<io::Error> for AcceptError {
    fn from(error: io::Error) -> Self {
        let of_tls = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<Error>());
        match of_tls {
            Some(of_tls) => of_tls.clone().into(),
            None => Self::Io(error),
        }
    }
}

impl From<Error> for AcceptError {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the library's enum is not exhaustive and most of it is about clients"
    )]
    fn from(error: Error) -> Self {
        match error {
            Error::NoCertificatesPresented => Self::NoClientCertificate,
            Error::InvalidCertificate(error) => error.into(),
            Error::InvalidMessage(
                InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
            ) => Self::NotTls,
            Error::PeerIncompatible(_) => Self::Incompatible(error),
            Error::AlertReceived(_) => Self::RefusedByClient(error),
            _ => Self::Other(error),
        }
    }
}

impl From<CertificateError> for AcceptError {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the library's enum is not exhaustive, and whatever else it says is no trust"
    )]
    fn from(error: CertificateError) -> Self {
        match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                Self::ExpiredClientCertificate
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Self::EarlyClientCertificate
            }
            CertificateError::Other(ref other) => match other.0.downcast_ref::<InvalidIdentity>() {
                Some(invalid) => Self::Identity(*invalid),
                None => Self::UntrustedClientCertificate(error),
            },
            _ => Self::UntrustedClientCertificate(error),
        }
    }
}
