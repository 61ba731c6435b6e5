//! The small HTTP server under the two service ports (admin and health).
//!
//! They answer from memory, so everything about them is small: HTTP/1.1 only,
//! few connections, short waits. One that is used up by a stuck peer must not
//! stay so, because the kubelet's probes come here.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tracing::{debug, warn};

const MAX_CONNECTIONS: usize = 256;
/// For a head, and between requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// For everything that happens on one connection.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(120);
const MAX_HEAD_BYTES: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;
const BACKOFF: Duration = Duration::from_millis(100);

/// An answer of a service port.
pub(crate) type Answer = Response<Full<Bytes>>;
/// An answer that is being made.
pub(crate) type AnswerFuture = Pin<Box<dyn Future<Output = Answer> + Send>>;
/// Answers the requests of a service port.
pub(crate) type Answering = Arc<dyn Fn(Request<Incoming>) -> AnswerFuture + Send + Sync>;

/// A service port that answers until it is dropped.
#[derive(Debug)]
pub(crate) struct ServicePort {
    address: SocketAddr,
    task: JoinHandle<()>,
}

// === impl ServicePort ===

impl ServicePort {
    /// Binds `address` and answers on it.
    ///
    /// # Errors
    /// What the system says when the address cannot be bound.
    pub(crate) async fn start(address: SocketAddr, answering: Answering) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move { accept(&listener, &answering).await });
        Ok(Self { address, task })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for ServicePort {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: &TcpListener, answering: &Answering) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
                    tokio::spawn(serve(stream, Arc::clone(answering), place));
                }
            }
            Err(error) => {
                warn!(%error, "a service port cannot accept connections");
                tokio::time::sleep(BACKOFF).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, answering: Answering, place: OwnedSemaphorePermit) {
    let service = service_fn(move |request| {
        let answer = answering(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    if let Ok(Err(error)) = tokio::time::timeout(CONNECTION_TIMEOUT, connection).await {
        debug!(%error, "a connection of a service port ended");
    }
    drop(place);
}

/// An answer in plain text, or of another type.
pub(crate) fn answer(status: StatusCode, media_type: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

pub(crate) fn text(status: StatusCode, body: &'static str) -> Answer {
    answer(
        status,
        "text/plain; charset=utf-8",
        Bytes::from_static(body.as_bytes()),
    )
}

pub(crate) fn not_found() -> Answer {
    text(StatusCode::NOT_FOUND, "not found\n")
}

pub(crate) fn method_not_allowed(allowed: &'static str) -> Answer {
    let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
    answer
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allowed));
    answer
}
