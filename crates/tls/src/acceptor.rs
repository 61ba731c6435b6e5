//! Handshakes of one listener.

use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::pki_types::CertificateDer;
use sidegate_policy::principal::PeerIdentity;
use tokio::net::TcpStream;
use tokio::time;
use tokio_rustls::server::TlsStream;

use crate::accept_error::AcceptError;
use crate::identity::{InvalidIdentity, PeerCertificate, identity_of, spiffe_id_of};
use crate::material::TlsMode;
use crate::server::ServerTls;

/// Most bytes that wait in one connection to be sent. A sidecar has thousands
/// of connections, some of whose clients do not read; the library would let
/// twice as many wait.
const SEND_BUFFER_BYTES: usize = 32 * 1024;

/// Accepts TLS connections; its certificates can be replaced at any time.
#[derive(Debug)]
pub struct TlsAcceptor {
    current: ArcSwap<ServerTls>,
}

// === impl TlsAcceptor ===

impl TlsAcceptor {
    /// An acceptor that begins with this configuration.
    #[must_use]
    pub fn new(tls: ServerTls) -> Self {
        Self {
            current: ArcSwap::from_pointee(tls),
        }
    }

    /// Replaces the configuration for handshakes that begin from now on.
    /// Those in progress end under the old one, and connections stay.
    pub fn replace(&self, tls: ServerTls) {
        self.current.store(tls.into());
    }

    /// Does the handshake, and says who the client is: in mode `Mutual` always
    /// somebody, in mode `Optional` whoever shows a certificate, else nobody.
    ///
    /// # Errors
    /// [`AcceptError`] when the handshake fails or takes longer than `timeout`.
    /// The connection is closed then.
    pub async fn accept(
        &self,
        stream: TcpStream,
        timeout: Duration,
    ) -> Result<(TlsStream<TcpStream>, Option<PeerIdentity>), AcceptError> {
        let (stream, id) = self.accept_and(stream, timeout, spiffe_id_of).await?;
        Ok((stream, id.map(PeerIdentity::new)))
    }

    /// [`accept`](Self::accept) with more of what the certificate says.
    ///
    /// # Errors
    /// [`AcceptError`] as there.
    pub async fn accept_with_certificate(
        &self,
        stream: TcpStream,
        timeout: Duration,
    ) -> Result<(TlsStream<TcpStream>, Option<PeerCertificate>), AcceptError> {
        self.accept_and(stream, timeout, identity_of).await
    }

    /// Does the handshake, and reads the client's certificate, if there is one.
    async fn accept_and<T>(
        &self,
        stream: TcpStream,
        timeout: Duration,
        read: impl FnOnce(&CertificateDer<'_>) -> Result<T, InvalidIdentity>,
    ) -> Result<(TlsStream<TcpStream>, Option<T>), AcceptError> {
        let tls = self.current.load_full();
        let handshake =
            tokio_rustls::TlsAcceptor::from(tls.config.clone()).accept_with(stream, |session| {
                session.set_buffer_limit(Some(SEND_BUFFER_BYTES));
            });
        let stream = time::timeout(timeout, handshake)
            .await
            .map_err(|_| AcceptError::Timeout)??;
        let peer = certificate_of(&stream, tls.mode())?.map(read);
        let peer = peer.transpose().map_err(AcceptError::Identity)?;
        Ok((stream, peer))
    }
}

/// The certificate that the handshake verified.
fn certificate_of(
    stream: &TlsStream<TcpStream>,
    mode: TlsMode,
) -> Result<Option<&CertificateDer<'static>>, AcceptError> {
    let (_, session) = stream.get_ref();
    let leaf = session.peer_certificates().and_then(<[_]>::first);
    match (mode, leaf) {
        (TlsMode::Server, _) | (TlsMode::Optional, None) => Ok(None),
        (TlsMode::Optional | TlsMode::Mutual, Some(leaf)) => Ok(Some(leaf)),
        // INVARIANT: the verifier made it mandatory.
        (TlsMode::Mutual, None) => Err(AcceptError::Identity(InvalidIdentity::Unreadable)),
    }
}
