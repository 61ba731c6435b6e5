//! Checks of the request head, in the order of ARCHITECTURE.md, before any
//! credential is looked at.

use http::request::Parts;
use http::{HeaderMap, Method, Version, header};
use sidegate_config::sidecar_config::Limits;

use crate::answer::Refusal;
use crate::authority::{host_of, is_host};
use crate::runtime::{McpServer, ProtectedResource};

/// Where a request is going, once its host, origin and path were accepted.
#[derive(Debug)]
pub(crate) enum Route<'a> {
    /// The MCP endpoint.
    Endpoint,
    /// Protected resource metadata (RFC 9728) of this resource.
    Metadata(&'a ProtectedResource),
}

/// Refuses a head over its limits.
///
/// # Errors
/// 414 for the target, 431 for the fields.
pub(crate) fn check_size(parts: &Parts, limits: &Limits) -> Result<(), Refusal> {
    let target = parts
        .uri
        .path_and_query()
        .map_or(0, |target| target.as_str().len());
    if target > limits.max_uri_bytes {
        return Err(Refusal::UriTooLong);
    }
    if parts.headers.len() > limits.max_headers {
        return Err(Refusal::HeadTooLarge);
    }
    let mut total = 0_usize;
    for (name, value) in &parts.headers {
        if value.len() > limits.max_header_value_bytes {
            return Err(Refusal::HeadTooLarge);
        }
        // Name, colon, space, value, line end: what the field took on the wire.
        total += name.as_str().len() + value.len() + 4;
    }
    if total > limits.max_header_bytes {
        Err(Refusal::HeadTooLarge)
    } else {
        Ok(())
    }
}

/// Methods that are not requests for a resource at all.
///
/// # Errors
/// 405: CONNECT and TRACE are never served (hyper would answer a CONNECT by
/// itself with whatever the handler returns).
pub(crate) fn check_method_kind(method: &Method) -> Result<(), Refusal> {
    if method == Method::CONNECT || method == Method::TRACE {
        return Err(Refusal::MethodNotAllowed {
            allow: "POST, GET, DELETE",
        });
    }
    Ok(())
}

/// The authority the client dialled: lower case, well formed and one that the
/// server answers for.
///
/// # Errors
/// 400 for a missing, repeated or malformed host, or one that disagrees with
/// the request target; 421 for one that is not served.
pub(crate) fn authority(parts: &Parts, server: &McpServer) -> Result<String, Refusal> {
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let host = hosts
        .next()
        .map(|value| value.to_str().map_err(|_| Refusal::HostMalformed));
    let host = host.transpose()?;
    if hosts.next().is_some() {
        return Err(Refusal::HostMalformed);
    }
    // HTTP/2 carries it in `:authority`, HTTP/1.1 in absolute-form targets; two
    // answers to one question are refused (LiteLLM CVE-2026-49468).
    let target = parts.uri.authority().map(http::uri::Authority::as_str);
    let stated = match (host, target) {
        (Some(host), Some(target)) if !host.eq_ignore_ascii_case(target) => {
            return Err(Refusal::HostMalformed);
        }
        (Some(host), Some(_) | None) => host,
        (None, Some(target)) if parts.version == Version::HTTP_2 => target,
        (None, Some(_) | None) => return Err(Refusal::HostMalformed),
    };
    if !is_host(stated) {
        return Err(Refusal::HostMalformed);
    }
    let authority = stated.to_ascii_lowercase();
    let name = host_of(&authority);
    let served = server
        .hosts
        .iter()
        .any(|host| *host == authority || host == name);
    if served {
        Ok(authority)
    } else {
        Err(Refusal::HostNotServed)
    }
}

/// The origin of a browser's request, when there is one and it is listed.
///
/// # Errors
/// 403 for any other (MCP 2026-07-28, transports, "Security").
pub(crate) fn origin<'a>(
    headers: &'a HeaderMap,
    server: &McpServer,
) -> Result<Option<&'a str>, Refusal> {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let Some(origin) = origins.next() else {
        return Ok(None);
    };
    let listed = origin.to_str().ok().filter(|origin| {
        server
            .allowed_origins
            .iter()
            .any(|allowed| allowed == origin)
    });
    match (listed, origins.next()) {
        (Some(origin), None) => Ok(Some(origin)),
        (Some(_) | None, _) => Err(Refusal::OriginRefused),
    }
}

/// The route of a path. Paths are compared byte by byte: no decoding, no
/// merging of slashes, no parameters.
///
/// # Errors
/// 404 for every other path.
pub(crate) fn route<'a>(
    parts: &Parts,
    server: &'a McpServer,
    authority: &str,
) -> Result<Route<'a>, Refusal> {
    let path = parts.uri.path();
    if path == server.path {
        return Ok(Route::Endpoint);
    }
    let dialled = server.resource_for(authority);
    // The root form answers for the resource that was dialled; the form with
    // the path inserted for the resource of that path (RFC 9728 3.1).
    if path == WELL_KNOWN {
        return dialled.map(Route::Metadata).ok_or(Refusal::NotFound);
    }
    dialled
        .filter(|resource| resource.metadata_path == path)
        .or_else(|| {
            server
                .resources
                .iter()
                .find(|resource| resource.metadata_path == path)
        })
        .map(Route::Metadata)
        .ok_or(Refusal::NotFound)
}

