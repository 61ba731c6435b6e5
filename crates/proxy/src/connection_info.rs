//! What is known of a connection before its first request.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use sidegate_authn::TokenMemo;
use sidegate_policy::principal::{Claims, PeerIdentity, Principal};

use crate::framing::FramingFault;

/// One connection, as its requests see it.
#[derive(Debug)]
pub struct ConnectionInfo {
    /// The name of the listener, which is the server's.
    pub listener: Arc<str>,
    /// The peer's address.
    pub remote: SocketAddr,
    /// Who the peer's certificate says it is; always there in mode Mutual.
    pub peer: Option<PeerIdentity>,
    /// The verdict on the framing of the connection's messages.
    pub framing: Arc<FramingFault>,
    remote_text: OnceLock<Box<str>>,
    latest: Mutex<Option<Known>>,
    /// The token of the latest request.
    pub(crate) token: TokenMemo,
}

/// The principal of the latest request. Callers send the same token many
/// times, and the verified claims of one token are one value.
#[derive(Debug)]
struct Known {
    claims: Option<Arc<Claims>>,
    principal: Arc<Principal>,
}

impl ConnectionInfo {
    pub(crate) fn new(
        listener: Arc<str>,
        remote: SocketAddr,
        peer: Option<PeerIdentity>,
        framing: Arc<FramingFault>,
    ) -> Self {
        let (remote_text, latest, token) =
            (OnceLock::new(), Mutex::new(None), TokenMemo::default());
        Self {
            listener,
            remote,
            peer,
            framing,
            remote_text,
            latest,
            token,
        }
    }

    /// The peer's IP address for audit lines; its port changes with every
    /// connection and would hide that one peer calls.
    pub(crate) fn remote_text(&self) -> &str {
        self.remote_text.get_or_init(|| {
            let address: IpAddr = self.remote.ip().to_canonical();
            address.to_string().into()
        })
    }

    /// The principal of this connection's peer with these verified claims.
    /// None when there is neither.
    pub(crate) fn principal(&self, claims: Option<Arc<Claims>>) -> Option<Arc<Principal>> {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = latest.as_ref().filter(|known| known.is_of(claims.as_ref())) {
            return Some(Arc::clone(&known.principal));
        }
        let principal = Arc::new(Principal::verified(self.peer.clone(), claims.clone())?);
        *latest = Some(Known {
            claims,
            principal: Arc::clone(&principal),
        });
        Some(principal)
    }
}

// === impl Known ===

impl Known {
    /// Compared by identity: two tokens never share a value.
    fn is_of(&self, claims: Option<&Arc<Claims>>) -> bool {
        match (&self.claims, claims) {
            (Some(known), Some(claims)) => Arc::ptr_eq(known, claims),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
}
