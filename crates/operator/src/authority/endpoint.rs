//! The certificate that an endpoint of the operator shows.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sidegate_policy::clock::Clock;
use sidegate_tls::{
    InvalidTls, ServerMaterial, ServerTls, TlsAcceptor, TlsMode, server_config_with, validity,
};
use thiserror::Error;
use tokio::time::sleep;
use tracing::{info, warn};

use super::{SignError, Trust, TrustReceiver};
use crate::chain::Chain;

/// How long it waits when it has no certificate and gets none.
const RETRY: Duration = Duration::from_secs(1);
/// How long a certificate is kept that could not be renewed in time.
const RETRY_RENEWAL_SECONDS: i64 = 60;

/// Whom an endpoint asks for a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clients {
    /// Nobody.
    Nobody,
    /// Everybody; one that is shown must be of a workload.
    Workloads,
}

/// Accepts connections to an endpoint of the operator, always with a current
/// certificate: a new one after each change of trust, and after two thirds of
/// the life of the one before.
pub(crate) struct Endpoint {
    /// For logs.
    name: &'static str,
    trust: TrustReceiver,
    clock: Arc<dyn Clock>,
    clients: Clients,
    alpn: &'static [&'static [u8]],
    shown: Option<Shown>,
    certificates: u64,
}

/// What is shown, and until when.
struct Shown {
    acceptor: Arc<TlsAcceptor>,
    of: Arc<Trust>,
    renew_unix: i64,
    not_after_unix: i64,
}

/// Why there is no new certificate.
#[derive(Debug, Error)]
enum RenewError {
    #[error(transparent)]
    Sign(#[from] SignError),
    #[error("the certificate cannot be used")]
    Tls(#[from] InvalidTls),
}

// === impl Endpoint ===

impl Endpoint {
    pub(crate) fn new(
        name: &'static str,
        trust: TrustReceiver,
        clock: Arc<dyn Clock>,
        clients: Clients,
        alpn: &'static [&'static [u8]],
    ) -> Self {
        Self {
            name,
            trust,
            clock,
            clients,
            alpn,
            shown: None,
            certificates: 0,
        }
    }

    /// The acceptor for the next handshake. It waits until there is a
    /// certificate; afterwards it costs two comparisons while nothing changed.
    pub(crate) async fn acceptor(&mut self) -> Arc<TlsAcceptor> {
        loop {
            let trust = self.trust.borrow().clone();
            if let Some(trust) = trust
                && let Some(acceptor) = self.current(trust)
            {
                return acceptor;
            }
            tokio::select! {
                changed = self.trust.changed() => if changed.is_err() {
                    // Nobody will tell; the operator is about to end.
                    sleep(RETRY).await;
                },
                () = sleep(RETRY) => {}
            }
        }
    }

    /// When the certificate that is shown expires; none while there is none.
    pub(crate) fn not_after_unix(&self) -> Option<i64> {
        self.shown.as_ref().map(|shown| shown.not_after_unix)
    }

    /// One that could not be renewed stays in use: perhaps it is still good.
    fn current(&mut self, trust: Arc<Trust>) -> Option<Arc<TlsAcceptor>> {
        let now = self.clock.unix_seconds();
        if let Some(shown) = &self.shown
            && Arc::ptr_eq(&shown.of, &trust)
            && now < shown.renew_unix
        {
            return Some(Arc::clone(&shown.acceptor));
        }
        match self.renewed(&trust, now) {
            Ok((tls, renew_unix)) => Some(self.show(tls, trust, renew_unix)),
            Err(error) => {
                warn!(
                    endpoint = self.name, error = %Chain(&error),
                    "there is no new certificate; it is tried again"
                );
                let shown = self.shown.as_mut()?;
                shown.of = trust;
                shown.renew_unix = now.saturating_add(RETRY_RENEWAL_SECONDS);
                Some(Arc::clone(&shown.acceptor))
            }
        }
    }

    fn renewed(&self, trust: &Trust, now: i64) -> Result<(ServerTls, i64), RenewError> {
        let mut material: ServerMaterial = trust.issue_endpoint(now)?;
        let mode = match self.clients {
            Clients::Nobody => TlsMode::Server,
            Clients::Workloads => {
                material.client_ca_pem = Some(trust.workload_roots_pem().into());
                TlsMode::Optional
            }
        };
        let pem = String::from_utf8_lossy(&material.certificate_pem);
        let left = validity(&pem)?.not_after_unix.saturating_sub(now);
        let renew_unix = now.saturating_add(left / 3 * 2);
        let tls = server_config_with(mode, &material, self.alpn)?;
        Ok((tls, renew_unix))
    }

    /// How many certificates it has shown.
    #[cfg(test)]
    pub(super) fn certificates(&self) -> u64 {
        self.certificates
    }

    /// Connections that are in progress keep what they began with.
    fn show(&mut self, tls: ServerTls, of: Arc<Trust>, renew_unix: i64) -> Arc<TlsAcceptor> {
        let not_after_unix = tls.not_after_unix();
        self.certificates += 1;
        let (endpoint, number) = (self.name, self.certificates);
        info!(endpoint, number, "a new certificate is shown");
        let acceptor = match self.shown.take() {
            Some(shown) => {
                shown.acceptor.replace(tls);
                shown.acceptor
            }
            None => Arc::new(TlsAcceptor::new(tls)),
        };
        self.shown = Some(Shown {
            acceptor: Arc::clone(&acceptor),
            of,
            renew_unix,
            not_after_unix,
        });
        acceptor
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("name", &self.name)
            .field("clients", &self.clients)
            .finish_non_exhaustive()
    }
}
