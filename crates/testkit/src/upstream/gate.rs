//! Lets a test decide when a server goes on.

use tokio::sync::watch;

/// Closed until it is opened, for everyone who waits at it.
#[derive(Debug, Clone)]
pub struct Gate(watch::Sender<bool>);

impl Default for Gate {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

// === impl Gate ===

impl Gate {
    /// Opens it for good.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    pub(super) async fn passed(&self) {
        // It fails only when the gate is gone; this holds it.
        let _ = self.0.subscribe().wait_for(|open| *open).await;
    }
}
