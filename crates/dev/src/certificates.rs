//! A certificate authority for the desk, and certificates of it.
//!
//! In a cluster the built-in authority gives every pod a certificate that
//! states its service account. Here the same certificates come from an
//! authority that lives in a folder. Nobody else may trust it.

pub mod folder;
mod inspect;

use std::fmt;
use std::net::IpAddr;

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};

pub use self::inspect::Facts;

/// Before this much of the past, clocks of one machine do not disagree.
const CLOCK_SLACK_SECONDS: i64 = 3600;
const DAY_SECONDS: i64 = 24 * 3600;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A name cannot be in a certificate.
    #[error("`{0}` cannot be a name in a certificate")]
    Name(String),
    /// The library refused.
    #[error("cannot make a certificate: {0}")]
    Library(#[from] rcgen::Error),
    /// A certificate that was read is none.
    #[error("not a certificate in PEM")]
    Unreadable,
    /// A moment that certificates cannot state.
    #[error("a certificate cannot be valid at that time")]
    Time,
}

/// From when to when, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub not_before: i64,
    /// The last second.
    pub not_after: i64,
}

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A server shows it.
    Server,
    /// A client shows it.
    Client,
}

/// A certificate that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// What it is for.
    pub purpose: Purpose,
    /// Host names and IP addresses.
    pub hosts: Vec<String>,
    /// URIs: a certificate of a workload has one, its SPIFFE id.
    pub uris: Vec<String>,
    /// When it is valid.
    pub validity: Validity,
}

/// A private key in PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyPem(String);

/// A certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// The certificate in PEM.
    pub certificate_pem: String,
    /// Its key.
    pub key_pem: KeyPem,
}

/// A certificate authority.
pub struct CertificateAuthority {
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

// === impl Validity ===

impl Validity {
    /// From just before `now`, for this many days.
    #[must_use]
    pub fn days(now: i64, days: i64) -> Self {
        let not_after = now.saturating_add(days.saturating_mul(DAY_SECONDS));
        Self {
            not_before: now.saturating_sub(CLOCK_SLACK_SECONDS),
            not_after,
        }
    }

    fn put_into(self, params: &mut CertificateParams) -> Result<(), CertificateError> {
        let epoch = date_time_ymd(1970, 1, 1);
        let at = |seconds: i64| {
            let seconds = u64::try_from(seconds).map_err(|_| CertificateError::Time)?;
            // The library ends the year 9999 with a panic.
            if seconds > 253_402_300_799 {
                return Err(CertificateError::Time);
            }
            Ok(epoch + std::time::Duration::from_secs(seconds))
        };
        params.not_before = at(self.not_before)?;
        params.not_after = at(self.not_after)?;
        Ok(())
    }
}

// === impl Wish ===

impl Wish {
    /// A server's certificate.
    #[must_use]
    pub fn server(hosts: &[&str], spiffe_id: &str, validity: Validity) -> Self {
        Self {
            purpose: Purpose::Server,
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            uris: vec![spiffe_id.to_owned()],
            validity,
        }
    }

    /// A client's certificate: its SPIFFE id and nothing else.
    #[must_use]
    pub fn client(spiffe_id: &str, validity: Validity) -> Self {
        let uris = vec![spiffe_id.to_owned()];
        Self {
            purpose: Purpose::Client,
            hosts: Vec::new(),
            uris,
            validity,
        }
    }

    fn params(&self) -> Result<CertificateParams, CertificateError> {
        let mut params = CertificateParams::default();
        self.validity.put_into(&mut params)?;
        // Verifiers look at the names below, not at the subject.
        params.distinguished_name = DistinguishedName::new();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match self.purpose {
            Purpose::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Purpose::Client => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        params.use_authority_key_identifier_extension = true;
        for host in &self.hosts {
            params.subject_alt_names.push(match host.parse::<IpAddr>() {
                Ok(ip) => SanType::IpAddress(ip),
                Err(_) => SanType::DnsName(text(host)?),
            });
        }
        for uri in &self.uris {
            params.subject_alt_names.push(SanType::URI(text(uri)?));
        }
        Ok(params)
    }
}

fn text(name: &str) -> Result<Ia5String, CertificateError> {
    name.try_into()
        .map_err(|_| CertificateError::Name(name.to_owned()))
}

// === impl CertificateAuthority ===

impl CertificateAuthority {
    /// A new authority.
    ///
    /// # Errors
    /// [`CertificateError`]
    pub fn create(name: &str, validity: Validity) -> Result<Self, CertificateError> {
        let mut params = CertificateParams::default();
        validity.put_into(&mut params)?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let certificate_pem = params.self_signed(&key)?.pem();
        Ok(Self {
            certificate_pem,
            issuer: Issuer::new(params, key),
        })
    }

