//! Answers of the authorization server. None may be stored: they hold tokens,
//! or keys that may be rotated for a demonstration at any time.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, PRAGMA};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde_json::Value;

use super::AnswerBody;

pub(super) type Answer = Response<AnswerBody>;

pub(super) fn json(body: &Value) -> Answer {
    json_with(StatusCode::OK, body)
}

pub(super) fn json_with(status: StatusCode, body: &Value) -> Answer {
    answer(status, "application/json", Bytes::from(body.to_string()))
}

pub(super) fn text(status: StatusCode, body: &'static str) -> Answer {
    answer(
        status,
        "text/plain; charset=utf-8",
        Bytes::from_static(body.as_bytes()),
    )
}

pub(super) fn method_not_allowed(allowed: &'static str) -> Answer {
    let answer = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
    with(answer, ALLOW, allowed)
}

pub(super) fn with(mut answer: Answer, name: HeaderName, value: &'static str) -> Answer {
    answer
        .headers_mut()
        .insert(name, HeaderValue::from_static(value));
    answer
}

fn answer(status: StatusCode, media_type: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    let answer = with(answer, CONTENT_TYPE, media_type);
    let answer = with(answer, CACHE_CONTROL, "no-store");
    // RFC 6749, section 5.1 asks for both.
    with(answer, PRAGMA, "no-cache")
}
