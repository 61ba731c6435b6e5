//! The small HTTP server under the two service ports (admin and health).
//!
//! They answer from memory, so everything about them is small: HTTP/1.1 only,
//! few connections, short waits. When they are used up the oldest idle one gives
//! way, because the kubelet's probes come here.

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
use sidegate_telemetry::places::{Place, Places};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tracing::{debug, warn};

const MAX_CONNECTIONS: usize = 256;
/// From one address.
const MAX_CONNECTIONS_EACH: usize = 64;
/// For a head, and between requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(3);
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
    let places = Places::new(MAX_CONNECTIONS, MAX_CONNECTIONS_EACH);
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                let (stands, lost) = oneshot::channel();
                let place = places.take(address.ip(), stands);
                let answering = Arc::clone(answering);
                tokio::spawn(async move {
                    tokio::select! {
                        biased;
                        _gives_way = lost => {}
                        () = serve(stream, answering, &place) => {}
                    }
                });
            }
            Err(error) => {
                warn!(%error, "a service port cannot accept connections");
                tokio::time::sleep(BACKOFF).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, answering: Answering, place: &Arc<Place<oneshot::Sender<()>>>) {
    let service = service_fn(move |request| {
        let is_answering = place.answering();
        let answer = answering(request);
        async move {
            let answer = answer.await;
            drop(is_answering);
            Ok::<_, Infallible>(answer)
        }
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

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpSocket;

    use super::*;

    const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

    async fn connect(from: [u8; 4], to: SocketAddr) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((Ipv4Addr::from(from), 0).into())?;
        socket.connect(to).await
    }

    /// A probe as the kubelet sends it.
    async fn probe(from: [u8; 4], to: SocketAddr) -> String {
        let probe = async {
            let mut stream = connect(from, to).await?;
            let head = b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
            stream.write_all(head).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok::<_, io::Error>(answer)
        };
        let answer = tokio::time::timeout(PROBE_TIMEOUT, probe).await;
        answer.expect("in time").expect("an answer")
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_probe_is_answered_while_idle_connections_fill_the_port() {
        let answering: Answering =
            Arc::new(|_| Box::pin(std::future::ready(text(StatusCode::OK, "ok\n"))));
        let address = (Ipv4Addr::LOCALHOST, 0).into();
        let port = ServicePort::start(address, answering).await.expect("bound");
        let mut idle = Vec::new();
        for last in 1..=5 {
            for _ in 0..MAX_CONNECTIONS_EACH {
                let stream = connect([127, 0, 0, last], port.address()).await;
                idle.push(stream.expect("connected"));
            }
        }
        for from in [[127, 0, 0, 9], [127, 0, 0, 1]] {
            let answer = probe(from, port.address()).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
        let closed = idle[0].read(&mut [0]).await;
        assert!(matches!(closed, Ok(0) | Err(_)), "the oldest gave way");
    }
}
