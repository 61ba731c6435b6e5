//! The operator's side of the config stream: who connects is recognized, told
//! what its pod enforces, and heard.
//!
//! A connection is TLS with a certificate of the operator's own authority, then
//! a hello with the pod's token ([`authenticate`]), then one [`session`]. A
//! stream is answered only for the pod that its token is bound to, so there is
//! nothing in the protocol by which a sidecar could ask for another one's
//! configuration.
//!
//! Every replica serves streams. Each stream is one task that follows its pod
//! on the [`Board`]; a change costs each of them the writing of one text that
//! they share.

mod arrivals;
mod authenticate;
mod certificates;
mod delivery;
mod peer;
mod places;
mod rate;
mod recent;
mod refused;
mod reviews;
mod session;
mod token;
mod token_review;
mod wire;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::Client;
use sidegate_config::control::PROTOCOL;
use sidegate_policy::clock::Clock;
use sidegate_tls::TlsAcceptor;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, error, warn};

use self::arrivals::{Arrivals, Arriving, most_connections};
use self::authenticate::Authentication;
use self::certificates::Certificates;
use self::peer::Peer;
use self::places::Places;
use self::rate::{Bucket, RateTable, TooOften};
use self::token_review::{ApiServer, TokenReviewer};
use self::wire::split;
use crate::authority::{Clients, Endpoint, TrustReceiver};
use crate::board::Board;
use crate::metrics::Metrics;

pub(crate) use self::rate::Rate;
pub(crate) use self::reviews::ReviewLimits;

/// The port of the config stream unless told otherwise.
pub(crate) const STREAMS_PORT: u16 = 9443;

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// For what happens after an accept that failed for want of resources.
const BACKOFF: Duration = Duration::from_millis(100);
/// Connections that the kernel completes before they are accepted: all sidecars
/// of a large cluster come back at once when a replica goes.
const BACKLOG: u32 = 4096;
/// For streams to say goodbye.
const FAREWELL: Duration = Duration::from_secs(5);
/// Pods whose requests for certificates are counted.
const COUNTED_PODS: usize = 50_000;
/// Certificates of one pod.
const CERTIFICATES: Rate = Rate {
    burst: 3,
    every: Duration::from_secs(30),
};

/// Lines about refusals: a flood of them must not become one of lines.
const LOGGED_REFUSALS: Rate = Rate {
    burst: 50,
    every: Duration::from_millis(500),
};

/// What the config stream is told.
#[derive(Debug, Clone)]
pub(crate) struct StreamSettings {
    /// The SPIFFE trust domain of the certificates.
    pub(crate) trust_domain: String,
    /// How much at once.
    pub(crate) limits: StreamLimits,
}

/// How much at once, and how often.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StreamLimits {
    /// Connections. Fewer when the process may not have as many descriptors.
    pub(crate) connections: usize,
    /// Connections that are not recognized yet. Each may cost the room of a
    /// hello and of a handshake.
    pub(crate) arriving: usize,
    /// Those of them from one address, or one network of IPv6. A node has about
    /// a hundred pods, which may share its address.
    pub(crate) arriving_per_source: usize,
    /// Questions to the API server.
    pub(crate) reviews: ReviewLimits,
}

/// What all streams of a replica share.
struct Shared {
    authentication: Authentication,
    places: Arc<Places>,
    trust: TrustReceiver,
    trust_domain: String,
    requests: Mutex<RateTable<Arc<str>>>,
    logged_refusals: Mutex<Bucket>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    stopping: watch::Receiver<bool>,
}

/// What the other parts of the operator give.
pub(crate) struct Neighbours {
    /// Which pod enforces what.
    pub(crate) board: Arc<Board>,
    /// Who signs.
    pub(crate) trust: TrustReceiver,
    /// What is counted.
    pub(crate) metrics: Arc<Metrics>,
    /// The time.
    pub(crate) clock: Arc<dyn Clock>,
    /// Set when the operator stops.
    pub(crate) stopping: watch::Receiver<bool>,
}

