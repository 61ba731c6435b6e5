//! The demo MCP server: customer support with made-up customers.
//!
//! It speaks every protocol revision on one address and notes what reaches it,
//! so that a test, or a person, can see that a refused call never arrived.

mod customers;
mod ledger;
mod support;

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use tokio::net::TcpListener;

pub use self::ledger::{Executed, Ledger, SeenRequest};
use self::support::SupportServer;
use crate::loopback::{self, BindError, Loopback};

const MAX_REQUEST_BYTES: usize = 4 * 1024 * 1024;

/// An MCP server that answers until it is dropped.
pub struct DemoServer {
    server: Loopback,
    ledger: Arc<Ledger>,
}

/// Why the demo server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its port cannot be used.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The port was taken, but cannot be used.
    #[error("the demo server cannot start: {0}")]
    Listen(#[from] io::Error),
}

type Answer = Response<BoxBody<Bytes, Infallible>>;
type Mcp = StreamableHttpService<SupportServer, LocalSessionManager>;

struct Shared {
    path: String,
    mcp: Mcp,
    ledger: Arc<Ledger>,
}

// === impl DemoServer ===

impl DemoServer {
    /// Starts it on a port of 127.0.0.1, at a path such as `/mcp`.
    ///
    /// # Errors
    /// [`StartError`] says what to do.
    pub async fn start(port: u16, path: &str) -> Result<Self, StartError> {
        let advice = "or give the server in the gateway another port";
        let listener = loopback::bind(port, "the demo MCP server", advice).await?;
        Ok(Self::serve(listener, path)?)
    }

    /// Starts it on a listener that is open already.
    ///
    /// # Errors
    /// The listener does not know its own address.
    pub fn serve(listener: TcpListener, path: &str) -> io::Result<Self> {
        let ledger: Arc<Ledger> = Arc::default();
        let support = SupportServer::new(Arc::clone(&ledger));
        // It refuses hosts other than loopback by itself. Without a session it
        // answers in plain JSON, which is easier to read.
        let config = StreamableHttpServerConfig::default().with_json_response(true);
        let mcp = Mcp::new(move || Ok(support.clone()), Arc::default(), config);
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            mcp,
            ledger: Arc::clone(&ledger),
        });
        let server = Loopback::start(listener, move |request| {
            let shared = Arc::clone(&shared);
            async move { shared.answer(request).await }
        })?;
        Ok(Self { server, ledger })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// What reached it.
    #[must_use]
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }
}

impl fmt::Debug for DemoServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DemoServer")
            .field("address", &self.address())
            .finish_non_exhaustive()
    }
}

// === impl Shared ===

impl Shared {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        let body = Limited::new(body, MAX_REQUEST_BYTES).collect().await;
        let Ok(body) = body.map(http_body_util::Collected::to_bytes) else {
            self.ledger.request(&head, Bytes::new());
            return text(
                StatusCode::PAYLOAD_TOO_LARGE,
                "the request is too large or broken\n",
            );
        };
        self.ledger.request(&head, body.clone());
        if head.uri.path() != self.path {
            return text(StatusCode::NOT_FOUND, "not found\n");
        }
        Box::pin(self.mcp.handle(Request::from_parts(head, Full::new(body)))).await
    }
}

fn text(status: StatusCode, body: &'static str) -> Answer {
    let mut answer = Response::new(Full::from(body).boxed());
    *answer.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, plain);
    answer
}

#[cfg(test)]
mod tests;
