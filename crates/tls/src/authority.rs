//! A certificate authority: one root, and what it signs.
//!
//! The root signs leaves directly (path length 0). A certificate says what the
//! [`Subject`] says; of a request only the key is taken.

use std::fmt;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SerialNumber,
};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use thiserror::Error;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

use crate::certificate::{
    PemFault, Validity, certificates, only_section, private_key, validity_of,
};
use crate::certificate_request::CertificateRequest;
use crate::identity::key_id_of;
use crate::material::PrivateKeyPem;
use crate::provider::provider;
use crate::subject::{InvalidSubject, Subject, is_common_name};

/// So much before the present everything begins that is signed: the clocks of
/// those who verify it may be behind.
const SKEW_SECONDS: i64 = 300;

/// A root: its certificate, and its key (ECDSA P-256).
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
    key_pem: PrivateKeyPem,
    validity: Validity,
}

/// Why there is no authority, or it does not sign.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AuthorityError {
    /// The certificate is missing or broken.
    #[error("the certificate of the authority {0}")]
    Certificate(PemFault),
    /// There is something beside it. The text is given to others, so there must
    /// be no key in it, for example.
    #[error("the text holds more than the one certificate of the authority")]
    NotAlone,
    /// The certificate cannot be read.
    #[error("the certificate of the authority cannot be read")]
    Unreadable,
    /// It may not sign others.
    #[error(
        "the certificate is not one of an authority (basic constraints, key usage): it may not sign others"
    )]
    NoAuthority,
    /// It is not a root.
    #[error("the certificate of the authority is not signed by its own key: it must be a root")]
    NoRoot,
    /// Nobody could tell which of several authorities signed a certificate.
    #[error(
        "the certificate of the authority has no subject key identifier (RFC 5280, section 4.2.1.2): issue it anew with one"
    )]
    NoKeyId,
    /// Its name could not be written in the same way into what it signs.
    #[error("the subject of the authority is unusual: issue it anew with a common name alone")]
    Name,
    /// The key is missing or broken.
    #[error("the key of the authority {0}")]
    Key(PemFault),
    /// The key is of another kind.
    #[error("the key of the authority is not ECDSA P-256")]
    KeyUnsupported,
    /// The key belongs to another certificate.
    #[error("the key does not belong to the certificate of the authority: replace both together")]
    KeyMismatch,
    /// The authority is not valid any more, so nothing that it signs is.
    #[error("the certificate of the authority has expired: it must be replaced")]
    Expired,
    /// The authority is not valid yet.
    #[error("the certificate of the authority is not valid yet: check the clocks")]
    NotYetValid,
    /// The lifetime is zero, or ends after the year 9999.
    #[error("a certificate must end after it begins, and before the year 10000")]
    Lifetime,
    /// There is no certificate for this subject.
    #[error("{0}")]
    Subject(#[from] InvalidSubject),
    /// There are no random numbers.
    #[error("the system gives no random numbers")]
    Random,
    /// The library fails.
    #[error("the certificate cannot be made: {0}")]
    Library(rcgen::Error),
}

// === impl Authority ===

impl Authority {
    /// A new root that is valid from now on.
    ///
    /// # Errors
    /// [`AuthorityError`] for a common name or a lifetime that cannot be
    /// written, and when the cryptographic library fails.
    pub fn create(
        common_name: &str,
        now_unix: i64,
        lifetime: Duration,
    ) -> Result<Self, AuthorityError> {
        if !is_common_name(common_name) {
            return Err(InvalidSubject::CommonName.into());
        }
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.serial_number = Some(serial()?);
        let validity = Validity {
            not_before_unix: now_unix.saturating_sub(SKEW_SECONDS),
            not_after_unix: end(now_unix, lifetime)?,
        };
        set_validity(&mut params, validity)?;

        let key = KeyPair::generate().map_err(AuthorityError::Library)?;
        let certificate = params.self_signed(&key).map_err(AuthorityError::Library)?;
        let key_pem = PrivateKeyPem::from(key.serialize_pem().into_bytes());
        Self::new(certificate.der(), certificate.pem(), key, key_pem)
    }

