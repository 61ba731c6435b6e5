//! The head of an answer: what of the server's reaches the client.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::response::Parts;
use sidegate_mcp::Era;

use super::expected::Expected;
use crate::answer::Refusal;
use crate::names::MCP_SESSION_ID;
use crate::runtime::McpServer;
use crate::session::is_session_id;

/// Headers that stay behind: those of the hop, and those by which a server
/// could act on the client or its other connections.
fn is_removed(name: &str) -> bool {
    // A match compares lengths before bytes, which tells nearly all apart.
    matches!(
        name,
        "access-control-allow-credentials"
            | "access-control-allow-headers"
            | "access-control-allow-methods"
            | "access-control-allow-origin"
            | "access-control-expose-headers"
            | "access-control-max-age"
            | "alt-svc"
            | "cache-control"
            | "clear-site-data"
            | "connection"
            | "content-encoding"
            | "content-length"
            | "expires"
            | "keep-alive"
            | "link"
            | "location"
            | "mcp-session-id"
            | "pragma"
            | "proxy-authenticate"
            | "proxy-connection"
            | "refresh"
            | "server"
            | "set-cookie"
            | "set-cookie2"
            | "strict-transport-security"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "via"
            | "x-powered-by"
    )
}

/// The media types that a server may answer with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ContentType {
    Json,
    EventStream,
}

/// The headers of the client's answer.
pub(crate) fn towards_client(parts: &Parts, expected: &Expected, server: &McpServer) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(parts.headers.len() + 4);
    for (name, value) in &parts.headers {
        if passes(name, server) {
            headers.append(name.clone(), value.clone());
        }
    }
    // A result belongs to one principal (2026-07-28 server/utilities/caching).
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    if content_type(&parts.headers) == Some(ContentType::EventStream) {
        let name = HeaderName::from_static("x-accel-buffering");
        headers.insert(name, HeaderValue::from_static("no"));
    }
    if let Some(id) = session_header(parts, expected) {
        headers.insert(MCP_SESSION_ID, id.clone());
    }
    headers
}

fn passes(name: &HeaderName, server: &McpServer) -> bool {
    let name = name.as_str();
    let challenge = name == header::WWW_AUTHENTICATE.as_str();
    !(is_removed(name)
        || name.starts_with("x-sidegate-")
        || challenge && !server.keep_authorization)
}

/// The session id that the answer may carry: a new one for `initialize`, the
/// request's own afterwards.
fn session_header<'a>(parts: &'a Parts, expected: &Expected) -> Option<&'a HeaderValue> {
    let id = parts
        .headers
        .get(MCP_SESSION_ID)
        .filter(|_| expected.era == Era::Legacy)?;
    let own = expected
        .session
        .as_deref()
        .is_some_and(|own| own.as_bytes() == id.as_bytes());
    (expected.opens_session || own).then_some(id)
}

/// The session id in an answer.
///
/// # Errors
/// 502 for one that is no session id, or that is there twice.
pub(crate) fn session_id(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let mut ids = headers.get_all(MCP_SESSION_ID).iter();
    let Some(id) = ids.next() else {
        return Ok(None);
    };
    match id.to_str() {
        Ok(text) if ids.next().is_none() && is_session_id(id.as_bytes()) => Ok(Some(text)),
        Ok(_) | Err(_) => Err(Refusal::UpstreamAnswer("upstream_session_id")),
    }
}

/// The media type, when it is one that is passed on.
pub(crate) fn content_type(headers: &HeaderMap) -> Option<ContentType> {
    let text = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let essence = text.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        Some(ContentType::Json)
    } else if essence.eq_ignore_ascii_case("text/event-stream") {
        Some(ContentType::EventStream)
    } else {
        None
    }
}

/// Whether the body is in a content coding that cannot be read here. None was
/// asked for.
pub(crate) fn is_encoded(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
    !codings.all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_are_compared_without_case_and_parameters() {
        for (text, kind) in [
            ("application/json", Some(ContentType::Json)),
            ("Application/JSON; charset=utf-8", Some(ContentType::Json)),
            (
                "text/event-stream;charset=utf-8",
                Some(ContentType::EventStream),
            ),
            ("text/html", None),
            ("application/jsonp", None),
        ] {
            let value = HeaderValue::from_static(text);
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, value)]);
            assert_eq!(content_type(&headers), kind, "{text}");
        }
    }

    #[test]
    fn only_identity_is_no_coding() {
        let coded = |text: &'static str| {
            is_encoded(&HeaderMap::from_iter([(
                header::CONTENT_ENCODING,
                HeaderValue::from_static(text),
            )]))
        };
        assert!(!is_encoded(&HeaderMap::new()));
        assert!(!coded("Identity"));
        assert!(coded("gzip"));
        assert!(coded("identity, gzip"));
    }
}
