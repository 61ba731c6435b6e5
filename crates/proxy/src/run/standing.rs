//! What the control plane changes beside configurations: that there is nothing
//! to enforce any more, and the certificate of the built-in authority.

use std::sync::Arc;

use sidegate_config::sidecar_config::TlsConfig;
use sidegate_telemetry::metrics::Metrics;
use sidegate_tls::InvalidTls;
use tracing::{error, warn};

use super::status::{Connection, Source};
use super::{Sidecar, secure};
use crate::identity::IssuedIdentity;
use crate::listener::Listeners;

/// Whether a configuration is enforced, or only keeps its ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Requests are decided.
    Enforced,
    /// Its gateway is gone: every request is refused.
    Withdrawn,
}

// === impl Sidecar ===

impl Sidecar {
    /// Refuses every request from now on, because there is nothing to enforce
    /// any more. The listeners stay: whoever took the port next would be called
    /// in place of the server. Not ready until the next [`Sidecar::apply`].
    pub async fn withdraw(&self) {
        let listeners = self.listeners.lock().await;
        let Some(previous) = self.shared.runtime.load_full() else {
            return;
        };
        match previous.withdrawn(&self.shared.surroundings(self.build)) {
            Ok(nothing) => {
                let nothing = Arc::new(nothing);
                secure::secure(&self.transport, &nothing, Some(&previous));
                self.shared.install(nothing);
            }
            Err(error) => {
                error!(%error, "nothing is in force any more");
                self.shared.clear();
            }
        }
        self.report_withdrawn(&listeners);
    }

    /// Puts what the built-in authority gave in force. Connections stay, unless
    /// somebody is not trusted any more.
    ///
    /// # Errors
    /// [`InvalidTls`] when it cannot be used any more; then nothing changes.
    pub async fn use_identity(&self, identity: IssuedIdentity) -> Result<(), InvalidTls> {
        // One change at a time.
        let _listeners = self.listeners.lock().await;
        let identity = Arc::new(identity);
        let runtime = self.shared.runtime.load_full();
        let serving = match runtime.as_deref() {
            Some(runtime) => match runtime.config.tls {
                TlsConfig::BuiltIn { mutual } => {
                    Some((runtime, mutual, identity.server_tls(mutual)?))
                }
                TlsConfig::Plaintext | TlsConfig::Server { .. } | TlsConfig::Mutual { .. } => None,
            },
            None => None,
        };
        let before = self.shared.identity.swap(Some(Arc::clone(&identity)));
        if let Some((runtime, mutual, tls)) = serving {
            let same_peers =
                !mutual || before.is_some_and(|before| identity.trusts_all_of(&before));
            self.shared.metrics.certificate_expiry(tls.not_after_unix());
            runtime.replace_tls(tls.clone());
            secure::put(&self.transport, Some(tls), same_peers);
        }
        Ok(())
    }

    /// What the built-in authority gave, as long as it is valid.
    #[must_use]
    pub fn identity(&self) -> Option<Arc<IssuedIdentity>> {
        let now = self.shared.clock.unix_seconds();
        let identity = self.shared.identity.load_full();
        identity.filter(|identity| !identity.has_expired(now))
    }

    /// Notes that the newest configuration is in force already.
    pub(crate) fn confirmed(&self) {
        self.status.confirmed();
    }

    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.shared.metrics
    }

    /// Notes where configurations come from.
    pub(crate) fn follows_control_plane(&self, url: String) {
        let connection = Connection {
            url,
            ..Connection::default()
        };
        self.status.follows(Source::ControlPlane(connection));
    }

    /// Changes what is said about the control plane.
    pub(crate) fn connection(&self, change: impl FnOnce(&mut Connection)) {
        self.status.connection(change);
    }

    pub(super) fn report_withdrawn(&self, listeners: &Listeners) {
        let now = self.shared.clock.unix_seconds();
        let metrics = &self.shared.metrics;
        metrics.no_config();
        metrics.set_tools(&[]);
        metrics.set_issuers(&[]);
        warn!("the gateway is gone: every request is refused");
        self.status.loaded(now, listeners);
    }
}
