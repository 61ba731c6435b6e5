//! What a sidecar says of itself, on its way to the board. Of several reports
//! the latest counts, so one that comes too soon waits, and is forgotten when
//! another one comes: a sidecar must not be able to have the operator write
//! without end.

use std::time::Duration;

use tokio::time::Instant;

use crate::board::PodReport;
use crate::streams::rate::{Bucket, Rate, TooOften};

const RATE: Rate = Rate {
    burst: 10,
    every: Duration::from_secs(2),
};

/// The reports of one stream that wait.
#[derive(Debug)]
pub(super) struct Reports {
    began: Instant,
    bucket: Bucket,
    goes_from: Instant,
    /// What it enforces.
    programmed: Option<PodReport>,
    /// What listens beside it.
    listeners: Option<PodReport>,
    /// The certificate that it showed.
    certificate: Option<PodReport>,
}

// === impl Reports ===

impl Reports {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            began: now,
            bucket: Bucket::default(),
            goes_from: now,
            programmed: None,
            listeners: None,
            certificate: None,
        }
    }

    pub(super) fn put(&mut self, report: PodReport) {
        let slot = match report {
            PodReport::Listeners(_) => &mut self.listeners,
            PodReport::Certificate(_) => &mut self.certificate,
            PodReport::NothingInForce
            | PodReport::Confirmed(_)
            | PodReport::Rejected { .. }
            | PodReport::Behind { .. }
            | PodReport::Outdated { .. }
            | PodReport::Disconnected => &mut self.programmed,
        };
        *slot = Some(report);
    }

    /// The next one that may go.
    pub(super) fn next(&mut self, now: Instant) -> Option<PodReport> {
        if self.is_empty() || now < self.goes_from {
            return None;
        }
        match self.bucket.take(RATE, now - self.began) {
            Ok(()) => self.rest(),
            Err(TooOften(wait)) => {
                self.goes_from = now + wait;
                None
            }
        }
    }

    /// The next one, however many there were.
    pub(super) fn rest(&mut self) -> Option<PodReport> {
        [
            &mut self.programmed,
            &mut self.certificate,
            &mut self.listeners,
        ]
        .into_iter()
        .find_map(Option::take)
    }

    /// When the next one may go.
    pub(super) fn next_look(&self) -> Option<Instant> {
        (!self.is_empty()).then_some(self.goes_from)
    }

    fn is_empty(&self) -> bool {
        [&self.programmed, &self.certificate, &self.listeners]
            .into_iter()
            .all(Option::is_none)
    }
}

#[cfg(test)]
mod tests {
    use sidegate_config::control::SnapshotVersion;

    use super::*;

    fn confirmed(revision: u64) -> PodReport {
        PodReport::Confirmed(SnapshotVersion {
            epoch: 1,
            revision,
            hash: "a".to_owned(),
            references: Default::default(),
        })
    }

    #[tokio::test(start_paused = true)]
    async fn the_latest_of_each_kind_goes_when_it_may() {
        let now = Instant::now();
        let mut reports = Reports::new(now);
        assert_eq!(reports.next(now), None);
        for revision in 0..10 {
            reports.put(confirmed(revision));
            assert_eq!(reports.next(now), Some(confirmed(revision)));
        }
        reports.put(confirmed(10));
        reports.put(PodReport::Listeners(Vec::new()));
        assert_eq!(reports.next(now), None);
        reports.put(confirmed(11));
        let later = now + RATE.every;
        assert_eq!(reports.next_look(), Some(later));
        assert_eq!(reports.next(later), Some(confirmed(11)));
        assert_eq!(reports.next(later), None);
        let last = later + RATE.every;
        assert_eq!(reports.next(last), Some(PodReport::Listeners(Vec::new())));
        assert_eq!(reports.next_look(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn at_the_end_nothing_waits() {
        let now = Instant::now();
        let mut reports = Reports::new(now);
        for revision in 0..=10 {
            reports.put(confirmed(revision));
            reports.next(now);
        }
        assert_eq!(reports.rest(), Some(confirmed(10)));
        assert_eq!(reports.rest(), None);
    }
}
