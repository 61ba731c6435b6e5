//! The traffic listeners: which addresses they take, and accepting on them.
//!
//! A port is never shared (no `SO_REUSEPORT`): what owns the server's port on
//! the pod's addresses decides who reaches the server. A reload binds what is
//! new before anything changes, keeps what stays, and closes what went; open
//! connections of a closed listener are served to their end.
//!
//! In a pod the sockets come from [`crate::hold`], which keeps the ports while
//! the sidecar restarts. A port that is held is never bound here.

mod descriptors;
mod plan;
mod turned_away;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tracing::{info, warn};

use self::descriptors::most_connections;
pub use self::plan::{ListenError, ListenOptions};
pub(crate) use self::plan::{Wanted, plan};
use self::turned_away::{HeldSocket, TurnedAway};
use crate::connection::transport::Transport;
use crate::connection::{self, Accepted};
use crate::hold::{HeldSockets, Keeper, Ours};
use crate::shared::Shared;
pub use crate::sockets::NoMachineAddress;
use crate::sockets::open;

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
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    sockets: Vec<Socket>,
    /// What is held and not asked for.
    unused: BTreeMap<SocketAddr, HeldSocket>,
    /// Who gets the held sockets back, should it be restarted.
    hold: Option<HeldSockets>,
}

/// The listeners in service.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    accepting: Vec<Accepting>,
    turned_away: Vec<TurnedAway>,
    keeper: Option<Keeper>,
}

#[derive(Debug, Clone)]
struct Socket {
    wanted: Wanted,
    address: SocketAddr,
    listener: Arc<TcpListener>,
    held: Option<HeldSocket>,
}

#[derive(Debug)]
struct Accepting {
    socket: Socket,
    task: JoinHandle<()>,
}

// === impl Listeners ===

impl Listeners {
    /// Gets from `hold` or binds what `wanted` asks for and is not bound yet.
    ///
    /// # Errors
    /// [`ListenError::Held`] when sockets that are held cannot be had, and
    /// [`ListenError::Bind`] for the first other address that cannot be bound;
    /// whatever was bound before that is released.
    pub(crate) async fn prepare(
        &self,
        wanted: Vec<Wanted>,
        hold: Option<&HeldSockets>,
    ) -> Result<Prepared, ListenError> {
        let mut unused = self.unused();
        let missing: Vec<SocketAddr> = wanted
            .iter()
            .filter(|wanted| self.bound_for(wanted).is_none())
            .map(|wanted| wanted.address)
            .filter(|address| !unused.contains_key(address))
            .collect();
        if let Some(hold) = hold.filter(|_| !missing.is_empty()) {
            let handed = hold.get(&missing).await?;
            for (address, socket) in handed.sockets {
                if !unused.contains_key(&address) && !self.accepts_at(address) {
                    let held = HeldSocket::new(address, socket).map_err(ListenError::Unusable)?;
                    unused.insert(address, held);
                }
            }
        }
        let mut sockets: Vec<Socket> = Vec::with_capacity(wanted.len());
        for wanted in wanted {
            let socket = match (self.bound_for(&wanted), unused.remove(&wanted.address)) {
                (Some(socket), _) => Socket {
                    wanted,
                    ..socket.clone()
                },
                (None, Some(held)) => Socket::of_hold(wanted, held),
                (None, None) => Socket::bind(wanted)?,
            };
            sockets.push(socket);
        }
        Ok(Prepared {
            sockets,
            unused,
            hold: hold.cloned(),
        })
    }

