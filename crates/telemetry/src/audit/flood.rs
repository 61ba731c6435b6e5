//! Floods: like refusals from one peer, of which only the first ten in a
//! second are written one by one.
//!
//! Anyone who reaches the port can be refused as often as they like; the disk
//! behind the audit log must not be theirs to fill (CWE-779). Decisions that
//! let a request through are never held back, and no refusal is forgotten: the
//! others are counted.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use super::AuditEvent;
use crate::metrics::DecisionLabel;

/// Like refusals in one window that are written one by one.
const MAX_LINES: u64 = 10;
/// Length of a window.
const WINDOW_MS: i64 = 1000;
/// Kinds of refusals that are told apart at a time. Beyond it they share one
/// count: many peers that refuse to be like one another are a flood as well.
const MAX_KINDS: usize = 1024;

/// What makes refusals alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) peer: Box<str>,
    pub(super) listener: Box<str>,
    pub(super) method: Box<str>,
    pub(super) decision: DecisionLabel,
    pub(super) reason: Box<str>,
    pub(super) status: u16,
}

/// Refusals that were counted instead of written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Suppressed {
    /// What they had in common; None for those beyond [`MAX_KINDS`].
    pub(super) kind: Option<Kind>,
    pub(super) count: u64,
}

/// What becomes of an event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is written.
    Write,
    /// It is written after the line that ends the window before.
    WriteAfter(Suppressed),
    /// It is counted.
    Count,
}

/// The refusals of the last second.
#[derive(Debug, Default)]
pub(super) struct Flood {
    kinds: HashMap<u64, Entry>,
    others: Window,
    hasher: RandomState,
    /// How many windows hold back lines.
    holding: usize,
}

#[derive(Debug)]
struct Entry {
    kind: Kind,
    window: Window,
}

#[derive(Debug, Default, Clone, Copy)]
struct Window {
    began_ms: i64,
    written: u64,
    suppressed: u64,
}

// === impl Flood ===

impl Flood {
    /// What becomes of this event; its own time is the time.
    pub(super) fn admit(&mut self, event: &AuditEvent<'_>) -> Verdict {
        match event.decision {
            DecisionLabel::Allow | DecisionLabel::AuditAllow => return Verdict::Write,
            DecisionLabel::Refused | DecisionLabel::Deny => {}
        }
        let now_ms = event.time_ms;
        let hash = self.hash(event);
        if self.kinds.len() >= MAX_KINDS && !self.kinds.contains_key(&hash) {
            self.forget_quiet(now_ms);
        }
        let is_full = self.kinds.len() >= MAX_KINDS;
        match self.kinds.get_mut(&hash) {
            Some(entry) if entry.kind.is_of(event) => {
                let verdict = entry.window.admit(now_ms, &mut self.holding);
                verdict.into_verdict(|| Some(entry.kind.clone()))
            }
            None if !is_full => {
                let mut window = Window::beginning(now_ms);
                let _first = window.admit(now_ms, &mut self.holding);
                self.kinds.insert(
                    hash,
                    Entry {
                        kind: Kind::of(event),
                        window,
                    },
                );
                Verdict::Write
            }
            // A collision of hashes, or one kind too many.
            Some(_) | None => self
                .others
                .admit(now_ms, &mut self.holding)
                .into_verdict(|| None),
        }
    }

    /// Whether lines are held back that have yet to be told of.
    pub(super) fn is_holding(&self) -> bool {
        self.holding > 0
    }

    /// Takes the counts of the windows that are over, or of all.
    pub(super) fn take_due(&mut self, now_ms: i64, all: bool, mut tell: impl FnMut(Suppressed)) {
        if !self.is_holding() {
            return;
        }
        let holding = &mut self.holding;
        let mut take = |kind: Option<&Kind>, window: &mut Window| {
            if window.suppressed > 0 && (all || window.is_over(now_ms)) {
                *holding -= 1;
                let count = std::mem::take(&mut window.suppressed);
                tell(Suppressed {
                    kind: kind.cloned(),
                    count,
                });
            }
        };
        for entry in self.kinds.values_mut() {
            take(Some(&entry.kind), &mut entry.window);
        }
        take(None, &mut self.others);
    }

