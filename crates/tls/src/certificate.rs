//! Certificates and keys out of PEM.

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

/// What can be wrong with a PEM text. The text itself is never part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PemFault {
    /// It holds nothing of the kind.
    #[error("is missing: expected a PEM text with a section of that kind")]
    Missing,
    /// A section is cut off, or is not Base64.
    #[error("is broken: a PEM section has no end, or is not Base64")]
    Broken,
    /// The key needs a password.
    #[error("is encrypted: store it without a password")]
    Encrypted,
}

/// From when until when a certificate is valid, in seconds since 1970. Both
/// ends belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// Its first second.
    pub not_before_unix: i64,
    /// Its last second.
    pub not_after_unix: i64,
}

/// What the product reads of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) validity: Validity,
    pub(crate) is_ca: bool,
}

/// All certificates of a PEM text, in its order; other sections are skipped.
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemFault> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|_| PemFault::Broken)?;
    if certificates.is_empty() {
        Err(PemFault::Missing)
    } else {
        Ok(certificates)
    }
}

/// The first private key of a PEM text.
pub(crate) fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, PemFault> {
    // The library's error would quote the text.
    match PrivateKeyDer::pem_slice_iter(pem).next() {
        Some(Ok(key)) => Ok(key),
        Some(Err(_)) => Err(PemFault::Broken),
        None if is_encrypted(pem) => Err(PemFault::Encrypted),
        None => Err(PemFault::Missing),
    }
}

/// The text without the space around it, if it is one PEM section of this kind
/// and nothing else. Whether that can be decoded is another question.
pub(crate) fn only_section<'a>(text: &'a str, kind: &str) -> Option<&'a str> {
    const DASHES: &str = "-----";
    let text = text.trim_ascii();
    let inner = text
        .strip_prefix(&format!("{DASHES}BEGIN {kind}{DASHES}"))?
        .strip_suffix(&format!("{DASHES}END {kind}{DASHES}"))?;
    (!inner.contains(DASHES)).then_some(text)
}

/// The facts of a certificate; None when it is not one.
pub(crate) fn facts(certificate: &CertificateDer<'_>) -> Option<Facts> {
    let (rest, parsed) = X509Certificate::from_der(certificate).ok()?;
    if !rest.is_empty() {
        return None;
    }
    Some(Facts {
        validity: validity_of(&parsed),
        is_ca: parsed.is_ca(),
    })
}

pub(crate) fn validity_of(certificate: &X509Certificate<'_>) -> Validity {
    let validity = certificate.validity();
    Validity {
        not_before_unix: validity.not_before.timestamp(),
        not_after_unix: validity.not_after.timestamp(),
    }
}

fn is_encrypted(pem: &[u8]) -> bool {
    const MARK: &[u8] = b"BEGIN ENCRYPTED PRIVATE KEY";
    pem.windows(MARK.len()).any(|window| window == MARK)
}
