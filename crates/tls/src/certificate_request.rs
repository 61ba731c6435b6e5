//! What an authority takes from a request for a certificate: the key.
//!
//! A request comes from a workload that may lie. So nothing else of it is even
//! read: not its subject, not its attributes, not the extensions that it asks
//! for. The signature is verified with a pair of key and signature algorithm
//! that the TLS library knows, so that a key of one kind cannot pass for one of
//! another.

use std::fmt;

use rcgen::SubjectPublicKeyInfo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateSigningRequestDer, alg_id};
use thiserror::Error;
use x509_parser::asn1_rs::{Any, FromDer};

use crate::certificate::only_section;
use crate::provider::provider;

/// Longest request, as text.
const MAX_REQUEST_BYTES: usize = 16 * 1024;
/// RSA keys, by the length of their modulus. Longer ones cost every peer time.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;

/// Identifiers of the types that a request is made of (X.690, section 8.1.2).
const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;

/// The key of a request (PKCS #10), of which the sender proved to have the
/// other half.
#[derive(Clone, PartialEq, Eq)]
pub struct CertificateRequest {
    pub(crate) key: SubjectPublicKeyInfo,
}

/// Why a request is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidRequest {
    /// It is too long.
    #[error("the certificate request has more than {MAX_REQUEST_BYTES} bytes")]
    TooLong,
    /// It is not one PEM section of the right kind, and nothing else.
    #[error("the certificate request is not exactly one PEM section `CERTIFICATE REQUEST`")]
    Pem,
    /// The section holds something else.
    #[error("the certificate request cannot be read as PKCS #10")]
    Unreadable,
    /// Its key is of another kind or size.
    #[error(
        "the certificate request has a key that is not supported: use ECDSA P-256 or P-384, Ed25519, or RSA with 2048 to 4096 bits"
    )]
    Key,
    /// The signature is of another kind, or not by the key.
    #[error("the certificate request is not signed by its key")]
    Signature,
}

// === impl CertificateRequest ===

impl CertificateRequest {
    /// Reads a request and verifies its signature.
    ///
    /// # Errors
    /// [`InvalidRequest`] says what is wrong with it.
    pub fn from_pem(text: &str) -> Result<Self, InvalidRequest> {
        Ok(Self { key: read(text)? })
    }
}

/// Says nothing about the key, which would fill lines.
impl fmt::Debug for CertificateRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key: _ } = self;
        formatter
            .debug_struct("CertificateRequest")
            .finish_non_exhaustive()
    }
}

fn read(text: &str) -> Result<SubjectPublicKeyInfo, InvalidRequest> {
    let der = decoded(text)?;
    let [info, signature_algorithm, signature] =
        sequence(&der).ok_or(InvalidRequest::Unreadable)?;
    let [version, _subject, key, _attributes] =
        sequence(info.der).ok_or(InvalidRequest::Unreadable)?;
    let [key_algorithm, key_bits] = sequence(key.der).ok_or(InvalidRequest::Unreadable)?;
    let key_bits = key_bits.bits().ok_or(InvalidRequest::Unreadable)?;
    let signature = signature.bits().ok_or(InvalidRequest::Unreadable)?;
    if version.content != [0] || signature_algorithm.identifier != SEQUENCE {
        return Err(InvalidRequest::Unreadable);
    }
    if !is_supported(key_algorithm, key_bits) {
        return Err(InvalidRequest::Key);
    }

    let algorithms = provider().signature_verification_algorithms.all;
    algorithms
        .iter()
        .filter(|algorithm| *algorithm.public_key_alg_id() == *key_algorithm.content)
        .filter(|algorithm| *algorithm.signature_alg_id() == *signature_algorithm.content)
        .find(|algorithm| {
            algorithm
                .verify_signature(key_bits, info.der, signature)
                .is_ok()
        })
        .ok_or(InvalidRequest::Signature)?;
    SubjectPublicKeyInfo::from_der(key.der).map_err(|_| InvalidRequest::Key)
}

/// Texts with more than the one section are refused: another reader could take
/// another one.
fn decoded(text: &str) -> Result<CertificateSigningRequestDer<'static>, InvalidRequest> {
    if text.len() > MAX_REQUEST_BYTES {
        return Err(InvalidRequest::TooLong);
    }
    let section = only_section(text, "CERTIFICATE REQUEST").ok_or(InvalidRequest::Pem)?;
    // The library's error would quote the text.
    CertificateSigningRequestDer::from_pem_slice(section.as_bytes())
        .map_err(|_| InvalidRequest::Pem)
}

/// Whether the key is of a kind and size that our peers verify. That an EC
/// point is on its curve is found out with the signature.
fn is_supported(algorithm: Element<'_>, bits: &[u8]) -> bool {
    const UNCOMPRESSED: u8 = 4;
    let point_of =
        |bytes: usize| bits.len() == 1 + 2 * bytes && bits.first() == Some(&UNCOMPRESSED);
    let is = |id: alg_id::AlgorithmIdentifier| *id == *algorithm.content;
    if is(alg_id::ECDSA_P256) {
        point_of(32)
    } else if is(alg_id::ECDSA_P384) {
        point_of(48)
    } else if is(alg_id::ED25519) {
        bits.len() == 32
    } else if is(alg_id::RSA_ENCRYPTION) {
        modulus_bits(bits).is_some_and(|length| RSA_BITS.contains(&length))
    } else {
        false
    }
}

/// How long the modulus of an RSA key is (RFC 8017, appendix A.1.1).
fn modulus_bits(key: &[u8]) -> Option<usize> {
    let [modulus, _exponent] = sequence(key)?;
    let digits = modulus
        .content
        .strip_prefix(&[0])
        .unwrap_or(modulus.content);
    let zeros = usize::try_from(digits.first()?.leading_zeros()).ok()?;
    (digits.len() * 8).checked_sub(zeros)
}

/// One value in DER.
#[derive(Clone, Copy)]
struct Element<'a> {
    /// Class, form and number of its tag.
    identifier: u8,
    /// With its tag and length.
    der: &'a [u8],
    content: &'a [u8],
}

/// The values of a SEQUENCE that holds exactly `N`, and ends where `der` ends.
fn sequence<const N: usize>(der: &[u8]) -> Option<[Element<'_>; N]> {
    let (whole, rest) = element(der)?;
    if whole.identifier != SEQUENCE || !rest.is_empty() {
        return None;
    }
    let mut rest = whole.content;
    let mut elements = [whole; N];
    for slot in &mut elements {
        (*slot, rest) = element(rest)?;
    }
    rest.is_empty().then_some(elements)
}

fn element(der: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (rest, any) = Any::from_der(der).ok()?;
    let (whole, rest) = der.split_at_checked(der.len().checked_sub(rest.len())?)?;
    let element = Element {
        identifier: *whole.first()?,
        der: whole,
        content: any.data,
    };
    Some((element, rest))
}

// === impl Element ===

impl<'a> Element<'a> {
    /// The bytes of a BIT STRING that is made of whole ones.
    fn bits(self) -> Option<&'a [u8]> {
        if self.identifier == BIT_STRING {
            self.content.strip_prefix(&[0])
        } else {
            None
        }
    }
}
