//! The traffic listeners: which addresses they take, and accepting on them.
//!
//! A port is never shared (no `SO_REUSEPORT`): what owns the server's port on
//! the pod's addresses decides who reaches the server. A reload binds what is
//! new before anything changes, keeps what stays, and closes what went; open
//! connections of a closed listener are served to their end.

mod descriptors;
mod plan;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tracing::{info, warn};

use self::descriptors::most_connections;
pub use self::plan::{ListenError, ListenOptions};
pub(crate) use self::plan::{Wanted, machine_addresses, plan};
use crate::connection::transport::Transport;
use crate::connection::{self, Accepted};
use crate::shared::Shared;

/// Connections that the kernel completes before they are accepted.
const BACKLOG: u32 = 1024;

/// Waits after an accept that failed for want of resources: file descriptors
/// come back only when connections close, so trying at once only burns time.
const FIRST_BACKOFF: Duration = Duration::from_millis(10);
const LAST_BACKOFF: Duration = Duration::from_secs(1);

/// One listener that is bound, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundListener {
    /// The server's name.
    pub name: String,
    /// The address, with the port that the system chose if none was asked for.
    pub address: SocketAddr,
}

/// The listeners of one configuration, bound but not yet accepting.
#[derive(Debug)]
pub(crate) struct Prepared(Vec<Socket>);

/// The listeners in service.
#[derive(Debug, Default)]
pub(crate) struct Listeners(Vec<Accepting>);

#[derive(Debug, Clone)]
struct Socket {
    wanted: Wanted,
    address: SocketAddr,
    listener: Arc<TcpListener>,
}

#[derive(Debug)]
struct Accepting {
    socket: Socket,
    task: JoinHandle<()>,
}

// === impl Listeners ===

impl Listeners {
    /// Binds what `wanted` asks for and is not bound yet.
    ///
    /// # Errors
    /// [`ListenError::Bind`] for the first address that cannot be bound;
    /// whatever was bound before that is released.
    pub(crate) fn prepare(&self, wanted: Vec<Wanted>) -> Result<Prepared, ListenError> {
        let mut sockets: Vec<Socket> = Vec::with_capacity(wanted.len());
        for wanted in wanted {
            let bound = self.0.iter().map(|accepting| &accepting.socket);
            let socket = match bound.into_iter().find(|socket| socket.serves(&wanted)) {
                Some(socket) => Socket {
                    wanted,
                    ..socket.clone()
                },
                None => Socket::bind(wanted)?,
            };
            sockets.push(socket);
        }
        Ok(Prepared(sockets))
    }

    /// Puts prepared listeners into service and closes all others.
    pub(crate) fn install(
        &mut self,
        prepared: Prepared,
        transport: &Arc<ArcSwap<Transport>>,
        shared: &Arc<Shared>,
    ) {
        let mut before = std::mem::take(&mut self.0);
        for socket in prepared.0 {
            let same = before.iter().position(|accepting| {
                accepting.socket.wanted == socket.wanted
                    && accepting.socket.address == socket.address
            });
            let accepting = match same {
                Some(position) => before.swap_remove(position),
                None => {
                    info!(listener = socket.wanted.name, address = %socket.address, "listening");
                    Accepting::start(socket, Arc::clone(transport), Arc::clone(shared))
                }
            };
            self.0.push(accepting);
        }
        for gone in before {
            info!(listener = gone.socket.wanted.name, address = %gone.socket.address, "not listening any more");
        }
    }

    pub(crate) fn bound(&self) -> Vec<BoundListener> {
        let bound = |accepting: &Accepting| BoundListener {
            name: accepting.socket.wanted.name.clone(),
            address: accepting.socket.address,
        };
        self.0.iter().map(bound).collect()
    }

    /// Whether nobody outside of this machine can reach a listener.
    pub(crate) fn are_local(&self) -> bool {
        self.0
            .iter()
            .all(|accepting| accepting.socket.address.ip().is_loopback())
    }

    /// Stops listening.
    pub(crate) fn close(&mut self) {
        self.0.clear();
    }
}

// === impl Socket ===

impl Socket {
    fn bind(wanted: Wanted) -> Result<Self, ListenError> {
        let bind = || {
            let socket = match wanted.address {
                SocketAddr::V4(_) => TcpSocket::new_v4()?,
                SocketAddr::V6(_) => TcpSocket::new_v6()?,
            };
            // Lets a restarted sidecar take its port back from connections in
            // TIME_WAIT; another listener on the port still makes it fail.
            socket.set_reuseaddr(true)?;
            socket.bind(wanted.address)?;
            let listener = socket.listen(BACKLOG)?;
            Ok((listener.local_addr()?, listener))
        };
        match bind() {
            Ok((address, listener)) => Ok(Self {
                wanted,
                address,
                listener: Arc::new(listener),
            }),
            Err(source) => Err(ListenError::bind(wanted, source)),
        }
    }

