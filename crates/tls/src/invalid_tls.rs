//! Why TLS cannot be set up, in words for whoever wrote the Secret.

use rustls::Error;
use thiserror::Error as ThisError;

use crate::certificate::PemFault;
use crate::roots::{InvalidRoots, MAX_ROOTS};

/// Why a TLS server or client cannot be made of what was given.
#[derive(Debug, Clone, PartialEq, ThisError)]
pub enum InvalidTls {
    /// The certificate is missing or broken.
    #[error("the certificate (tls.crt) {0}")]
    Certificate(PemFault),
    /// The leaf is not a certificate.
    #[error("the certificate (tls.crt) cannot be read: issue it anew")]
    CertificateUnreadable,
    /// The leaf is not valid any more.
    #[error("the certificate (tls.crt) has expired, {days} days ago: renew it")]
    Expired {
        /// Whole days since then.
        days: i64,
    },
    /// The leaf is not valid yet.
    #[error(
        "the certificate (tls.crt) is not valid yet: check the clocks of the issuer and of this node"
    )]
    NotYetValid,
    /// The key is missing or broken.
    #[error("the private key (tls.key) {0}")]
    Key(PemFault),
    /// The key is of a kind that cannot sign.
    #[error(
        "the private key (tls.key) is not supported: use ECDSA P-256 or P-384, Ed25519, or RSA with at least 2048 bits"
    )]
    KeyUnsupported,
    /// The key belongs to no certificate here.
    #[error(
        "the private key (tls.key) does not belong to the certificate (tls.crt): replace both together"
    )]
    KeyMismatch,
    /// The key belongs to a certificate that is not the first one.
    #[error(
        "the private key (tls.key) belongs to certificate {position} of tls.crt: put that one first, then those of its issuers"
    )]
    Order {
        /// Counted from 1.
        position: usize,
    },
    /// Clients are to be verified, and nobody is trusted.
    #[error("mode Mutual needs the CA of the clients (ca.crt)")]
    NoClientCa,
    /// The client CA is missing or broken.
    #[error("the CA of the clients (ca.crt) {0}")]
    ClientCa(PemFault),
    /// One client CA is not a certificate.
    #[error("certificate {position} of the CA of the clients (ca.crt) cannot be read")]
    ClientCaUnreadable {
        /// Counted from 1.
        position: usize,
    },
    /// One client CA is no authority.
    #[error(
        "certificate {position} of the CA of the clients (ca.crt) is not a CA (basic constraints): give the certificate of the issuer"
    )]
    ClientCaIsNone {
        /// Counted from 1.
        position: usize,
    },
    /// No client CA is valid any more.
    #[error("the CA of the clients (ca.crt) has expired: renew it")]
    ClientCaExpired,
    /// The names of all would not fit into a handshake.
    #[error(
        "the CA of the clients (ca.crt) has more than {MAX_ROOTS} certificates: give only those of the issuers of clients"
    )]
    TooManyClientCas,
    /// The authorities of servers cannot be trusted.
    #[error("the trusted authorities of the server: {0}")]
    Roots(InvalidRoots),
    /// The TLS library refuses it all the same.
    #[error("TLS cannot be set up: {0}")]
    Refused(Error),
}
