//! Every request of a connection comes through here, whatever its protocol: it
//! is counted, a panic costs only itself, and on the way out a connection that
//! shall close says so.

use std::any::Any;
use std::convert::Infallible;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tracing::{debug, error};

use super::activity::{Activity, InFlight};
use super::transport::Transport;
use crate::body::{BodyError, ResponseBody};
use crate::connection_info::ConnectionInfo;
use crate::request;
use crate::shared::Shared;

/// The future of a request; every request allocates and fills one.
const MAX_FUTURE_BYTES: usize = 7168;

/// Answers the requests of one connection.
#[derive(Clone)]
pub(super) struct RequestService {
    pub(super) shared: Arc<Shared>,
    pub(super) transport: Arc<Transport>,
    pub(super) connection: Arc<ConnectionInfo>,
    pub(super) activity: Arc<Activity>,
    pub(super) http1: bool,
}

/// An answer that counts as in progress until its last byte was taken.
pub(super) struct CountedBody {
    body: ResponseBody,
    shared: Arc<Shared>,
    _in_flight: InFlight,
}

/// Why an answer broke off.
#[derive(Debug, thiserror::Error)]
pub(super) enum AnswerError {
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error("internal error")]
    Panic,
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<CountedBody>, Infallible>> + Send>>;

// === impl RequestService ===

impl hyper::service::Service<Request<Incoming>> for RequestService {
    type Response = Response<CountedBody>;
    type Error = Infallible;
    // Boxed per request: an idle connection holds no memory for a request.
    type Future = Answer;

    fn call(&self, request: Request<Incoming>) -> Answer {
        let service = self.clone();
        let in_flight = self.activity.begin_request();
        boxed(async move {
            let answered = {
                // Pinned where it is made: moving it would copy kilobytes.
                let answer = pin!(request::serve(
                    &service.shared,
                    &service.connection,
                    request
                ));
                caught(answer).await
            };
            let mut response = match answered {
                Ok(response) => response,
                Err(panic) => service.after_panic(&panic),
            };
            if service.http1 && service.must_close() {
                response
                    .headers_mut()
                    .insert(CONNECTION, HeaderValue::from_static("close"));
            }
            let shared = service.shared;
            Ok(response.map(|body| CountedBody {
                body,
                shared,
                _in_flight: in_flight,
            }))
        })
    }
}

impl RequestService {
    /// Whether the connection shall take no further request.
    fn must_close(&self) -> bool {
        self.shared.drain.is_draining() || self.transport.is_retired()
    }

    /// Counts a fault that the library answered without asking for it.
    pub(super) fn note_untaken_fault(&self) {
        if let Some(fault) = self.connection.framing.untaken() {
            debug!(
                listener = %self.connection.listener,
                peer = %self.connection.remote,
                reason = fault,
                "request refused"
            );
        }
    }

    fn after_panic(&self, panic: &Panic) -> Response<ResponseBody> {
        report(&self.shared, panic);
        let mut response =
            Response::new(ResponseBody::full(Bytes::from_static(b"internal error\n")));
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        if self.http1 {
            // The request's body may be half read.
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// Boxes the future of a request, which is copied once on its way.
fn boxed<F>(future: F) -> Answer
where
    F: Future<Output = Result<Response<CountedBody>, Infallible>> + Send + 'static,
{
    const {
        assert!(
            size_of::<F>() <= MAX_FUTURE_BYTES,
            "box what is seldom awaited"
        );
    };
    Box::pin(future)
}

// === impl CountedBody ===

impl Body for CountedBody {
    type Data = Bytes;
    type Error = AnswerError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        let body = &mut self.body;
        match catch_unwind(AssertUnwindSafe(|| Pin::new(body).poll_frame(cx))) {
            Ok(frame) => frame.map_err(AnswerError::Body),
            Err(panic) => {
                report(&self.shared, &Panic::new(panic.as_ref()));
                Poll::Ready(Some(Err(AnswerError::Panic)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

// === impl Panic ===

/// What a panic said.
#[derive(Debug, PartialEq, Eq)]
struct Panic(String);

impl Panic {
    fn new(payload: &(dyn Any + Send)) -> Self {
        let text = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned());
        Self(text.unwrap_or_else(|| "no message".to_owned()))
    }
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn report(shared: &Shared, panic: &Panic) {
    shared.metrics.panic();
    error!(%panic, "a request failed inside the sidecar");
}

/// The output of `future`, or its panic.
///
/// State shared between requests is behind locks that are taken over when
/// poisoned, so what a panic leaves behind is whole.
async fn caught<F: Future>(mut future: Pin<&mut F>) -> Result<F::Output, Panic> {
    std::future::poll_fn(
        |cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(Panic::new(panic.as_ref()))),
        },
    )
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_caught_with_its_message() {
        async fn fails(at_once: bool) -> u8 {
            if !at_once {
                tokio::task::yield_now().await;
            }
            panic!("broken: {at_once}");
        }
        assert_eq!(caught(pin!(async { 7 })).await, Ok(7));
        assert_eq!(
            caught(pin!(fails(true))).await,
            Err(Panic("broken: true".to_owned()))
        );
        assert_eq!(
            caught(pin!(fails(false))).await,
            Err(Panic("broken: false".to_owned()))
        );
    }
}
