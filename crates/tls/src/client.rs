//! Connecting to a server whose authorities are known beforehand.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use sidegate_policy::clock::{Clock, SystemClock};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::invalid_tls::InvalidTls;
use crate::material::PrivateKeyPem;
use crate::own_certificate::own_certificate;
use crate::provider::provider;
use crate::roots::trusted_roots;

/// The configuration of a TLS client.
#[derive(Clone)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
}

/// Why a connection that TLS would allow is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
enum Unusable {
    #[error("the server's name is neither a DNS name nor an IP address")]
    Name,
    #[error("the server did not agree on a protocol (ALPN): something else listens there")]
    Protocol,
}

/// Makes the configuration of a TLS client: TLS 1.2 and 1.3, these protocols in
/// order of preference, and this certificate when the server asks for one.
///
/// Only the authorities of `roots_pem` are trusted, never those of the system.
/// Every handshake is a full one, so a server that lost its trust is not
/// reached by an old session, and no early data is sent, which can be replayed.
///
/// # Errors
/// [`InvalidTls`] when nobody is left to trust, or the certificate is not
/// valid now or not for this key.
pub fn client_config(
    roots_pem: &[u8],
    identity: Option<(&[u8], &PrivateKeyPem)>,
    alpn: &[&[u8]],
) -> Result<ClientTls, InvalidTls> {
    client_config_at(roots_pem, identity, alpn, SystemClock.unix_seconds())
}

/// [`client_config`] at a given time.
pub(crate) fn client_config_at(
    roots_pem: &[u8],
    identity: Option<(&[u8], &PrivateKeyPem)>,
    alpn: &[&[u8]],
    now_unix: i64,
) -> Result<ClientTls, InvalidTls> {
    let roots = trusted_roots(roots_pem, now_unix).map_err(InvalidTls::Roots)?;
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(InvalidTls::Refused)?
        .with_root_certificates(roots);
    let mut config = match identity {
        Some((certificate_pem, key_pem)) => {
            let own = own_certificate(certificate_pem, key_pem, now_unix)?;
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own.certified)))
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    // RUSTSEC-2026-0348: a compressed certificate can unpack to a gibibyte.
    config.cert_decompressors = Vec::new();
    Ok(ClientTls {
        config: Arc::new(config),
    })
}

// === impl ClientTls ===

impl ClientTls {
    /// Does the handshake with the server of this DNS name or IP address. The
    /// server's certificate must be for it, and when protocols were given, the
    /// server must agree on one of them. It takes as long as the server likes:
    /// the caller sets the time limit.
    ///
    /// In TLS 1.3 the server looks at the client's certificate after this
    /// returns: that it was refused is known by the first read.
    ///
    /// # Errors
    /// The error says which of these it was. The connection is closed then.
    pub async fn connect(
        &self,
        stream: TcpStream,
        server_name: &str,
    ) -> io::Result<TlsStream<TcpStream>> {
        let name = server_name_of(server_name)?;
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let stream = connector.connect(name, stream).await?;
        let (_, session) = stream.get_ref();
        if session.alpn_protocol().is_none() && !self.config.alpn_protocols.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                Unusable::Protocol,
            ));
        }
        Ok(stream)
    }
}

/// A URL writes an IPv6 address in brackets; a certificate does not.
fn server_name_of(text: &str) -> io::Result<ServerName<'static>> {
    let inner = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    ServerName::try_from(inner.unwrap_or(text).to_owned())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, Unusable::Name))
}

/// Without the configuration, which holds the key.
impl fmt::Debug for ClientTls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { config } = self;
        formatter
            .debug_struct("ClientTls")
            .field(
                "shows_certificate",
                &config.client_auth_cert_resolver.has_certs(),
            )
            .field("protocols", &config.alpn_protocols.len())
            .finish_non_exhaustive()
    }
}
