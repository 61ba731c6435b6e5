//! What only the revisions before 2026-07-28 have: the GET stream, DELETE, and
//! sessions.

use http::{HeaderMap, Method};
use sidegate_mcp::Era;
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

/// Opens or resumes the stream of messages from the server.
///
/// # Errors
/// 405 in the modern era, which has no such stream; then as for a message.
pub(super) async fn get(exchange: &mut Exchange, admitted: Admitted) -> Result<Reply, Refusal> {
    check_version(&admitted.headers)?;
    head::check_accept(&admitted.headers, &[EVENT_STREAM])?;
    pass_on(exchange, admitted, Method::GET).await
}

/// Ends a session.
///
/// # Errors
/// 405 in the modern era; 400 without a session to end.
pub(super) async fn delete(exchange: &mut Exchange, admitted: Admitted) -> Result<Reply, Refusal> {
    check_version(&admitted.headers)?;
    pass_on(exchange, admitted, Method::DELETE).await
}

async fn pass_on(
    exchange: &mut Exchange,
    admitted: Admitted,
    method: Method,
) -> Result<Reply, Refusal> {
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

/// A stated revision must be served here, and the modern era has one HTTP
/// method.
fn check_version(headers: &HeaderMap) -> Result<(), Refusal> {
    let stated = field(headers, &MCP_PROTOCOL_VERSION);
    match sidegate_mcp::era_of_header(stated).map_err(Refusal::Message)? {
        Era::Legacy => Ok(()),
        Era::Modern => Err(Refusal::MethodNotAllowed { allow: "POST" }),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn refusal(versions: &[&'static str]) -> Option<&'static str> {
        let mut headers = HeaderMap::new();
        for version in versions {
            headers.append(MCP_PROTOCOL_VERSION, HeaderValue::from_static(version));
        }
        check_version(&headers)
            .err()
            .map(|refusal| refusal.reason())
    }

    #[test]
    fn the_version_is_checked_as_that_of_a_message() {
        assert_eq!(refusal(&[]), None);
        assert_eq!(refusal(&["2025-11-25"]), None);
        assert_eq!(refusal(&["2026-07-28"]), Some("method_not_allowed"));
        assert_eq!(refusal(&["2024-11-05"]), Some("unsupported_version"));
        let twice = ["2025-11-25", "2025-11-25"];
        assert_eq!(refusal(&twice), Some("header_mismatch"));
    }
}
