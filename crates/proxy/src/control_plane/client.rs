//! The sidecar's end of the stream: connected whenever that is possible, and
//! without any effect on the data plane when it is not.

use std::sync::Arc;
use std::time::Duration;

use sidegate_config::sidecar_config::SecretText;
use sidegate_policy::clock::Clock;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until};
use tracing::{debug, warn};

use super::ControlPlaneSource;
use super::backoff::Backoff;
use super::certificate::Renewal;
use super::dial::{self, DialError, dial};
use super::enforcement::Enforcement;
use super::lost::Lost;
use super::state_dir::StateDir;
use super::stream::Stream;
use crate::identity::IssuedIdentity;
use crate::run::Sidecar;

/// How often it is looked whether the certificate is to be renewed.
pub(super) const TICK: Duration = Duration::from_secs(1);
/// Keeps a sidecar connected to its operator.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) source: ControlPlaneSource,
    pub(super) sidecar: Arc<Sidecar>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) state: Arc<StateDir>,
    pub(super) enforcement: Enforcement,
    pub(super) renewal: Renewal,
    backoff: Backoff,
    /// The certificate is not shown after the operator refused it: an authority
    /// that went takes its certificates with it.
    pub(super) shows_certificate: bool,
    /// What was wrong when it was said last.
    pub(super) complaint: Option<String>,
}

// === impl Client ===

impl Client {
    /// Puts in force what was kept, and says who will keep it up to date.
    pub(super) async fn restore(
        source: ControlPlaneSource,
        sidecar: Arc<Sidecar>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let dir = source.state_dir.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let state = StateDir::open(dir);
            let (identity, snapshot) = (state.identity(), state.snapshot());
            (state, identity, snapshot)
        });
        let (state, identity, snapshot) = match reading.await {
            Ok(read) => read,
            Err(failed) => {
                warn!(error = %failed, "what was kept cannot be read");
                (StateDir::open(source.state_dir.clone()), None, None)
            }
        };
        let state = Arc::new(state);
        let mut client = Self {
            enforcement: Enforcement::new(Arc::clone(&sidecar), Arc::clone(&state)),
            source,
            sidecar,
            clock,
            state,
            renewal: Renewal::default(),
            backoff: Backoff::default(),
            shows_certificate: true,
            complaint: None,
        };
        if let Some(identity) = identity {
            client.use_identity(identity).await;
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
                Ok((stream, token)) => {
                    let ended = Box::pin(self.converse(stream, token)).await;
                    let Some(error) = ended.lost else { return };
                    (ended.stood, Lost::from(error))
                }
                Err(error) => (Duration::ZERO, Lost::from(error)),
            };
            let wait = self.backoff.next(stood, lost.retry_after());
            self.note(&lost);
            tokio::select! {
                () = self.pause(wait) => {}
                () = drain.draining() => return,
            }
        }
    }

    async fn connect(
        &self,
    ) -> Result<
        (
            Stream<impl AsyncRead + AsyncWrite + Unpin + use<>>,
            SecretText,
        ),
        DialError,
    > {
        let token = dial::token(&self.source.token_file).await?;
        let identity = self.sidecar.identity().filter(|_| self.shows_certificate);
        let connection = dial(
            &self.source.url,
            &self.source.trust_dir,
            identity.as_deref(),
        )
        .await?;
        Ok((Stream::new(connection), token))
    }

    pub(super) async fn use_identity(&mut self, identity: IssuedIdentity) {
        self.renewal.in_use(&identity);
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

    /// Says why there is no stream, once for each reason.
    fn note(&mut self, lost: &Lost) {
        if lost.is_about_certificate() {
            self.shows_certificate = !self.shows_certificate;
        }
        let complaint = lost.to_string();
        self.sidecar
            .connection(|connection| connection.last_error = Some(complaint.clone()));
        if self.complaint.as_ref() == Some(&complaint) {
            debug!(error = complaint, "still not connected to the operator");
        } else {
            warn!(
                url = %self.source.url,
                error = complaint,
                "not connected to the operator; what is in force stays"
            );
            self.complaint = Some(complaint);
        }
    }
}

/// From one period on.
pub(super) fn every(period: Duration) -> Interval {
    let mut interval = interval_at(Instant::now() + period, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
