//! An MCP server that answers as a test tells it, byte by byte.
//!
//! It uses no HTTP library, so that it can break every rule, and notes every
//! byte that reaches it.

mod gate;
mod ledger;
mod reply;
mod request;
mod serve;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

pub use self::gate::Gate;
use self::ledger::Ledger;
pub use self::reply::Reply;
pub use self::request::SeenRequest;
use crate::poll::until;

type Script = Arc<dyn Fn(&SeenRequest) -> Reply + Send + Sync>;

/// A server that answers until it is dropped.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    ledger: Arc<Ledger>,
    task: JoinHandle<()>,
}

// === impl Upstream ===

impl Upstream {
    /// Starts a server on a port of 127.0.0.1 that `script` answers for.
    ///
    /// # Panics
    /// There is no port.
    pub async fn start(script: impl Fn(&SeenRequest) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_at(0, script).await
    }

    /// The same on a given port.
    ///
    /// # Panics
    /// The port is in use.
    pub async fn start_at(
        port: u16,
        script: impl Fn(&SeenRequest) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port))
            .await
            .expect("a port");
        let address = listener.local_addr().expect("an address");
        let ledger: Arc<Ledger> = Arc::default();
        let task = tokio::spawn(accept(listener, Arc::clone(&ledger), Arc::new(script)));
        Self {
            address,
            ledger,
            task,
        }
    }

    /// A server that answers every request with an empty result.
    pub async fn obliging() -> Self {
        Self::start(|request| Reply::result(request, serde_json::json!({}))).await
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Every request that came in whole.
    #[must_use]
    pub fn requests(&self) -> Vec<SeenRequest> {
        self.ledger.requests()
    }

    /// The only request.
    ///
    /// # Panics
    /// There are none or several.
    #[must_use]
    #[track_caller]
    pub fn request(&self) -> SeenRequest {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "requests: {requests:?}");
        requests.remove(0)
    }

    /// How many connections were opened.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.ledger.connections()
    }

    /// How many connections ended.
    #[must_use]
    pub fn closed_connections(&self) -> usize {
        self.ledger.closed()
    }

    /// How many bytes came in.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.ledger.bytes().len()
    }

    /// Every byte that came in, of all connections in order.
    #[must_use]
    pub fn everything(&self) -> Vec<u8> {
        self.ledger.bytes()
    }

    /// Forgets what came in so far.
    pub fn forget(&self) {
        self.ledger.clear();
    }

    /// Waits until this many requests came in.
    ///
    /// # Panics
    /// They do not come.
    pub async fn until_requests(&self, count: usize) {
        let what = format!("{count} requests reach the server");
        until(&what, || (self.requests().len() >= count).then_some(())).await;
    }

    /// Waits until this many connections ended.
    ///
    /// # Panics
    /// They do not end.
    pub async fn until_closed(&self, count: usize) {
        let what = format!("{count} connections to the server end");
        until(&what, || (self.closed_connections() >= count).then_some(())).await;
    }

    /// Checks that not one byte came in, even after a moment.
    ///
    /// # Panics
    /// Something did; it is shown.
    #[track_caller]
    pub fn assert_untouched(&self) {
        let bytes = self.ledger.bytes();
        assert!(
            bytes.is_empty(),
            "the server was reached over {} connections: {}",
            self.connections(),
            String::from_utf8_lossy(&bytes)
        );
    }

    /// Checks that nothing comes in for a moment, for what could be late.
    ///
    /// # Panics
    /// Something does.
    pub async fn assert_stays_untouched(&self, moment: Duration) {
        tokio::time::sleep(moment).await;
        self.assert_untouched();
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, ledger: Arc<Ledger>, script: Script) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                ledger.opened();
                let (ledger, script) = (Arc::clone(&ledger), Arc::clone(&script));
                connections.spawn(async move {
                    serve::serve(stream, &ledger, &script).await;
                    ledger.ended();
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

#[cfg(test)]
mod tests;
