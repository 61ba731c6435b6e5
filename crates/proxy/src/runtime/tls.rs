//! TLS of the traffic listeners.

use sidegate_config::sidecar_config::TlsConfig;
use sidegate_tls::{PrivateKeyPem, ServerMaterial, ServerTls, TlsMode, server_config};

use super::BuildError;
use crate::identity::IssuedIdentity;

/// None in mode Plaintext.
///
/// # Errors
/// [`BuildError`] when a certificate is not usable, or has not come yet.
pub(super) fn build_tls(
    config: &TlsConfig,
    identity: Option<&IssuedIdentity>,
) -> Result<Option<ServerTls>, BuildError> {
    let (mode, certificate, key, client_ca) = match config {
        TlsConfig::Plaintext => return Ok(None),
        TlsConfig::BuiltIn { mutual } => {
            let identity = identity.ok_or(BuildError::NoIdentity)?;
            return Ok(Some(identity.server_tls(*mutual)?));
        }
        TlsConfig::Server {
            certificate_pem,
            key_pem,
        } => (TlsMode::Server, certificate_pem, key_pem, None),
        TlsConfig::Mutual {
            certificate_pem,
            key_pem,
            client_ca_pem,
        } => (
            TlsMode::Mutual,
            certificate_pem,
            key_pem,
            Some(client_ca_pem),
        ),
    };
    let material = ServerMaterial {
        certificate_pem: certificate.clone().into(),
        key_pem: PrivateKeyPem::from(key.expose().to_vec()),
        client_ca_pem: client_ca.map(|pem| pem.clone().into()),
    };
    Ok(Some(server_config(mode, &material)?))
}