    /// Makes room: kinds without refusals in the last second have nothing to
    /// remember. Those that hold back lines wait until they were told of.
    fn forget_quiet(&mut self, now_ms: i64) {
        self.kinds
            .retain(|_, Entry { window, .. }| window.suppressed > 0 || !window.is_over(now_ms));
    }

    fn hash(&self, event: &AuditEvent<'_>) -> u64 {
        let AuditEvent {
            peer,
            listener,
            method,
            decision,
            reason,
            status,
            ..
        } = event;
        self.hasher
            .hash_one((peer, listener, method, decision, reason, status))
    }
}

// === impl Kind ===

impl Kind {
    fn of(event: &AuditEvent<'_>) -> Self {
        Self {
            peer: event.peer.into(),
            listener: event.listener.into(),
            method: event.method.into(),
            decision: event.decision,
            reason: event.reason.into(),
            status: event.status,
        }
    }

    fn is_of(&self, event: &AuditEvent<'_>) -> bool {
        let Self {
            peer,
            listener,
            method,
            decision,
            reason,
            status,
        } = self;
        **peer == *event.peer
            && **listener == *event.listener
            && **method == *event.method
            && *decision == event.decision
            && **reason == *event.reason
            && *status == event.status
    }
}

// === impl Window ===

/// What a window says to one more refusal.
enum Admitted {
    Write,
    /// The window before held back this many.
    WriteAfter(u64),
    Count,
}

impl Admitted {
    fn into_verdict(self, kind: impl FnOnce() -> Option<Kind>) -> Verdict {
        match self {
            Self::Write => Verdict::Write,
            Self::WriteAfter(count) => Verdict::WriteAfter(Suppressed {
                kind: kind(),
                count,
            }),
            Self::Count => Verdict::Count,
        }
    }
}

impl Window {
    fn beginning(now_ms: i64) -> Self {
        Self {
            began_ms: now_ms,
            written: 0,
            suppressed: 0,
        }
    }

    /// A clock that was set back ends the window as well.
    fn is_over(&self, now_ms: i64) -> bool {
        !(0..WINDOW_MS).contains(&now_ms.saturating_sub(self.began_ms))
    }

    fn admit(&mut self, now_ms: i64, holding: &mut usize) -> Admitted {
        let mut before = 0;
        if self.is_over(now_ms) {
            before = self.suppressed;
            *self = Self::beginning(now_ms);
        }
        if before > 0 {
            *holding -= 1;
        }
        if self.written < MAX_LINES {
            self.written += 1;
            return if before > 0 {
                Admitted::WriteAfter(before)
            } else {
                Admitted::Write
            };
        }
        if self.suppressed == 0 {
            *holding += 1;
        }
        self.suppressed += 1;
        Admitted::Count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::tests::{ALLOWED, DENIED};

    const START: i64 = DENIED.time_ms;

    fn at(offset_ms: i64) -> AuditEvent<'static> {
        AuditEvent {
            time_ms: START + offset_ms,
            ..DENIED
        }
    }

    fn admit(flood: &mut Flood, event: &AuditEvent<'_>, times: u64) -> u64 {
        (0..times)
            .filter(|_| flood.admit(event) != Verdict::Count)
            .count() as u64
    }

    fn due(flood: &mut Flood, now_ms: i64, all: bool) -> Vec<Suppressed> {
        let mut due = Vec::new();
        flood.take_due(now_ms, all, |suppressed| due.push(suppressed));
        due
    }

    #[test]
    fn ten_like_refusals_in_a_second_are_written_and_the_rest_counted() {
        let mut flood = Flood::default();
        assert_eq!(admit(&mut flood, &at(0), 10), 10);
        assert!(!flood.is_holding());
        assert_eq!(admit(&mut flood, &at(999), 5), 0);
        assert!(flood.is_holding());
        assert_eq!(
            due(&mut flood, START + 999, false),
            [],
            "the second is not over"
        );
        let told = due(&mut flood, START + 1000, false);
        assert_eq!(told.len(), 1);
        assert_eq!(
            (told[0].count, &*told[0].kind.as_ref().expect("a kind").peer),
            (5, "10.0.0.7")
        );
        assert!(!flood.is_holding());
        assert_eq!(due(&mut flood, START + 2000, true), [], "told once");
    }

