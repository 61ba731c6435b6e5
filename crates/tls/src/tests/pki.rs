//! Authorities, certificates, clients and a place where they meet.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SanType, date_time_ymd,
};
use rustls::client::Resumption;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use sidegate_policy::principal::PeerIdentity;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsConnector, client, server};

use crate::provider::provider;
use crate::{
    AcceptError, PrivateKeyPem, ServerMaterial, Subject, TlsAcceptor, TlsMode, Usages,
    server_config,
};

/// A time for what takes one as an argument.
pub(super) const NOW: i64 = 1_790_000_000;
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
pub(super) const BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// A certificate authority.
pub(super) struct Ca {
    pub(super) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key.
#[derive(Clone)]
pub(super) struct Leaf {
    pub(super) pem: String,
    pub(super) key_pem: String,
}

pub(super) type Accepted =
    Result<(server::TlsStream<TcpStream>, Option<PeerIdentity>), AcceptError>;

impl Ca {
    pub(super) fn new(name: &str) -> Self {
        Self::with(name, |_| {})
    }

    pub(super) fn with(name: &str, adapt: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        adapt(&mut params);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    pub(super) fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// An authority below this one, and its certificate.
    pub(super) fn intermediate(&self, name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = params
            .signed_by(&key, &self.issuer)
            .expect("a certificate")
            .pem();
        Self {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    pub(super) fn leaf(&self, adapt: impl FnOnce(&mut CertificateParams)) -> Leaf {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "leaf");
        adapt(&mut params);
        let key = KeyPair::generate().expect("a key");
        let pem = params
            .signed_by(&key, &self.issuer)
            .expect("a certificate")
            .pem();
        Leaf {
            pem,
            key_pem: key.serialize_pem(),
        }
    }

    /// A certificate for `localhost`.
    pub(super) fn server(&self) -> Leaf {
        self.leaf(|params| {
            let name = "localhost".try_into().expect("a name");
            params.subject_alt_names = vec![SanType::DnsName(name)];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        })
    }

    /// A client certificate with these URIs.
    pub(super) fn client(&self, uris: &[&str]) -> Leaf {
        self.leaf(|params| {
            params.subject_alt_names = uris.iter().map(|uri| uri_name(uri)).collect();
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        })
    }

    pub(super) fn expired_client(&self) -> Leaf {
        self.leaf(|params| {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2020, 1, 2);
        })
    }
}

/// A subject as good as any, which is for `localhost`.
pub(super) fn subject() -> Subject {
    Subject {
        common_name: "somebody".into(),
        spiffe_id: None,
        dns_names: vec!["localhost".into()],
        usages: Usages::Both,
    }
}

/// A request for a certificate with whatever somebody wants in it.
pub(super) fn for_request(key: &KeyPair, adapt: impl FnOnce(&mut CertificateParams)) -> String {
    let mut params = CertificateParams::default();
    adapt(&mut params);
    let request = params.serialize_request(key).expect("a request");
    request.pem().expect("PEM")
}

/// One section of PEM.
pub(super) fn pem_of(kind: &str, der: &[u8]) -> String {
    let encoded = base64(der);
    let lines: Vec<_> = encoded.as_bytes().chunks(64).collect();
    let lines = lines.join(&b'\n');
    let body = str::from_utf8(&lines).expect("ASCII");
    format!("-----BEGIN {kind}-----\n{body}\n-----END {kind}-----\n")
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let at = |index: usize| u32::from(chunk.get(index).copied().unwrap_or_default());
        let group = at(0) << 16 | at(1) << 8 | at(2);
        for position in 0..4 {
            let digit = DIGITS[(group >> (18 - 6 * position) & 63) as usize];
            let is_padding = position > chunk.len();
            text.push(if is_padding { '=' } else { char::from(digit) });
        }
    }
    text
}

pub(super) fn uri_name(uri: &str) -> SanType {
    SanType::URI(uri.try_into().expect("ASCII"))
}

impl Leaf {
    pub(super) fn material(&self, client_ca: Option<&str>) -> ServerMaterial {
        ServerMaterial {
            certificate_pem: self.pem.clone().into(),
            key_pem: PrivateKeyPem::from(self.key_pem.clone().into_bytes()),
            client_ca_pem: client_ca.map(|pem| pem.as_bytes().to_vec()),
        }
    }

    pub(super) fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.pem.as_bytes()).expect("a certificate")
    }
}

/// An acceptor in mode `Mutual` with a certificate of `ca`, which is also the
/// authority of clients.
pub(super) fn mutual(ca: &Ca) -> TlsAcceptor {
    let material = ca.server().material(Some(&ca.pem));
    TlsAcceptor::new(server_config(TlsMode::Mutual, &material).expect("valid"))
}

/// As `mutual`, but clients need no certificate.
pub(super) fn optional(ca: &Ca) -> TlsAcceptor {
    let material = ca.server().material(Some(&ca.pem));
    TlsAcceptor::new(server_config(TlsMode::Optional, &material).expect("valid"))
}

pub(super) fn plain(ca: &Ca) -> TlsAcceptor {
    let material = ca.server().material(None);
    TlsAcceptor::new(server_config(TlsMode::Server, &material).expect("valid"))
}

/// A client that trusts `ca` and never resumes a session.
pub(super) fn client(
    ca: &Ca,
    leaf: Option<&Leaf>,
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(ca.pem.as_bytes()).expect("a certificate"))
        .expect("added");
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .expect("versions")
        .with_root_certificates(roots);
    let mut config = match leaf {
        Some(leaf) => {
            let chain = CertificateDer::pem_slice_iter(leaf.pem.as_bytes());
            let key = PrivateKeyDer::from_pem_slice(leaf.key_pem.as_bytes()).expect("a key");
            builder
                .with_client_auth_cert(chain.map(|one| one.expect("PEM")).collect(), key)
                .expect("a pair")
        }
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    config
}

/// Both ends of a TCP connection.
pub(super) async fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (ours, theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
    (ours.expect("connected"), theirs.expect("accepted").0)
}

/// A handshake, and one byte each way, so that both know that it succeeded.
pub(super) async fn meet(
    acceptor: &TlsAcceptor,
    client: ClientConfig,
) -> (Accepted, std::io::Result<client::TlsStream<TcpStream>>) {
    meet_as(acceptor, Arc::new(client), "localhost").await
}

pub(super) async fn meet_as(
    acceptor: &TlsAcceptor,
    client: Arc<ClientConfig>,
    name: &'static str,
) -> (Accepted, std::io::Result<client::TlsStream<TcpStream>>) {
    let (ours, theirs) = connection().await;
    let served = async {
        let (mut stream, peer) = acceptor.accept(theirs, PATIENCE).await?;
        let greeting = stream.read_u8().await.map_err(AcceptError::Io)?;
        stream
            .write_all(&[greeting])
            .await
            .map_err(AcceptError::Io)?;
        stream.flush().await.map_err(AcceptError::Io)?;
        Ok((stream, peer))
    };
    let connected = async {
        let name = ServerName::try_from(name).expect("a name");
        let mut stream = TlsConnector::from(client).connect(name, ours).await?;
        stream.write_all(b"x").await?;
        stream.flush().await?;
        stream.read_u8().await?;
        Ok(stream)
    };
    tokio::join!(Box::pin(served), Box::pin(connected))
}

pub(super) fn reason(accepted: &Accepted) -> &'static str {
    match accepted {
        Ok(_) => "accepted",
        Err(error) => error.as_str(),
    }
}
