//! Every refusal, and the one function that turns it into HTTP.
//!
//! A refusal tells the client what would cure it and nothing else: no upstream
//! detail, no rule, no path of the machine.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use sidegate_mcp::codes;
use sidegate_mcp::error::error_body;
use sidegate_mcp::metadata::bearer_challenge;
use sidegate_mcp::{Era, Rejection, RejectionKind};
use sidegate_policy::decision::DenialReason;
use sidegate_policy::scope::ScopeSet;

use crate::body::ResponseBody;

/// Why a request was not passed on, or why its answer was not.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The HTTP/1.1 framing was ambiguous; the word says how.
    Framing(&'static str),
    UriTooLong,
    HeadTooLarge,
    HostMalformed,
    HostNotServed,
    OriginRefused,
    NotFound,
    MethodNotAllowed {
        allow: &'static str,
    },
    Unauthenticated(Unauthenticated),
    /// More than one credential, or one that is no credential at all.
    MalformedCredentials {
        fault: &'static str,
    },
    /// The issuer's keys were never loaded or are too old: nobody can tell
    /// whether the token is good, so the client must keep it.
    KeysUnavailable,
    UnsupportedMediaType,
    UnsupportedEncoding,
    NotAcceptable,
    BodyTooLarge,
    BodyTimedOut,
    BodyBrokenOff,
    /// Bodies in memory reached `limits.maxBufferedBytes`.
    Overloaded,
    Message(Box<Rejection>),
    UnknownMethod {
        era: Era,
    },
    /// A request that must have an id has none.
    MissingId,
    UnknownSession,
    Denied(Box<Denied>),
    TooManyRequests,
    TooManySessions,
    /// No configuration was accepted yet.
    Unconfigured,
    UpstreamUnreachable,
    UpstreamTimedOut,
    /// The server's answer cannot be passed on; the word says why.
    UpstreamAnswer(&'static str),
}

/// A 401: no credentials, or a token that is not good.
#[derive(Debug)]
pub(crate) struct Unauthenticated {
    /// None: there were no credentials.
    pub(crate) fault: Option<&'static str>,
    pub(crate) metadata_url: Arc<str>,
    pub(crate) scope: ScopeSet,
}

/// A 403, or a 401 when signing in could cure it.
#[derive(Debug)]
pub(crate) struct Denied {
    pub(crate) reason: DenialReason,
    pub(crate) missing_scopes: ScopeSet,
    pub(crate) metadata_url: Arc<str>,
    /// Whether a token was presented; without one the cure is to sign in.
    pub(crate) has_token: bool,
}

/// The parts of a refusal as HTTP and JSON-RPC.
struct Wording {
    status: StatusCode,
    code: i64,
    message: String,
    /// Raw JSON for `error.data`.
    data: Option<Box<str>>,
    challenge: Option<String>,
    allow: Option<&'static str>,
    retry_after: Option<&'static str>,
    /// The connection cannot be used for another request.
    close: bool,
}

/// What a client without a better hint should wait, in seconds.
const RETRY_SOON: &str = "1";

impl Refusal {
    /// The reason in metrics and audit lines.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Framing(fault) => fault,
            Self::UriTooLong => "uri_too_long",
            Self::HeadTooLarge => "head_too_large",
            Self::HostMalformed => "host_malformed",
            Self::HostNotServed => "host_not_served",
            Self::OriginRefused => "origin_refused",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
            Self::Unauthenticated(refusal) => refusal.fault.unwrap_or("no_token"),
            Self::MalformedCredentials { fault } => fault,
            Self::KeysUnavailable => "keys_unavailable",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::UnsupportedEncoding => "unsupported_encoding",
            Self::NotAcceptable => "not_acceptable",
            Self::BodyTooLarge => "body_too_large",
            Self::BodyTimedOut => "body_timed_out",
            Self::BodyBrokenOff => "body_broken_off",
            Self::Overloaded => "overloaded",
            Self::Message(rejection) => rejection.kind.as_str(),
            Self::UnknownMethod { .. } => "unknown_method",
            Self::MissingId => "missing_id",
            Self::UnknownSession => "unknown_session",
            Self::Denied(denied) => denied.reason.as_str(),
            Self::TooManyRequests => "too_many_requests",
            Self::TooManySessions => "too_many_sessions",
            Self::Unconfigured => "unconfigured",
            Self::UpstreamUnreachable => "upstream_unreachable",
            Self::UpstreamTimedOut => "upstream_timed_out",
            Self::UpstreamAnswer(fault) => fault,
        }
    }

    /// The answer, with the id of the request where it could be read.
    pub(crate) fn into_response(self, id: Option<&str>) -> Response<ResponseBody> {
        let wording = self.wording();
        let body = error_body(id, wording.code, &wording.message, wording.data.as_deref());
        let mut response = Response::new(ResponseBody::full(Bytes::from(body)));
        *response.status_mut() = wording.status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let challenge = wording
            .challenge
            .and_then(|text| HeaderValue::try_from(text).ok());
        if let Some(challenge) = challenge {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(allow) = wording.allow {
            headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        if let Some(seconds) = wording.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(seconds));
        }
        if wording.close {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// The one place where a refusal gets its status and code.
    ///
    /// The match has no catch-all: a new refusal must choose here.
    fn wording(self) -> Wording {
        use StatusCode as S;
        match self {
            Self::Framing(_) => {
                plain(S::BAD_REQUEST, codes::BAD_REQUEST, "malformed request").closing()
            }
            Self::UriTooLong => plain(
                S::URI_TOO_LONG,
                codes::BAD_REQUEST,
                "request target too long",
            ),
            Self::HeadTooLarge => plain(
                S::REQUEST_HEADER_FIELDS_TOO_LARGE,
                codes::BAD_REQUEST,
                "request head too large",
            ),
            Self::HostMalformed => plain(S::BAD_REQUEST, codes::BAD_REQUEST, "malformed host"),
            Self::HostNotServed => plain(
                S::MISDIRECTED_REQUEST,
                codes::BAD_REQUEST,
                "host not served here",
            ),
            Self::OriginRefused => plain(S::FORBIDDEN, codes::FORBIDDEN, "origin not allowed"),
            Self::NotFound => plain(S::NOT_FOUND, codes::NOT_FOUND, "not found"),
            Self::MethodNotAllowed { allow } => Wording {
                allow: Some(allow),
                ..plain(
                    S::METHOD_NOT_ALLOWED,
                    codes::BAD_REQUEST,
                    "method not allowed",
                )
            },
            Self::Unauthenticated(refusal) => refusal.wording(),
            Self::MalformedCredentials { .. } => plain(
                S::BAD_REQUEST,
                codes::UNAUTHENTICATED,
                "send exactly one authorization header with a bearer token",
            ),
            Self::KeysUnavailable => {
                unavailable("tokens cannot be verified at the moment, keep yours and retry")
            }
            Self::UnsupportedMediaType => plain(
                S::UNSUPPORTED_MEDIA_TYPE,
                codes::BAD_REQUEST,
                "content type must be application/json in UTF-8",
            ),
            Self::UnsupportedEncoding => plain(
                S::UNSUPPORTED_MEDIA_TYPE,
                codes::BAD_REQUEST,
                "content encoding is not supported",
            ),
            Self::NotAcceptable => plain(
                S::NOT_ACCEPTABLE,
                codes::BAD_REQUEST,
                "accept must list application/json and text/event-stream",
            ),
            Self::BodyTooLarge => plain(
                S::PAYLOAD_TOO_LARGE,
                codes::TOO_LARGE,
                "request body too large",
            ),
            Self::BodyTimedOut => plain(
                S::REQUEST_TIMEOUT,
                codes::BAD_REQUEST,
                "request body came too slowly",
            )
            .closing(),
            Self::BodyBrokenOff => {
                plain(S::BAD_REQUEST, codes::BAD_REQUEST, "malformed request body").closing()
            }
            Self::Overloaded => unavailable("too many bytes in progress, retry later"),
            Self::Message(rejection) => {
                let status = message_status(rejection.kind);
                let wording = plain(status, rejection.kind.code(), &rejection.message);
                Wording {
                    data: rejection.data,
                    ..wording
                }
            }
            Self::UnknownMethod { era } => {
                let status = match era {
                    Era::Modern => S::NOT_FOUND,
                    // A 404 would end the session of a legacy client.
                    Era::Legacy => S::BAD_REQUEST,
                };
                plain(
                    status,
                    RejectionKind::MethodNotFound.code(),
                    "method not found",
                )
            }
            Self::MissingId => {
                let code = RejectionKind::InvalidRequest.code();
                plain(S::BAD_REQUEST, code, "this method needs a request id")
            }
            Self::UnknownSession => {
                plain(S::NOT_FOUND, codes::SESSION_NOT_FOUND, "session not found")
            }
            Self::Denied(denied) => denied.wording(),
            Self::TooManyRequests => too_many("too many requests in progress"),
            Self::TooManySessions => too_many("too many sessions"),
            Self::Unconfigured => unavailable("no configuration yet"),
            Self::UpstreamUnreachable => plain(
                S::BAD_GATEWAY,
                codes::UPSTREAM,
                "the server cannot be reached",
            ),
            Self::UpstreamTimedOut => plain(
                S::GATEWAY_TIMEOUT,
                codes::UPSTREAM,
                "the server did not answer in time",
            ),
            Self::UpstreamAnswer(_) => plain(
                S::BAD_GATEWAY,
                codes::UPSTREAM,
                "the server's answer cannot be passed on",
            ),
        }
    }
}

// === impl Unauthenticated ===

impl Unauthenticated {
    /// RFC 6750 section 3: no error code when there were no credentials.
    fn wording(self) -> Wording {
        let scope = self.scope.to_string();
        let mut parameters = Vec::with_capacity(4);
        if self.fault.is_some() {
            parameters.push(("error", "invalid_token"));
        }
        parameters.push(("resource_metadata", &*self.metadata_url));
        if !scope.is_empty() {
            parameters.push(("scope", scope.as_str()));
        }
        let message = match self.fault {
            Some(_) => "the token is not valid here",
            None => "a bearer token is required",
        };
        Wording {
            challenge: Some(bearer_challenge(&parameters)),
            ..plain(StatusCode::UNAUTHORIZED, codes::UNAUTHENTICATED, message)
        }
    }
}

// === impl Denied ===

impl Denied {
    /// `insufficient_scope` only when scopes would cure it, else clients would
    /// step up in circles.
    fn wording(self) -> Wording {
        if self.missing_scopes.is_empty() {
            return plain(StatusCode::FORBIDDEN, codes::FORBIDDEN, "not allowed");
        }
        if !self.has_token {
            let sign_in = Unauthenticated {
                fault: None,
                metadata_url: self.metadata_url,
                scope: self.missing_scopes,
            };
            return sign_in.wording();
        }
        let scope = self.missing_scopes.to_string();
        let challenge = bearer_challenge(&[
            ("error", "insufficient_scope"),
            ("scope", &scope),
            ("resource_metadata", &self.metadata_url),
        ]);
        Wording {
            challenge: Some(challenge),
            ..plain(
                StatusCode::FORBIDDEN,
                codes::FORBIDDEN,
                &format!("insufficient scope: needs {scope}"),
            )
        }
    }
}

// === impl Wording ===

impl Wording {
    fn closing(mut self) -> Self {
        self.close = true;
        self
    }
}

fn plain(status: StatusCode, code: i64, message: &str) -> Wording {
    Wording {
        status,
        code,
        message: message.to_owned(),
        data: None,
        challenge: None,
        allow: None,
        retry_after: None,
        close: false,
    }
}

fn unavailable(message: &str) -> Wording {
    Wording {
        retry_after: Some(RETRY_SOON),
        ..plain(StatusCode::SERVICE_UNAVAILABLE, codes::UNAVAILABLE, message)
    }
}

fn too_many(message: &str) -> Wording {
    Wording {
        retry_after: Some(RETRY_SOON),
        ..plain(StatusCode::TOO_MANY_REQUESTS, codes::RATE_LIMITED, message)
    }
}

fn message_status(kind: RejectionKind) -> StatusCode {
    match kind {
        RejectionKind::Parse
        | RejectionKind::InvalidRequest
        | RejectionKind::UnsupportedVersion
        | RejectionKind::HeaderMismatch
        | RejectionKind::InvalidParams => StatusCode::BAD_REQUEST,
        RejectionKind::MethodNotFound => StatusCode::NOT_FOUND,
    }
}
