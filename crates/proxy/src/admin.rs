//! The admin port, on loopback: the configuration in force (secrets redacted),
//! the log level, the drain.
//!
//! Loopback is no protection from a browser on the same machine: a page may
//! send simple requests anywhere, and a name of its own may resolve to
//! loopback. So the `Host` must be a loopback one, and a request with an
//! `Origin` is refused.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use bytes::Bytes;
use http::header::{HOST, HeaderMap, ORIGIN};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::json;
use sidegate_telemetry::logging::LogHandle;

use crate::health::is_ready;
use crate::run::service_port::{Answer, Answering, answer, method_not_allowed, not_found, text};
use crate::run::status::Status;
use crate::shared::Shared;

/// Longest body: the name of a log level.
const MAX_BODY_BYTES: usize = 64;

/// What the admin port shows and changes.
pub(crate) struct Admin {
    pub(crate) shared: Arc<Shared>,
    pub(crate) status: Arc<Status>,
    pub(crate) log: Option<LogHandle>,
}

// === impl Admin ===

impl Admin {
    /// Answers the admin port.
    pub(crate) fn answering(self) -> Answering {
        let admin = Arc::new(self);
        Arc::new(move |request| {
            let admin = Arc::clone(&admin);
            Box::pin(async move { admin.respond(request).await })
        })
    }

    async fn respond(&self, request: Request<Incoming>) -> Answer {
        if !is_local(request.headers()) {
            return text(StatusCode::FORBIDDEN, "only for this machine\n");
        }
        let (head, body) = request.into_parts();
        match (head.uri.path(), &head.method) {
            ("/config", &Method::GET) => self.config(),
            ("/config", _) => method_not_allowed("GET"),
            ("/log-level", &Method::GET) => self.log_level(),
            ("/log-level", &Method::PUT) => self.set_log_level(body).await,
            ("/log-level", _) => method_not_allowed("GET, PUT"),
            ("/drain", &Method::POST) => self.drain(),
            ("/drain", _) => method_not_allowed("POST"),
            _ => not_found(),
        }
    }

    fn config(&self) -> Answer {
        let runtime = self.shared.runtime.load();
        let withdrawn = runtime
            .as_deref()
            .is_some_and(|runtime| runtime.is_withdrawn());
        let runtime = runtime.as_ref().filter(|_| !withdrawn);
        let config = runtime.map(|runtime| runtime.config.redacted_json());
        let version = runtime.map(|runtime| runtime.config.version.clone());
        let facts = self.status.facts();
        let listeners: Vec<_> = facts
            .listeners
            .iter()
            .map(|listener| json!({"name": listener.name, "address": listener.address}))
            .collect();
        json_answer(&json!({
            "version": version,
            "source": self.status.source(),
            "withdrawn": withdrawn,
            "loadedAt": facts.loaded_at,
            "lastError": facts.last_error,
            "ready": is_ready(&self.shared),
            "draining": self.shared.drain.is_draining(),
            "listeners": listeners,
            "config": config,
        }))
    }

    fn log_level(&self) -> Answer {
        match &self.log {
            Some(log) => answer(
                StatusCode::OK,
                "text/plain",
                Bytes::from(log.level().to_string()),
            ),
            None => not_found(),
        }
    }

    async fn set_log_level(&self, body: Incoming) -> Answer {
        let Some(log) = &self.log else {
            return not_found();
        };
        let Ok(body) = Limited::new(body, MAX_BODY_BYTES).collect().await else {
            return text(
                StatusCode::PAYLOAD_TOO_LARGE,
                "the body is the name of a level\n",
            );
        };
        let body = body.to_bytes();
        let level = std::str::from_utf8(&body)
            .ok()
            .and_then(|level| level.trim().parse().ok());
        match level {
            Some(level) => {
                log.set(level);
                text(StatusCode::OK, "ok\n")
            }
            None => text(
                StatusCode::BAD_REQUEST,
                "a level is one of: error, warn, info, debug, trace\n",
            ),
        }
    }

    fn drain(&self) -> Answer {
        self.shared.drain.begin();
        let mut answer = json_answer(&json!({
            "draining": true,
            "connections": self.shared.drain.connections(),
        }));
        *answer.status_mut() = StatusCode::ACCEPTED;
        answer
    }
}

fn json_answer(value: &serde_json::Value) -> Answer {
    answer(
        StatusCode::OK,
        "application/json",
        Bytes::from(value.to_string()),
    )
}

/// Whether a request comes from this machine and from no web page.
fn is_local(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return false;
    };
    !headers.contains_key(ORIGIN) && host.to_str().is_ok_and(is_loopback_host)
}

/// Whether `host` is `localhost` or a loopback literal, with any port.
fn is_loopback_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(literal) => match literal.split_once(']') {
            Some((address, port)) => {
                let is_loopback = address.parse() == Ok(Ipv6Addr::LOCALHOST);
                return is_loopback && (port.is_empty() || is_port(port.strip_prefix(':')));
            }
            None => return false,
        },
        None => host
            .split_once(':')
            .map_or((host, None), |(name, port)| (name, Some(port))),
    };
    let is_loopback = name.eq_ignore_ascii_case("localhost")
        || name
            .parse::<Ipv4Addr>()
            .is_ok_and(|address| address.is_loopback());
    is_loopback && (port.is_none() || is_port(port))
}

fn is_port(text: Option<&str>) -> bool {
    text.is_some_and(|text| {
        text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn loopback_hosts_are_told_from_others() {
        for host in [
            "localhost",
            "LOCALHOST:15020",
            "127.0.0.1",
            "127.0.0.1:1",
            "127.1.2.3:80",
            "[::1]",
            "[::1]:15020",
        ] {
            assert!(is_loopback_host(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "evil.example:15020",
            "127.0.0.1.evil.example",
            "127.1",
            "0.0.0.0",
            "2130706433",
            "10.0.0.1",
            "[::]",
            "[::1",
            "[::1]x",
            "[::1]:",
            "localhost:",
            "localhost:x",
            "localhost:99999",
            "localhost:+1",
            "localhost:1:2",
            "::1",
            "user@localhost",
        ] {
            assert!(!is_loopback_host(host), "{host}");
        }
    }

    #[test]
    fn web_pages_and_doubled_hosts_are_refused() {
        let mut headers = HeaderMap::new();
        assert!(!is_local(&headers), "no host");
        headers.insert(HOST, HeaderValue::from_static("localhost:15020"));
        assert!(is_local(&headers));
        headers.insert(ORIGIN, HeaderValue::from_static("null"));
        assert!(!is_local(&headers));
        headers.remove(ORIGIN);
        headers.append(HOST, HeaderValue::from_static("localhost:15020"));
        assert!(!is_local(&headers));
    }
}