    /// An authority that was made before.
    ///
    /// # Errors
    /// [`CertificateError`] when the two do not belong together.
    pub fn load(certificate_pem: &str, key_pem: &KeyPem) -> Result<Self, CertificateError> {
        let facts = Facts::read(certificate_pem)?;
        let key = KeyPair::from_pem(&key_pem.0)?;
        if !facts.has_key(&key) {
            return Err(CertificateError::Unreadable);
        }
        let issuer = Issuer::from_ca_cert_pem(certificate_pem, key)?;
        Ok(Self {
            certificate_pem: certificate_pem.to_owned(),
            issuer,
        })
    }

    /// Its own certificate.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Its key.
    #[must_use]
    pub fn key_pem(&self) -> KeyPem {
        KeyPem(self.issuer.key().serialize_pem())
    }

    /// Gives a certificate with a new key.
    ///
    /// # Errors
    /// [`CertificateError`]
    pub fn issue(&self, wish: &Wish) -> Result<Issued, CertificateError> {
        let key = KeyPair::generate()?;
        let certificate = wish.params()?.signed_by(&key, &self.issuer)?;
        Ok(Issued {
            certificate_pem: certificate.pem(),
            key_pem: KeyPem(key.serialize_pem()),
        })
    }
}

impl fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateAuthority")
            .finish_non_exhaustive()
    }
}

// === impl KeyPem ===

impl KeyPem {
    /// The key itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for KeyPem {
    fn from(pem: String) -> Self {
        Self(pem)
    }
}

impl fmt::Debug for KeyPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyPem(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;
    const AGENT: &str = "spiffe://cluster.local/ns/crm/sa/agent";

    #[test]
    fn a_certificate_states_what_was_wished_for() {
        let authority = CertificateAuthority::create("test", Validity::days(NOW, 10)).unwrap();
        let validity = Validity::days(NOW, 2);
        let wish = Wish::server(&["localhost", "127.0.0.1", "::1"], AGENT, validity);
        let issued = authority.issue(&wish).unwrap();
        let facts = Facts::read(&issued.certificate_pem).unwrap();
        assert_eq!(facts.validity, validity);
        assert_eq!(facts.hosts, ["127.0.0.1", "::1", "localhost"]);
        assert_eq!(facts.uris, [AGENT]);
        assert_eq!(facts.purpose, Some(Purpose::Server));
        assert!(facts.is_signed_by(authority.certificate_pem()));
        assert!(facts.has_key(&KeyPair::from_pem(issued.key_pem.expose()).unwrap()));
        let other = authority.issue(&wish).unwrap();
        assert!(!facts.has_key(&KeyPair::from_pem(other.key_pem.expose()).unwrap()));
    }

    #[test]
    fn an_authority_that_was_loaded_is_the_same_authority() {
        let made = CertificateAuthority::create("test", Validity::days(NOW, 10)).unwrap();
        let loaded = CertificateAuthority::load(made.certificate_pem(), &made.key_pem()).unwrap();
        let issued = loaded
            .issue(&Wish::client(AGENT, Validity::days(NOW, 2)))
            .unwrap();
        let facts = Facts::read(&issued.certificate_pem).unwrap();
        assert!(facts.is_signed_by(made.certificate_pem()));
        let other = CertificateAuthority::create("test", Validity::days(NOW, 10)).unwrap();
        assert!(
            !facts.is_signed_by(other.certificate_pem()),
            "names do not make an authority"
        );
        assert!(CertificateAuthority::load(made.certificate_pem(), &other.key_pem()).is_err());
    }

    #[test]
    fn names_and_times_that_no_certificate_can_state_are_refused() {
        let authority = CertificateAuthority::create("test", Validity::days(NOW, 10)).unwrap();
        let mut wish = Wish::client("spiffe://ä", Validity::days(NOW, 2));
        assert!(matches!(
            authority.issue(&wish),
            Err(CertificateError::Name(_))
        ));
        wish.uris.clear();
        wish.validity.not_before = -1;
        assert!(matches!(
            authority.issue(&wish),
            Err(CertificateError::Time)
        ));
        wish.validity = Validity {
            not_before: 0,
            not_after: 253_402_300_799,
        };
        authority.issue(&wish).unwrap();
        wish.validity.not_after += 1;
        assert!(matches!(
            authority.issue(&wish),
            Err(CertificateError::Time)
        ));
    }

    #[test]
    fn keys_do_not_show_themselves() {
        let authority = CertificateAuthority::create("test", Validity::days(NOW, 10)).unwrap();
        assert_eq!(format!("{:?}", authority.key_pem()), "KeyPem(…)");
        assert_eq!(format!("{authority:?}"), "CertificateAuthority { .. }");
    }
}
