//! When a stream has to say something, and when it has waited long enough.

use std::time::Duration;

use sidegate_config::control::HEARTBEAT_SECONDS;
use tokio::time::Instant;

use crate::streams::rate::{Bucket, Rate, TooOften};

const HEARTBEAT: Duration = Duration::from_secs(HEARTBEAT_SECONDS);
/// Silence of the sidecar, and a write that does not proceed.
const PATIENCE: Duration = Duration::from_secs(3 * HEARTBEAT_SECONDS);
/// What a sidecar may say; more is read later.
const MESSAGES: Rate = Rate {
    burst: 50,
    every: Duration::from_millis(100),
};

/// The times of one stream.
#[derive(Debug)]
pub(super) struct Pace {
    began: Instant,
    heard: Instant,
    wrote: Instant,
    messages: Bucket,
    reads_from: Instant,
}

// === impl Pace ===

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            began: now,
            heard: now,
            wrote: now,
            messages: Bucket::default(),
            reads_from: now,
        }
    }

    /// The sidecar said something.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
        let reserved = self.messages.reserve(MESSAGES, now - self.began, PATIENCE);
        let (Ok(wait) | Err(TooOften(wait))) = reserved;
        self.reads_from = now + wait;
    }

    /// Something was written, or is about to be.
    pub(super) fn wrote(&mut self, now: Instant) {
        self.wrote = now;
    }

    pub(super) fn may_read(&self, now: Instant) -> bool {
        now >= self.reads_from
    }

    pub(super) fn is_silent(&self, now: Instant) -> bool {
        now >= self.heard + PATIENCE
    }

    pub(super) fn is_stuck(&self, now: Instant) -> bool {
        now >= self.wrote + PATIENCE
    }

    pub(super) fn heartbeat_is_due(&self, now: Instant) -> bool {
        now >= self.wrote + HEARTBEAT
    }

    /// When one of these is to be looked at again.
    pub(super) fn next_look(&self, now: Instant, is_writing: bool) -> Instant {
        let write = if is_writing { PATIENCE } else { HEARTBEAT };
        let mut until = (self.heard + PATIENCE).min(self.wrote + write);
        if !self.may_read(now) {
            until = until.min(self.reads_from);
        }
        until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_said_too_fast_is_read_later() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        for _ in 0..50 {
            pace.heard(now);
            assert!(pace.may_read(now));
        }
        pace.heard(now);
        assert!(!pace.may_read(now));
        assert!(pace.may_read(now + Duration::from_millis(100)));
        assert_eq!(pace.next_look(now, false), now + Duration::from_millis(100));
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        let at = |seconds| now + Duration::from_secs(seconds);
        assert!(!pace.is_silent(at(29)) && pace.is_silent(at(30)));
        assert!(!pace.is_stuck(at(29)) && pace.is_stuck(at(30)));
        assert!(!pace.heartbeat_is_due(at(9)) && pace.heartbeat_is_due(at(10)));
        assert_eq!(pace.next_look(now, false), at(10));
        assert_eq!(pace.next_look(now, true), at(30));
        pace.heard(at(5));
        pace.wrote(at(7));
        assert!(!pace.is_silent(at(34)) && pace.is_silent(at(35)));
        assert_eq!(pace.next_look(at(7), true), at(35));
    }
}
