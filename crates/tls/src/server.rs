//! From PEM texts to the configuration of a TLS server.

use std::fmt;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::NoServerSessionStorage;
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use sidegate_policy::clock::{Clock, SystemClock};

use crate::client_verifier::{ClientVerifier, Shown};
use crate::invalid_tls::InvalidTls;
use crate::material::{ServerMaterial, TlsMode};
use crate::own_certificate::{OwnCertificate, own_certificate};
use crate::provider::provider;

/// What clients may speak, in order of preference.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The configuration of a TLS server.
#[derive(Clone)]
pub struct ServerTls {
    pub(crate) config: Arc<ServerConfig>,
    mode: TlsMode,
    not_after_unix: i64,
}

/// Makes the configuration of a TLS server: TLS 1.2 and 1.3, HTTP/2 and
/// HTTP/1.1 by ALPN, one certificate whatever server name is asked for.
///
/// Where clients show certificates, every handshake verifies them anew, against
/// the given authorities only. Sessions cannot be resumed there: a resumed
/// session would carry an identity past the end of its certificate, or past the
/// removal of its authority. Early data, which can be replayed, is not taken in
/// any mode.
///
/// # Errors
/// [`InvalidTls`] says what is wrong and what to do.
pub fn server_config(mode: TlsMode, material: &ServerMaterial) -> Result<ServerTls, InvalidTls> {
    server_config_with(mode, material, &PROTOCOLS)
}

/// [`server_config`] for other protocols, in order of preference. A client that
/// offers protocols and none of these is refused; one that offers none at all
/// is not: ask the connection for its `alpn_protocol`.
///
/// # Errors
/// [`InvalidTls`] says what is wrong and what to do.
pub fn server_config_with(
    mode: TlsMode,
    material: &ServerMaterial,
    alpn: &[&[u8]],
) -> Result<ServerTls, InvalidTls> {
    server_config_at(mode, material, alpn, SystemClock.unix_seconds())
}

/// [`server_config_with`] at a given time.
pub(crate) fn server_config_at(
    mode: TlsMode,
    material: &ServerMaterial,
    alpn: &[&[u8]],
    now_unix: i64,
) -> Result<ServerTls, InvalidTls> {
    let ServerMaterial {
        certificate_pem,
        key_pem,
        client_ca_pem,
    } = material;
    let OwnCertificate {
        certified,
        not_after_unix,
    } = own_certificate(certificate_pem, key_pem, now_unix)?;
    let verifier = |shown| ClientVerifier::new(client_ca_pem.as_deref(), shown, now_unix);

    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(InvalidTls::Refused)?;
    let builder = match mode {
        TlsMode::Server => builder.with_no_client_auth(),
        TlsMode::Optional => builder.with_client_cert_verifier(verifier(Shown::ByChoice)?),
        TlsMode::Mutual => builder.with_client_cert_verifier(verifier(Shown::Always)?),
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    config.max_early_data_size = 0;
    // RUSTSEC-2026-0348: a compressed certificate can unpack to a gibibyte.
    config.cert_decompressors = Vec::new();
    match mode {
        TlsMode::Server => {}
        TlsMode::Optional | TlsMode::Mutual => {
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
    }
    Ok(ServerTls {
        config: Arc::new(config),
        mode,
        not_after_unix,
    })
}

// === impl ServerTls ===

impl ServerTls {
    /// When the certificate expires, in seconds since 1970.
    #[must_use]
    pub fn not_after_unix(&self) -> i64 {
        self.not_after_unix
    }

    /// Whom it asks for a certificate.
    pub(crate) fn mode(&self) -> TlsMode {
        self.mode
    }
}

/// Without the configuration, which holds the key.
impl fmt::Debug for ServerTls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            config: _,
            mode,
            not_after_unix,
        } = self;
        formatter
            .debug_struct("ServerTls")
            .field("mode", mode)
            .field("not_after_unix", not_after_unix)
            .finish_non_exhaustive()
    }
}
