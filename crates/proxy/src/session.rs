//! Legacy sessions: which principal may use which `Mcp-Session-Id`.
//!
//! A session id is not a credential (MCP best practices, "State Handle
//! Hijacking"). The sidecar remembers who was given an id by which server and
//! treats every other use as if the session did not exist, so that nobody can
//! probe for the sessions of others. The table is in memory: after a restart
//! clients initialize again, as the protocol asks of them on a 404.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sidegate_policy::principal::PrincipalKey;

/// Longest session id that is remembered; a longer one from a server is
/// treated as a broken answer.
pub(crate) const MAX_SESSION_ID_BYTES: usize = 256;

/// Whether a header value can be a session id: visible ASCII (MCP 2025-11-25
/// transports, "Session Management").
pub(crate) fn is_session_id(id: &[u8]) -> bool {
    !id.is_empty()
        && id.len() <= MAX_SESSION_ID_BYTES
        && id.iter().all(|byte| matches!(byte, 0x21..=0x7e))
}

/// The bounds of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SessionLimits {
    pub(crate) all: usize,
    pub(crate) per_principal: usize,
    pub(crate) idle: Duration,
}

/// Why no session can be opened: one of the two bounds is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooManySessions;

/// Why a session that a server opened is not passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotOpened {
    /// A bound was reached meanwhile.
    Full,
    /// The server gave the id to another principal before.
    Taken,
}

#[derive(Debug, Default)]
pub(crate) struct SessionTable {
    sessions: Mutex<Sessions>,
}

#[derive(Debug, Default)]
struct Sessions {
    by_id: HashMap<SessionName, Session>,
    per_principal: HashMap<PrincipalKey, usize>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct SessionName {
    server: Box<str>,
    id: Box<str>,
}

#[derive(Debug)]
struct Session {
    owner: PrincipalKey,
    last_used: Duration,
}

impl SessionTable {
    /// Whether `owner` may use this session now; counts as a use.
    pub(crate) fn touch(
        &self,
        server: &str,
        id: &str,
        owner: &PrincipalKey,
        now: Duration,
        limits: SessionLimits,
    ) -> bool {
        let name = SessionName {
            server: server.into(),
            id: id.into(),
        };
        let mut sessions = self.lock();
        let Some(session) = sessions.by_id.get_mut(&name) else {
            return false;
        };
        if session.owner != *owner {
            return false;
        }
        if now.saturating_sub(session.last_used) > limits.idle {
            sessions.remove(&name);
            return false;
        }
        session.last_used = now;
        true
    }

    /// Whether one more session may be asked for.
    ///
    /// # Errors
    /// [`TooManySessions`] when a bound is reached after idle ones were
    /// forgotten.
    pub(crate) fn check_room(
        &self,
        owner: &PrincipalKey,
        now: Duration,
        limits: SessionLimits,
    ) -> Result<(), TooManySessions> {
        let mut sessions = self.lock();
        if sessions.has_room(owner, limits) {
            return Ok(());
        }
        sessions.forget_idle(now, limits.idle);
        sessions
            .has_room(owner, limits)
            .then_some(())
            .ok_or(TooManySessions)
    }

    /// Remembers that the server gave `id` to `owner`.
    ///
    /// # Errors
    /// [`NotOpened`] when others filled the table since
    /// [`check_room`](Self::check_room), or the id belongs to somebody else.
    pub(crate) fn open(
        &self,
        server: &str,
        id: &str,
        owner: &PrincipalKey,
        now: Duration,
        limits: SessionLimits,
    ) -> Result<(), NotOpened> {
        let name = SessionName {
            server: server.into(),
            id: id.into(),
        };
        let mut sessions = self.lock();
        if let Some(session) = sessions.by_id.get_mut(&name) {
            // A server that hands out one id twice must not join two callers.
            if session.owner != *owner {
                return Err(NotOpened::Taken);
            }
            session.last_used = now;
            return Ok(());
        }
        if !sessions.has_room(owner, limits) {
            return Err(NotOpened::Full);
        }
        *sessions.per_principal.entry(owner.clone()).or_insert(0) += 1;
        sessions.by_id.insert(
            name,
            Session {
                owner: owner.clone(),
                last_used: now,
            },
        );
        Ok(())
    }

    /// Forgets a session that was ended by either side.
    pub(crate) fn close(&self, server: &str, id: &str) {
        self.lock().remove(&SessionName {
            server: server.into(),
            id: id.into(),
        });
    }

