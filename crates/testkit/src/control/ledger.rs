//! What sidecars said.

use std::sync::Mutex;

use sidegate_config::control::FromSidecar;

use super::lock;

/// One connection, as the operator saw it.
#[derive(Debug, Clone, Default)]
pub struct SeenStream {
    /// The certificate that was shown.
    pub certificate: Option<Vec<u8>>,
    /// Every message, the greeting first.
    pub said: Vec<FromSidecar>,
    /// Whether the sidecar ended it in good order; none while it stands, or
    /// when it broke.
    pub closed: bool,
}

/// Every connection.
#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<Vec<SeenStream>>);

/// The place of one connection in the ledger.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place(usize);

// === impl Ledger ===

impl Ledger {
    pub(super) fn streams(&self) -> Vec<SeenStream> {
        lock(&self.0).clone()
    }

    pub(super) fn opened(&self, certificate: Option<Vec<u8>>) -> Place {
        let mut streams = lock(&self.0);
        streams.push(SeenStream {
            certificate,
            ..SeenStream::default()
        });
        Place(streams.len() - 1)
    }

    pub(super) fn said(&self, place: Place, message: FromSidecar) {
        lock(&self.0)[place.0].said.push(message);
    }

    pub(super) fn closed(&self, place: Place) {
        lock(&self.0)[place.0].closed = true;
    }
}
