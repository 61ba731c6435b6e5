//! The sidecar's end of the stream: connected whenever that is possible, and
//! without any effect on the data plane when it is not.

use std::sync::Arc;
use std::time::Duration;

use sidegate_config::sidecar_config::SecretText;
use sidegate_policy::clock::Clock;
use sidegate_tls::ClientStream;
use tokio::net::TcpStream;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until};
use tracing::{info, warn};

use super::ControlPlaneSource;
use super::conversation::Ended;
use super::dial::DialError;
use super::enforcement::Enforcement;
use super::identity_files::UnusableFiles;
use super::link::{Link, TICK};
use super::lost::Lost;
use super::state_dir::StateDir;
use super::stream::Stream;
use crate::identity::IssuedIdentity;
use crate::run::Sidecar;

/// Keeps a sidecar connected to its operator.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) sidecar: Arc<Sidecar>,
    pub(super) state: Arc<StateDir>,
    pub(super) enforcement: Enforcement,
    pub(super) link: Link,
}

// === impl Client ===

impl Client {
    /// Puts in force what was kept, and says who will keep it up to date.
    pub(super) async fn restore(
        source: ControlPlaneSource,
        sidecar: Arc<Sidecar>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let ControlPlaneSource {
            url,
            token_file,
            trust_dir,
            state_dir,
        } = source;
        let dir = state_dir.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let state = StateDir::open(dir);
            let (identity, snapshot) = (state.identity(), state.snapshot());
            (state, identity, snapshot)
        });
        let (state, identity, snapshot) = match reading.await {
            Ok(read) => read,
            Err(failed) => {
                warn!(error = %failed, "what was kept cannot be read");
                (StateDir::open(state_dir.clone()), Ok(None), None)
            }
        };
        let state = Arc::new(state);
        let mut client = Self {
            enforcement: Enforcement::new(Arc::clone(&sidecar), Arc::clone(&state)),
            sidecar,
            state,
            link: Link::new(url, token_file, trust_dir, clock),
        };
        match identity {
            Ok(Some(identity)) => client.use_identity(identity).await,
            Ok(None) => {}
            Err(error) => {
                let dir = state_dir.display();
                warn!(%dir, %error, "the certificate of before is left out");
            }
        }
        if let Some(snapshot) = snapshot {
            client.enforcement.restore(snapshot).await;
        }
        client
    }

    /// Stays connected until the sidecar drains.
    pub(super) async fn keep_connected(mut self) {
        let drain = Arc::clone(self.sidecar.drain());
        loop {
            let connected = tokio::select! {
                connected = self.connect() => connected,
                () = drain.draining() => return,
            };
            let (stood, lost) = match connected {
                Ok((stream, token)) => match Box::pin(self.converse(stream, token)).await {
                    Ended::Stopping => return,
                    Ended::ToShowCertificate => continue,
                    Ended::Lost(error, stood) => (stood, Lost::from(error)),
                },
                Err(error) => (Duration::ZERO, Lost::from(error)),
            };
            self.sidecar
                .connection(|connection| connection.last_error = Some(lost.to_string()));
            let wait = self.link.lost(&lost, stood, "what is in force stays");
            tokio::select! {
                () = self.pause(wait) => {}
                () = drain.draining() => return,
            }
        }
    }

    async fn connect(
        &mut self,
    ) -> Result<(Stream<ClientStream<TcpStream>>, SecretText), DialError> {
        let identity = match self.sidecar.identity() {
            Some(identity) => Some(identity),
            None => self.identity_of_before().await,
        };
        self.link.connect(identity.as_deref()).await
    }

    /// A certificate that could not be used, or seemed to have ended, may be
    /// good now: clocks are set. An operator that knows it wants to see it.
    async fn identity_of_before(&mut self) -> Option<Arc<IssuedIdentity>> {
        let state = Arc::clone(&self.state);
        let reading = tokio::task::spawn_blocking(move || state.identity());
        let identity = match reading.await {
            Ok(Ok(identity)) => identity?,
            // It was said at the start.
            Ok(Err(UnusableFiles::Io(_) | UnusableFiles::Tls(_))) | Err(_) => return None,
        };
        info!("the certificate of before can be used now");
        self.use_identity(identity).await;
        // The greeting will say what is in force.
        let _word = self.enforcement.certified().await;
        self.sidecar.identity()
    }

    pub(super) async fn use_identity(&mut self, identity: IssuedIdentity) {
        self.link.in_use(&identity);
        if let Err(error) = self.sidecar.use_identity(identity).await {
            warn!(%error, "the certificate cannot be used");
        }
    }

    /// Waits, and tries again meanwhile what could not be put in force.
    async fn pause(&mut self, wait: Duration) {
        let until = Instant::now() + wait;
        let mut tick = every(TICK);
        loop {
            tokio::select! {
                () = sleep_until(until) => return,
                _ = tick.tick() => {
                    // The next greeting says what is in force.
                    let _word = self.enforcement.tick(Instant::now()).await;
                }
            }
        }
    }

    pub(super) fn connected(&self, connected: bool) {
        self.sidecar.metrics().control_plane_connected(connected);
        self.sidecar.connection(|connection| {
            connection.connected = connected;
            connection.last_error = None;
        });
    }
}

/// From one period on.
pub(super) fn every(period: Duration) -> Interval {
    let mut interval = interval_at(Instant::now() + period, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

#[cfg(test)]
mod tests;
