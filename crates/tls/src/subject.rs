//! Whom a certificate is for, as the authority knows it.

use rcgen::string::Ia5String;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose,
    SanType,
};
use sidegate_policy::principal::SpiffeId;
use thiserror::Error;

/// Longest common name (RFC 5280, appendix A.1, `ub-common-name`).
const MAX_COMMON_NAME_CHARS: usize = 64;
/// Most DNS names in one certificate.
pub const MAX_DNS_NAMES: usize = 100;
const MAX_DNS_NAME_BYTES: usize = 253;
const MAX_LABEL_BYTES: usize = 63;

/// Whom a certificate is for. All of it comes from the authority, nothing from
/// the one who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The common name, 1 to 64 characters.
    pub common_name: String,
    /// The identity, which becomes the one URI of the certificate.
    pub spiffe_id: Option<SpiffeId>,
    /// The DNS names in lower case, at most 100. The first label may be `*`.
    pub dns_names: Vec<String>,
    /// What the certificate may be used for.
    pub usages: Usages,
}

/// In which roles a certificate may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Usages {
    /// As a server.
    Server,
    /// As a client.
    Client,
    /// As both.
    Both,
}

/// Why there is no certificate for a subject.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidSubject {
    /// The common name is empty, too long, or has control characters.
    #[error("a common name has 1 to {MAX_COMMON_NAME_CHARS} characters and no control characters")]
    CommonName,
    /// There are too many DNS names.
    #[error("a certificate has at most {MAX_DNS_NAMES} DNS names")]
    TooManyNames,
    /// One is none.
    #[error(
        "`{0}` is no DNS name in lower case (RFC 1123): labels of 1 to 63 characters of a-z, 0-9 and `-`, at most {MAX_DNS_NAME_BYTES} in all, the last label not a number, `*` only as the whole first label"
    )]
    DnsName(String),
    /// Nothing in the certificate would be what a server is looked up by.
    #[error("a certificate that is only for servers needs a DNS name")]
    NoName,
}

// === impl Subject ===

impl Subject {
    /// What of a certificate depends on the subject.
    pub(crate) fn params(&self) -> Result<CertificateParams, InvalidSubject> {
        let Self {
            common_name,
            spiffe_id,
            dns_names,
            usages,
        } = self;
        if !is_common_name(common_name) {
            return Err(InvalidSubject::CommonName);
        }
        if dns_names.len() > MAX_DNS_NAMES {
            return Err(InvalidSubject::TooManyNames);
        }
        if dns_names.is_empty() && *usages == Usages::Server {
            return Err(InvalidSubject::NoName);
        }
        let id = spiffe_id.iter().filter_map(|id| ia5(id.as_str()));
        let mut names: Vec<_> = id.map(SanType::URI).collect();
        for name in dns_names {
            let valid = ia5(name).filter(|_| is_name_or_wildcard(name));
            let valid = valid.ok_or_else(|| InvalidSubject::DnsName(name.clone()))?;
            names.push(SanType::DnsName(valid));
        }

        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, common_name.as_str());
        params.subject_alt_names = names;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = usages.purposes().to_vec();
        params.use_authority_key_identifier_extension = true;
        Ok(params)
    }
}

pub(crate) fn is_common_name(text: &str) -> bool {
    (1..=MAX_COMMON_NAME_CHARS).contains(&text.chars().count())
        && !text.chars().any(char::is_control)
}

/// A SPIFFE id and a DNS name are ASCII; the type of the library proves it.
fn ia5(text: &str) -> Option<Ia5String> {
    Ia5String::try_from(text).ok()
}

fn is_name_or_wildcard(name: &str) -> bool {
    name.len() <= MAX_DNS_NAME_BYTES && is_dns_name(name.strip_prefix("*.").unwrap_or(name))
}

/// Whether a certificate can carry this as the name of one host. No such name
/// ends with a number: an address does, and is matched by other rules
/// (RFC 1123, section 2.1).
#[must_use]
pub fn is_dns_name(name: &str) -> bool {
    name.len() <= MAX_DNS_NAME_BYTES
        && name.split('.').all(is_dns_label)
        && !name
            .rsplit('.')
            .next()
            .is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether this can stand between the dots of a DNS name, in lower case.
#[must_use]
pub fn is_dns_label(label: &str) -> bool {
    (1..=MAX_LABEL_BYTES).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

// === impl Usages ===

impl Usages {
    fn purposes(self) -> &'static [ExtendedKeyUsagePurpose] {
        use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
        match self {
            Self::Server => &[ServerAuth],
            Self::Client => &[ClientAuth],
            Self::Both => &[ServerAuth, ClientAuth],
        }
    }
}
