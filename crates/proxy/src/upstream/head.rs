//! The head towards the server, written anew.
//!
//! A caller's header reaches the server only when it can mean nothing to the
//! hop: no credentials, no framing, no forwarding or identity header in any
//! spelling (Caddy CVE-2026-30851, oauth2-proxy
//! CVE-2025-64484, Kuadrant GHSA-g53w-w6mj-hrpp).

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use sidegate_policy::principal::Principal;

use crate::names::{TRACEPARENT, X_REQUEST_ID};
use crate::runtime::McpServer;

/// Headers that never pass, beside those with a prefix below, those named by
/// `Connection` and those that name an identity header of the configuration.
fn is_removed(name: &str) -> bool {
    // A match compares lengths before bytes, which tells nearly all apart.
    matches!(
        name,
        "accept"
            | "accept-encoding"
            | "authorization"
            | "connection"
            | "content-length"
            | "cookie"
            | "cookie2"
            | "expect"
            | "forwarded"
            | "from"
            | "host"
            | "http2-settings"
            | "keep-alive"
            | "origin"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-connection"
            | "remote-user"
            | "te"
            | "traceparent"
            | "trailer"
            | "transfer-encoding"
            | "true-client-ip"
            | "upgrade"
            | "via"
            | "x-client-ip"
            | "x-cluster-client-ip"
            | "x-http-method"
            | "x-http-method-override"
            | "x-method-override"
            | "x-real-ip"
            | "x-request-id"
            | "x-rewrite-url"
            | "x-spiffe-id"
            | "x-user"
            | "x-user-id"
    )
}

/// Families of headers by which some gateway tells a server who calls.
const REMOVED_PREFIXES: &[&str] = &[
    "cf-access-",
    "client-cert",
    "ssl-client",
    "x-amzn-oidc-",
    "x-auth-",
    "x-authenticated-",
    "x-client-cert",
    "x-envoy-",
    "x-forwarded-",
    "x-goog-",
    "x-mcp-",
    "x-ms-client-principal",
    "x-original-",
    "x-remote-",
    "x-sidegate-",
    "x-ssl-",
];

/// Headers that the body was checked against. `Connection` cannot take them
/// away, or the server would read the message by other rules than it was
/// decided by.
const CHECKED: &[&str] = &[
    "content-type",
    "mcp-method",
    "mcp-name",
    "mcp-protocol-version",
    "mcp-session-id",
];

/// What the sidecar itself says in the head.
#[derive(Debug)]
pub(crate) struct Written<'a> {
    pub(crate) accept: &'static str,
    pub(crate) traceparent: &'a str,
    pub(crate) request_id: &'a str,
    /// False in the modern era, which has no sessions.
    pub(crate) session: bool,
}

/// The headers of the request to `server`.
pub(crate) fn towards_server(
    incoming: HeaderMap,
    server: &McpServer,
    principal: &Principal,
    written: &Written<'_>,
) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(incoming.len() + 4);
    let by_connection = ConnectionListed::of(&incoming);
    for name in kept_as_stated(server) {
        if let Some(value) = incoming.get(name) {
            headers.insert(name.clone(), value.clone());
        }
    }
    if let Some(host) = &server.loopback_host {
        headers.insert(header::HOST, host.clone());
    }
    let mut passing = None;
    for (name, value) in incoming {
        // Only the first value of a name comes with it.
        if let Some(name) = name {
            let passes = passes(&name, server, &by_connection, written.session);
            passing = passes.then_some(name);
        }
        if let Some(name) = &passing {
            headers.append(name.clone(), value);
        }
    }
    headers.insert(header::ACCEPT, HeaderValue::from_static(written.accept));
    insert_text(&mut headers, TRACEPARENT, written.traceparent);
    insert_text(&mut headers, X_REQUEST_ID, written.request_id);
    add_identity(&mut headers, server, principal);
    headers
}

/// What the configuration has the server see although it is removed otherwise.
fn kept_as_stated(server: &McpServer) -> impl Iterator<Item = &'static HeaderName> {
    let authorization = server.keep_authorization.then_some(&header::AUTHORIZATION);
    let preserved = server
        .loopback_host
        .is_none()
        .then_some([&header::HOST, &header::ORIGIN]);
    authorization
        .into_iter()
        .chain(preserved.into_iter().flatten())
}

fn passes(
    name: &HeaderName,
    server: &McpServer,
    by_connection: &ConnectionListed,
    session: bool,
) -> bool {
    let name = name.as_str();
    // To CGI-like servers an underscore is the same as a hyphen, and to some
    // every other mark is: such a name could stand for any of those removed.
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    !(!name.bytes().all(is_plain)
        || is_removed(name)
        || has_removed_prefix(name)
        || (by_connection.names(name) && !CHECKED.contains(&name))
        || server
            .identity_headers
            .iter()
            .any(|(identity, _)| identity.as_str() == name)
        || (!session && matches!(name, "mcp-session-id" | "last-event-id")))
}

fn has_removed_prefix(name: &str) -> bool {
    // Most names are told apart by their first letter.
    matches!(name.as_bytes(), [b'c' | b's' | b'x', ..])
        && REMOVED_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

/// Adds what was verified about the principal, where the gateway asks for it.
fn add_identity(headers: &mut HeaderMap, server: &McpServer, principal: &Principal) {
    for (name, fact) in &server.identity_headers {
        if let Some(text) = fact.of(principal) {
            // A value that cannot be a header is left out: absent is the only
            // safe spelling of an identity that cannot be said.
            insert_text(headers, name.clone(), &text);
        }
    }
}

fn insert_text(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

/// The header names that `Connection` declares hop-by-hop (RFC 9110 7.6.1).
struct ConnectionListed(Vec<String>);

impl ConnectionListed {
    fn of(headers: &HeaderMap) -> Self {
        let listed = headers
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(|name| name.trim().to_ascii_lowercase())
            .filter(|name| !name.is_empty() && name != "keep-alive" && name != "close")
            .collect();
        Self(listed)
    }

    fn names(&self, name: &str) -> bool {
        self.0.iter().any(|listed| listed == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortcut_by_first_letters_covers_every_prefix() {
        assert!(
            REMOVED_PREFIXES
                .iter()
                .all(|prefix| has_removed_prefix(prefix))
        );
    }
}
