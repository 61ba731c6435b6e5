//! One request to the webhook, from its head to its answer.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Incoming};
use tokio::time::{Instant, timeout};

use super::gateways::LiveGateways;
use super::listed::gateway_of;
use super::room::{Place, Seat};
use crate::injector::InjectorSettings;
use crate::injector::admission::{Answer, Lookup, MAX_REVIEW_BYTES, Outcome, Review};
use crate::metrics::{AdmissionResult, WebhookMetrics};

/// The one path.
pub(crate) const PATH: &str = "/inject";
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
/// For a body, from its head to its end.
pub(super) const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// What answers reviews.
pub(super) struct Reviewer {
    pub(super) settings: InjectorSettings,
    pub(super) gateways: LiveGateways,
    pub(super) metrics: WebhookMetrics,
}

/// A request that is not answered with a review.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    NotFound,
    Method,
    MediaType,
    TooLarge,
    Slow,
    Broken,
    Busy,
}

/// A body, and its place in memory.
struct Received {
    bytes: Vec<u8>,
    _place: Place,
}

// === impl Reviewer ===

impl Reviewer {
    pub(super) async fn respond(
        &self,
        request: Request<Incoming>,
        seat: &Seat,
    ) -> Response<Full<Bytes>> {
        let started = Instant::now();
        let (response, result) = match self.reviewed(request, seat).await {
            Ok(answer) => (reviewed(answer.status, answer.body), answer.outcome.into()),
            Err(refusal) => (refusal.response(), refusal.into()),
        };
        self.metrics.reviewed(result, started.elapsed());
        response
    }

    async fn reviewed(&self, request: Request<Incoming>, seat: &Seat) -> Result<Answer, Refusal> {
        check_head(&request)?;
        let body = receive(request.into_body(), seat).await?;
        let review = seat.review(body.bytes.len()).await;
        let _place = review.ok_or(Refusal::Busy)?;
        Ok(self.answer(&body.bytes).await)
    }

    async fn answer(&self, body: &[u8]) -> Answer {
        let review = match Review::read(body) {
            Ok(review) => review,
            Err(unreadable) => return unreadable.answer(),
        };
        let lookup = match review.needs_gateway() {
            true => self.lookup(&review).await,
            false => Lookup::NoGateway,
        };
        review.answer(&lookup, &self.settings)
    }

    async fn lookup(&self, review: &Review) -> Lookup {
        match self.gateways.of(review.namespace()).await {
            Ok(all) => gateway_of(&all, review.namespace(), review.labels()),
            Err(reason) => Lookup::Unavailable(reason.to_string()),
        }
    }
}

fn check_head(request: &Request<Incoming>) -> Result<(), Refusal> {
    if request.uri().path() != PATH {
        return Err(Refusal::NotFound);
    }
    if request.method() != Method::POST {
        return Err(Refusal::Method);
    }
    if !is_json(request.headers()) {
        return Err(Refusal::MediaType);
    }
    Ok(())
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|it| it.to_str().ok());
    let media_type = value.and_then(|it| it.split(';').next());
    media_type.is_some_and(|it| it.trim().eq_ignore_ascii_case(JSON))
}

/// Reads a body, whose place in memory it takes before. A body that says that
/// it is too long is not read at all.
async fn receive(mut body: Incoming, seat: &Seat) -> Result<Received, Refusal> {
    let stated = body.size_hint().exact();
    let expected = stated.map_or(MAX_REVIEW_BYTES, |it| {
        usize::try_from(it).unwrap_or(usize::MAX)
    });
    if expected > MAX_REVIEW_BYTES {
        return Err(Refusal::TooLarge);
    }
    let place = seat.body(expected).await.ok_or(Refusal::Busy)?;
    let mut bytes = Vec::new();
    let whole = async {
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| Refusal::Broken)?.into_data() else {
                continue;
            };
            if bytes.len().saturating_add(data.len()) > MAX_REVIEW_BYTES {
                return Err(Refusal::TooLarge);
            }
            bytes.extend_from_slice(&data);
        }
        Ok(())
    };
    timeout(BODY_TIMEOUT, whole)
        .await
        .unwrap_or(Err(Refusal::Slow))?;
    Ok(Received {
        bytes,
        _place: place,
    })
}

// === impl Refusal ===

impl Refusal {
    fn wording(self) -> (StatusCode, &'static str) {
        match self {
            Self::NotFound => (StatusCode::NOT_FOUND, "not found\n"),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n"),
            Self::MediaType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "an AdmissionReview in application/json is wanted\n",
            ),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "the review is too long\n"),
            Self::Slow => (
                StatusCode::REQUEST_TIMEOUT,
                "the body did not come in time\n",
            ),
            Self::Broken => (StatusCode::BAD_REQUEST, "the body broke off\n"),
            Self::Busy => (StatusCode::TOO_MANY_REQUESTS, "too many reviews\n"),
        }
    }

    fn response(self) -> Response<Full<Bytes>> {
        let (status, text) = self.wording();
        let mut response = answer(status, TEXT, text);
        let headers = response.headers_mut();
        match self {
            Self::Method => {
                headers.insert(ALLOW, HeaderValue::from_static("POST"));
            }
            Self::Busy => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            Self::NotFound | Self::MediaType | Self::TooLarge | Self::Slow | Self::Broken => {}
        }
        response
    }
}

impl From<Refusal> for AdmissionResult {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Busy => Self::Busy,
            Refusal::NotFound
            | Refusal::Method
            | Refusal::MediaType
            | Refusal::TooLarge
            | Refusal::Slow
            | Refusal::Broken => Self::Unreadable,
        }
    }
}

impl From<Outcome> for AdmissionResult {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Untouched => Self::Untouched,
            Outcome::Present => Self::Present,
            Outcome::Injected => Self::Injected,
            Outcome::Refused => Self::Refused,
            Outcome::Unavailable => Self::Unavailable,
            Outcome::Unreadable => Self::Unreadable,
        }
    }
}

fn reviewed(status: u16, body: Vec<u8>) -> Response<Full<Bytes>> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    answer(status, JSON, body)
}

fn answer(
    status: StatusCode,
    media_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
