//! Cross-origin answers for the origins that a server lists (WHATWG Fetch,
//! "CORS protocol"). Others never get this far.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode};

use crate::body::ResponseBody;
use crate::reply::{Record, Reply};

/// What a page may send: the headers of the MCP transport.
const ALLOWED_HEADERS: &str = "authorization, content-type, accept, mcp-protocol-version, \
    mcp-session-id, mcp-method, mcp-name, last-event-id, traceparent, tracestate";
const ALLOWED_METHODS: &str = "POST, GET, DELETE";
/// What a page may read beside the safelisted headers.
const EXPOSED_HEADERS: &str = "mcp-session-id, mcp-protocol-version, www-authenticate, retry-after";
/// How long a browser may keep the answer to a preflight, in seconds.
const MAX_AGE: &str = "600";
/// Parameters that a tool mirrors into headers; their names are the tool's.
const PARAMETER_PREFIX: &str = "mcp-param-";

/// A listed origin.
#[derive(Debug, Clone)]
pub(crate) struct Cors {
    origin: HeaderValue,
}

impl Cors {
    /// For an origin that was found in the list.
    pub(super) fn of(origin: &str) -> Option<Self> {
        HeaderValue::from_str(origin)
            .ok()
            .map(|origin| Self { origin })
    }

    /// The answer to a preflight, when the request is one. It needs no
    /// credentials, because a browser sends none with it.
    pub(super) fn preflight(&self, parts: &Parts) -> Option<Reply> {
        let asked = parts
            .headers
            .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        if parts.method != Method::OPTIONS || !asked {
            return None;
        }
        let mut response = Response::new(ResponseBody::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        let fixed = [
            (header::ACCESS_CONTROL_ALLOW_METHODS, ALLOWED_METHODS),
            (header::ACCESS_CONTROL_MAX_AGE, MAX_AGE),
        ];
        for (name, value) in fixed {
            headers.insert(name, HeaderValue::from_static(value));
        }
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            allowed_headers(&parts.headers),
        );
        Some(Reply {
            response,
            record: Record::Uncounted,
        })
    }

    /// Lets the page read this answer.
    pub(super) fn add_to(self, headers: &mut HeaderMap) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, self.origin);
        headers.append(header::VARY, HeaderValue::from_static("origin"));
        let exposed = HeaderValue::from_static(EXPOSED_HEADERS);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
}

/// The headers of the transport, and those asked for that mirror a parameter.
fn allowed_headers(asked: &HeaderMap) -> HeaderValue {
    let mut allowed = ALLOWED_HEADERS.to_owned();
    let asked = asked.get_all(header::ACCESS_CONTROL_REQUEST_HEADERS).iter();
    for name in asked
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
    {
        let parsed = HeaderName::try_from(name.trim());
        if let Some(name) = parsed
            .ok()
            .filter(|name| name.as_str().starts_with(PARAMETER_PREFIX))
        {
            allowed.push_str(", ");
            allowed.push_str(name.as_str());
        }
    }
    HeaderValue::try_from(allowed).unwrap_or(HeaderValue::from_static(ALLOWED_HEADERS))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn preflight(method: &str, headers: &[(&str, &str)]) -> Option<Reply> {
        let mut request = Request::builder().method(method);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        Cors::of("https://app.example")
            .expect("an origin")
            .preflight(&parts)
    }

    #[test]
    fn only_a_preflight_is_answered_as_one() {
        let asks = ("access-control-request-method", "POST");
        assert!(preflight("OPTIONS", &[asks]).is_some());
        assert!(preflight("OPTIONS", &[]).is_none());
        assert!(preflight("POST", &[asks]).is_none());
    }

    #[test]
    fn mirrored_parameters_may_be_sent_and_nothing_else_that_is_asked_for() {
        let asks = [
            ("access-control-request-method", "POST"),
            (
                "access-control-request-headers",
                "Mcp-Param-Region, x-evil, bad name",
            ),
        ];
        let reply = preflight("OPTIONS", &asks).expect("a preflight");
        let allowed = reply.response.headers().get("access-control-allow-headers");
        let allowed = allowed
            .and_then(|value| value.to_str().ok())
            .expect("is there");
        assert!(allowed.ends_with(", mcp-param-region"), "{allowed}");
    }
}