    fn serves(&self, wanted: &Wanted) -> bool {
        let any_port = wanted.address.port() == 0;
        self.wanted.address == wanted.address && (!any_port || self.wanted.name == wanted.name)
    }
}

// === impl Accepting ===

impl Accepting {
    fn start(socket: Socket, transport: Arc<ArcSwap<Transport>>, shared: Arc<Shared>) -> Self {
        let name = Arc::from(socket.wanted.name.as_str());
        let listener = Arc::clone(&socket.listener);
        let task = tokio::spawn(async move { accept(name, &listener, &transport, &shared).await });
        Self { socket, task }
    }
}

impl Drop for Accepting {
    fn drop(&mut self) {
        // Between connections only: an accepted one has its own task.
        self.task.abort();
    }
}

/// Accepts connections for ever.
async fn accept(
    name: Arc<str>,
    listener: &TcpListener,
    transport: &ArcSwap<Transport>,
    shared: &Arc<Shared>,
) {
    let mut backoff = FIRST_BACKOFF;
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => {
                backoff = FIRST_BACKOFF;
                admit(&name, stream, remote, transport, shared);
            }
            Err(error) if is_of_the_peer(&error) => {}
            Err(error) => {
                shared.metrics.connection_refused("accept_failed");
                warn!(listener = %name, %error, "cannot accept connections");
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(LAST_BACKOFF);
            }
        }
    }
}

fn admit(
    name: &Arc<str>,
    stream: TcpStream,
    remote: SocketAddr,
    transport: &ArcSwap<Transport>,
    shared: &Arc<Shared>,
) {
    let runtime = shared.runtime.load();
    let limit = runtime
        .as_deref()
        .map_or(0, |runtime| runtime.config.limits.max_connections)
        .min(most_connections());
    let Some(open) = shared.drain.open(limit) else {
        // Dropping the stream closes it at once.
        shared.metrics.connection_refused("max_connections");
        return;
    };
    let metric = shared.metrics.connection_accepted();
    let accepted = Accepted {
        listener: Arc::clone(name),
        stream,
        remote,
        open,
    };
    let served = connection::serve(accepted, transport.load_full(), Arc::clone(shared));
    tokio::spawn(async move {
        served.await;
        drop(metric);
    });
}

/// Whether accepting failed because of the connection that was to be accepted;
/// the next one may be fine.
fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn wanted(name: &str, address: SocketAddr) -> Wanted {
        Wanted {
            name: name.to_owned(),
            server_port: 8080,
            address,
        }
    }

    fn any_port() -> SocketAddr {
        (Ipv4Addr::LOCALHOST, 0).into()
    }

    #[tokio::test]
    async fn an_address_in_use_is_refused_with_its_cause() {
        let taken = std::net::TcpListener::bind(any_port()).expect("binds");
        let address = taken.local_addr().expect("has an address");
        let error = Listeners::default().prepare(vec![wanted("support", address)]);
        let text = error.expect_err("in use").to_string();
        assert!(
            text.contains("`support`") && text.contains(&address.to_string()),
            "{text}"
        );
    }

    #[tokio::test]
    async fn the_wildcard_of_another_listener_is_not_shared() {
        let taken = std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("binds");
        let port = taken.local_addr().expect("has an address").port();
        let address = (Ipv4Addr::LOCALHOST, port).into();
        assert!(
            Listeners::default()
                .prepare(vec![wanted("support", address)])
                .is_err()
        );
    }

    #[tokio::test]
    async fn a_bound_address_is_kept() {
        let sockets = Listeners::default()
            .prepare(vec![wanted("a", any_port())])
            .expect("binds");
        let task = tokio::spawn(std::future::pending());
        let socket = sockets.0.first().expect("one").clone();
        let address = socket.address;
        let listeners = Listeners(vec![Accepting { socket, task }]);

        let same = listeners
            .prepare(vec![wanted("a", any_port())])
            .expect("kept");
        assert_eq!(same.0.first().expect("one").address, address);
        let other = listeners
            .prepare(vec![wanted("b", any_port())])
            .expect("binds another");
        assert_ne!(other.0.first().expect("one").address, address);
    }

    #[test]
    fn only_errors_of_the_system_back_off() {
        assert!(is_of_the_peer(&io::ErrorKind::ConnectionAborted.into()));
        assert!(!is_of_the_peer(&io::Error::from_raw_os_error(24)), "EMFILE");
        assert!(!is_of_the_peer(&io::Error::from_raw_os_error(23)), "ENFILE");
    }
}
