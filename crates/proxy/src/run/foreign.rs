//! Which of the listening sockets in the pod are not the sidecar's.

use std::io;

use sidegate_config::control::ForeignListener;

use super::Sidecar;
use crate::foreign_listeners::{Own, foreign_listeners};

// === impl Sidecar ===

impl Sidecar {
    /// Everybody else who listens where callers from outside can reach it. None
    /// before the first configuration: until then, nobody knows whose the ports
    /// are that are held for the sidecar.
    pub(crate) fn foreign_listeners(&self) -> Option<io::Result<Vec<ForeignListener>>> {
        let runtime = self.shared.runtime.load();
        let config = &runtime.as_ref()?.config;
        let facts = self.status.facts();
        let own = Own {
            addresses: facts.addresses().chain(self.health_addresses()).collect(),
            user_id: rustix::process::geteuid().as_raw(),
            server_ports: config.servers.iter().map(|server| server.port).collect(),
        };
        Some(foreign_listeners(&own))
    }
}
