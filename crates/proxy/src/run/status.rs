//! What the running sidecar says about itself on the admin port.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::listener::BoundListener;

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

    pub(crate) fn loaded(&self, at: i64, listeners: Vec<BoundListener>) {
        *lock(&self.facts) = Facts {
            loaded_at: Some(at),
            last_error: None,
            listeners,
        };
    }

    pub(crate) fn refused(&self, error: String) {
        lock(&self.facts).last_error = Some(error);
    }

    pub(crate) fn confirmed(&self) {
        lock(&self.facts).last_error = None;
    }

    pub(crate) fn closed(&self) {
        lock(&self.facts).listeners.clear();
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

fn lock<T>(facts: &Mutex<T>) -> MutexGuard<'_, T> {
    facts.lock().unwrap_or_else(PoisonError::into_inner)
}