const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// Refuses a body that is not plain JSON.
///
/// # Errors
/// 415 for another media type or charset, or for any content coding: a body
/// that the sidecar cannot read must not reach the server.
pub(crate) fn check_media_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let one = types.next().and_then(|value| value.to_str().ok());
    if types.next().is_some() || !one.is_some_and(is_json) {
        return Err(Refusal::UnsupportedMediaType);
    }
    if headers.contains_key(header::CONTENT_ENCODING) {
        return Err(Refusal::UnsupportedEncoding);
    }
    Ok(())
}

/// `application/json`, compared without case, with no charset but UTF-8.
fn is_json(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    essence.eq_ignore_ascii_case("application/json")
        && parts.all(|parameter| match parameter.split_once('=') {
            Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => {
                let value = value.trim().trim_matches('"');
                value.eq_ignore_ascii_case("utf-8") || value.eq_ignore_ascii_case("utf8")
            }
            Some(_) => true,
            None => parameter.is_empty(),
        })
}

/// Refuses a client that could not read what a server may answer.
///
/// # Errors
/// 406 unless every type in `wanted` is accepted; no `Accept` accepts all
/// (RFC 9110 12.5.1).
pub(crate) fn check_accept(headers: &HeaderMap, wanted: &[&str]) -> Result<(), Refusal> {
    let mut values = headers.get_all(header::ACCEPT).iter();
    if let (Some(value), None) = (values.next(), values.next())
        && value == ACCEPTS_ALL_ANSWERS
    {
        return Ok(());
    }
    let mut ranges = Vec::new();
    for value in headers.get_all(header::ACCEPT) {
        let value = value.to_str().map_err(|_| Refusal::NotAcceptable)?;
        ranges.extend(value.split(','));
    }
    let accepted = |media_type: &str| {
        ranges.is_empty() || ranges.iter().any(|range| range_covers(range, media_type))
    };
    if wanted.iter().all(|media_type| accepted(media_type)) {
        Ok(())
    } else {
        Err(Refusal::NotAcceptable)
    }
}

/// What nearly every client sends: it covers every type that is ever wanted.
const ACCEPTS_ALL_ANSWERS: &str = "application/json, text/event-stream";

fn range_covers(range: &str, media_type: &str) -> bool {
    let mut parts = range.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default();
    let refused = parts.any(|parameter| {
        parameter
            .split_once('=')
            .filter(|(name, _)| name.trim().eq_ignore_ascii_case("q"))
            .is_some_and(|(_, weight)| weight.trim().parse::<f32>().is_ok_and(|q| q <= 0.0))
    });
    let family = media_type.split('/').next().unwrap_or_default();
    !refused
        && (name.eq_ignore_ascii_case(media_type)
            || name == "*/*"
            || name
                .strip_suffix("/*")
                .is_some_and(|range| range.eq_ignore_ascii_case(family)))
}

/// The declared length of the body, when there is one.
///
/// # Errors
/// 413 when it is over the limit, before a byte of it is read.
pub(crate) fn check_length(headers: &HeaderMap, limits: &Limits) -> Result<Option<usize>, Refusal> {
    let Some(length) = headers.get(header::CONTENT_LENGTH) else {
        return Ok(None);
    };
    let length = length
        .to_str()
        .ok()
        .and_then(|text| text.parse::<usize>().ok());
    match length {
        Some(length) if length <= limits.max_body_bytes => Ok(Some(length)),
        Some(_) => Err(Refusal::BodyTooLarge),
        None => Err(Refusal::Framing("malformed_content_length")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_json_is_a_body() {
        for good in [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/json;charset=\"UTF-8\"",
            "application/json; profile=x",
        ] {
            assert!(is_json(good), "{good}");
        }
        for bad in [
            "",
            "text/plain",
            "application/jsonp",
            "application/json+x",
            "application/json; charset=utf-16",
            "application/json, text/plain",
            "application/json; x",
        ] {
            assert!(!is_json(bad), "{bad}");
        }
    }

    #[test]
    fn accept_must_cover_every_type_wanted() {
        let wanted = ["application/json", "text/event-stream"];
        for (accept, fits) in [
            (Some("application/json, text/event-stream"), true),
            (Some("*/*"), true),
            (Some("text/*, application/json;q=0.5"), true),
            (None, true),
            (Some("application/json"), false),
            (Some("text/html"), false),
            (Some("application/json, text/event-stream;q=0"), false),
            (Some(""), false),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(header::ACCEPT, accept.parse().expect("a header value"));
            }
            assert_eq!(check_accept(&headers, &wanted).is_ok(), fits, "{accept:?}");
        }
    }
}
