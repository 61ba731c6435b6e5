//! The bare proxy: hyper as a server, hyper's pooled client, and nothing in
//! between. With TLS it asks for a client certificate, as the sidecar does.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{Either, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::stage::files;
use crate::upstream::{announced_listener, orphaned};

pub(crate) const COMMAND: &str = "bare-proxy";

/// As many threads as the sidecar takes.
const MAX_WORKERS: usize = 4;

#[derive(Clone)]
struct Forward {
    client: Client<HttpConnector, Incoming>,
    upstream: Authority,
}

/// Serves until the parent process is gone. The arguments are the address of
/// the server behind, and a directory with certificates for TLS.
pub(crate) fn run(arguments: &[&str]) -> anyhow::Result<()> {
    let (upstream, tls) = match arguments {
        [upstream] => (upstream, None),
        [upstream, dir] => (upstream, Some(acceptor(Path::new(dir))?)),
        _ => bail!("usage: {COMMAND} ADDRESS:PORT [DIR]"),
    };
    let upstream: SocketAddr = upstream.parse().context("an address is expected")?;
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers.min(MAX_WORKERS))
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let forward = Forward::new(upstream)?;
        let listener = announced_listener().await?;
        tokio::select! {
            served = serve(&listener, forward, tls) => served,
            () = orphaned() => Ok(()),
        }
    })
}

async fn serve(
    listener: &TcpListener,
    forward: Forward,
    tls: Option<TlsAcceptor>,
) -> anyhow::Result<()> {
    loop {
        let (stream, _peer) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(connection(stream, forward.clone(), tls.clone()));
    }
}

async fn connection(stream: TcpStream, forward: Forward, tls: Option<TlsAcceptor>) {
    match tls {
        None => forward.answer(stream).await,
        Some(tls) => {
            // A failed handshake shows at the client, which reports it.
            if let Ok(stream) = tls.accept(stream).await {
                forward.answer(stream).await;
            }
        }
    }
}

// === impl Forward ===

impl Forward {
    fn new(upstream: SocketAddr) -> anyhow::Result<Self> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        let upstream = upstream.to_string().parse()?;
        Ok(Self { client, upstream })
    }

    async fn answer(self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let service = service_fn(|request| self.forward(request));
        // A client that closes its connection is no fault.
        let _ = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await;
    }

    async fn forward(
        &self,
        mut request: Request<Incoming>,
    ) -> Result<Response<Either<Incoming, Empty<Bytes>>>, http::Error> {
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(self.upstream.clone())
            .path_and_query(path.unwrap_or_else(|| PathAndQuery::from_static("/")))
            .build()?;
        match self.client.request(request).await {
            Ok(response) => Ok(response.map(Either::Left)),
            Err(_error) => {
                let mut response = Response::new(Either::Right(Empty::new()));
                *response.status_mut() = StatusCode::BAD_GATEWAY;
                Ok(response)
            }
        }
    }
}

fn acceptor(dir: &Path) -> anyhow::Result<TlsAcceptor> {
    let chain = CertificateDer::pem_file_iter(dir.join(files::SERVER))?;
    let key = PrivateKeyDer::from_pem_file(dir.join(files::SERVER_KEY))?;
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_file_iter(dir.join(files::AUTHORITY))? {
        roots.add(authority?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let clients =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(clients.build()?)
        .with_single_cert(chain.collect::<Result<_, _>>()?, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