    /// The root of these texts. One that has expired can be read, too, to be
    /// replaced; it does not sign.
    ///
    /// # Errors
    /// [`AuthorityError`] unless the text has one certificate, of an authority,
    /// and the key that belongs to it.
    pub fn from_pem(
        certificate_pem: &str,
        key_pem: &PrivateKeyPem,
    ) -> Result<Self, AuthorityError> {
        let found =
            certificates(certificate_pem.as_bytes()).map_err(AuthorityError::Certificate)?;
        let text = only_section(certificate_pem, "CERTIFICATE");
        let ([certificate], Some(text)) = (found.as_slice(), text) else {
            return Err(AuthorityError::NotAlone);
        };
        let key = private_key(key_pem.expose()).map_err(AuthorityError::Key)?;
        let key = KeyPair::from_der_and_sign_algo(&key, &PKCS_ECDSA_P256_SHA256)
            .map_err(|_| AuthorityError::KeyUnsupported)?;
        Self::new(certificate, format!("{text}\n"), key, key_pem.clone())
    }

    fn new(
        certificate: &CertificateDer<'_>,
        certificate_pem: String,
        key: KeyPair,
        key_pem: PrivateKeyPem,
    ) -> Result<Self, AuthorityError> {
        let validity = check_root(certificate, &key)?;
        let issuer =
            Issuer::from_ca_cert_der(certificate, key).map_err(|_| AuthorityError::Unreadable)?;
        Ok(Self {
            issuer,
            certificate_pem,
            key_pem,
            validity,
        })
    }

    /// The certificate.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The key.
    #[must_use]
    pub fn key_pem(&self) -> &PrivateKeyPem {
        &self.key_pem
    }

    /// The first second of the certificate.
    #[must_use]
    pub fn not_before_unix(&self) -> i64 {
        self.validity.not_before_unix
    }

    /// The last second of the certificate, and of whatever it signs.
    #[must_use]
    pub fn not_after_unix(&self) -> i64 {
        self.validity.not_after_unix
    }

    /// Signs a certificate for the key of a request; nothing but the key is
    /// taken from it. Gives the chain in PEM, leaf first, without the root:
    /// here this is the leaf alone. It never outlives the authority: its
    /// lifetime is cut to what is left.
    ///
    /// # Errors
    /// [`AuthorityError`] when the subject is not valid, and when the authority
    /// is not valid now.
    pub fn sign(
        &self,
        request: &CertificateRequest,
        subject: &Subject,
        now_unix: i64,
        lifetime: Duration,
    ) -> Result<String, AuthorityError> {
        self.certify(&request.key, subject, now_unix, lifetime)
    }

    /// A certificate as [`sign`](Self::sign) gives it, for a fresh key
    /// (ECDSA P-256): for an endpoint of our own.
    ///
    /// # Errors
    /// [`AuthorityError`] as there.
    pub fn issue(
        &self,
        subject: &Subject,
        now_unix: i64,
        lifetime: Duration,
    ) -> Result<(String, PrivateKeyPem), AuthorityError> {
        let key = KeyPair::generate().map_err(AuthorityError::Library)?;
        let chain = self.certify(&key, subject, now_unix, lifetime)?;
        let key_pem = PrivateKeyPem::from(key.serialize_pem().into_bytes());
        Ok((chain, key_pem))
    }

    fn certify(
        &self,
        key: &impl PublicKeyData,
        subject: &Subject,
        now_unix: i64,
        lifetime: Duration,
    ) -> Result<String, AuthorityError> {
        let mut params = subject.params()?;
        params.serial_number = Some(serial()?);
        set_validity(&mut params, self.leaf_validity(now_unix, lifetime)?)?;
        let leaf = params
            .signed_by(key, &self.issuer)
            .map_err(AuthorityError::Library)?;
        Ok(leaf.pem())
    }