/// Binds the port of the streams: the one that is asked for, or the default one
/// on every address.
///
/// # Errors
/// What the system says when it cannot be bound.
pub(crate) fn bind(address: Option<SocketAddr>) -> io::Result<TcpListener> {
    if let Some(address) = address {
        return listen(address);
    }
    listen((Ipv6Addr::UNSPECIFIED, STREAMS_PORT).into())
        // A machine without IPv6.
        .or_else(|_| listen((Ipv4Addr::UNSPECIFIED, STREAMS_PORT).into()))
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves streams until the operator stops.
pub(crate) async fn serve(
    listener: TcpListener,
    settings: StreamSettings,
    client: Client,
    neighbours: Neighbours,
) {
    let limits = settings.limits;
    let shared = Shared::new(settings, Arc::new(ApiServer(client)), neighbours);
    accept(listener, limits, Arc::new(shared)).await;
}

async fn accept(listener: TcpListener, limits: StreamLimits, shared: Arc<Shared>) {
    let mut endpoint = Endpoint::new(
        "streams",
        shared.trust.clone(),
        Arc::clone(&shared.clock),
        Clients::Workloads,
        &[PROTOCOL],
    );
    let arrivals = Arrivals::new(
        limits.connections.min(most_connections()),
        limits.arriving,
        limits.arriving_per_source,
    );
    let mut stopping = shared.stopping.clone();
    let mut connections = JoinSet::new();
    loop {
        while let Some(ended) = connections.try_join_next() {
            if let Err(error) = ended {
                error!(%error, "a stream broke");
            }
        }
        let arrived = tokio::select! {
            _stopping = stopping.wait_for(|stopping| *stopping) => break,
            arrived = arrive(&listener, &arrivals, &mut endpoint, &shared) => arrived,
        };
        if let Some(arrived) = arrived {
            connections.spawn(connection(arrived, Arc::clone(&shared)));
        }
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout(FAREWELL, all).await.is_err() {
        warn!("some streams did not end in time");
    }
}

/// A connection that was accepted, before its handshake.
struct Arrived {
    stream: TcpStream,
    remote: SocketAddr,
    arriving: Arriving,
    acceptor: Arc<TlsAcceptor>,
}

async fn arrive(
    listener: &TcpListener,
    arrivals: &Arc<Arrivals>,
    endpoint: &mut Endpoint,
    shared: &Shared,
) -> Option<Arrived> {
    match listener.accept().await {
        Ok((stream, remote)) => {
            // Dropping the stream closes it at once.
            let Some(arriving) = arrivals.enter(remote.ip()) else {
                shared.metrics.streams.turned_away();
                return None;
            };
            // Handshakes of a moment before need no new certificate.
            let acceptor = endpoint.acceptor().await;
            Some(Arrived {
                stream,
                remote,
                arriving,
                acceptor,
            })
        }
        Err(error) => {
            warn!(%error, "the port of the streams cannot accept connections");
            tokio::time::sleep(BACKOFF).await;
            None
        }
    }
}

async fn connection(arrived: Arrived, shared: Arc<Shared>) {
    let Arrived {
        stream,
        remote,
        arriving,
        acceptor,
    } = arrived;
    // Small messages shall not wait for more.
    let _ = stream.set_nodelay(true);
    let accepted = acceptor.accept_with_certificate(stream, HANDSHAKE_TIMEOUT);
    let (stream, certificate) = match accepted.await {
        Ok(accepted) => accepted,
        Err(error) => {
            shared.metrics.streams.handshake_failed(error.as_str());
            debug!(%remote, %error, "a handshake of the stream port failed");
            return;
        }
    };
    if stream.get_ref().1.alpn_protocol() != Some(PROTOCOL) {
        shared.metrics.streams.handshake_failed("protocol");
        return;
    }
    let (reader, writer) = split(stream);
    let peer = Peer {
        reader,
        writer,
        certificate,
        source: remote.ip(),
    };
    Box::pin(peer.serve(arriving, shared)).await;
}

// === impl Shared ===

impl Shared {
    fn new(
        settings: StreamSettings,
        reviewer: Arc<dyn TokenReviewer>,
        neighbours: Neighbours,
    ) -> Self {
        let StreamSettings {
            trust_domain,
            limits,
        } = settings;
        let Neighbours {
            board,
            trust,
            metrics,
            clock,
            stopping,
        } = neighbours;
        let authentication = Authentication::new(
            board,
            reviewer,
            &trust_domain,
            Arc::clone(&clock),
            Arc::clone(&metrics),
            limits.reviews,
        );
        Self {
            authentication,
            places: Arc::default(),
            trust,
            trust_domain,
            requests: Mutex::new(RateTable::new(CERTIFICATES, COUNTED_PODS)),
            logged_refusals: Mutex::default(),
            clock,
            metrics,
            stopping,
        }
    }

    fn board(&self) -> &Arc<Board> {
        &self.authentication.board
    }

    fn certificates(&self) -> &Certificates {
        &self.authentication.certificates
    }

    /// Whether a pod may have a certificate now, or how long it has to wait.
    fn may_sign(&self, uid: &Arc<str>) -> Result<(), TooOften> {
        let now = self.clock.monotonic();
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.take(Arc::clone(uid), now)
    }

    /// Whether a refusal gets a line in the log. All of them are counted.
    fn may_log_refusal(&self) -> bool {
        let now = self.clock.monotonic();
        let logged = self.logged_refusals.lock();
        let mut logged = logged.unwrap_or_else(PoisonError::into_inner);
        logged.take(LOGGED_REFUSALS, now).is_ok()
    }
}

// === impl StreamLimits ===

impl Default for StreamLimits {
    fn default() -> Self {
        Self {
            connections: 20_000,
            arriving: 1_024,
            arriving_per_source: 128,
            reviews: ReviewLimits::default(),
        }
    }
}

#[cfg(test)]
mod tests;
