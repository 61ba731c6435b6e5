//! The certificate that one shows, with its key.

use rustls::InconsistentKeys;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::certificate::{Validity, certificates, facts, private_key};
use crate::invalid_tls::InvalidTls;
use crate::material::PrivateKeyPem;
use crate::provider::provider;

/// So much in the future a certificate may begin: clocks differ.
const CLOCK_SKEW_SECONDS: i64 = 300;

/// A certificate that is valid, with the key that belongs to it.
pub(crate) struct OwnCertificate {
    pub(crate) certified: CertifiedKey,
    pub(crate) not_after_unix: i64,
}

/// From when until when the first certificate of a PEM text is valid. It is read
/// and not verified: ask it of certificates of one's own, to renew them in time.
///
/// # Errors
/// [`InvalidTls`] when the text has no certificate, or none that can be read.
pub fn validity(certificate_pem: &str) -> Result<Validity, InvalidTls> {
    let chain = certificates(certificate_pem.as_bytes()).map_err(InvalidTls::Certificate)?;
    leaf_validity(&chain)
}

/// Reads and checks both.
pub(crate) fn own_certificate(
    certificate_pem: &[u8],
    key_pem: &PrivateKeyPem,
    now_unix: i64,
) -> Result<OwnCertificate, InvalidTls> {
    let chain = certificates(certificate_pem).map_err(InvalidTls::Certificate)?;
    let key = private_key(key_pem.expose()).map_err(InvalidTls::Key)?;
    let not_after_unix = check_validity(&chain, now_unix)?;
    Ok(OwnCertificate {
        certified: certified_key(chain, key)?,
        not_after_unix,
    })
}

/// When the leaf expires, if it is valid now.
fn check_validity(chain: &[CertificateDer<'_>], now_unix: i64) -> Result<i64, InvalidTls> {
    const DAY: i64 = 24 * 60 * 60;
    let validity = leaf_validity(chain)?;
    let late = now_unix.saturating_sub(validity.not_after_unix);
    if late > 0 {
        return Err(InvalidTls::Expired { days: late / DAY });
    }
    if validity.not_before_unix.saturating_sub(now_unix) > CLOCK_SKEW_SECONDS {
        return Err(InvalidTls::NotYetValid);
    }
    Ok(validity.not_after_unix)
}

fn leaf_validity(chain: &[CertificateDer<'_>]) -> Result<Validity, InvalidTls> {
    let leaf = chain.first().and_then(facts);
    leaf.map(|facts| facts.validity)
        .ok_or(InvalidTls::CertificateUnreadable)
}

/// The certificate with its key, if they belong together.
fn certified_key(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<CertifiedKey, InvalidTls> {
    let key = provider()
        .key_provider
        .load_private_key(key)
        .map_err(|_| InvalidTls::KeyUnsupported)?;
    let mut certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) => return Ok(certified),
        Err(error) if error == InconsistentKeys::KeyMismatch.into() => {}
        Err(error) if error == InconsistentKeys::Unknown.into() => {
            return Err(InvalidTls::KeyUnsupported);
        }
        Err(_) => return Err(InvalidTls::CertificateUnreadable),
    }
    // Which one does the key belong to, if any?
    let chain = std::mem::take(&mut certified.cert);
    for (index, certificate) in chain.into_iter().enumerate() {
        certified.cert = vec![certificate];
        if certified.keys_match().is_ok() {
            return Err(InvalidTls::Order {
                position: index + 1,
            });
        }
    }
    Err(InvalidTls::KeyMismatch)
}
