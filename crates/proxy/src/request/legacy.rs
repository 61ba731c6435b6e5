//! What only the revisions before 2026-07-28 have: the GET stream, DELETE, and
//! sessions.

use http::{HeaderMap, Method};
use sidegate_mcp::{Era, Field, Rejection, RejectionKind, VERSIONS};
use sidegate_policy::decision::Permit;
use sidegate_policy::resource::Context;

use super::message::field;
use super::send::{Sending, send};
use super::{Admitted, Reply};
use crate::answer::Refusal;
use crate::decide;
use crate::head;
use crate::outcome::Exchange;
use crate::respond::{Expected, Watching};
use crate::session::MAX_SESSION_ID_BYTES;
use crate::shared::Held;

const EVENT_STREAM: &str = "text/event-stream";
const MODERN: &str = "2026-07-28";

/// Opens or resumes the stream of messages from the server.
///
/// # Errors
/// 405 in the modern era, which has no such stream; then as for a message.
pub(super) async fn get(exchange: &mut Exchange, admitted: Admitted) -> Result<Reply, Refusal> {
    check_era(&admitted.headers)?;
    head::check_accept(&admitted.headers, &[EVENT_STREAM])?;
    pass_on(exchange, admitted, Method::GET).await
}

/// Ends a session.
///
/// # Errors
/// 405 in the modern era; 400 without a session to end.
pub(super) async fn delete(exchange: &mut Exchange, admitted: Admitted) -> Result<Reply, Refusal> {
    check_era(&admitted.headers)?;
    pass_on(exchange, admitted, Method::DELETE).await
}

async fn pass_on(
    exchange: &mut Exchange,
    admitted: Admitted,
    method: Method,
) -> Result<Reply, Refusal> {
    check_version(&admitted.headers)?;
    let session: Option<Box<str>> = session_id(&admitted.headers)?.map(Into::into);
    let label = if method == Method::GET {
        "stream"
    } else {
        "end_session"
    };
    exchange.asked(label);
    let watching = Watching::session(label);
    let permit = decided(exchange, &admitted, &watching)?;
    match &session {
        Some(id) => admitted.own_session(id)?,
        None if method == Method::DELETE => return Err(invalid("Mcp-Session-Id is required")),
        None => {}
    }
    let held = Held {
        in_progress: Some(admitted.enter()?),
        buffered: Vec::new(),
    };
    let sending = Sending {
        permit,
        accept: EVENT_STREAM,
        repeatable: false,
        expected: Expected {
            era: Era::Legacy,
            session,
            opens_session: false,
            closes_session: method == Method::DELETE,
            filtered: true,
            task_of: None,
        },
        watching,
        body: bytes::Bytes::new(),
        held,
        method,
    };
    send(exchange, admitted, sending).await
}

fn decided(
    exchange: &mut Exchange,
    admitted: &Admitted,
    watching: &Watching,
) -> Result<Permit, Refusal> {
    let context = Context {
        method: &watching.method,
        arguments: None,
    };
    let (policies, server) = (&admitted.runtime.policies, &*admitted.server.name);
    match decide::decide(
        policies,
        &admitted.principal,
        server,
        &watching.questions,
        &context,
    ) {
        Ok(permit) => {
            exchange.allowed(&permit);
            Ok(permit)
        }
        Err(denial) => {
            exchange.denied(&denial);
            Err(admitted.denied(denial, Era::Legacy))
        }
    }
}

/// The modern era has one HTTP method.
fn check_era(headers: &HeaderMap) -> Result<(), Refusal> {
    match field(headers, "mcp-protocol-version") {
        Field::One(version) if version == MODERN.as_bytes() => {
            Err(Refusal::MethodNotAllowed { allow: "POST" })
        }
        Field::One(_) | Field::Absent | Field::Many => Ok(()),
    }
}

/// A stated revision must be one that is served here.
fn check_version(headers: &HeaderMap) -> Result<(), Refusal> {
    let stated = match field(headers, "mcp-protocol-version") {
        Field::Absent => return Ok(()),
        Field::One(version) => version,
        Field::Many => return Err(invalid("MCP-Protocol-Version is there more than once")),
    };
    if VERSIONS.iter().any(|version| version.as_bytes() == stated) {
        return Ok(());
    }
    let requested = String::from_utf8_lossy(stated);
    let data = serde_json::json!({ "supported": VERSIONS, "requested": requested });
    Err(Refusal::Message(Box::new(Rejection {
        kind: RejectionKind::UnsupportedVersion,
        message: "unsupported protocol version".to_owned(),
        data: Some(data.to_string().into()),
        id: None,
    })))
}

/// The session that a request names.
///
/// # Errors
/// 400 for a header that is there twice or is no session id (2025-11-25
/// transports, "Session Management"): visible ASCII.
pub(super) fn session_id(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    match field(headers, "mcp-session-id") {
        Field::Absent => Ok(None),
        Field::One(id) if is_session_id(id) => Ok(std::str::from_utf8(id).ok()),
        Field::One(_) | Field::Many => Err(invalid("malformed Mcp-Session-Id")),
    }
}

pub(crate) fn is_session_id(id: &[u8]) -> bool {
    !id.is_empty()
        && id.len() <= MAX_SESSION_ID_BYTES
        && id.iter().all(|byte| matches!(byte, 0x21..=0x7e))
}

fn invalid(message: &str) -> Refusal {
    Refusal::Message(Box::new(Rejection {
        kind: RejectionKind::InvalidRequest,
        message: message.to_owned(),
        data: None,
        id: None,
    }))
}

// === impl Admitted ===

impl Admitted {
    /// Checks that the session was given to this principal.
    ///
    /// # Errors
    /// 404, as if it did not exist: a client then initializes again, and
    /// nobody learns of the sessions of others.
    pub(super) fn own_session(&self, id: &str) -> Result<(), Refusal> {
        let now = self.shared.clock.monotonic();
        let limits = self.runtime.session_limits();
        let sessions = &self.shared.sessions;
        if sessions.touch(&self.server.name, id, self.principal.key(), now, limits) {
            Ok(())
        } else {
            Err(Refusal::UnknownSession)
        }
    }

    /// Checks that one more session may be asked for.
    ///
    /// # Errors
    /// 429 at `limits.maxSessions` or `limits.maxSessionsPerPrincipal`.
    pub(super) fn check_session_room(&self) -> Result<(), Refusal> {
        let now = self.shared.clock.monotonic();
        let limits = self.runtime.session_limits();
        let room = self
            .shared
            .sessions
            .check_room(self.principal.key(), now, limits);
        room.map_err(|_full| Refusal::TooManySessions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_stated_version_must_be_served() {
        let headers = |version: &'static str| {
            HeaderMap::from_iter([(
                http::HeaderName::from_static("mcp-protocol-version"),
                http::HeaderValue::from_static(version),
            )])
        };
        assert!(check_version(&headers("2025-11-25")).is_ok());
        assert!(check_version(&HeaderMap::new()).is_ok());
        assert!(matches!(
            check_version(&headers("2024-11-05")),
            Err(Refusal::Message(_))
        ));
        assert!(matches!(
            check_era(&headers("2026-07-28")),
            Err(Refusal::MethodNotAllowed { allow: "POST" })
        ));
        assert!(check_era(&headers("2025-11-25")).is_ok());
    }
}
