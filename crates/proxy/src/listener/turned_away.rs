//! Held sockets that nothing is served on.
//!
//! A port that `sidegate hold` holds cannot be closed by the sidecar: what
//! nobody accepts would wait in its backlog until the pod ends. So connections
//! to a port that the configuration does not have (any more), or that come
//! while a drain waits for its last requests, are accepted and reset. A caller
//! learns as soon as by a refusal that it has to go elsewhere. Between the end
//! of the sidecar and its next start they do wait, and the next one serves
//! them.

use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tracing::{debug, warn};

use super::is_of_the_peer;

const BACKOFF: Duration = Duration::from_millis(100);

/// A listening socket that `sidegate hold` has, too.
#[derive(Debug, Clone)]
pub(super) struct HeldSocket {
    pub(super) address: SocketAddr,
    /// What is given back to a new holder.
    pub(super) original: Arc<StdTcpListener>,
    pub(super) listener: Arc<TcpListener>,
}

/// A held socket whose connections are reset, until this is dropped.
#[derive(Debug)]
pub(super) struct TurnedAway {
    pub(super) socket: HeldSocket,
    task: JoinHandle<()>,
}

// === impl HeldSocket ===

impl HeldSocket {
    pub(super) fn new(address: SocketAddr, original: Arc<StdTcpListener>) -> std::io::Result<Self> {
        let ours = original.try_clone()?;
        ours.set_nonblocking(true)?;
        Ok(Self {
            address,
            original,
            listener: Arc::new(TcpListener::from_std(ours)?),
        })
    }
}

// === impl TurnedAway ===

impl TurnedAway {
    pub(super) fn start(socket: HeldSocket) -> Self {
        let listener = Arc::clone(&socket.listener);
        let task = tokio::spawn(async move { turn_away(&listener).await });
        Self { socket, task }
    }
}

impl Drop for TurnedAway {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn turn_away(listener: &TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => have_reset(&stream),
            Err(error) if is_of_the_peer(&error) => {}
            Err(error) => {
                warn!(%error, "cannot turn connections away");
                tokio::time::sleep(BACKOFF).await;
            }
        }
    }
}

/// Without lingering, the close that follows is a reset.
fn have_reset(stream: &TcpStream) {
    if let Err(error) = SockRef::from(stream).set_linger(Some(Duration::ZERO)) {
        debug!(%error, "closed without a reset");
    }
}
