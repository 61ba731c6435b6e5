//! A permitted request on its way to the server.

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use sidegate_policy::decision::Permit;
use tokio::time::Instant;

use crate::admitted::Admitted;
use crate::answer::Refusal;
use crate::held::Held;
use crate::outcome::Exchange;
use crate::reply::Reply;
use crate::respond::{Answering, Expected, Watching, respond};
use crate::upstream::head::{Written, towards_server};
use crate::upstream::{AttemptError, AttemptLimits, Outgoing, forward};

/// What goes to the server, and how its answer is treated.
pub(super) struct Sending {
    pub(super) permit: Permit,
    pub(super) method: Method,
    pub(super) accept: &'static str,
    /// May be sent again after a broken connection: it changes nothing.
    pub(super) repeatable: bool,
    pub(super) expected: Expected,
    pub(super) watching: Watching,
    /// The bytes that were scanned, unchanged.
    pub(super) body: Bytes,
    pub(super) held: Held,
}

/// Sends, and makes the client's answer from the server's.
///
/// # Errors
/// 502 and 504, with nothing of what went wrong behind.
pub(super) async fn send(
    exchange: &mut Exchange,
    mut admitted: Admitted,
    sending: Sending,
) -> Result<Reply, Refusal> {
    let Sending {
        permit,
        method,
        accept,
        repeatable,
        expected,
        watching,
        body,
        held,
    } = sending;
    let limits = admitted.runtime.limits();
    let ends = Instant::now() + limits.request_timeout;
    let attempt = AttemptLimits {
        connect: limits.connect_timeout,
        until: ends,
        repeatable,
    };
    let written = Written {
        accept,
        traceparent: exchange.trace.traceparent(),
        request_id: exchange.request_id.as_str(),
        session: expected.session.is_some(),
    };
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = admitted.server.upstream_uri.clone();
    *request.headers_mut() = towards_server(
        std::mem::take(&mut admitted.headers),
        &admitted.server,
        &admitted.principal,
        &written,
    );
    let outgoing = Outgoing { permit, request };
    let pools = &admitted.shared.pools;
    let answer = forward(pools, &admitted.server.upstream, outgoing, attempt)
        .await
        .map_err(|error| refusal(&error, &admitted.server.name))?;
    respond(
        Answering {
            admitted,
            expected,
            watching,
            held,
            ends,
        },
        answer,
    )
    .await
}

/// What a failed attempt is to the client; the detail is for the log.
fn refusal(error: &AttemptError, server: &str) -> Refusal {
    let detail = std::error::Error::source(error).map(ToString::to_string);
    tracing::warn!(server, %error, detail, "no answer from the server");
    match error {
        AttemptError::Unreachable(_) => Refusal::UpstreamUnreachable,
        AttemptError::TimedOut => Refusal::UpstreamTimedOut,
        AttemptError::BrokenOff(_) => Refusal::UpstreamAnswer("upstream_broken_off"),
    }
}
