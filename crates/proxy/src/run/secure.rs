//! How a change of configuration or certificate reaches the connections.

use std::sync::Arc;

use arc_swap::ArcSwap;
use sidegate_config::sidecar_config::TlsConfig;
use sidegate_tls::{ServerTls, TlsAcceptor};

use crate::connection::transport::Transport;
use crate::runtime::Runtime;

/// Secures connections that are accepted from now on as `runtime` says.
pub(super) fn secure(
    transport: &ArcSwap<Transport>,
    runtime: &Runtime,
    previous: Option<&Runtime>,
) {
    let now = &runtime.config.tls;
    let before = previous.map(|previous| &previous.config.tls);
    if before == Some(now) {
        return;
    }
    let same_peers = before.is_some_and(|before| admits_the_same(before, now));
    put(transport, runtime.tls(), same_peers);
}

/// Replaces TLS. Connections live on when whoever opened them is let in now,
/// too.
pub(super) fn put(transport: &ArcSwap<Transport>, tls: Option<ServerTls>, same_peers: bool) {
    let current = transport.load();
    match (tls, &current.tls) {
        (Some(tls), Some(acceptor)) if same_peers => acceptor.replace(tls),
        (tls, _) => {
            let next: Arc<Transport> = Transport::new(tls.map(TlsAcceptor::new));
            transport.swap(next).retire();
        }
    }
}

/// Whether two TLS settings let the same peers in, so that a connection of the
/// one may live on under the other. A new certificate of ours does not matter.
fn admits_the_same(before: &TlsConfig, now: &TlsConfig) -> bool {
    match (before, now) {
        (
            TlsConfig::Mutual {
                client_ca_pem: before,
                ..
            },
            TlsConfig::Mutual {
                client_ca_pem: now, ..
            },
        ) => before == now,
        (TlsConfig::BuiltIn { mutual: before }, TlsConfig::BuiltIn { mutual: now }) => {
            before == now
        }
        (TlsConfig::Server { .. }, TlsConfig::Server { .. })
        | (TlsConfig::Plaintext, TlsConfig::Plaintext) => true,
        (
            TlsConfig::Mutual { .. }
            | TlsConfig::Server { .. }
            | TlsConfig::BuiltIn { .. }
            | TlsConfig::Plaintext,
            _,
        ) => false,
    }
}
