//! What only the revisions before 2026-07-28 have: the GET stream, DELETE, and
//! sessions.

use http::{HeaderMap, Method};
use sidegate_mcp::{Era, Field, Rejection, RejectionKind, VERSIONS};
use sidegate_policy::resource::Context;

use super::fields::{field, invalid, session_id};
use super::send::{Sending, send};
use crate::admitted::Admitted;
use crate::answer::Refusal;
use crate::head;
use crate::held::Held;
use crate::names::MCP_PROTOCOL_VERSION;
use crate::outcome::Exchange;
use crate::reply::Reply;
use crate::respond::{Expected, Watching};

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
    let context = Context {
        method: &watching.method,
        arguments: None,
    };
    let permit = admitted.decide(exchange, &watching.questions, &context, Era::Legacy)?;
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

/// The modern era has one HTTP method.
fn check_era(headers: &HeaderMap) -> Result<(), Refusal> {
    match field(headers, &MCP_PROTOCOL_VERSION) {
        Field::One(version) if version == MODERN.as_bytes() => {
            Err(Refusal::MethodNotAllowed { allow: "POST" })
        }
        Field::One(_) | Field::Absent | Field::Many => Ok(()),
    }
}

/// A stated revision must be one that is served here.
fn check_version(headers: &HeaderMap) -> Result<(), Refusal> {
    let stated = match field(headers, &MCP_PROTOCOL_VERSION) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stated_version_must_be_served() {
        let headers = |version: &'static str| {
            HeaderMap::from_iter([(
                MCP_PROTOCOL_VERSION,
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
