//! Headers that mirror the body must say what the body says.
//!
//! The body decides; a header is only compared (MCP 2026-07-28, Streamable
//! HTTP, "Server Validation"). Otherwise whoever routes by the header and
//! whoever runs the body could be talked into different things.

use std::borrow::Cow;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::call::Era;
use crate::params::{Member, Params};
use crate::registry::Shape;
use crate::rejection::{Rejection, RejectionKind};
use crate::scan::Value;

/// A header as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field<'a> {
    /// It did not come.
    Absent,
    /// It came once.
    One(&'a [u8]),
    /// It came more than once, so that nobody knows which one counts.
    Many,
}

/// The headers that mirror the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct McpHeaders<'a> {
    /// `MCP-Protocol-Version`.
    pub protocol_version: Field<'a>,
    /// `Mcp-Method`.
    pub method: Field<'a>,
    /// `Mcp-Name`.
    pub name: Field<'a>,
    /// Whether the request carries `Mcp-Session-Id`.
    pub session: bool,
}

/// Checks `Mcp-Method` and `Mcp-Name` against a message.
///
/// In the modern era requests must carry them; wherever they come, they must
/// agree.
///
/// # Errors
/// [`Rejection`] of kind `HeaderMismatch`.
pub(crate) fn check(
    headers: &McpHeaders<'_>,
    method: &str,
    shape: Option<Shape>,
    params: &Params<'_>,
    era: Era,
    is_request: bool,
) -> Result<(), Box<Rejection>> {
    let required = era == Era::Modern && is_request;
    match plain(headers.method, "Mcp-Method")? {
        Some(value) if value != method => {
            return mismatch("the Mcp-Method header differs from the method of the body");
        }
        None if required => return mismatch("the Mcp-Method header is required"),
        Some(_) | None => {}
    }
    let named = named(shape, params);
    match plain(headers.name, "Mcp-Name")? {
        Some(value) => {
            let value = decode(value)?;
            let same = |text: &Value<'_>| text.text().is_some_and(|text| text.decode() == value);
            if named.iter().flatten().any(same) {
                Ok(())
            } else {
                mismatch("the Mcp-Name header differs from the name in the body")
            }
        }
        None if required && needs_name(shape) => mismatch("the Mcp-Name header is required"),
        None => Ok(()),
    }
}

/// An answer of the client names no method and nothing else.
///
/// # Errors
/// [`Rejection`] of kind `HeaderMismatch`.
pub(crate) fn check_response(headers: &McpHeaders<'_>) -> Result<(), Box<Rejection>> {
    match (headers.method, headers.name) {
        (Field::Absent, Field::Absent) => Ok(()),
        _ => mismatch("an answer has no Mcp-Method and no Mcp-Name header"),
    }
}

/// The value of a header that came once, without optional white space.
///
/// # Errors
/// [`Rejection`] of kind `HeaderMismatch` when it came twice, or holds a byte
/// that the value of these headers cannot have.
pub(crate) fn plain<'a>(field: Field<'a>, header: &str) -> Result<Option<&'a str>, Box<Rejection>> {
    let value = match field {
        Field::Absent => return Ok(None),
        Field::Many => return mismatch(format!("the {header} header must come once")),
        Field::One(value) => value,
    };
    let allowed = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~');
    match std::str::from_utf8(value) {
        Ok(text) if value.iter().all(allowed) => Ok(Some(text.trim_matches([' ', '\t']))),
        _ => mismatch(format!(
            "the {header} header must be visible ASCII, encode other values"
        )),
    }
}

/// Decodes the Base64 sentinel of "Value Encoding"; anything else is literal.
fn decode(value: &str) -> Result<Cow<'_, str>, Box<Rejection>> {
    let Some(encoded) = value
        .strip_prefix("=?base64?")
        .and_then(|rest| rest.strip_suffix("?="))
    else {
        return Ok(Cow::Borrowed(value));
    };
    let decoded = BASE64_STANDARD
        .decode(encoded)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok());
    match decoded {
        Some(text) => Ok(Cow::Owned(text)),
        None => mismatch("the Mcp-Name header is not valid Base64 of UTF-8"),
    }
}

/// The values in the body that `Mcp-Name` may mirror.
fn named<'a>(shape: Option<Shape>, params: &Params<'a>) -> [Option<Value<'a>>; 3] {
    match shape {
        Some(Shape::Tool | Shape::Prompt) => [params.name, None, None],
        Some(Shape::ReadResource | Shape::SubscribeResource) => [params.uri, None, None],
        Some(Shape::Task) => [params.task_id, None, None],
        Some(Shape::Complete) => match &params.reference {
            Member::Object(reference) => [reference.name, reference.uri, None],
            Member::Absent | Member::Malformed => [None; 3],
        },
        Some(
            Shape::Listen
            | Shape::List(_)
            | Shape::ListTasks
            | Shape::Initialize
            | Shape::Session
            | Shape::Notification,
        ) => [None; 3],
        // What an extension mirrors is not known, only that it is in the body.
        None => [params.name, params.uri, params.task_id],
    }
}

fn needs_name(shape: Option<Shape>) -> bool {
    match shape {
        Some(Shape::Tool | Shape::Prompt | Shape::ReadResource | Shape::Task) => true,
        Some(
            Shape::SubscribeResource
            | Shape::Complete
            | Shape::Listen
            | Shape::List(_)
            | Shape::ListTasks
            | Shape::Initialize
            | Shape::Session
            | Shape::Notification,
        )
        | None => false,
    }
}

pub(crate) fn mismatch<T>(message: impl Into<String>) -> Result<T, Box<Rejection>> {
    Err(Rejection::new(RejectionKind::HeaderMismatch, message))
}
