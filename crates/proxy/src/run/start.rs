//! What a sidecar begins with: its options and its service ports.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use sidegate_config::probes::RewrittenProbes;
use sidegate_policy::clock::Clock;
use sidegate_telemetry::audit::AuditLog;
use sidegate_telemetry::logging::LogHandle;
use sidegate_telemetry::metrics::Metrics;
use tokio::sync::Mutex;
use tracing::info;

use super::Sidecar;
use super::service_port::{Answering, ServicePort};
use super::status::Status;
use crate::admin::Admin;
use crate::connection::transport::Transport;
use crate::drain::Drain;
use crate::health::{self, AppHealth};
use crate::listener::{ListenError, ListenOptions};
use crate::runtime::BuildOptions;
use crate::shared::Shared;
use crate::sockets::machine_addresses;

/// The port of `/healthz`, `/readyz` and `/metrics` unless told otherwise.
pub const HEALTH_PORT: u16 = 15021;

/// What a sidecar needs to know beside its configuration.
pub struct RunOptions {
    /// Where the traffic listeners are.
    pub listen: ListenOptions,
    /// The admin port; loopback.
    pub admin: SocketAddr,
    /// The health port; none: [`HEALTH_PORT`] on the addresses of the traffic
    /// listeners.
    pub health: Option<SocketAddr>,
    /// Probes of the other containers, which the health port answers.
    pub probes: RewrittenProbes,
    /// What differs between the desk and a pod.
    pub build: BuildOptions,
    /// The clock of every check.
    pub clock: Arc<dyn Clock>,
    /// The metric registry.
    pub metrics: Arc<Metrics>,
    /// Where decisions are written.
    pub audit: Arc<AuditLog>,
    /// The log, if its level can be changed.
    pub log: Option<LogHandle>,
}

impl fmt::Debug for RunOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunOptions")
            .field("listen", &self.listen)
            .finish_non_exhaustive()
    }
}

/// Why a sidecar cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A service port cannot be bound.
    #[error("cannot listen on {address} ({port} port): {source}")]
    ServicePort {
        /// Which of the two.
        port: &'static str,
        /// Its address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// There is no address to listen on.
    #[error(transparent)]
    Listen(#[from] ListenError),
}

// === impl Sidecar ===

impl Sidecar {
    /// Opens the service ports. The sidecar is not ready, and listens for no
    /// traffic, until the first [`Sidecar::apply`].
    ///
    /// # Errors
    /// [`StartError`] names the port that cannot be opened.
    pub async fn start(options: RunOptions) -> Result<Self, StartError> {
        let RunOptions {
            listen,
            admin,
            health,
            probes,
            build,
            clock,
            metrics,
            audit,
            log,
        } = options;
        let shared = Shared::new(metrics, audit, clock, Drain::new());
        let status = Arc::new(Status::default());
        let on_admin = Admin {
            shared: Arc::clone(&shared),
            status: Arc::clone(&status),
            log,
        }
        .answering();
        let admin = open("admin", admin, on_admin).await?;
        let app_health = Arc::new(AppHealth::new(&probes));
        let mut health_ports = Vec::new();
        for address in health_addresses(health, &listen)? {
            let on_health = health::answering(Arc::clone(&shared), Arc::clone(&app_health));
            health_ports.push(open("health", address, on_health).await?);
        }
        Ok(Self {
            shared,
            status,
            transport: Arc::new(ArcSwap::new(Transport::new(None))),
            listen,
            build,
            listeners: Mutex::default(),
            admin,
            health: health_ports,
        })
    }
}

pub(crate) async fn open(
    port: &'static str,
    address: SocketAddr,
    answering: Answering,
) -> Result<ServicePort, StartError> {
    let opened = ServicePort::start(address, answering)
        .await
        .map_err(|source| StartError::ServicePort {
            port,
            address,
            source,
        })?;
    // The only place that says which port the system chose for port 0.
    info!(port, address = %opened.address(), "service port open");
    Ok(opened)
}

pub(crate) fn health_addresses(
    health: Option<SocketAddr>,
    listen: &ListenOptions,
) -> Result<Vec<SocketAddr>, ListenError> {
    let addresses: Vec<IpAddr> = match (health, listen.bind) {
        (Some(health), _) => return Ok(vec![health]),
        (None, Some(bind)) => vec![bind],
        (None, None) => machine_addresses()?,
    };
    Ok(addresses
        .into_iter()
        .map(|address| SocketAddr::new(address, HEALTH_PORT))
        .collect())
}
