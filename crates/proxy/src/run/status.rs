//! What the running sidecar says about itself on the admin port.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::listener::{BoundListener, Listeners};

/// Facts that change with every configuration.
#[derive(Debug, Default)]
pub(crate) struct Status {
    facts: Mutex<Facts>,
    source: Mutex<Option<Source>>,
}

/// The facts at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    /// Unix seconds at which the configuration in force was taken.
    pub(crate) loaded_at: Option<i64>,
    /// Why the latest configuration was refused; none when it is in force.
    pub(crate) last_error: Option<String>,
    pub(crate) listeners: Vec<BoundListener>,
    /// Where connections are reset: held ports that nothing is served on.
    pub(crate) turned_away: Vec<SocketAddr>,
}

/// Where configurations come from.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub(crate) enum Source {
    Files { directory: PathBuf },
    ControlPlane(Connection),
}

/// How it goes with the control plane.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Connection {
    pub(crate) url: String,
    pub(crate) connected: bool,
    /// Unix seconds at which it last said anything.
    pub(crate) last_heard: Option<i64>,
    /// Why there is no connection.
    pub(crate) last_error: Option<String>,
    /// The snapshot in force, in the order of all snapshots.
    pub(crate) snapshot: Option<String>,
    /// What has not been put in force yet, and why.
    pub(crate) waiting: Option<String>,
}

// === impl Status ===

impl Status {
    pub(crate) fn facts(&self) -> Facts {
        lock(&self.facts).clone()
    }

    pub(crate) fn loaded(&self, at: i64, listeners: &Listeners) {
        *lock(&self.facts) = Facts {
            loaded_at: Some(at),
            last_error: None,
            listeners: listeners.bound(),
            turned_away: listeners.turned_away(),
        };
    }

    pub(crate) fn refused(&self, error: String) {
        lock(&self.facts).last_error = Some(error);
    }

    pub(crate) fn confirmed(&self) {
        lock(&self.facts).last_error = None;
    }

    pub(crate) fn closed(&self, listeners: &Listeners) {
        let mut facts = lock(&self.facts);
        facts.listeners.clear();
        facts.turned_away = listeners.turned_away();
    }

    /// None: whoever runs the sidecar gives it configurations.
    pub(crate) fn source(&self) -> Option<Source> {
        lock(&self.source).clone()
    }

    pub(crate) fn follows(&self, source: Source) {
        *lock(&self.source) = Some(source);
    }

    /// Changes what is said about the control plane.
    pub(crate) fn connection(&self, change: impl FnOnce(&mut Connection)) {
        if let Some(Source::ControlPlane(connection)) = &mut *lock(&self.source) {
            change(connection);
        }
    }
}

// === impl Facts ===

impl Facts {
    /// Every address that is the sidecar's, whether anything is served there.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        let serving = self.listeners.iter().map(|listener| listener.address);
        serving.chain(self.turned_away.iter().copied())
    }
}

fn lock<T>(facts: &Mutex<T>) -> MutexGuard<'_, T> {
    facts.lock().unwrap_or_else(PoisonError::into_inner)
}
