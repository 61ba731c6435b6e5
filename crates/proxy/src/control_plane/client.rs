//! What a sidecar's end of the stream has, from one stream to the next.

use std::sync::Arc;
use std::time::Duration;

use sidegate_policy::clock::Clock;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tracing::warn;

use super::ControlPlaneSource;
use super::enforcement::Enforcement;
use super::link::Link;
use super::state_dir::StateDir;
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
            Ok(Some(identity)) => {
                client.link.kept(identity.clone());
                client.use_identity(identity).await;
            }
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

    /// Keeps an identity for a restart of this container.
    pub(super) async fn keep_identity(&mut self, identity: &IssuedIdentity) {
        let (state, kept) = (Arc::clone(&self.state), identity.clone());
        let keeping = tokio::task::spawn_blocking(move || {
            let outcome = state.keep_identity(&kept);
            outcome.map(|()| kept)
        });
        match keeping.await {
            Ok(Ok(kept)) => self.link.kept(kept),
            Ok(Err(error)) => warn!(%error, "the certificate cannot be kept for a restart"),
            Err(error) => warn!(%error, "the certificate cannot be kept for a restart"),
        }
    }

    pub(super) async fn use_identity(&mut self, identity: IssuedIdentity) {
        self.link.in_use(&identity);
        if let Err(error) = self.sidecar.use_identity(identity).await {
            warn!(%error, "the certificate cannot be used");
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
