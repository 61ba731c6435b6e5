//! Protected resource metadata (RFC 9728), for everyone who reaches the server.

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Method, Response};
use sidegate_mcp::metadata::document;

use super::cors::Cors;
use crate::answer::Refusal;
use crate::body::ResponseBody;
use crate::reply::{Record, Reply};
use crate::runtime::{McpServer, ProtectedResource, Runtime};

/// How long a client may keep the document: a changed issuer should be seen
/// soon.
const CACHE_CONTROL: &str = "max-age=60";

/// The metadata of the resource that was asked for.
///
/// # Errors
/// 405 for anything but reading it; 404 where no issuer is trusted, because the
/// document must name one (RFC 9728 section 2, MCP authorization).
pub(super) fn answer(
    parts: &Parts,
    runtime: &Runtime,
    server: &McpServer,
    resource: &ProtectedResource,
    cors: &Option<Cors>,
) -> Result<Reply, Refusal> {
    if let Some(preflight) = cors.as_ref().and_then(|cors| cors.preflight(parts)) {
        return Ok(preflight);
    }
    if !is_read(parts) {
        return Err(Refusal::MethodNotAllowed { allow: "GET, HEAD" });
    }
    if server.authorization_servers.is_empty() {
        return Err(Refusal::NotFound);
    }
    let scopes: Vec<String> = runtime
        .policies
        .base_scopes(&server.name)
        .iter()
        .map(ToString::to_string)
        .collect();
    let body = document(&resource.uri, &server.authorization_servers, &scopes);
    let mut response = Response::new(ResponseBody::full(Bytes::from(body)));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static(CACHE_CONTROL),
    );
    Ok(Reply {
        response,
        record: Record::Uncounted,
    })
}

fn is_read(parts: &Parts) -> bool {
    matches!(parts.method, Method::GET | Method::HEAD)
}
