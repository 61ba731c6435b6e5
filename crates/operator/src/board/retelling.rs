//! How often streams are told that the same content is of newer objects.
//!
//! Each telling is a whole snapshot for every pod of a gateway, and whoever may
//! write an object that it refers to can ask for one by an annotation. The
//! first is told at once, others so far apart, the last one always. Until then
//! a stream goes on with the versions that it had: the content is the same, and
//! a stamp is of the gateway alone. Other content waits for nothing, and who
//! begins to follow a pod gets the newest.

use std::time::Duration;

use tokio::time::Instant;

use super::Board;
use crate::key::Key;
use crate::queue::Ended;

/// How far two tellings of one gateway are apart.
const APART: Duration = Duration::from_secs(1);

/// When the streams of a gateway were told last, and whether they are to be told
/// again.
#[derive(Debug, Default)]
pub(super) struct Retelling {
    last: Option<Instant>,
    waits: bool,
}

// === impl Retelling ===

impl Retelling {
    /// The same content is of something newer.
    pub(super) fn is_due(&mut self, now: Instant) {
        self.waits = self.last.is_some_and(|last| now < last + APART);
        if !self.waits {
            self.last = Some(now);
        }
    }

    /// Everything is told at once, with other content.
    pub(super) fn is_needless(&mut self) {
        self.waits = false;
    }

    /// Until when streams keep the versions that they were told.
    pub(super) fn waits_until(&self) -> Option<Instant> {
        let last = self.last.filter(|_| self.waits)?;
        Some(last + APART)
    }

    /// Says whether there is something to tell.
    pub(super) fn ends(&mut self, now: Instant) -> bool {
        let waited = std::mem::take(&mut self.waits);
        if waited {
            self.last = Some(now);
        }
        waited
    }
}

// === impl Board ===

impl Board {
    /// Tells streams what waits, until it is dropped.
    pub(crate) async fn retell(&self) {
        loop {
            let gateway = self.retellings.next().await.request;
            self.retell_now(&gateway);
            self.retellings.end(&gateway, Ended::Done);
        }
    }

    fn retell_now(&self, gateway: &Key) {
        let mut state = self.lock();
        if !state.programs.end_retelling(gateway) {
            return;
        }
        for pod in state.world.pods_of(gateway) {
            state.refresh(&pod);
        }
    }
}
