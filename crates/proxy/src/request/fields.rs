//! Headers that must be there once at most.

use http::{HeaderMap, HeaderName};
use sidegate_mcp::{Field, Rejection, RejectionKind};

use crate::answer::Refusal;
use crate::names::MCP_SESSION_ID;
use crate::session::is_session_id;

/// A header as it came.
pub(super) fn field<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Field<'a> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Field::Absent,
        (Some(value), None) => Field::One(value.as_bytes()),
        (Some(_), Some(_)) => Field::Many,
    }
}

/// The session that a request names.
///
/// # Errors
/// 400 for a header that is there twice or is no session id (2025-11-25
/// transports, "Session Management"): visible ASCII.
pub(super) fn session_id(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    match field(headers, &MCP_SESSION_ID) {
        Field::Absent => Ok(None),
        Field::One(id) if is_session_id(id) => Ok(std::str::from_utf8(id).ok()),
        Field::One(_) | Field::Many => Err(invalid("malformed Mcp-Session-Id")),
    }
}

/// A message that cannot be acted on.
pub(super) fn invalid(message: &str) -> Refusal {
    Refusal::Message(Box::new(Rejection {
        kind: RejectionKind::InvalidRequest,
        message: message.to_owned(),
        data: None,
        id: None,
    }))
}
