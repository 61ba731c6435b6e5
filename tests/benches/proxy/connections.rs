//! Connections to a proxy.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::answer::{Answer, AnswerReader};
use crate::exchange::Exchange;

/// Connections that are being opened at once.
const OPENING: usize = 32;

/// Where a proxy listens, and how to talk to it.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// An open connection.
pub(crate) struct Connection {
    stream: Box<dyn Stream>,
    reader: AnswerReader,
}

/// The name in the proxies' certificate.
pub(crate) fn server_name() -> anyhow::Result<ServerName<'static>> {
    Ok(ServerName::try_from("localhost")?)
}

/// Asks a service port, over a connection of its own, and returns the body of
/// an answer of 200.
pub(crate) async fn ask(address: SocketAddr, path: &str) -> anyhow::Result<String> {
    let mut connection = Connection::open(&Target { address, tls: None }).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n");
    let answer = connection.send(request.as_bytes()).await?;
    ensure!(answer.status == 200, "status {}", answer.status);
    Ok(String::from_utf8(answer.body.to_vec())?)
}

/// Opens connections and makes one exchange on each, so that each is in the
/// state of a connection that was used.
pub(crate) async fn open_used(
    target: &Target,
    exchange: &Exchange,
    count: usize,
) -> anyhow::Result<Vec<Connection>> {
    let mut opening = JoinSet::new();
    let mut open = Vec::with_capacity(count);
    for _ in 0..count {
        if opening.len() >= OPENING {
            open.push(next(&mut opening).await?);
        }
        let (target, exchange) = (target.clone(), exchange.clone());
        opening.spawn(async move {
            let mut connection = Connection::open(&target).await?;
            connection.exchange(&exchange).await?;
            Ok(connection.without_buffer())
        });
    }
    while !opening.is_empty() {
        open.push(next(&mut opening).await?);
    }
    Ok(open)
}

async fn next(opening: &mut JoinSet<anyhow::Result<Connection>>) -> anyhow::Result<Connection> {
    opening
        .join_next()
        .await
        .context("nothing is being opened")??
}

// === impl Connection ===

impl Connection {
    /// Opens one.
    pub(crate) async fn open(target: &Target) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(target.address).await?;
        stream.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match &target.tls {
            None => Box::new(stream),
            Some(config) => {
                let connector = TlsConnector::from(Arc::clone(config));
                let stream = connector.connect(server_name()?, stream).await;
                Box::new(stream.context("TLS handshake")?)
            }
        };
        Ok(Self {
            stream,
            reader: AnswerReader::default(),
        })
    }

    /// Sends a request and reads its answer whole.
    pub(crate) async fn send(&mut self, request: &[u8]) -> anyhow::Result<Answer<'_>> {
        self.stream.write_all(request).await?;
        self.stream.flush().await?;
        loop {
            let read = self.stream.read(self.reader.room()).await?;
            if self.reader.advance(read)? {
                return self.reader.take();
            }
        }
    }

    /// Sends a request and checks its answer.
    pub(crate) async fn exchange(&mut self, exchange: &Exchange) -> anyhow::Result<()> {
        let answer = self.send(&exchange.request).await?;
        exchange.check(&answer)
    }

    /// Gives memory back until the next exchange.
    fn without_buffer(self) -> Self {
        Self {
            reader: AnswerReader::default(),
            ..self
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}
