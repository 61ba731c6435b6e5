//! The MCP server behind the sidecar: one attempt, with the permit for it.

pub(crate) mod connection;
pub(crate) mod head;
pub(crate) mod pool;

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use sidegate_policy::decision::Permit;
use tokio::time::Instant;

use self::connection::{Connection, SendError, UpstreamBody};
use self::pool::{Pools, Upstream};

/// Why an attempt gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttemptError {
    /// Nothing listens there, or it closed the connection before answering.
    #[error("the server cannot be reached")]
    Unreachable(#[source] std::io::Error),
    /// The connection broke, or the answer was not HTTP.
    #[error("the server broke off")]
    BrokenOff(#[source] hyper::Error),
    /// No answer within `limits.requestTimeout`.
    #[error("the server did not answer in time")]
    TimedOut,
}

/// Bounds of one attempt.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AttemptLimits {
    pub(crate) connect: Duration,
    /// When the head of the answer must be there.
    pub(crate) until: Instant,
    /// Whether the request may be sent a second time after a pooled connection
    /// turned out to be dead: only for requests that change nothing.
    pub(crate) repeatable: bool,
}

/// What is sent, and by whose leave.
///
/// INVARIANT: every byte to an MCP server goes through here, and a permit is
/// used up by it.
pub(crate) struct Outgoing {
    pub(crate) permit: Permit,
    pub(crate) request: Request<Full<Bytes>>,
}

/// Sends one permitted request and waits for the head of the answer.
///
/// # Errors
/// [`AttemptError`] says what went wrong; nothing of it may reach a client.
pub(crate) async fn forward(
    pools: &Pools,
    upstream: &Upstream,
    outgoing: Outgoing,
    limits: AttemptLimits,
) -> Result<Response<UpstreamBody>, AttemptError> {
    let Outgoing {
        permit: _used_up,
        request,
    } = outgoing;
    attempt(pools, upstream, request, limits).await
}

async fn attempt(
    pools: &Pools,
    upstream: &Upstream,
    mut request: Request<Full<Bytes>>,
    limits: AttemptLimits,
) -> Result<Response<UpstreamBody>, AttemptError> {
    // A body of `Full<Bytes>` is cheap to clone; the head is not, so it is
    // copied only when a second try would be allowed.
    while let Some(pooled) = pools.take(upstream) {
        let spare = limits.repeatable.then(|| request.clone());
        match pooled.send(request, limits.until).await {
            Ok(answer) => return Ok(answer),
            Err(SendError::NotSent(unsent)) => request = *unsent,
            Err(SendError::TimedOut) => return Err(AttemptError::TimedOut),
            Err(SendError::BrokenOff(error)) => match spare {
                Some(spare) => request = spare,
                None => return Err(AttemptError::BrokenOff(error)),
            },
        }
    }
    // Boxed like everything that most requests do not await: the future of a
    // request is as large as the largest of them.
    let patience = limits
        .connect
        .min(limits.until.duration_since(Instant::now()));
    let fresh = Box::pin(Connection::open(
        upstream.addresses(),
        upstream.home(),
        patience,
    ))
    .await?;
    match fresh.send(request, limits.until).await {
        Ok(answer) => Ok(answer),
        Err(SendError::TimedOut) => Err(AttemptError::TimedOut),
        Err(SendError::BrokenOff(error)) => Err(AttemptError::BrokenOff(error)),
        Err(SendError::NotSent(_)) => Err(AttemptError::Unreachable(std::io::Error::new(
            std::io::ErrorKind::ConnectionReset,
            "a new connection closed before it was used",
        ))),
    }
}
