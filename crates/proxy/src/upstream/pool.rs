//! Idle connections to the servers of the pod, newest first.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::connection::{Connection, Home};

/// Idle connections kept per server. More than a pod's server is likely to
/// serve at once; above it connections are closed after use.
const MAX_IDLE: usize = 256;

/// How long an idle connection is kept. Shorter than the 5 s after which the
/// HTTP servers of Node.js and uvicorn close theirs, so that a request seldom
/// meets a connection that is being closed.
const MAX_IDLE_TIME: Duration = Duration::from_secs(4);

/// A server in the pod, and the pool of connections to it.
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    pub(crate) port: u16,
    idle: Arc<IdleConnections>,
}

/// Every pool by port. They outlive a reload, so that a new configuration
/// does not open all connections again.
#[derive(Debug, Default)]
pub(crate) struct Pools {
    by_port: Mutex<HashMap<u16, Weak<IdleConnections>>>,
}

/// The idle connections of one server.
#[derive(Debug, Default)]
pub(crate) struct IdleConnections {
    stack: Mutex<Vec<(Instant, Connection)>>,
}

// === impl Pools ===

impl Pools {
    /// The upstream at this port of the pod's loopback.
    pub(crate) fn upstream(&self, port: u16) -> Upstream {
        let mut by_port = self.by_port.lock().unwrap_or_else(PoisonError::into_inner);
        by_port.retain(|_, pool| pool.strong_count() > 0);
        if let Some(idle) = by_port.get(&port).and_then(Weak::upgrade) {
            return Upstream { port, idle };
        }
        let idle = Arc::default();
        by_port.insert(port, Arc::downgrade(&idle));
        Upstream { port, idle }
    }

    /// The connection used last that is still good.
    #[expect(clippy::unused_self, reason = "reads as the pool's act at the call")]
    pub(crate) fn take(&self, upstream: &Upstream) -> Option<Connection> {
        upstream.idle.take()
    }
}

// === impl Upstream ===

impl Upstream {
    /// Where the server may listen, in the order in which it is tried.
    pub(crate) fn addresses(&self) -> [SocketAddr; 2] {
        [
            SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), self.port),
            SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), self.port),
        ]
    }

    /// Where its connections go after use.
    pub(crate) fn home(&self) -> Arc<dyn Home> {
        Arc::clone(&self.idle) as Arc<dyn Home>
    }
}

// === impl IdleConnections ===

impl IdleConnections {
    fn take(&self) -> Option<Connection> {
        let mut stack = self.stack.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((since, connection)) = stack.pop() {
            if since.elapsed() < MAX_IDLE_TIME && connection.is_open() {
                return Some(connection);
            }
        }
        None
    }
}

impl Home for IdleConnections {
    fn put(&self, connection: Connection) {
        let now = Instant::now();
        let mut stack = self.stack.lock().unwrap_or_else(PoisonError::into_inner);
        if stack
            .first()
            .is_some_and(|(since, _)| now.duration_since(*since) >= MAX_IDLE_TIME)
        {
            stack.retain(|(since, _)| now.duration_since(*since) < MAX_IDLE_TIME);
        }
        if stack.len() < MAX_IDLE {
            stack.push((now, connection));
        }
    }
}
