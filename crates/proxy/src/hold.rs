//! `sidegate hold`: keeps ports taken while the sidecar restarts.
//!
//! Whoever owns the server's port on the pod's addresses decides who reaches
//! the server. A sidecar that dies frees its port, and a server that retries
//! the wildcard address takes it. So a second, tiny process binds the ports
//! first and hands the sockets over a Unix socket (`SCM_RIGHTS`). It never
//! accepts a connection: attempts wait in the backlog until a sidecar does, so
//! a restart of the sidecar loses none.
//!
//! A sidecar stays connected and, when the holder itself was restarted, gives
//! its sockets back. Only processes of the same user are served.

mod client;
mod door;
mod exchange;
mod held;

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

pub use self::client::{HeldError, HeldSockets};
pub(crate) use self::client::{Keeper, Ours};
use self::door::Door;
use self::exchange::HandOver;
use self::held::Held;

/// Most ports of one holder.
pub const MAX_PORTS: usize = 128;

/// Sidecars that are connected at the same time; one is usual.
const MAX_PEERS: usize = 16;
/// For a sidecar to take what it is sent.
const SEND_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a port that is not held yet is tried.
const RETRY: Duration = Duration::from_millis(50);
/// How often the pod's addresses are looked at when all are held.
const LOOK: Duration = Duration::from_secs(1);

/// What a holder holds.
#[derive(Debug, Clone)]
pub struct HoldOptions {
    /// The Unix socket over which sidecars get their sockets.
    pub socket: PathBuf,
    /// The ports.
    pub ports: Vec<u16>,
    /// The address; none: every address of the machine but loopback, as the
    /// sidecar does it.
    pub bind: Option<IpAddr>,
}

/// Why a holder cannot start.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// There is nothing to hold, or too much.
    #[error("{0} ports to hold: name 1 to {MAX_PORTS}")]
    Ports(usize),
    /// Another holder answers on the Unix socket.
    #[error("another `sidegate hold` serves {0}: give each its own socket")]
    Taken(PathBuf),
    /// There is a file in place of the Unix socket.
    #[error("{0} is no socket, and nothing else is replaced: name another path")]
    NotASocket(PathBuf),
    /// The Unix socket cannot be opened.
    #[error("cannot open the socket {path}: {source}; its directory must exist and be writable")]
    Socket {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Holds ports for ever.
///
/// A port that another process has is asked for again and again, so that the
/// first moment in which it is free is ours.
///
/// # Errors
/// [`HoldError`] when there is nothing that it could do.
pub async fn hold(options: HoldOptions) -> Result<Infallible, HoldError> {
    let count = options.ports.len();
    if !(1..=MAX_PORTS).contains(&count) {
        return Err(HoldError::Ports(count));
    }
    let door = Door::open(&options.socket)?;
    let mut held = Held::new(options.ports, options.bind);
    let (returned_tx, mut returned_rx) = mpsc::channel::<HandOver>(1);
    let places = Arc::new(Semaphore::new(MAX_PEERS));
    info!(socket = %options.socket.display(), ports = ?held.ports(), "holding ports");
    loop {
        held.complete(Instant::now());
        let pause = if held.is_complete() { LOOK } else { RETRY };
        tokio::select! {
            returned = returned_rx.recv() => {
                for (address, socket) in returned.into_iter().flat_map(|it| it.sockets) {
                    held.adopt(address, socket);
                }
            }
            peer = door.accept() => match (peer, Arc::clone(&places).try_acquire_owned()) {
                (Ok(peer), Ok(place)) => {
                    held.complete(Instant::now());
                    let handing = hand_over(peer, held.hand_over(), returned_tx.clone());
                    tokio::spawn(async move {
                        handing.await;
                        drop(place);
                    });
                }
                (Ok(_), Err(_)) => warn!("too many sidecars are connected"),
                (Err(error), _) => {
                    warn!(%error, "a process was not served");
                    sleep(RETRY).await;
                }
            },
            () = sleep(pause) => {}
        }
    }
}

/// Hands everything to a sidecar, then takes back what it returns until it has
/// gone.
async fn hand_over(peer: UnixStream, handed: HandOver, returned: mpsc::Sender<HandOver>) {
    let sent = timeout(SEND_TIMEOUT, exchange::send(&peer, &handed)).await;
    drop(handed);
    match sent {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return debug!(%error, "a sidecar went away"),
        Err(_elapsed) => return warn!("a sidecar does not take its sockets"),
    }
    while let Ok(back) = exchange::receive(&peer).await {
        if returned.send(back).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
