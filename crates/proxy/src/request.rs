//! One request, from its head to the head of its answer: the phases in the
//! order in which the first failure answers.
//!
//! framing, size and host, origin, path, identity, HTTP method, media type and
//! encoding, `Accept`, body, message, decision, limits, upstream. Everything up
//! to the decision happens before a byte goes to the server.

mod admit;
mod cors;
mod fields;
mod leftover;
mod legacy;
mod message;
mod metadata;
mod send;

use std::sync::Arc;

use http::header::{CONNECTION, EXPECT, HOST};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Version};
use hyper::body::Incoming;
use sidegate_telemetry::trace::TraceContext;

use self::cors::Cors;
use crate::admitted::Admitted;
use crate::answer::Refusal;
use crate::body::ResponseBody;
pub use crate::connection_info::ConnectionInfo;
use crate::head::{self, Route};
use crate::names::TRACEPARENT;
use crate::outcome::Exchange;
use crate::reply::{Record, Reply};
use crate::shared::Shared;

/// Methods of the endpoint, for a client that tried another one.
const ENDPOINT_METHODS: &str = "POST, GET, DELETE";

/// Answers one request.
pub async fn serve(
    shared: &Arc<Shared>,
    connection: &Arc<ConnectionInfo>,
    request: Request<Incoming>,
) -> Response<ResponseBody> {
    let mut exchange = Exchange::begin(shared, connection, trace_of(request.headers()));
    // Before anything else: the position of the request on its connection is
    // known by the count of these calls.
    let fault = connection.framing.take_fault();
    let mut cors = None;
    let (parts, body) = request.into_parts();
    let (version, mut body) = (parts.version, Some(body));
    let expects_continue = parts.headers.contains_key(EXPECT);
    let answered = match fault {
        Some(fault) => Err(Refusal::Framing(fault)),
        None => answer(&mut exchange, connection, parts, &mut body, &mut cors).await,
    };
    let ended = match body {
        Some(unread) => Box::pin(leftover::discard(unread, expects_continue)).await,
        // These gave up in the middle of it.
        None => !matches!(&answered, Err(Refusal::BodyTooLarge | Refusal::Overloaded)),
    };
    let mut response = record(exchange, answered);
    if !ended && version < Version::HTTP_2 {
        // The library closes the connection: without a word of it, the client
        // would lose its next request (RFC 9112 section 9.6).
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    if let Some(cors) = cors {
        cors.add_to(response.headers_mut());
    }
    response
}

async fn answer(
    exchange: &mut Exchange,
    connection: &Arc<ConnectionInfo>,
    mut parts: Parts,
    body: &mut Option<Incoming>,
    cors: &mut Option<Cors>,
) -> Result<Reply, Refusal> {
    let runtime = exchange.runtime.clone().ok_or(Refusal::Unconfigured)?;
    let server = runtime
        .server(&connection.listener)
        .ok_or(Refusal::Unconfigured)?;

    head::check_size(&parts, runtime.limits())?;
    head::check_method_kind(&parts.method)?;
    let authority = head::authority(&parts, server)?;
    *cors = head::origin(&parts.headers, server)?.and_then(Cors::of);
    match head::route(&parts, server, &authority)? {
        Route::Metadata(resource) => metadata::answer(&parts, &runtime, server, resource, cors),
        Route::Endpoint => {
            if let Some(preflight) = cors.as_ref().and_then(|cors| cors.preflight(&parts)) {
                return Ok(preflight);
            }
            let admission = admit::Admission {
                runtime: &runtime,
                server,
                connection,
                authority: &authority,
            };
            let principal = admission.admit(&parts.headers).await?;
            exchange.principal = Some(Arc::clone(&principal));
            if server.loopback_host.is_none() {
                state_host(&mut parts.headers, &authority);
            }
            let admitted = Admitted {
                shared: Arc::clone(exchange.shared()),
                server: Arc::clone(server),
                principal,
                metadata_url: admission.metadata_url(),
                headers: parts.headers,
                runtime,
            };
            endpoint(exchange, connection, admitted, &parts.method, body).await
        }
    }
}

/// What an admitted request wants of the endpoint.
async fn endpoint(
    exchange: &mut Exchange,
    connection: &Arc<ConnectionInfo>,
    admitted: Admitted,
    method: &Method,
    body: &mut Option<Incoming>,
) -> Result<Reply, Refusal> {
    match *method {
        Method::POST => message::post(exchange, connection, admitted, body).await,
        Method::GET => legacy::get(exchange, admitted).await,
        Method::DELETE => legacy::delete(exchange, admitted).await,
        _ => Err(Refusal::MethodNotAllowed {
            allow: ENDPOINT_METHODS,
        }),
    }
}

/// The one place where the record of a request is closed.
fn record(exchange: Exchange, answered: Result<Reply, Refusal>) -> Response<ResponseBody> {
    match answered {
        Ok(Reply {
            response,
            record: Record::Uncounted,
        }) => {
            exchange.finish_uncounted();
            response
        }
        Ok(Reply {
            response,
            record: Record::Answered(outcome),
        }) => {
            exchange.finish(response.status().as_u16(), "allowed", outcome);
            response
        }
        Err(refusal) => {
            let reason = refusal.reason();
            let outcome = if exchange.was_allowed() {
                "failed"
            } else {
                "refused"
            };
            let response = refusal.into_response(exchange.rpc_id.as_deref());
            exchange.finish(response.status().as_u16(), reason, outcome);
            response
        }
    }
}

/// A server that is to see the caller's host reads it from `Host`, where
/// HTTP/2 does not put it.
fn state_host(headers: &mut HeaderMap, authority: &str) {
    if let (false, Ok(host)) = (headers.contains_key(HOST), HeaderValue::from_str(authority)) {
        headers.insert(HOST, host);
    }
}

fn trace_of(headers: &HeaderMap) -> TraceContext {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let one = values.next().filter(|_| values.next().is_none());
    TraceContext::from_headers(one.map(http::HeaderValue::as_bytes))
}