    /// Puts prepared listeners into service and closes all others.
    pub(crate) fn install(
        &mut self,
        prepared: Prepared,
        transport: &Arc<ArcSwap<Transport>>,
        shared: &Arc<Shared>,
    ) {
        let Prepared {
            sockets,
            mut unused,
            hold,
        } = prepared;
        let mut before = std::mem::take(&mut self.accepting);
        for socket in sockets {
            // Before another task accepts on it.
            self.turned_away
                .retain(|away| away.socket.address != socket.address);
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
            self.accepting.push(accepting);
        }
        for gone in before {
            info!(listener = gone.socket.wanted.name, address = %gone.socket.address, "not listening any more");
            if let Some(held) = gone.socket.held.clone()
                && !self.accepts_at(held.address)
            {
                unused.insert(held.address, held);
            }
        }
        self.turn_away(unused);
        self.keep(hold);
    }

    fn bound_for(&self, wanted: &Wanted) -> Option<&Socket> {
        let mut bound = self.accepting.iter().map(|accepting| &accepting.socket);
        bound.find(|socket| socket.serves(wanted))
    }

    fn accepts_at(&self, address: SocketAddr) -> bool {
        let mut bound = self.accepting.iter().map(|accepting| &accepting.socket);
        bound.any(|socket| socket.address == address)
    }

    fn unused(&self) -> BTreeMap<SocketAddr, HeldSocket> {
        let sockets = self.turned_away.iter().map(|away| &away.socket);
        sockets.map(|it| (it.address, it.clone())).collect()
    }

    fn turn_away(&mut self, sockets: BTreeMap<SocketAddr, HeldSocket>) {
        for (address, socket) in sockets {
            let mut away = self.turned_away.iter();
            if !away.any(|away| away.socket.address == address) {
                self.turned_away.push(TurnedAway::start(socket));
            }
        }
    }

    /// Has a new holder get the sockets of this sidecar.
    fn keep(&mut self, hold: Option<HeldSockets>) {
        let accepting = self.accepting.iter();
        let held = accepting.filter_map(|it| it.socket.held.as_ref());
        let held = held.chain(self.turned_away.iter().map(|away| &away.socket));
        let ours: Ours = held
            .map(|it| (it.address, Arc::clone(&it.original)))
            .collect();
        if self.keeper.as_ref().is_some_and(|it| it.keeps(&ours)) {
            return;
        }
        self.keeper = hold
            .filter(|_| !ours.is_empty())
            .map(|hold| Keeper::start(hold, ours));
    }

    pub(crate) fn bound(&self) -> Vec<BoundListener> {
        let bound = |accepting: &Accepting| BoundListener {
            name: accepting.socket.wanted.name.clone(),
            address: accepting.socket.address,
        };
        self.accepting.iter().map(bound).collect()
    }

    /// Where connections are reset: held ports that nothing is served on.
    pub(crate) fn turned_away(&self) -> Vec<SocketAddr> {
        let away = self.turned_away.iter();
        away.map(|away| away.socket.address).collect()
    }

    /// Whether nobody outside of this machine can reach a listener.
    pub(crate) fn are_local(&self) -> bool {
        self.accepting
            .iter()
            .all(|accepting| accepting.socket.address.ip().is_loopback())
    }

    /// Stops listening; connections to ports that are held are reset.
    pub(crate) fn close(&mut self) {
        let accepting = std::mem::take(&mut self.accepting);
        let held = accepting.iter().filter_map(|it| it.socket.held.clone());
        let held = held.map(|it| (it.address, it)).collect();
        drop(accepting);
        self.turn_away(held);
    }
}

// === impl Socket ===

impl Socket {
    fn bind(wanted: Wanted) -> Result<Self, ListenError> {
        let bind = || {
            let listener = TcpListener::from_std(open(wanted.address)?)?;
            Ok((listener.local_addr()?, listener))
        };
        match bind() {
            Ok((address, listener)) => Ok(Self {
                wanted,
                address,
                listener: Arc::new(listener),
                held: None,
            }),
            Err(source) => Err(ListenError::bind(wanted, source)),
        }
    }

    fn of_hold(wanted: Wanted, held: HeldSocket) -> Self {
        Self {
            wanted,
            address: held.address,
            listener: Arc::clone(&held.listener),
            held: Some(held),
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
mod tests;
