//! What the running sidecar says about itself on the admin port.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::listener::BoundListener;

/// Facts that change with every configuration.
#[derive(Debug, Default)]
pub(crate) struct Status(Mutex<Facts>);

/// The facts at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    /// Unix seconds at which the configuration in force was taken.
    pub(crate) loaded_at: Option<i64>,
    /// Why the latest configuration was refused; none when it is in force.
    pub(crate) last_error: Option<String>,
    pub(crate) listeners: Vec<BoundListener>,
}

// === impl Status ===

impl Status {
    pub(crate) fn facts(&self) -> Facts {
        self.lock().clone()
    }

    pub(crate) fn loaded(&self, at: i64, listeners: Vec<BoundListener>) {
        *self.lock() = Facts {
            loaded_at: Some(at),
            last_error: None,
            listeners,
        };
    }

    pub(crate) fn refused(&self, error: String) {
        self.lock().last_error = Some(error);
    }

    pub(crate) fn confirmed(&self) {
        self.lock().last_error = None;
    }

    pub(crate) fn closed(&self) {
        self.lock().listeners.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Facts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