    /// How many sessions are remembered.
    pub(crate) fn len(&self) -> usize {
        self.lock().by_id.len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Sessions ===

impl Sessions {
    fn has_room(&self, owner: &PrincipalKey, limits: SessionLimits) -> bool {
        self.by_id.len() < limits.all
            && self.per_principal.get(owner).copied().unwrap_or(0) < limits.per_principal
    }

    fn remove(&mut self, name: &SessionName) {
        let Some(session) = self.by_id.remove(name) else {
            return;
        };
        if let Some(count) = self.per_principal.get_mut(&session.owner) {
            *count -= 1;
            if *count == 0 {
                self.per_principal.remove(&session.owner);
            }
        }
    }

    fn forget_idle(&mut self, now: Duration, idle: Duration) {
        let stale: Vec<SessionName> = self
            .by_id
            .iter()
            .filter(|(_, session)| now.saturating_sub(session.last_used) > idle)
            .map(|(name, _)| name.clone())
            .collect();
        for name in stale {
            self.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use sidegate_policy::principal::{PeerIdentity, Principal};

    use super::*;

    const LIMITS: SessionLimits = SessionLimits {
        all: 3,
        per_principal: 2,
        idle: Duration::from_secs(60),
    };

    fn principal(spiffe: &str) -> Principal {
        let peer = PeerIdentity::new(Some(spiffe.parse().expect("a SPIFFE id")));
        Principal::verified(Some(peer), None).expect("a principal")
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn session_ids_are_visible_ascii_of_bounded_length() {
        assert!(is_session_id(b"!abc~"));
        assert!(is_session_id(&[b'a'; MAX_SESSION_ID_BYTES]));
        for bad in [
            &b""[..],
            b"a b",
            b"a\x7f",
            b"\xc3\xa4",
            &[b'a'; MAX_SESSION_ID_BYTES + 1],
        ] {
            assert!(!is_session_id(bad), "{bad:?}");
        }
    }

    #[test]
    fn ses_001_a_session_serves_its_owner_only() {
        let table = SessionTable::default();
        let (a, b) = (
            principal("spiffe://td/ns/a/sa/a"),
            principal("spiffe://td/ns/b/sa/b"),
        );
        table
            .open("s", "id-1", a.key(), at(0), LIMITS)
            .expect("room");
        assert!(table.touch("s", "id-1", a.key(), at(1), LIMITS));
        assert!(!table.touch("s", "id-1", b.key(), at(1), LIMITS));
        assert!(
            !table.touch("other", "id-1", a.key(), at(1), LIMITS),
            "bound to its server"
        );
        assert!(
            table.open("s", "id-1", b.key(), at(1), LIMITS).is_err(),
            "an id is never shared"
        );
    }

    #[test]
    fn ses_002_an_id_never_given_is_unknown() {
        let table = SessionTable::default();
        assert!(!table.touch(
            "s",
            "never",
            principal("spiffe://td/a").key(),
            at(0),
            LIMITS
        ));
    }

    #[test]
    fn bounds_hold_on_both_sides() {
        let table = SessionTable::default();
        let (a, b) = (principal("spiffe://td/a"), principal("spiffe://td/b"));
        table
            .open("s", "1", a.key(), at(0), LIMITS)
            .expect("first of a");
        table
            .open("s", "2", a.key(), at(0), LIMITS)
            .expect("second of a");
        assert_eq!(
            table.check_room(a.key(), at(1), LIMITS),
            Err(TooManySessions)
        );
        table
            .open("s", "3", b.key(), at(0), LIMITS)
            .expect("third of all");
        assert_eq!(
            table.check_room(b.key(), at(1), LIMITS),
            Err(TooManySessions)
        );
        table.close("s", "1");
        assert_eq!(table.check_room(b.key(), at(1), LIMITS), Ok(()));
        assert_eq!(table.check_room(a.key(), at(1), LIMITS), Ok(()));
    }

    #[test]
    fn idle_sessions_make_room_and_cannot_be_used() {
        let table = SessionTable::default();
        let a = principal("spiffe://td/a");
        table.open("s", "1", a.key(), at(0), LIMITS).expect("room");
        table.open("s", "2", a.key(), at(0), LIMITS).expect("room");
        assert!(
            table.touch("s", "1", a.key(), at(60), LIMITS),
            "exactly the limit is in time"
        );
        assert!(!table.touch("s", "2", a.key(), at(61), LIMITS));
        assert_eq!(table.len(), 1);
        assert_eq!(table.check_room(a.key(), at(122), LIMITS), Ok(()));
        table
            .open("s", "4", a.key(), at(122), LIMITS)
            .expect("room");
    }
}
