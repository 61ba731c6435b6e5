//! What an authorization server was asked.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of requests.
#[derive(Debug, Default)]
pub struct Ledger {
    metadata: AtomicU64,
    jwks: AtomicU64,
    token_requests: AtomicU64,
    tokens_issued: AtomicU64,
}

/// The counts at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests for metadata, under either name.
    pub metadata: u64,
    /// Requests for the key set.
    pub jwks: u64,
    /// Requests for tokens, refused ones included.
    pub token_requests: u64,
    /// Tokens given.
    pub tokens_issued: u64,
}

// === impl Ledger ===

impl Ledger {
    /// The counts now.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            metadata: self.metadata.load(Ordering::SeqCst),
            jwks: self.jwks.load(Ordering::SeqCst),
            token_requests: self.token_requests.load(Ordering::SeqCst),
            tokens_issued: self.tokens_issued.load(Ordering::SeqCst),
        }
    }

    pub(super) fn metadata(&self) {
        self.metadata.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn jwks(&self) {
        self.jwks.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn token_request(&self) {
        self.token_requests.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn token_issued(&self) {
        self.tokens_issued.fetch_add(1, Ordering::SeqCst);
    }
}
