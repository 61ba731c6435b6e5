//! The health port: `/healthz`, `/readyz`, `/metrics`.
//!
//! It answers from memory, so everything about it is small: few connections,
//! short waits.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use sidegate_telemetry::places::Places;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tracing::{debug, warn};

/// The health port unless told otherwise.
pub const HEALTH_PORT: u16 = 8081;

const TEXT: &str = "text/plain; charset=utf-8";
/// The Prometheus text format.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
const MAX_CONNECTIONS: usize = 128;
/// From one address.
const MAX_CONNECTIONS_EACH: usize = 32;
/// For a head, and between requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(3);
/// For everything that happens on one connection.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_HEAD_BYTES: usize = 16 * 1024;
const BACKOFF: Duration = Duration::from_millis(100);

/// What the port is asked.
pub(crate) trait Health: Send + Sync + 'static {
    /// Whether everything is known that a reconcile needs.
    fn is_ready(&self) -> bool;
    /// The metrics.
    fn metrics(&self) -> String;
}

/// Binds a port: the one that is asked for, or the default one on every
/// address.
///
/// # Errors
/// What the system says when it cannot be bound.
pub(crate) async fn bind(address: Option<SocketAddr>, default: u16) -> io::Result<TcpListener> {
    if let Some(address) = address {
        return TcpListener::bind(address).await;
    }
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, default)).await {
        Ok(listener) => Ok(listener),
        // A machine without IPv6.
        Err(_) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, default)).await,
    }
}

/// Answers until it is dropped, connections included.
pub(crate) async fn serve(listener: TcpListener, health: Arc<dyn Health>) {
    // Whoever comes gets in: it may be the kubelet.
    let places = Places::new(MAX_CONNECTIONS, MAX_CONNECTIONS_EACH);
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, address)) => {
                let (stands, lost) = oneshot::channel::<()>();
                let place = places.take(address.ip(), stands);
                let health = Arc::clone(&health);
                connections.spawn(async move {
                    tokio::select! {
                        biased;
                        _gives_way = lost => {}
                        () = connection(stream, health) => {}
                    }
                    drop(place);
                });
            }
            Err(error) => {
                warn!(%error, "the health port cannot accept connections");
                tokio::time::sleep(BACKOFF).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, health: Arc<dyn Health>) {
    let service = service_fn(move |request| {
        let answer = respond(health.as_ref(), &request);
        std::future::ready(Ok::<_, Infallible>(answer))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    if let Ok(Err(error)) = tokio::time::timeout(CONNECTION_TIMEOUT, connection).await {
        debug!(%error, "a connection of the health port ended");
    }
}

fn respond<B>(health: &dyn Health, request: &Request<B>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    if !matches!(path, "/healthz" | "/readyz" | "/metrics") {
        return answer(StatusCode::NOT_FOUND, TEXT, "not found\n");
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut answer = answer(StatusCode::METHOD_NOT_ALLOWED, TEXT, "method not allowed\n");
        answer
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return answer;
    }
    match path {
        "/metrics" => answer(StatusCode::OK, METRICS, health.metrics()),
        "/readyz" if !health.is_ready() => {
            answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, "not ready\n")
        }
        _ => answer(StatusCode::OK, TEXT, "ok\n"),
    }
}

fn answer(
    status: StatusCode,
    media_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpSocket;

    use super::*;

    const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

    struct Fixed(bool);

    impl Health for Fixed {
        fn is_ready(&self) -> bool {
            self.0
        }

        fn metrics(&self) -> String {
            "some 1\n".to_owned()
        }
    }

    fn status(ready: bool, method: &str, path: &str) -> u16 {
        let request = Request::builder().method(method).uri(path).body(());
        let request = request.expect("a request");
        respond(&Fixed(ready), &request).status().as_u16()
    }

    #[test]
    fn it_is_healthy_before_it_is_ready() {
        assert_eq!(status(false, "GET", "/healthz"), 200);
        assert_eq!(status(false, "GET", "/readyz"), 503);
        assert_eq!(status(true, "GET", "/readyz"), 200);
        assert_eq!(status(false, "HEAD", "/metrics"), 200);
    }

    #[test]
    fn nothing_else_is_answered() {
        assert_eq!(status(true, "GET", "/"), 404);
        assert_eq!(status(true, "POST", "/config"), 404);
        assert_eq!(status(true, "POST", "/readyz"), 405);
    }

    async fn connect(from: [u8; 4], to: SocketAddr) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((Ipv4Addr::from(from), 0).into())?;
        socket.connect(to).await
    }

    /// A probe as the kubelet sends it.
    async fn probe(from: [u8; 4], to: SocketAddr) -> String {
        let probe = async {
            let mut stream = connect(from, to).await?;
            let head = b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
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
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(listener, Arc::new(Fixed(true))));
        let mut idle = Vec::new();
        for last in 1..=5 {
            for _ in 0..MAX_CONNECTIONS_EACH {
                let stream = connect([127, 0, 0, last], address).await;
                idle.push(stream.expect("connected"));
            }
        }
        for from in [[127, 0, 0, 9], [127, 0, 0, 1]] {
            let answer = probe(from, address).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
        let closed = idle[0].read(&mut [0]).await;
        assert!(matches!(closed, Ok(0) | Err(_)), "the oldest gave way");
        server.abort();
    }
}
