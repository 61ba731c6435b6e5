//! What a certificate states.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rcgen::{KeyPair, PublicKeyData as _};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::parse_x509_pem;

use super::{CertificateError, Purpose, Validity};

/// The content of a certificate, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Host names and IP addresses, sorted.
    pub hosts: Vec<String>,
    /// URIs, sorted.
    pub uris: Vec<String>,
    /// When it is valid.
    pub validity: Validity,
    /// What it is for, when it is for one thing.
    pub purpose: Option<Purpose>,
    der: Vec<u8>,
    public_key: Vec<u8>,
}

// === impl Facts ===

impl Facts {
    /// Reads the first certificate of a text.
    ///
    /// # Errors
    /// [`CertificateError::Unreadable`]
    pub fn read(pem: &str) -> Result<Self, CertificateError> {
        let Ok((_, block)) = parse_x509_pem(pem.as_bytes()) else {
            return Err(CertificateError::Unreadable);
        };
        let certificate = block
            .parse_x509()
            .map_err(|_| CertificateError::Unreadable)?;
        let mut facts = Self {
            hosts: Vec::new(),
            uris: Vec::new(),
            validity: Validity {
                not_before: certificate.validity().not_before.timestamp(),
                not_after: certificate.validity().not_after.timestamp(),
            },
            purpose: purpose(&certificate),
            public_key: certificate.public_key().raw.to_vec(),
            der: block.contents.clone(),
        };
        let names = certificate.subject_alternative_name();
        let names = names.map_err(|_| CertificateError::Unreadable)?;
        for name in names.iter().flat_map(|names| &names.value.general_names) {
            if let GeneralName::URI(uri) = name {
                facts.uris.push((*uri).to_owned());
            } else if let Some(host) = host(name) {
                facts.hosts.push(host);
            }
        }
        facts.hosts.sort_unstable();
        facts.uris.sort_unstable();
        Ok(facts)
    }

    /// Whether this key belongs to it.
    #[must_use]
    pub fn has_key(&self, key: &KeyPair) -> bool {
        self.public_key == key.subject_public_key_info()
    }

    /// Whether the key of this authority signed it.
    #[must_use]
    pub fn is_signed_by(&self, authority_pem: &str) -> bool {
        let Ok((_, authority)) = parse_x509_pem(authority_pem.as_bytes()) else {
            return false;
        };
        let Ok(authority) = authority.parse_x509() else {
            return false;
        };
        let Ok((_, certificate)) = x509_parser::parse_x509_certificate(&self.der) else {
            return false;
        };
        certificate
            .verify_signature(Some(authority.public_key()))
            .is_ok()
    }
}

fn purpose(certificate: &X509Certificate<'_>) -> Option<Purpose> {
    let usage = certificate.extended_key_usage().ok()??;
    match (usage.value.server_auth, usage.value.client_auth) {
        (true, false) => Some(Purpose::Server),
        (false, true) => Some(Purpose::Client),
        (true, true) | (false, false) => None,
    }
}

fn host(name: &GeneralName<'_>) -> Option<String> {
    if let GeneralName::DNSName(name) = name {
        return Some((*name).to_owned());
    }
    let GeneralName::IPAddress(bytes) = name else {
        return None;
    };
    let ip = match *bytes {
        [a, b, c, d] => IpAddr::V4(Ipv4Addr::new(*a, *b, *c, *d)),
        bytes => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
    };
    Some(ip.to_string())
}
