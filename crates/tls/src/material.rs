//! What a server is made of, as it comes from a Secret.

use std::fmt;
use std::sync::Arc;

/// Whom a server asks for a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TlsMode {
    /// Nobody.
    Server,
    /// Everybody, and whoever has none may come in all the same. A certificate
    /// that is shown must verify.
    Optional,
    /// Everybody.
    Mutual,
}

/// A private key in PEM. It is not shown by `Debug`.
#[derive(Clone)]
pub struct PrivateKeyPem(Arc<[u8]>);

/// Certificate, key and client CA, as they were written.
#[derive(Clone)]
pub struct ServerMaterial {
    /// The certificate and those that lead to its root, in PEM, leaf first.
    pub certificate_pem: Vec<u8>,
    /// The key of the certificate.
    pub key_pem: PrivateKeyPem,
    /// The certificate authorities whose clients may connect, in PEM. Needed
    /// in modes `Mutual` and `Optional`, not used in mode `Server`.
    pub client_ca_pem: Option<Vec<u8>>,
}

// === impl PrivateKeyPem ===

impl PrivateKeyPem {
    /// The PEM text, for the Secret or the file of mode 0600 that keeps it, and
    /// for nothing else.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for PrivateKeyPem {
    fn from(pem: Vec<u8>) -> Self {
        Self(pem.into())
    }
}

impl fmt::Debug for PrivateKeyPem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PrivateKeyPem(redacted)")
    }
}

// === impl ServerMaterial ===

impl fmt::Debug for ServerMaterial {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            certificate_pem,
            key_pem,
            client_ca_pem,
        } = self;
        let client_ca = client_ca_pem
            .as_ref()
            .map(|pem| format!("{} bytes", pem.len()));
        formatter
            .debug_struct("ServerMaterial")
            .field(
                "certificate_pem",
                &format_args!("{} bytes", certificate_pem.len()),
            )
            .field("key_pem", key_pem)
            .field("client_ca_pem", &client_ca)
            .finish()
    }
}
