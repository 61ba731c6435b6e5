//! Certificates of the proxies and of the load.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sidegate_testkit::certificates::{AGENT, TestAuthority, secret};

/// Files that the bare proxy reads.
pub(crate) mod files {
    pub(crate) const SERVER: &str = "server.pem";
    pub(crate) const SERVER_KEY: &str = "server.key";
    pub(crate) const AUTHORITY: &str = "ca.pem";
}

/// One authority, one server and one client.
#[derive(Debug)]
pub(super) struct Certificates {
    client: Arc<ClientConfig>,
    secret: String,
}

// === impl Certificates ===

impl Certificates {
    /// Makes them, and writes those of the bare proxy.
    pub(super) fn write(dir: &Path) -> anyhow::Result<Self> {
        let authority = TestAuthority::new();
        let server = authority.server();
        fs::write(dir.join(files::SERVER), &server.certificate_pem)?;
        fs::write(dir.join(files::SERVER_KEY), server.key_pem.expose())?;
        fs::write(dir.join(files::AUTHORITY), authority.pem())?;
        Ok(Self {
            client: Arc::new(client(&authority)?),
            secret: secret("bench", "bench-tls", &server, Some(authority.pem())),
        })
    }

    /// How the load connects.
    pub(super) fn client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.client)
    }

    /// The server's certificate for the sidecar.
    pub(super) fn secret(&self) -> String {
        self.secret.clone()
    }
}

fn client(authority: &TestAuthority) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority.pem().as_bytes()) {
        roots.add(certificate?)?;
    }
    let identity = authority.client(AGENT);
    let chain = CertificateDer::pem_slice_iter(identity.certificate_pem.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.expose().as_bytes())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain.collect::<Result<_, _>>()?, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Every connection proves who it is anew.
    config.resumption = Resumption::disabled();
    Ok(config)
}
