//! One connection over HTTPS, and requests over it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Request, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use serde_json::Value;
use sidegate_testkit::mcp;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::tls::Files;

const PATIENCE: Duration = Duration::from_secs(10);

/// Where a server is, and what to show it.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Target {
    /// Address of the MCP endpoint
    #[arg(long)]
    url: Uri,
    /// Another address and port to connect to
    #[arg(long)]
    connect: Option<SocketAddr>,
    /// The token; none is shown without it
    #[arg(long)]
    token: Option<String>,
    #[command(flatten)]
    files: Files,
}

#[derive(Debug, clap::Args)]
pub(crate) struct TokenArgs {
    /// Address of the issuer
    #[arg(long)]
    issuer: Uri,
    /// Claims, as JSON
    #[arg(long)]
    claims: String,
    #[command(flatten)]
    files: Files,
}

/// What a server said.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
    /// Whether the server wants no further request over this connection.
    pub(crate) last: bool,
}

pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: HeaderValue,
}

// === impl Target ===

impl Target {
    pub(crate) async fn connect(&self) -> anyhow::Result<Connection> {
        let connecting = connect(&self.url, self.connect, &self.files);
        timeout(PATIENCE, connecting)
            .await
            .context("no connection in time")?
    }

    /// A call of a tool as the newest clients make it.
    pub(crate) fn request(&self, tool: &str, arguments: Value) -> Request<Bytes> {
        let call = mcp::call(tool, arguments).path(self.url.path());
        match &self.token {
            Some(token) => call.token(token).request(),
            None => call.request(),
        }
    }
}

async fn connect(
    uri: &Uri,
    other: Option<SocketAddr>,
    files: &Files,
) -> anyhow::Result<Connection> {
    let authority = uri.authority().context("the URL names no host")?;
    let port = authority.port_u16().unwrap_or(443);
    let stream = match other {
        Some(other) => TcpStream::connect(other).await,
        None => TcpStream::connect((authority.host(), port)).await,
    };
    let stream = stream.context("connect")?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(authority.host().to_owned())?;
    let stream = files.connector()?.connect(name, stream).await;
    let stream = stream.context("TLS handshake")?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move { drop(connection.await) });
    let host = HeaderValue::from_str(authority.as_str())?;
    Ok(Connection { sender, host })
}

// === impl Connection ===

impl Connection {
    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    pub(crate) async fn send(&mut self, mut request: Request<Bytes>) -> anyhow::Result<Answer> {
        request.headers_mut().insert(HOST, self.host.clone());
        let exchange = async {
            self.sender.ready().await.context("the connection ended")?;
            let answer = self.sender.send_request(request.map(Full::new)).await?;
            let (head, body) = answer.into_parts();
            let body = body.collect().await.context("the answer broke off")?;
            let last = head.headers.get(CONNECTION);
            anyhow::Ok(Answer {
                status: head.status.as_u16(),
                body: String::from_utf8_lossy(&body.to_bytes()).into_owned(),
                last: last.is_some_and(|it| it.as_bytes().eq_ignore_ascii_case(b"close")),
            })
        };
        timeout(PATIENCE, exchange)
            .await
            .context("no answer in time")?
    }
}

/// Gets a token.
pub(crate) async fn token(args: &TokenArgs) -> anyhow::Result<String> {
    let body = Bytes::from(args.claims.clone());
    let request = Request::post("/token").header(CONTENT_TYPE, "application/json");
    let mut connection = connect(&args.issuer, None, &args.files).await?;
    let answer = connection.send(request.body(body)?).await?;
    let said: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    match said["access_token"].as_str() {
        Some(token) => Ok(token.to_owned()),
        None => bail!("no token: {} {}", answer.status, answer.body),
    }
}
