//! TLS with certificates from files.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// What a client shows and trusts.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Files {
    /// Authorities of servers
    #[arg(long, value_name = "FILE")]
    ca: PathBuf,
    /// Folder with tls.crt and tls.key, to be shown to servers
    #[arg(long, value_name = "DIR")]
    certificate: Option<PathBuf>,
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn own(dir: &Path) -> anyhow::Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let chain = read(&dir.join("tls.crt"))?;
    let chain = CertificateDer::pem_slice_iter(&chain).collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(&read(&dir.join("tls.key"))?)?;
    Ok((chain, key))
}

/// A server with the certificate of a folder.
pub(crate) fn acceptor(dir: &Path) -> anyhow::Result<TlsAcceptor> {
    let (chain, key) = own(dir)?;
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(Arc::new(config).into())
}

impl Files {
    /// A client with what the files hold now.
    pub(crate) fn connector(&self) -> anyhow::Result<TlsConnector> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&read(&self.ca)?) {
            roots.add(certificate?)?;
        }
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let config = match &self.certificate {
            Some(dir) => {
                let (chain, key) = own(dir)?;
                builder.with_client_auth_cert(chain, key)?
            }
            None => builder.with_no_client_auth(),
        };
        Ok(Arc::new(config).into())
    }
}
