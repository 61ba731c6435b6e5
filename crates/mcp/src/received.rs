//! From the bytes of a request to what it asks for.

mod names;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use crate::call::{Call, Era};
use crate::envelope::{self, Message, MessageBody};
use crate::headers::{self, McpHeaders};
use crate::params::{Member, Params};
use crate::registry::{self, Shape};
use crate::rejection::{Rejection, RejectionKind};
use crate::scan::Kind;
use crate::version;

/// The bounds of a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScanLimits {
    /// Deepest nesting of objects and arrays; more than 256 counts as 256.
    pub max_depth: usize,
    /// Longest name of a method, tool or prompt.
    pub max_name_bytes: usize,
}

/// A message that can be read in exactly one way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received<'a> {
    /// Which rules it follows.
    pub era: Era,
    /// Its protocol version, one of [`VERSIONS`](crate::VERSIONS).
    pub version: &'static str,
    /// Its method; empty for an answer of the client.
    pub method: Cow<'a, str>,
    /// JSON text of its id; None for a notification, or for a request in the
    /// shape of one.
    pub id: Option<&'a str>,
    /// What it asks for.
    pub call: Call<'a>,
    /// JSON text of `params.arguments` of `tools/call` and `prompts/get`.
    pub arguments: Option<&'a str>,
    /// `params._meta.traceparent`, as the client wrote it.
    pub traceparent: Option<Cow<'a, str>>,
}

/// Reads the one message in `body`.
///
/// Checked in this order: strict JSON, one JSON-RPC message, its protocol
/// version, its headers, its parameters, and that its version has the method.
///
/// # Errors
/// [`Rejection`] for the first check that fails, with the id of the message
/// where one could be read.
pub fn receive<'a>(
    body: &'a [u8],
    headers: &McpHeaders<'_>,
    limits: ScanLimits,
) -> Result<Received<'a>, Box<Rejection>> {
    let message = envelope::read(body, limits.max_depth, limits.max_name_bytes)?;
    let id = message.id;
    understand(message, headers, limits).map_err(|rejection| rejection.with_id(id))
}

fn understand<'a>(
    message: Message<'a>,
    headers: &McpHeaders<'_>,
    limits: ScanLimits,
) -> Result<Received<'a>, Box<Rejection>> {
    let (version, era) = version::settle(headers, &message)?;
    let Message { id, body } = message;
    let (method, params) = match body {
        MessageBody::Request { method, params } => (method, params),
        MessageBody::Response => return response(id, version, era, headers),
    };
    let shape = registry::shape(&method, era);
    // A call without an id is no notification, whatever a server makes of it.
    let is_request = id.is_some() || !method.starts_with("notifications/");
    headers::check(headers, &method, shape, &params, era, is_request)?;
    if era == Era::Modern && method == "initialize" {
        return Err(version::removed_initialize());
    }
    if era == Era::Modern && is_request {
        check_meta(&params)?;
    }
    let (call, arguments) = names::call(shape, &params, limits)?;
    Ok(Received {
        era,
        version,
        method,
        id,
        call,
        arguments,
        traceparent: names::traceparent(&params),
    })
}

fn response<'a>(
    id: Option<&'a str>,
    version: &'static str,
    era: Era,
    headers: &McpHeaders<'_>,
) -> Result<Received<'a>, Box<Rejection>> {
    if era == Era::Modern {
        return Err(Rejection::new(
            RejectionKind::InvalidRequest,
            "clients send no answers in this version, retry the request with inputResponses",
        ));
    }
    headers::check_response(headers)?;
    Ok(Received {
        era,
        version,
        method: Cow::Borrowed(""),
        id,
        call: Call::ClientResponse,
        arguments: None,
        traceparent: None,
    })
}

/// What every modern request must say about itself (MCP 2026-07-28, basic,
/// "`_meta`").
fn check_meta(params: &Params<'_>) -> Result<(), Box<Rejection>> {
    let complete = match &params.meta {
        Member::Object(meta) => {
            meta.protocol_version.is_some() && meta.client_capabilities == Some(Kind::Object)
        }
        Member::Absent | Member::Malformed => false,
    };
    if complete {
        return Ok(());
    }
    Err(Rejection::new(
        RejectionKind::InvalidParams,
        format!(
            "params._meta must have {} and {}",
            crate::params::META_PROTOCOL_VERSION,
            crate::params::META_CLIENT_CAPABILITIES,
        ),
    ))
}

/// Whether a call has a registered shape that carries arguments.
fn takes_arguments(shape: Shape) -> bool {
    matches!(shape, Shape::Tool | Shape::Prompt)
}
