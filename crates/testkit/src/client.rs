//! A small HTTP client that does exactly what it is told.

pub mod raw;
mod response;
pub(crate) mod tls;

use std::fmt;
use std::io;
use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Request, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use sidegate_dev::certificates::Issued;
use tokio::net::TcpStream;

pub use self::response::{Answer, Streaming};
use self::tls::ClientTls;
use crate::mcp::McpRequest;

/// Which protocol a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, by ALPN under TLS and by prior knowledge without.
    Http2,
}

/// A client of one address. It opens a connection per request, unless
/// [`Client::connect`] is used.
#[derive(Debug, Clone)]
pub struct Client {
    address: SocketAddr,
    host: String,
    version: Version,
    tls: Option<ClientTls>,
}

/// An open connection.
pub struct Connection {
    sender: Sender,
    host: String,
    secure: bool,
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

// === impl Client ===

impl Client {
    /// A client without TLS.
    #[must_use]
    pub fn plaintext(address: SocketAddr) -> Self {
        Self {
            address,
            host: address.to_string(),
            version: Version::Http1,
            tls: None,
        }
    }

    /// A client that trusts one authority and calls the server `localhost`.
    #[must_use]
    pub fn tls(address: SocketAddr, authority_pem: &str) -> Self {
        let host = format!("localhost:{}", address.port());
        let tls = Some(ClientTls::new(authority_pem));
        Self {
            address,
            host,
            version: Version::Http1,
            tls,
        }
    }

    /// Shows a certificate.
    ///
    /// # Panics
    /// The client does not use TLS.
    #[must_use]
    pub fn identity(mut self, identity: &Issued) -> Self {
        let tls = self.tls.take().expect("a client with TLS");
        self.tls = Some(tls.with_identity(identity.clone()));
        self
    }

    /// Wants the server's certificate to be for another name than `localhost`.
    ///
    /// # Panics
    /// The client does not use TLS.
    #[must_use]
    pub fn server_name(mut self, name: &str) -> Self {
        let tls = self.tls.take().expect("a client with TLS");
        self.tls = Some(tls.calling(name));
        self
    }

    /// Speaks HTTP/2.
    #[must_use]
    pub fn http2(mut self) -> Self {
        self.version = Version::Http2;
        self
    }

    /// Sends another `Host`. The name in the TLS handshake stays.
    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    /// The address that it connects to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends a request over a connection of its own and reads the answer whole.
    ///
    /// # Errors
    /// The connection fails before the answer is complete.
    pub async fn send(&self, request: impl Into<Request<Bytes>>) -> anyhow::Result<Answer> {
        self.connect().await?.send(request).await
    }

    /// Sends a GET.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.send(Request::get(path).body(Bytes::new())?).await
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// There is no connection, or the handshake fails.
    pub async fn connect(&self) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let sender = match &self.tls {
            None => handshake(self.version, TokioIo::new(stream)).await?,
            Some(tls) => {
                let stream = tls
                    .connect(stream, self.version)
                    .await
                    .context("TLS handshake")?;
                handshake(self.version, TokioIo::new(stream)).await?
            }
        };
        let secure = self.tls.is_some();
        Ok(Connection {
            sender,
            host: self.host.clone(),
            secure,
        })
    }

    /// Opens a TLS connection and says how that went, for tests of handshakes.
    /// In TLS 1.3 a server refuses a client's certificate only after the client
    /// believes to be connected, so this waits for the server's first byte.
    ///
    /// # Errors
    /// The server refuses.
    ///
    /// # Panics
    /// The client does not use TLS.
    pub async fn handshake(&self) -> io::Result<()> {
        let tls = self.tls.as_ref().expect("a client with TLS");
        let stream = TcpStream::connect(self.address).await?;
        let stream = tls.connect(stream, self.version).await?;
        tls::until_accepted(stream).await
    }

    /// The certificate that the server shows, in DER.
    ///
    /// # Errors
    /// There is no connection, or the handshake fails.
    ///
    /// # Panics
    /// The client does not use TLS.
    pub async fn shown_certificate(&self) -> io::Result<Vec<u8>> {
        let tls = self.tls.as_ref().expect("a client with TLS");
        let stream = TcpStream::connect(self.address).await?;
        let stream = tls.connect(stream, self.version).await?;
        let chain = stream.get_ref().1.peer_certificates().expect("a server");
        Ok(chain[0].to_vec())
    }
}

impl From<McpRequest> for Request<Bytes> {
    fn from(request: McpRequest) -> Self {
        request.request()
    }
}

async fn handshake<S>(version: Version, io: TokioIo<S>) -> anyhow::Result<Sender>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    // The tasks end with the connection. Why it ended is seen by its requests.
    Ok(match version {
        Version::Http1 => {
            let (sender, connection) = http1::handshake(io).await?;
            tokio::spawn(async move { drop(connection.await) });
            Sender::Http1(sender)
        }
        Version::Http2 => {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
            tokio::spawn(async move { drop(connection.await) });
            Sender::Http2(sender)
        }
    })
}

// === impl Connection ===

impl Connection {
    /// Sends a request and reads the answer whole.
    ///
    /// # Errors
    /// The connection fails before the answer is complete.
    pub async fn send(&mut self, request: impl Into<Request<Bytes>>) -> anyhow::Result<Answer> {
        self.start(request).await?.finish().await
    }

    /// Sends a request and reads only the head of the answer.
    ///
    /// # Errors
    /// The connection fails before.
    pub async fn start(&mut self, request: impl Into<Request<Bytes>>) -> anyhow::Result<Streaming> {
        let request = self.addressed(request.into())?;
        let answer: http::Response<Incoming> = match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Sender::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
        };
        Ok(Streaming::new(answer))
    }

    /// HTTP/1.1 names the host in a header, HTTP/2 in the target.
    fn addressed(&self, request: Request<Bytes>) -> anyhow::Result<Request<Full<Bytes>>> {
        let (mut head, body) = request.into_parts();
        match self.sender {
            Sender::Http1(_) if head.headers.contains_key(HOST) => {}
            Sender::Http1(_) => {
                head.headers
                    .insert(HOST, HeaderValue::from_str(&self.host)?);
            }
            Sender::Http2(_) if head.uri.authority().is_none() => {
                let Some(path) = head.uri.path_and_query() else {
                    bail!("no path")
                };
                let scheme = if self.secure { "https" } else { "http" };
                head.uri = Uri::builder()
                    .scheme(scheme)
                    .authority(self.host.as_str())
                    .path_and_query(path.clone())
                    .build()?;
            }
            Sender::Http2(_) => {}
        }
        Ok(Request::from_parts(head, Full::new(body)))
    }

    /// Whether the peer ended it.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        match &self.sender {
            Sender::Http1(sender) => sender.is_closed(),
            Sender::Http2(sender) => sender.is_closed(),
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
