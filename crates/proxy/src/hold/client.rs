//! The sidecar's side: gets sockets, and gives them back to a new holder.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use super::door::check_user;
use super::exchange::{self, HandOver};

/// How long a holder may take to come up, or to get a port: its container
/// starts before the sidecar's, but may be restarting.
const PATIENCE: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_millis(50);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// The sockets of the sidecar, by address.
pub(crate) type Ours = BTreeMap<SocketAddr, Arc<std::net::TcpListener>>;

/// Where a sidecar gets its listening sockets.
#[derive(Debug, Clone)]
pub struct HeldSockets {
    path: PathBuf,
    patience: Duration,
}

/// Why a sidecar does not get its sockets. It never takes a port itself that it
/// was to get: another process could take it at the next restart.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HeldError {
    /// Nobody answers.
    #[error(
        "`sidegate hold` gives no listening sockets at {path}: {source}; it must run beside the \
         sidecar, as the same user and with the same volume"
    )]
    Silent {
        /// The Unix socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It does not have one that it should have.
    #[error(
        "`sidegate hold` at {path} does not have {address}: another process has the port, or the \
         machine does not have the address; its log says what to change"
    )]
    Missing {
        /// The Unix socket.
        path: PathBuf,
        /// What is wanted.
        address: SocketAddr,
    },
}

/// Stays connected to the holder. One that was restarted finds its ports taken
/// by this very sidecar, so it gets the sockets back.
#[derive(Debug)]
pub(crate) struct Keeper {
    sockets: Vec<SocketAddr>,
    task: JoinHandle<()>,
}

// === impl HeldSockets ===

impl HeldSockets {
    /// The holder at a Unix socket.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Self {
            path,
            patience: PATIENCE,
        }
    }

    /// Another time to wait for a holder that is not there, or does not have
    /// its ports.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Everything that the holder has, at least those of `wanted` whose port
    /// it is to hold.
    pub(crate) async fn get(&self, wanted: &[SocketAddr]) -> Result<HandOver, HeldError> {
        let until = Instant::now() + self.patience;
        let mut said = false;
        loop {
            let error = match self.try_get(wanted).await {
                Ok(handed) => return Ok(handed),
                Err(error) => error,
            };
            if Instant::now() >= until {
                return Err(error);
            }
            if !said {
                info!(%error, "waiting for the listening sockets");
                said = true;
            }
            sleep(RETRY).await;
        }
    }

    async fn try_get(&self, wanted: &[SocketAddr]) -> Result<HandOver, HeldError> {
        let (_, handed) = self.ask().await.map_err(|source| HeldError::Silent {
            path: self.path.clone(),
            source,
        })?;
        let missing = |address: &&SocketAddr| {
            handed.ports.contains(&address.port()) && !handed.sockets.contains_key(address)
        };
        match wanted.iter().find(missing) {
            None => Ok(handed),
            Some(address) => Err(HeldError::Missing {
                path: self.path.clone(),
                address: *address,
            }),
        }
    }

    async fn ask(&self) -> io::Result<(UnixStream, HandOver)> {
        let asking = async {
            let holder = UnixStream::connect(&self.path).await?;
            check_user(&holder)?;
            let handed = exchange::receive(&holder).await?;
            Ok((holder, handed))
        };
        timeout(ANSWER_TIMEOUT, asking)
            .await
            .unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()))
    }
}

// === impl Keeper ===

impl Keeper {
    pub(crate) fn start(hold: HeldSockets, ours: Ours) -> Self {
        Self {
            sockets: ours.keys().copied().collect(),
            task: tokio::spawn(async move { keep(&hold, &ours).await }),
        }
    }

    /// Whether these are the sockets that it gives back.
    pub(crate) fn keeps(&self, ours: &Ours) -> bool {
        ours.keys().eq(self.sockets.iter())
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn keep(hold: &HeldSockets, ours: &Ours) {
    let mut away = false;
    loop {
        match hold.ask().await {
            Ok((holder, handed)) => {
                if let Err(error) = give_back(&holder, handed, ours).await {
                    debug!(%error, "a holder did not take its sockets back");
                } else {
                    if std::mem::take(&mut away) {
                        info!("`sidegate hold` is back");
                    }
                    until_gone(&holder).await;
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut away, true) {
                    warn!(%error, "`sidegate hold` is away: the ports are free when this sidecar ends");
                }
            }
        }
        sleep(RETRY).await;
    }
}

async fn give_back(holder: &UnixStream, handed: HandOver, ours: &Ours) -> io::Result<()> {
    let lost = ours.iter().filter(|(address, _)| {
        handed.ports.contains(&address.port()) && !handed.sockets.contains_key(address)
    });
    let back = HandOver {
        sockets: lost.map(|(at, socket)| (*at, Arc::clone(socket))).collect(),
        ..HandOver::default()
    };
    if back.sockets.is_empty() {
        return Ok(());
    }
    timeout(ANSWER_TIMEOUT, exchange::send(holder, &back))
        .await
        .unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()))
}

/// A holder says nothing more; whatever it says, it is asked anew.
async fn until_gone(holder: &UnixStream) {
    while holder.readable().await.is_ok() {
        match holder.try_read(&mut [0]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(_) | Err(_) => return,
        }
    }
}
