//! The running sidecar: what is in force, and how it changes and ends.
//!
//! [`Sidecar`] holds everything of one gateway and can run several times in one
//! process. [`run_from_files`] is a sidecar that follows a directory of
//! documents. A configuration is taken whole or not at all: everything that can
//! fail (building it, binding its listeners) happens before anything changes.

pub mod files;
mod foreign;
mod secure;
pub(crate) mod service_port;
mod standing;
mod start;
pub(crate) mod status;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use sidegate_config::sidecar_config::SidecarConfig;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

pub use self::files::{FileSource, FollowingSidecar, RunError, run_from_files};
use self::service_port::ServicePort;
pub(crate) use self::standing::Standing;
pub use self::start::{HEALTH_PORT, RunOptions, StartError};
pub(crate) use self::start::{health_addresses, open};
use self::status::Status;
use crate::connection::transport::Transport;
use crate::drain::Drain;
use crate::health;
use crate::listener::{BoundListener, ListenError, ListenOptions, Listeners, plan};
use crate::runtime::{BuildError, BuildOptions, Runtime};
use crate::shared::Shared;
use crate::sockets::machine_addresses;

/// `limits.drainTimeout` of a sidecar that never got a configuration.
const DRAIN_WITHOUT_CONFIG: Duration = Duration::from_secs(1);
/// How often readiness is looked at while waiting for it.
const READY_POLL: Duration = Duration::from_millis(5);

/// A sidecar that runs until it is stopped or dropped.
pub struct Sidecar {
    shared: Arc<Shared>,
    status: Arc<Status>,
    transport: Arc<ArcSwap<Transport>>,
    listen: ListenOptions,
    build: BuildOptions,
    /// Also makes sure that configurations are applied one after the other.
    listeners: Mutex<Listeners>,
    admin: ServicePort,
    health: Vec<ServicePort>,
}

/// Why a configuration was refused; what was in force before still is.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// It cannot be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// Its listeners cannot be opened.
    #[error(transparent)]
    Listen(#[from] ListenError),
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Every request was answered.
    Complete,
    /// `limits.drainTimeout` passed first.
    TimedOut,
}

// === impl Sidecar ===

impl Sidecar {
    /// Puts a configuration in force, or leaves everything as it is.
    ///
    /// # Errors
    /// [`ApplyError`]; it is also shown on the admin port and counted.
    pub async fn apply(&self, config: SidecarConfig) -> Result<(), ApplyError> {
        let applied = self.try_apply(config, Standing::Enforced).await;
        if let Err(error) = &applied {
            self.refuse(error.to_string());
        }
        applied
    }

    /// Notes that a new configuration is not valid. What is in force stays.
    pub fn refuse(&self, error: String) {
        let in_force = self.shared.runtime.load().is_some();
        warn!(%error, in_force, "configuration refused");
        self.shared.metrics.config_reload("refused");
        self.status.refused(error);
    }

    /// Whether exactly this configuration is in force. If so, an error of
    /// another one that was refused meanwhile is history.
    #[must_use]
    pub fn confirm(&self, config: &SidecarConfig) -> bool {
        let runtime = self.shared.runtime.load();
        let in_force = runtime
            .as_deref()
            .is_some_and(|runtime| runtime.config.version == config.version);
        if in_force {
            self.status.confirmed();
        }
        in_force
    }

    /// Where traffic is accepted, by server.
    #[must_use]
    pub fn listeners(&self) -> Vec<BoundListener> {
        self.status.facts().listeners
    }

    /// The address of the first listener of a server.
    #[must_use]
    pub fn listener(&self, name: &str) -> Option<SocketAddr> {
        let listeners = self.listeners();
        listeners
            .iter()
            .find(|listener| listener.name == name)
            .map(|listener| listener.address)
    }

