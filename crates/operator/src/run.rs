//! The operator as a whole: watches, election, workers, health port.

mod leading;
mod parts;
mod serving;

use std::hash::{BuildHasher as _, Hasher as _};
use std::io;
use std::net::SocketAddr;

use kube::Client;
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{error, info};

use self::parts::Parts;
use crate::authority::AuthoritySettings;
use crate::health::{self, HEALTH_PORT};
use crate::injector::InjectorSettings;
use crate::leader::LeaseSettings;
use crate::outage;
use crate::streams;
use crate::webhook::WEBHOOK_PORT;

/// What an operator is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The one namespace whose objects are served; all when there is none.
    pub namespace: Option<String>,
    /// The Lease that decides who leads; without one, this replica does.
    pub lease: Option<LeaseSettings>,
    /// The name of this replica, for events.
    pub identity: String,
    /// The address of the health port; port 8081 of every address when there
    /// is none.
    pub health: Option<SocketAddr>,
    /// The SPIFFE trust domain of service accounts in rules, and of sidecars.
    pub trust_domain: String,
    /// The operator's own namespace, with the Secret of its authority.
    pub own_namespace: String,
    /// The operator's certificate authority.
    pub authority: AuthoritySettings,
    /// The domain of the cluster's Services.
    pub cluster_domain: String,
    /// Hosts of `resources` that certificates may carry: names, or `*.suffix`.
    pub certificate_hosts: Vec<String>,
    /// The address of the config stream; port 9443 of every address when there
    /// is none.
    pub control_plane: Option<SocketAddr>,
    /// The address of the webhook; port 9444 of every address when there is
    /// none.
    pub webhook: Option<SocketAddr>,
    /// What sidecars are injected.
    pub injector: InjectorSettings,
}

/// Why an operator does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The health port cannot be bound.
    #[error("the health port cannot be opened: {0}")]
    Health(#[source] io::Error),
    /// The port of the config stream cannot be bound.
    #[error("the port of the config stream cannot be opened: {0}")]
    ControlPlane(#[source] io::Error),
    /// The port of the webhook cannot be bound.
    #[error("the port of the webhook cannot be opened: {0}")]
    Webhook(#[source] io::Error),
}

/// A part of the operator ended that never should. Only a new process helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a part of the operator broke; its log says why")]
pub struct Broken;

/// A running operator. Dropping it stops it at once, without giving the Lease
/// up.
#[derive(Debug)]
pub struct Operator {
    health: SocketAddr,
    control_plane: SocketAddr,
    webhook: SocketAddr,
    leading: watch::Receiver<bool>,
    stopping: watch::Sender<bool>,
    running: JoinHandle<Result<(), Broken>>,
}

/// A name that no other replica has: that of the pod and a random number, so
/// that a pod's successor of the same name is another one.
#[must_use]
pub fn unique_identity(name: &str) -> String {
    let random = std::hash::RandomState::new().build_hasher().finish();
    format!("{name}_{random:016x}")
}

// === impl Operator ===

impl Operator {
    /// Starts an operator. It is ready once its watches know everything, which
    /// the health port tells.
    ///
    /// # Errors
    /// A port cannot be bound.
    pub async fn start(client: Client, settings: Settings) -> Result<Self, StartError> {
        let listener = health::bind(settings.health, HEALTH_PORT)
            .await
            .map_err(StartError::Health)?;
        let health = listener.local_addr().map_err(StartError::Health)?;
        info!(port = "health", address = %health, "service port open");
        let streams = streams::bind(settings.control_plane).map_err(StartError::ControlPlane)?;
        let control_plane = streams.local_addr().map_err(StartError::ControlPlane)?;
        info!(port = "streams", address = %control_plane, "service port open");
        let reviews = health::bind(settings.webhook, WEBHOOK_PORT)
            .await
            .map_err(StartError::Webhook)?;
        let webhook = reviews.local_addr().map_err(StartError::Webhook)?;
        info!(port = "webhook", address = %webhook, "service port open");
        let (stopping_tx, stopping) = watch::channel(false);
        let parts = Parts::new(outage::patient(client), settings, stopping);
        let leading = parts.leading.clone();
        let tasks = parts.start(listener);
        let election = parts.elect();
        let serving = parts.serve(streams, reviews);
        let running = tokio::spawn(async move { parts.run(tasks, serving, election).await });
        Ok(Self {
            health,
            control_plane,
            webhook,
            leading,
            stopping: stopping_tx,
            running,
        })
    }

    /// The address of its health port.
    #[must_use]
    pub fn health(&self) -> SocketAddr {
        self.health
    }

    /// The address of its config stream.
    #[must_use]
    pub fn control_plane(&self) -> SocketAddr {
        self.control_plane
    }

    /// The address of its webhook.
    #[must_use]
    pub fn webhook(&self) -> SocketAddr {
        self.webhook
    }

    /// Whether it leads.
    #[must_use]
    pub fn leads(&self) -> bool {
        *self.leading.borrow()
    }

    /// Waits until something in it breaks, which should never happen.
    pub async fn broken(&mut self) -> Broken {
        // Nobody asked it to stop, so it ended by itself.
        let _ended = (&mut self.running).await;
        Broken
    }

    /// Stops it: no more writes, then the Lease is given up.
    ///
    /// # Errors
    /// It was broken.
    pub async fn stop(mut self) -> Result<(), Broken> {
        self.stopping.send_replace(true);
        match (&mut self.running).await {
            Ok(ended) => ended,
            Err(error) => {
                error!(%error, "the operator broke");
                Err(Broken)
            }
        }
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.running.abort();
    }
}
