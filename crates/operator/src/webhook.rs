//! The webhook that the API server asks about every pod that is created in a
//! namespace that opted in.
//!
//! `POST /inject` takes an `AdmissionReview` and answers with one. What a pod
//! gets is decided by [`injector`](crate::injector); here are the connections,
//! their bounds, and the gateways, which are read from the API server for every
//! review. The API server is the only one that is ever talked to.
//!
//! The API server does not say who it is, so anybody who reaches the port is
//! answered. An answer changes nothing, and tells of the gateways of a
//! namespace what any pod there shows in its spec: their names, their ports,
//! the sidecar's image and arguments. Nothing of it is secret.

mod gateways;
mod http;
mod listed;
mod room;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use kube::Client;
use sidegate_tls::TlsAcceptor;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use self::gateways::LiveGateways;
pub(crate) use self::http::PATH;
use self::http::Reviewer;
use self::room::{Room, Seat};
use crate::authority::Endpoint;
use crate::chain::Chain;
use crate::injector::InjectorSettings;
use crate::metrics::WebhookMetrics;

/// The webhook's port unless told otherwise.
pub(crate) const WEBHOOK_PORT: u16 = 9444;
/// What the webhook speaks, by ALPN.
pub(crate) const ALPN: &[&[u8]] = &[b"h2", b"http/1.1"];

/// For a handshake, and for a head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection is asked to end after this. The API server opens another one.
const MAX_AGE: Duration = Duration::from_secs(10 * 60);
/// What a review may take that was in progress when a connection shall end.
const GRACE: Duration = Duration::from_secs(6);
const MAX_HEAD_BYTES: u16 = 32 * 1024;
/// Reviews at a time on one connection; the API server uses one for all.
const MAX_STREAMS: u32 = 128;
/// What the library may hold of a body before it is read.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 256 * 1024;
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
const BACKOFF: Duration = Duration::from_millis(100);

/// Answers until it is told to stop, then as long as reviews are in progress.
pub(crate) async fn serve(
    listener: TcpListener,
    mut endpoint: Endpoint,
    client: Client,
    settings: InjectorSettings,
    metrics: WebhookMetrics,
    mut stopping: watch::Receiver<bool>,
) {
    let reviewer = Arc::new(Reviewer {
        settings,
        gateways: LiveGateways::new(client),
        metrics,
    });
    let room = Arc::new(Room::new());
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            biased;
            _stopping = stopping.wait_for(|stopping| *stopping) => break,
            accepted = accept(&listener, &mut endpoint, &reviewer.metrics) => accepted,
        };
        match accepted {
            Ok((stream, address, acceptor)) => {
                let Some(seat) = room.seat(address.ip()) else {
                    debug!(%address, "too many connections to the webhook");
                    continue;
                };
                let connection = Connection {
                    reviewer: Arc::clone(&reviewer),
                    seat,
                    stopping: stopping.clone(),
                };
                connections.spawn(connection.serve(stream, acceptor));
            }
            Err(error) => {
                warn!(%error, "the webhook cannot accept connections");
                sleep(BACKOFF).await;
            }
        }
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    if timeout(GRACE, ended).await.is_err() {
        warn!("reviews were in progress for too long");
    }
}

async fn accept(
    listener: &TcpListener,
    endpoint: &mut Endpoint,
    metrics: &WebhookMetrics,
) -> io::Result<(TcpStream, SocketAddr, Arc<TlsAcceptor>)> {
    let (stream, address) = listener.accept().await?;
    // Afterwards: hours may pass between two connections.
    let acceptor = endpoint.acceptor().await;
    metrics.certificate(endpoint.not_after_unix());
    Ok((stream, address, acceptor))
}

struct Connection {
    reviewer: Arc<Reviewer>,
    seat: Seat,
    stopping: watch::Receiver<bool>,
}

// === impl Connection ===

impl Connection {
    async fn serve(mut self, stream: TcpStream, acceptor: Arc<TlsAcceptor>) {
        let _slower_without = stream.set_nodelay(true);
        let stream = match acceptor.accept(stream, HEAD_TIMEOUT).await {
            Ok((stream, _nobody)) => stream,
            Err(error) => {
                debug!(error = %Chain(&error), "a handshake with the webhook failed");
                return;
            }
        };
        let (reviewer, seat) = (Arc::clone(&self.reviewer), self.seat.clone());
        let service = service_fn(move |request| {
            let (reviewer, seat) = (Arc::clone(&reviewer), seat.clone());
            async move { Ok::<_, Infallible>(reviewer.respond(request, &seat).await) }
        });
        let builder = builder();
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        tokio::select! {
            ended = &mut connection => return log(ended),
            () = sleep(MAX_AGE) => {}
            _stopping = self.stopping.wait_for(|stopping| *stopping) => {}
        }
        connection.as_mut().graceful_shutdown();
        match timeout(GRACE, connection).await {
            Ok(ended) => log(ended),
            Err(_) => debug!("a connection of the webhook did not end in time"),
        }
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES.into());
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD_BYTES.into())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

fn log(ended: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = ended {
        debug!(error = %Chain(error.as_ref()), "a connection of the webhook ended");
    }
}

#[cfg(test)]
mod tests;
