//! TLS as a client.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use sidegate_dev::certificates::Issued;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Version;

#[derive(Debug, Clone)]
pub(crate) struct ClientTls {
    authority_pem: String,
    identity: Option<Issued>,
    server_name: String,
}

// === impl ClientTls ===

impl ClientTls {
    pub(crate) fn new(authority_pem: &str) -> Self {
        Self {
            authority_pem: authority_pem.to_owned(),
            identity: None,
            server_name: "localhost".to_owned(),
        }
    }

    pub(super) fn with_identity(mut self, identity: Issued) -> Self {
        self.identity = Some(identity);
        self
    }

    pub(super) fn calling(mut self, server_name: &str) -> Self {
        server_name.clone_into(&mut self.server_name);
        self
    }

    pub(crate) async fn connect(
        &self,
        stream: TcpStream,
        version: Version,
    ) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(self.server_name.clone()).expect("a name");
        TlsConnector::from(Arc::new(self.config(version)))
            .connect(name, stream)
            .await
    }

    fn config(&self, version: Version) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(self.authority_pem.as_bytes()) {
            roots
                .add(certificate.expect("a certificate"))
                .expect("an authority");
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("protocol versions")
            .with_root_certificates(roots);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let chain = CertificateDer::pem_slice_iter(identity.certificate_pem.as_bytes());
                let chain = chain.collect::<Result<_, _>>().expect("certificates");
                let key = PrivateKeyDer::from_pem_slice(identity.key_pem.expose().as_bytes());
                builder
                    .with_client_auth_cert(chain, key.expect("a key"))
                    .expect("an identity")
            }
        };
        config.alpn_protocols = match version {
            Version::Http1 => vec![b"http/1.1".to_vec()],
            Version::Http2 => vec![b"h2".to_vec()],
        };
        config
    }
}

/// Waits until the server shows that it took the handshake: it answers a
/// malformed request or closes in order, instead of sending an alert.
pub(super) async fn until_accepted(mut stream: TlsStream<TcpStream>) -> io::Result<()> {
    // It may have closed already.
    let _ = stream.write_all(b"nonsense\r\n\r\n").await;
    let mut byte = [0];
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut byte)).await;
    match read.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))? {
        Ok(_) => Ok(()),
        Err(error) => Err(error),
    }
}
