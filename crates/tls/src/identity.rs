//! The identity in a client certificate (SPIFFE X.509-SVID).
//!
//! A certificate that could be read in two ways names nobody: several URIs, or
//! one that looks like a SPIFFE id and is none, end the handshake. A
//! certificate without a SPIFFE id is fine; whoever holds it is verified and
//! has no name.

use rustls_pki_types::CertificateDer;
use sidegate_policy::principal::{InvalidSpiffeId, SpiffeId};
use thiserror::Error;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

use crate::certificate::{certificates, validity_of};

const SCHEME: &str = "spiffe:";

/// What a client's certificate says about who holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificate {
    /// Its SPIFFE id.
    pub spiffe_id: Option<SpiffeId>,
    /// Its DNS names, in its order.
    pub dns_names: Vec<String>,
    /// The common name of its subject; none when it has several.
    pub common_name: Option<String>,
    /// When it ends, in seconds since 1970.
    pub not_after_unix: i64,
    /// The identifier of the key that signed it (RFC 5280, section 4.2.1.1), in
    /// hexadecimal digits; none when the certificate does not say.
    pub authority_key_id: Option<String>,
}

/// Why a certificate that was issued by a trusted authority names nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidIdentity {
    /// The certificate or its alternative names cannot be read.
    #[error("the alternative names of the client certificate cannot be read")]
    Unreadable,
    /// An SVID has exactly one URI.
    #[error("the client certificate has several URIs; a SPIFFE certificate has exactly one")]
    SeveralUris,
    /// The URI begins like a SPIFFE id and is none.
    #[error("the client certificate has a URI that is no SPIFFE id: {0}")]
    SpiffeId(InvalidSpiffeId),
}

/// Who holds this certificate. It must have been verified.
///
/// # Errors
/// [`InvalidIdentity`] when the certificate is ambiguous.
pub(crate) fn identity_of(
    certificate: &CertificateDer<'_>,
) -> Result<PeerCertificate, InvalidIdentity> {
    let parsed = read(certificate)?;
    Ok(PeerCertificate {
        spiffe_id: spiffe_id(&parsed)?,
        dns_names: dns_names(&parsed)?,
        common_name: common_name(&parsed),
        not_after_unix: validity_of(&parsed).not_after_unix,
        authority_key_id: authority_key_id(&parsed),
    })
}

/// Its SPIFFE id alone, for every handshake of the data plane.
///
/// # Errors
/// [`InvalidIdentity`] when the certificate is ambiguous: for those for which
/// [`identity_of`] has an error.
pub(crate) fn spiffe_id_of(
    certificate: &CertificateDer<'_>,
) -> Result<Option<SpiffeId>, InvalidIdentity> {
    spiffe_id(&read(certificate)?)
}

fn read<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, InvalidIdentity> {
    let (_, parsed) =
        X509Certificate::from_der(certificate).map_err(|_| InvalidIdentity::Unreadable)?;
    Ok(parsed)
}

/// The identifiers of the keys of authorities (RFC 5280, section 4.2.1.2), in
/// hexadecimal digits, without those that have none or cannot be read.
#[must_use]
pub fn key_ids(authorities_pem: &str) -> Vec<String> {
    let found = certificates(authorities_pem.as_bytes()).unwrap_or_default();
    let id = |certificate: &CertificateDer<'_>| key_id_of(&read(certificate).ok()?);
    found.iter().filter_map(id).collect()
}

/// The identifier of the key of one authority.
pub(crate) fn key_id_of(certificate: &X509Certificate<'_>) -> Option<String> {
    let mut extensions = certificate.iter_extensions();
    extensions.find_map(|it| {
        if let ParsedExtension::SubjectKeyIdentifier(id) = it.parsed_extension() {
            Some(hex(id.0))
        } else {
            None
        }
    })
}

fn authority_key_id(certificate: &X509Certificate<'_>) -> Option<String> {
    let mut extensions = certificate.iter_extensions();
    extensions.find_map(|it| {
        if let ParsedExtension::AuthorityKeyIdentifier(id) = it.parsed_extension() {
            id.key_identifier.as_ref().map(|id| hex(id.0))
        } else {
            None
        }
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn common_name(certificate: &X509Certificate<'_>) -> Option<String> {
    let mut names = certificate.subject().iter_common_name();
    let name = names.next()?.as_str().ok()?.to_owned();
    names.next().is_none().then_some(name)
}

fn dns_names(certificate: &X509Certificate<'_>) -> Result<Vec<String>, InvalidIdentity> {
    let names = certificate
        .subject_alternative_name()
        .map_err(|_| InvalidIdentity::Unreadable)?;
    let names = names.iter().flat_map(|names| &names.value.general_names);
    Ok(names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::OtherName(..)
            | GeneralName::RFC822Name(_)
            | GeneralName::X400Address(_)
            | GeneralName::DirectoryName(_)
            | GeneralName::EDIPartyName(_)
            | GeneralName::URI(_)
            | GeneralName::IPAddress(_)
            | GeneralName::RegisteredID(_)
            | GeneralName::Invalid(..) => None,
        })
        .collect())
}

fn spiffe_id(certificate: &X509Certificate<'_>) -> Result<Option<SpiffeId>, InvalidIdentity> {
    let names = certificate
        .subject_alternative_name()
        .map_err(|_| InvalidIdentity::Unreadable)?;
    let mut uri = None;
    for name in names.iter().flat_map(|names| &names.value.general_names) {
        match name {
            GeneralName::URI(_) if uri.is_some() => return Err(InvalidIdentity::SeveralUris),
            GeneralName::URI(text) => uri = Some(*text),
            GeneralName::Invalid(..) => return Err(InvalidIdentity::Unreadable),
            GeneralName::OtherName(..)
            | GeneralName::RFC822Name(_)
            | GeneralName::DNSName(_)
            | GeneralName::X400Address(_)
            | GeneralName::DirectoryName(_)
            | GeneralName::EDIPartyName(_)
            | GeneralName::IPAddress(_)
            | GeneralName::RegisteredID(_) => {}
        }
    }
    match uri {
        Some(uri) if looks_like_spiffe(uri) => {
            uri.parse().map(Some).map_err(InvalidIdentity::SpiffeId)
        }
        Some(_) | None => Ok(None),
    }
}

/// Schemes are written in any case, so another spelling is a malformed id, not
/// another kind of URI. What comes before the scheme is no excuse either.
fn looks_like_spiffe(uri: &str) -> bool {
    let start = uri.trim_start().as_bytes();
    start
        .get(..SCHEME.len())
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case(SCHEME.as_bytes()))
}
