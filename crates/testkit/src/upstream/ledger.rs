//! What reached a server.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::request::SeenRequest;

#[derive(Debug, Default)]
pub(super) struct Ledger {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    requests: Vec<SeenRequest>,
    bytes: Vec<u8>,
    connections: usize,
    closed: usize,
}

// === impl Ledger ===

impl Ledger {
    pub(super) fn requests(&self) -> Vec<SeenRequest> {
        self.state().requests.clone()
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.state().bytes.clone()
    }

    pub(super) fn connections(&self) -> usize {
        self.state().connections
    }

    pub(super) fn closed(&self) -> usize {
        self.state().closed
    }

    pub(super) fn clear(&self) {
        *self.state() = State::default();
    }

    pub(super) fn opened(&self) {
        self.state().connections += 1;
    }

    pub(super) fn ended(&self) {
        self.state().closed += 1;
    }

    pub(super) fn received(&self, bytes: &[u8]) {
        self.state().bytes.extend_from_slice(bytes);
    }

    pub(super) fn request(&self, request: SeenRequest) {
        self.state().requests.push(request);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
