//! One accepted connection: TLS, the protocol, and HTTP until it closes.
//!
//! Traffic listeners speak HTTP/1.1 and HTTP/2, by ALPN under TLS and by prior
//! knowledge in plaintext. Nothing here upgrades or tunnels. A client that
//! closes its sending side still gets an answer that is ready within a second;
//! after that it counts as gone, and its calls are cancelled.

pub(crate) mod activity;
mod close;
mod drive;
mod self_wake;
mod service;
mod sniff;
pub(crate) mod transport;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use sidegate_policy::principal::PeerIdentity;
use sidegate_tls::TlsAcceptor;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tracing::debug;

use self::activity::{Activity, Patience};
use self::drive::{Http, drive};
use self::service::RequestService;
use self::transport::Transport;
use crate::connection_info::ConnectionInfo;
use crate::drain::OpenConnection;
use crate::framing::{FramedIo, FramingFault, MAX_HEAD_BYTES};
use crate::shared::Shared;

/// Streams in progress on one HTTP/2 connection.
const MAX_STREAMS: u32 = 100;
/// Flow-control windows: what a client may have sent unread.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 256 * 1024;
/// Decoded size of a header list, over which the stream gets 431.
const MAX_HEADER_LIST: u32 = 16 * 1024;
const HEADER_TABLE: u32 = 4 * 1024;
/// Answer bytes buffered per stream.
const SEND_BUFFER: usize = 64 * 1024;
/// Header fields that the HTTP/1 library reads without being asked for more,
/// which would cost it memory for each request.
const LIBRARY_HEADERS: usize = 100;
/// A peer that does not answer pings is gone.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// A connection that a listener accepted.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) listener: Arc<str>,
    pub(crate) stream: TcpStream,
    pub(crate) remote: SocketAddr,
    /// Its place in the count of connections.
    pub(crate) open: OpenConnection,
}

/// Waits on a connection, and the header fields of its requests, from the
/// limits in force when it was accepted.
#[derive(Debug, Clone, Copy)]
struct Waits {
    handshake: Duration,
    patience: Patience,
    max_headers: usize,
}

/// A connection before HTTP is spoken on it.
struct Arrival {
    listener: Arc<str>,
    remote: SocketAddr,
    waits: Waits,
    transport: Arc<Transport>,
    shared: Arc<Shared>,
}

/// Serves a connection until it has closed.
pub(crate) async fn serve(accepted: Accepted, transport: Arc<Transport>, shared: Arc<Shared>) {
    let Accepted {
        listener,
        stream,
        remote,
        open,
    } = accepted;
    // Small messages in both directions: waiting to fill segments only delays
    // them. A socket that refuses the option still works.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "no TCP_NODELAY");
    }
    let waits = Waits::in_force(&shared);
    let arrival = Arrival {
        listener,
        remote,
        waits,
        transport,
        shared,
    };
    // Boxed apart, so that a plaintext connection does not carry the memory of
    // a handshake.
    match arrival.transport.tls.clone() {
        Some(acceptor) => Box::pin(arrival.over_tls(stream, acceptor)).await,
        None => Box::pin(arrival.in_plaintext(stream)).await,
    }
    drop(open);
}

// === impl Waits ===

impl Waits {
    fn in_force(shared: &Shared) -> Self {
        let runtime = shared.runtime.load();
        match runtime.as_deref() {
            Some(runtime) => {
                let limits = &runtime.config.limits;
                Self {
                    handshake: limits.handshake_timeout,
                    patience: Patience {
                        header: limits.header_timeout,
                        idle: limits.idle_timeout,
                    },
                    max_headers: limits.max_headers,
                }
            }
            // Listeners open only with a configuration; these are its defaults.
            None => Self {
                handshake: Duration::from_secs(10),
                patience: Patience {
                    header: Duration::from_secs(10),
                    idle: Duration::from_secs(75),
                },
                max_headers: 64,
            },
        }
    }
}

// === impl Arrival ===

impl Arrival {
    async fn over_tls(self, stream: TcpStream, acceptor: Arc<TlsAcceptor>) {
        let accepted = tokio::select! {
            accepted = acceptor.accept(stream, self.waits.handshake) => accepted,
            () = self.shared.drain.closing() => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                self.shared.metrics.handshake_failure(error.as_str());
                debug!(listener = %self.listener, peer = %self.remote, %error, "handshake failed");
                return;
            }
        };
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        if http2 {
            self.http2(stream, Vec::new(), peer).await;
        } else {
            self.http1(stream, Vec::new(), peer).await;
        }
    }

    async fn in_plaintext(self, mut stream: TcpStream) {
        let sniffed = tokio::select! {
            sniffed = sniff::protocol(&mut stream, &self.waits.patience) => sniffed,
            () = self.shared.drain.closing() => return,
        };
        match sniffed {
            Some(sniffed) if sniffed.http2 => self.http2(stream, sniffed.read, None).await,
            Some(sniffed) => self.http1(stream, sniffed.read, None).await,
            None => debug!(listener = %self.listener, peer = %self.remote, "closed unused"),
        }
    }

    async fn http1<S>(self, stream: S, read: Vec<u8>, peer: Option<PeerIdentity>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let max_headers = self.waits.max_headers;
        let (service, patience) = self.into_service(peer, true);
        let fault = Arc::clone(&service.connection.framing);
        let activity = Arc::clone(&service.activity);
        let io = FramedIo::http1(stream, read, fault, activity);
        let mut builder = http1::Builder::new();
        // Waiting is limited by `activity`: the library's timer would count
        // idle time and the time of a head as one.
        builder
            .max_buf_size(MAX_HEAD_BYTES)
            .header_read_timeout(None)
            .half_close(false);
        if max_headers >= LIBRARY_HEADERS {
            // One more than is allowed, so that the answer is ours.
            builder.max_headers(max_headers + 1);
        }
        let mut http = Http::One(builder.serve_connection(TokioIo::new(io), service.clone()));
        let ended = drive(&mut http, &service, &patience).await;
        if let Http::One(connection) = http {
            let io = connection.into_parts().io.into_inner();
            self::close::close(io, ended).await;
        }
        service.note_untaken_fault();
    }

    async fn http2<S>(self, stream: S, read: Vec<u8>, peer: Option<PeerIdentity>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (service, patience) = self.into_service(peer, false);
        let fault = Arc::clone(&service.connection.framing);
        let io = FramedIo::http2(stream, read, fault, Arc::clone(&service.activity));
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(MAX_HEADER_LIST)
            .header_table_size(HEADER_TABLE)
            .max_send_buf_size(SEND_BUFFER)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT);
        let connection = builder.serve_connection(TokioIo::new(io), service.clone());
        let mut http = Http::Two(Box::new(connection));
        let ended = drive(&mut http, &service, &patience).await;
        debug!(listener = %service.connection.listener, ?ended, "connection closed");
    }

    fn into_service(self, peer: Option<PeerIdentity>, http1: bool) -> (RequestService, Patience) {
        let framing = Arc::new(FramingFault::default());
        let connection = ConnectionInfo::new(self.listener, self.remote, peer, framing);
        let service = RequestService {
            shared: self.shared,
            transport: self.transport,
            connection: Arc::new(connection),
            activity: Activity::new(),
            http1,
        };
        (service, self.waits.patience)
    }
}