    #[test]
    fn the_next_refusal_tells_of_the_second_before() {
        let mut flood = Flood::default();
        admit(&mut flood, &at(0), 17);
        let Verdict::WriteAfter(told) = flood.admit(&at(1000)) else {
            panic!("told")
        };
        assert_eq!(told.count, 7);
        assert!(!flood.is_holding());
        assert_eq!(admit(&mut flood, &at(1000), 20), 9, "a new second");
    }

    #[test]
    fn what_differs_in_anything_is_not_alike() {
        let mut flood = Flood::default();
        admit(&mut flood, &DENIED, 11);
        for other in [
            AuditEvent {
                peer: "10.0.0.8",
                ..DENIED
            },
            AuditEvent {
                listener: "other",
                ..DENIED
            },
            AuditEvent {
                method: "tools/list",
                ..DENIED
            },
            AuditEvent {
                decision: DecisionLabel::Refused,
                ..DENIED
            },
            AuditEvent {
                reason: "no_rule",
                ..DENIED
            },
            AuditEvent {
                status: 401,
                ..DENIED
            },
        ] {
            assert_eq!(admit(&mut flood, &other, 11), 10, "{other:?}");
        }
        let alike = AuditEvent {
            duration_us: 9,
            request_id: "other",
            target: None,
            ..DENIED
        };
        assert_eq!(admit(&mut flood, &alike, 1), 0);
    }

    #[test]
    fn what_was_let_through_is_never_held_back() {
        let mut flood = Flood::default();
        assert_eq!(admit(&mut flood, &ALLOWED, 100), 100);
        let audited = AuditEvent {
            decision: DecisionLabel::AuditAllow,
            ..ALLOWED
        };
        assert_eq!(admit(&mut flood, &audited, 100), 100);
    }

    #[test]
    fn a_clock_that_is_set_back_begins_a_new_second() {
        let mut flood = Flood::default();
        admit(&mut flood, &at(0), 12);
        let Verdict::WriteAfter(told) = flood.admit(&at(-5_000)) else {
            panic!("told")
        };
        assert_eq!(told.count, 2);
    }

    #[test]
    fn kinds_are_bounded_and_those_beyond_share_one_count() {
        let mut flood = Flood::default();
        let peers: Vec<String> = (0..MAX_KINDS + 500)
            .map(|n| format!("10.1.{}.{}", n / 256, n % 256))
            .collect();
        let written: u64 = peers
            .iter()
            .map(|peer| admit(&mut flood, &AuditEvent { peer, ..DENIED }, 1))
            .sum();
        assert_eq!(flood.kinds.len(), MAX_KINDS);
        assert_eq!(written, MAX_KINDS as u64 + MAX_LINES);
        let told = due(&mut flood, START + 1000, false);
        assert_eq!(
            told,
            [Suppressed {
                kind: None,
                count: 500 - MAX_LINES
            }]
        );
        assert_eq!(
            admit(
                &mut flood,
                &AuditEvent {
                    peer: "10.9.9.9",
                    ..at(1000)
                },
                1
            ),
            1
        );
        assert_eq!(flood.kinds.len(), 1, "the quiet ones made room");
    }

    #[test]
    fn a_kind_that_holds_back_lines_is_not_forgotten() {
        let mut flood = Flood::default();
        admit(&mut flood, &DENIED, 15);
        for n in 0..MAX_KINDS {
            let peer = format!("10.1.{}.{}", n / 256, n % 256);
            admit(
                &mut flood,
                &AuditEvent {
                    peer: &peer,
                    ..at(1)
                },
                1,
            );
        }
        admit(
            &mut flood,
            &AuditEvent {
                peer: "10.9.9.9",
                ..at(5_000)
            },
            1,
        );
        let counts: Vec<_> = due(&mut flood, START + 6_000, false)
            .into_iter()
            .map(|told| told.count)
            .collect();
        assert_eq!(counts, [5]);
    }

    #[test]
    fn all_are_told_at_the_end() {
        let mut flood = Flood::default();
        admit(&mut flood, &at(0), 12);
        assert_eq!(due(&mut flood, START, true)[0].count, 2);
        assert_eq!(admit(&mut flood, &at(1), 3), 0, "the second goes on");
        assert_eq!(due(&mut flood, START + 1, true)[0].count, 3);
    }
}
