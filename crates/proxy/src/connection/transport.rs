//! How the listeners secure connections: replaced as a whole by a reload.

use std::fmt;
use std::sync::Arc;

use sidegate_tls::TlsAcceptor;
use tokio::sync::watch;

/// TLS or plaintext, for connections that are accepted from now on.
pub(crate) struct Transport {
    /// None in mode Plaintext.
    pub(crate) tls: Option<Arc<TlsAcceptor>>,
    retired: watch::Sender<bool>,
}

impl Transport {
    pub(crate) fn new(tls: Option<TlsAcceptor>) -> Arc<Self> {
        Arc::new(Self {
            tls: tls.map(Arc::new),
            retired: watch::Sender::new(false),
        })
    }

    /// Has the connections of this transport close when their requests are
    /// done: whom it let in may not be let in by the next one.
    pub(crate) fn retire(&self) {
        self.retired.send_replace(true);
    }

    pub(crate) fn is_retired(&self) -> bool {
        *self.retired.borrow()
    }

    /// Resolves when the transport was retired.
    pub(crate) async fn retired(&self) {
        // It fails only without a sender, and the sender lives in `self`.
        let _ = self.retired.subscribe().wait_for(|retired| *retired).await;
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("tls", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}
