//! What the cluster's built-in authority gave this pod.

use std::collections::BTreeSet;
use std::fmt;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use sidegate_tls::{
    InvalidTls, PrivateKeyPem, ServerMaterial, ServerTls, TlsMode, server_config, validity,
};

/// A certificate, its key, and the authorities whose certificates callers show.
/// They were checked to be usable together.
#[derive(Clone)]
pub struct IssuedIdentity {
    certificate_pem: String,
    key_pem: PrivateKeyPem,
    authorities_pem: String,
    not_before_unix: i64,
    not_after_unix: i64,
}

// === impl IssuedIdentity ===

impl IssuedIdentity {
    /// Checks that the key belongs to the certificate, that it is valid now,
    /// and that there is somebody to trust.
    ///
    /// # Errors
    /// [`InvalidTls`] says what is wrong.
    pub fn new(
        certificate_pem: String,
        key_pem: PrivateKeyPem,
        authorities_pem: String,
    ) -> Result<Self, InvalidTls> {
        let validity = validity(&certificate_pem)?;
        let identity = Self {
            certificate_pem,
            key_pem,
            authorities_pem,
            not_before_unix: validity.not_before_unix,
            not_after_unix: validity.not_after_unix,
        };
        identity.server_tls(true)?;
        Ok(identity)
    }

    /// The same certificate among other authorities.
    ///
    /// # Errors
    /// As [`IssuedIdentity::new`].
    pub fn with_authorities(&self, authorities_pem: String) -> Result<Self, InvalidTls> {
        Self::new(
            self.certificate_pem.clone(),
            self.key_pem.clone(),
            authorities_pem,
        )
    }

    /// The certificate and those that lead to its root.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Its key.
    #[must_use]
    pub fn key_pem(&self) -> &PrivateKeyPem {
        &self.key_pem
    }

    /// Whose certificates are trusted.
    #[must_use]
    pub fn authorities_pem(&self) -> &str {
        &self.authorities_pem
    }

    /// When the certificate begins, in seconds since 1970.
    #[must_use]
    pub fn not_before_unix(&self) -> i64 {
        self.not_before_unix
    }

    /// When the certificate ends, in seconds since 1970.
    #[must_use]
    pub fn not_after_unix(&self) -> i64 {
        self.not_after_unix
    }

    /// Whether the certificate has ended.
    #[must_use]
    pub fn has_expired(&self, now_unix: i64) -> bool {
        self.not_after_unix <= now_unix
    }

    /// TLS of the traffic listeners.
    ///
    /// # Errors
    /// [`InvalidTls`] when the certificate or all authorities expired meanwhile.
    pub(crate) fn server_tls(&self, mutual: bool) -> Result<ServerTls, InvalidTls> {
        let mode = if mutual {
            TlsMode::Mutual
        } else {
            TlsMode::Server
        };
        let material = ServerMaterial {
            certificate_pem: self.certificate_pem.clone().into(),
            key_pem: self.key_pem.clone(),
            client_ca_pem: mutual.then(|| self.authorities_pem.clone().into()),
        };
        server_config(mode, &material)
    }

    /// Whether everybody whom `other` lets in is let in by this one, too.
    pub(crate) fn trusts_all_of(&self, other: &Self) -> bool {
        authorities(&other.authorities_pem).is_subset(&authorities(&self.authorities_pem))
    }
}

/// Without the key.
impl fmt::Debug for IssuedIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedIdentity")
            .field("not_after_unix", &self.not_after_unix)
            .finish_non_exhaustive()
    }
}

/// What is not readable was refused before.
fn authorities(pem: &str) -> BTreeSet<Vec<u8>> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .filter_map(Result::ok)
        .map(|certificate| certificate.to_vec())
        .collect()
}
