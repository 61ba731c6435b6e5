//! The authorities that one side trusts for the other.

use rustls::RootCertStore;
use thiserror::Error;

use crate::certificate::{Facts, PemFault, certificates, facts};

/// Most authorities in one bundle. A server sends their names in every
/// handshake, in a list that must not exceed 64 KiB (RFC 8446, section 4.2.4).
pub(crate) const MAX_ROOTS: usize = 100;

/// Why a bundle of authorities cannot be trusted. It is taken whole or not at
/// all, but for those that have expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidRoots {
    /// The bundle is missing or broken.
    #[error("the bundle {0}")]
    Pem(PemFault),
    /// There are too many.
    #[error("there are more than {MAX_ROOTS} certificates: give only those that are needed")]
    TooMany,
    /// One of them is not a certificate.
    #[error("certificate {position} cannot be read")]
    Unreadable {
        /// Counted from 1.
        position: usize,
    },
    /// One of them is no authority.
    #[error(
        "certificate {position} is not a CA (basic constraints): give the certificate of the issuer"
    )]
    NoAuthority {
        /// Counted from 1.
        position: usize,
    },
    /// None of them is valid any more.
    #[error("all of them have expired: renew them")]
    Expired,
}

/// The authorities that are valid now. Path building does not look at the
/// validity of an anchor, so expired ones must be left out here. A bundle may
/// hold them, during a rotation for example.
pub(crate) fn trusted_roots(pem: &[u8], now_unix: i64) -> Result<RootCertStore, InvalidRoots> {
    let found = certificates(pem).map_err(InvalidRoots::Pem)?;
    if found.len() > MAX_ROOTS {
        return Err(InvalidRoots::TooMany);
    }
    let mut roots = RootCertStore::empty();
    for (index, certificate) in found.into_iter().enumerate() {
        let position = index + 1;
        let unreadable = InvalidRoots::Unreadable { position };
        let Some(Facts { validity, is_ca }) = facts(&certificate) else {
            return Err(unreadable);
        };
        if !is_ca {
            return Err(InvalidRoots::NoAuthority { position });
        }
        if validity.not_after_unix >= now_unix {
            roots.add(certificate).map_err(|_| unreadable)?;
        } else {
            tracing::warn!(position, "an expired authority is not trusted");
        }
    }
    if roots.is_empty() {
        Err(InvalidRoots::Expired)
    } else {
        Ok(roots)
    }
}