    /// The address of the admin port.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        self.admin.address()
    }

    /// The addresses of the health port.
    #[must_use]
    pub fn health_addresses(&self) -> Vec<SocketAddr> {
        self.health.iter().map(ServicePort::address).collect()
    }

    /// Whether requests are to be sent here.
    #[must_use]
    pub fn ready(&self) -> bool {
        health::is_ready(&self.shared)
    }

    /// Waits until the sidecar is ready: keys are fetched in the background.
    pub async fn until_ready(&self) {
        while !self.ready() {
            tokio::time::sleep(READY_POLL).await;
        }
    }

    /// Begins to drain, or watches a drain that began on the admin port.
    #[must_use]
    pub fn drain(&self) -> &Arc<Drain> {
        &self.shared.drain
    }

    /// Drains to the end: answers what is in progress, then closes everything.
    /// See [`crate::drain`] for the phases.
    pub async fn stop(&self) -> Drained {
        let drain = &self.shared.drain;
        drain.begin();
        let (timeout, local) = {
            let listeners = self.listeners.lock().await;
            (self.drain_timeout(), listeners.are_local())
        };
        let latest = Instant::now() + timeout;
        info!(connections = drain.connections(), "draining");
        drain.left(local, latest).await;
        let mut listeners = self.listeners.lock().await;
        listeners.close();
        self.status.closed(&listeners);
        drop(listeners);
        drain.close();
        let drained = timeout_at(latest, drain.drained()).await;
        let ended = if drained.is_ok() {
            Drained::Complete
        } else {
            Drained::TimedOut
        };
        info!(?ended, connections = drain.connections(), "drained");
        self.shared.audit.flush();
        ended
    }

    /// [`Sidecar::apply`] without a word about what fails.
    pub(crate) async fn try_apply(
        &self,
        config: SidecarConfig,
        standing: Standing,
    ) -> Result<(), ApplyError> {
        let mut listeners = self.listeners.lock().await;
        let previous = self.shared.runtime.load_full();
        let surroundings = self.shared.surroundings(self.build);
        let built = Runtime::build(config, &surroundings, previous.as_deref())?;
        let configured = Arc::clone(&built.config);
        let runtime = Arc::new(match standing {
            Standing::Enforced => built,
            Standing::Withdrawn => built.withdrawn(&surroundings)?,
        });
        let wanted = plan(&configured.servers, &self.listen, machine_addresses)?;
        let prepared = tokio::select! {
            biased;
            // The listeners are closing: a new set would open them again.
            () = self.shared.drain.draining() => {
                self.shared.install(runtime);
                return Ok(());
            }
            prepared = listeners.prepare(wanted, self.listen.hold.as_ref()) => prepared?,
        };

        // From here on nothing can fail.
        secure::secure(&self.transport, &runtime, previous.as_deref());
        self.shared.install(Arc::clone(&runtime));
        listeners.install(prepared, &self.transport, &self.shared);
        match standing {
            Standing::Enforced => self.report(&runtime, &listeners),
            Standing::Withdrawn => self.report_withdrawn(&listeners),
        }
        Ok(())
    }

    fn report(&self, runtime: &Runtime, listeners: &Listeners) {
        let (config, metrics) = (&runtime.config, &self.shared.metrics);
        let now = self.shared.clock.unix_seconds();
        metrics.config_reload("accepted");
        metrics.config_info(&config.version);
        metrics.config_loaded_at(now);
        metrics.set_tools(&runtime.policies.tool_names());
        let issuers = config.authentication.issuers.iter();
        metrics.set_issuers(
            &issuers
                .map(|issuer| issuer.issuer.clone())
                .collect::<Vec<_>>(),
        );
        if let Some(not_after_unix) = runtime.certificate_expiry() {
            metrics.certificate_expiry(not_after_unix);
        }
        for warning in &config.warnings {
            warn!(%warning, "configuration");
        }
        info!(
            version = config.version,
            gateway = config.gateway,
            "configuration in force"
        );
        self.status.loaded(now, listeners);
    }

    fn drain_timeout(&self) -> Duration {
        let runtime = self.shared.runtime.load();
        runtime.as_deref().map_or(DRAIN_WITHOUT_CONFIG, |runtime| {
            runtime.config.limits.drain_timeout
        })
    }
}

impl fmt::Debug for Sidecar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sidecar")
            .field("admin", &self.admin.address())
            .field("listeners", &self.listeners())
            .finish_non_exhaustive()
    }
}