    /// What of the wanted lifetime lies within that of the authority.
    fn leaf_validity(&self, now_unix: i64, lifetime: Duration) -> Result<Validity, AuthorityError> {
        let Validity {
            not_before_unix,
            not_after_unix,
        } = self.validity;
        if now_unix < not_before_unix {
            return Err(AuthorityError::NotYetValid);
        }
        if now_unix >= not_after_unix {
            return Err(AuthorityError::Expired);
        }
        Ok(Validity {
            not_before_unix: now_unix.saturating_sub(SKEW_SECONDS).max(not_before_unix),
            not_after_unix: end(now_unix, lifetime)?.min(not_after_unix),
        })
    }
}

/// Without the keys.
impl fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            issuer: _,
            certificate_pem: _,
            key_pem,
            validity,
        } = self;
        formatter
            .debug_struct("Authority")
            .field("key_pem", key_pem)
            .field("validity", validity)
            .finish_non_exhaustive()
    }
}

/// From when until when a certificate is valid, if it is that of a root which
/// has this key.
fn check_root(certificate: &CertificateDer<'_>, key: &KeyPair) -> Result<Validity, AuthorityError> {
    let Ok((&[], parsed)) = X509Certificate::from_der(certificate) else {
        return Err(AuthorityError::Unreadable);
    };
    // The parser of those who will trust it is another and stricter one.
    RootCertStore::empty()
        .add(certificate.clone().into_owned())
        .map_err(|_| AuthorityError::Unreadable)?;
    let usage = parsed.key_usage().map_err(|_| AuthorityError::Unreadable)?;
    let may_sign = usage.is_none_or(|usage| usage.value.key_cert_sign());
    if !parsed.is_ca() || !may_sign {
        return Err(AuthorityError::NoAuthority);
    }
    if parsed.public_key().raw != key.subject_public_key_info() {
        return Err(AuthorityError::KeyMismatch);
    }
    if parsed.verify_signature(None).is_err() {
        return Err(AuthorityError::NoRoot);
    }
    if key_id_of(&parsed).is_none() {
        return Err(AuthorityError::NoKeyId);
    }
    if !is_writable(&parsed) {
        return Err(AuthorityError::Name);
    }
    Ok(validity_of(&parsed))
}

/// The library that signs keeps one value for each part of a name, and panics
/// for identifiers that cannot be. What it writes as the issuer must be this
/// very name, or no chain leads to it.
fn is_writable(certificate: &X509Certificate<'_>) -> bool {
    /// `id-at`, 2.5.4: common name, organization, country and the like.
    const NAMING_ATTRIBUTES: &[u8] = &[0x55, 4];
    let subject = certificate.subject();
    let one_each = subject.iter_rdn().all(|part| part.iter().count() == 1);
    let kinds: Vec<_> = subject
        .iter_attributes()
        .map(|attribute| attribute.attr_type().as_bytes())
        .collect();
    let is_first = |(index, kind)| kinds.iter().position(|it| it == kind) == Some(index);
    one_each
        && !kinds.is_empty()
        && kinds.iter().enumerate().all(is_first)
        && kinds.iter().all(|kind| kind.starts_with(NAMING_ATTRIBUTES))
}

fn end(now_unix: i64, lifetime: Duration) -> Result<i64, AuthorityError> {
    let seconds = i64::try_from(lifetime.as_secs()).map_err(|_| AuthorityError::Lifetime)?;
    if seconds == 0 {
        return Err(AuthorityError::Lifetime);
    }
    now_unix
        .checked_add(seconds)
        .ok_or(AuthorityError::Lifetime)
}

fn set_validity(params: &mut CertificateParams, validity: Validity) -> Result<(), AuthorityError> {
    let written = |unix: i64| match ASN1Time::from_timestamp(unix) {
        Ok(time) if unix >= 0 => Ok(time.to_datetime()),
        Ok(_) | Err(_) => Err(AuthorityError::Lifetime),
    };
    params.not_before = written(validity.not_before_unix)?;
    params.not_after = written(validity.not_after_unix)?;
    Ok(())
}

/// A random number of 20 bytes, the most there may be (RFC 5280, section
/// 4.1.2.2). The first bits make it positive and always as long.
fn serial() -> Result<SerialNumber, AuthorityError> {
    let mut bytes = [0_u8; 20];
    provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| AuthorityError::Random)?;
    let [first, ..] = &mut bytes;
    *first = (*first & 0x7f) | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}
