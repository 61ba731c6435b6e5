use serde::{Deserialize, Serialize};

use crate::reference::CertificateRef;

/// How callers connect.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "crd", schemars(extend("x-kubernetes-validations" = crate::schema::tls_rules())))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tls {
    /// Mutual: TLS, and callers need a certificate of the CA. Server: TLS, and
    /// callers need none. Plaintext: no TLS; the status warns.
    #[serde(default)]
    pub mode: TlsMode,
    /// A Secret of type kubernetes.io/tls with tls.crt and tls.key, and with
    /// ca.crt for mode Mutual. Without it, the built-in CA issues certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_ref: Option<CertificateRef>,
}

/// Which certificates a connection needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
pub enum TlsMode {
    /// The server's and the caller's.
    #[default]
    Mutual,
    /// The server's.
    Server,
    /// None: no TLS.
    Plaintext,
}
