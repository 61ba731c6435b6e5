//! The server's answer on its way to the client.
//!
//! A server is trusted with its own data and nothing else: it cannot take over
//! the connection, send the client elsewhere, set cookies, hand out another's
//! session, or list what the principal may not use.

mod expected;
pub(crate) mod head;
mod watch;

use bytes::Bytes;
use http::response::Parts;
use http::{Response, StatusCode};
use http_body::Body;
use sidegate_mcp::filter::filter_json;
use sidegate_mcp::sse::{SseFilter, SseMeter};
use tokio::time::Instant;

pub(crate) use self::expected::{Expected, Watching};
use self::head::{ContentType, content_type, towards_client};
use self::watch::{Viewer, still_allowed};
use crate::admitted::Admitted;
use crate::answer::Refusal;
use crate::body::ResponseBody;
use crate::collect::{CollectError, CollectLimits, collect};
use crate::held::Held;
use crate::reply::{Record, Reply};
use crate::session::NotOpened;
use crate::stream::{CappedBody, EventCheck, EventStream, StreamTimes, generation, token_end};
use crate::upstream::connection::UpstreamBody;

/// Everything that an answer is made with.
pub(crate) struct Answering {
    pub(crate) admitted: Admitted,
    pub(crate) expected: Expected,
    pub(crate) watching: Watching,
    pub(crate) held: Held,
    /// When an answer that is no stream must be complete.
    pub(crate) ends: Instant,
}

/// Makes the client's answer from the server's.
///
/// # Errors
/// 502 for an answer that cannot be passed on; 429 for a session that finds no
/// room.
pub(crate) async fn respond(
    answering: Answering,
    answer: Response<UpstreamBody>,
) -> Result<Reply, Refusal> {
    let (parts, body) = answer.into_parts();
    answering.check_status(parts.status)?;
    if head::is_encoded(&parts.headers) {
        return Err(Refusal::UpstreamAnswer("upstream_encoding"));
    }
    answering.follow_session(&parts)?;
    let kind = content_type(&parts.headers);
    let head = towards_client(&parts, &answering.expected, &answering.admitted.server);
    let (body, outcome) = match kind {
        Some(ContentType::EventStream) if parts.status.is_success() => {
            (answering.stream(body)?, "streaming")
        }
        Some(ContentType::Json) if answering.expected.filtered => {
            let must_be_message = parts.status.is_success() && !answering.expected.closes_session;
            (answering.filtered(body, must_be_message).await?, "answered")
        }
        Some(ContentType::Json) => (answering.capped(body)?, "answered"),
        _ if parts.status.is_success() && !body.is_end_stream() => {
            return Err(Refusal::UpstreamAnswer("upstream_content_type"));
        }
        // What cannot be filtered might name what the caller may not see.
        _ if answering.expected.filtered && answering.expected.task_of.is_none() => {
            (ResponseBody::empty().holding(answering.held), "answered")
        }
        // The body of an error may be plain text; nobody acts on it.
        _ => (answering.capped(body)?, "answered"),
    };
    let mut response = Response::new(body);
    *response.status_mut() = parts.status;
    *response.headers_mut() = head;
    Ok(Reply {
        response,
        record: Record::Answered(outcome),
    })
}

// === impl Answering ===

impl Answering {
    fn check_status(&self, status: StatusCode) -> Result<(), Refusal> {
        let fault = match status.as_u16() {
            100..=199 => "upstream_upgrade",
            300..=399 => "upstream_redirect",
            // Our callers have no credentials for the server: its challenge
            // would send them in circles.
            401 | 407 if !self.admitted.server.keep_authorization => "upstream_unauthorized",
            _ => return Ok(()),
        };
        Err(Refusal::UpstreamAnswer(fault))
    }

    /// Remembers a session that begins and forgets one that ends.
    fn follow_session(&self, parts: &Parts) -> Result<(), Refusal> {
        let Admitted {
            shared,
            runtime,
            server,
            principal,
            ..
        } = &self.admitted;
        let ended = self.expected.closes_session && parts.status.is_success()
            || parts.status == StatusCode::NOT_FOUND;
        if let Some(session) = self.expected.session.as_deref().filter(|_| ended) {
            shared.sessions.close(&server.name, session);
            shared.metrics.sessions(shared.sessions.len());
        }
        if !self.expected.opens_session || !parts.status.is_success() {
            return Ok(());
        }
        let Some(id) = head::session_id(&parts.headers)? else {
            return Ok(());
        };
        let now = shared.clock.monotonic();
        let opened = shared.sessions.open(
            &server.name,
            id,
            principal.key(),
            now,
            runtime.session_limits(),
        );
        shared.metrics.sessions(shared.sessions.len());
        opened.map_err(|not_opened| match not_opened {
            NotOpened::Full => Refusal::TooManySessions,
            NotOpened::Taken => Refusal::UpstreamAnswer("upstream_session_taken"),
        })
    }

    /// An event stream, filtered event by event where it must be.
    fn stream(self, body: UpstreamBody) -> Result<ResponseBody, Refusal> {
        let Self {
            admitted,
            expected,
            watching,
            held,
            ends: _,
        } = self;
        let runtime = &admitted.runtime;
        let limits = runtime.limits();
        let viewer = Viewer::of(&admitted);
        let check = if expected.filtered {
            let filter = SseFilter::new(limits.max_event_bytes, runtime.scan_limits());
            EventCheck::Filter(Box::new(filter), viewer.keep())
        } else {
            EventCheck::Meter(SseMeter::new(limits.max_event_bytes))
        };
        let now = admitted.shared.clock.unix_seconds();
        let times = StreamTimes {
            idle: limits.stream_idle_timeout,
            keep_alive: limits.stream_keep_alive,
            token_ends: admitted
                .principal
                .claims()
                .map(|claims| token_end(claims.expires_at, limits.token_leeway, now)),
        };
        let generation = generation(&admitted.shared, runtime);
        let may_go_on = still_allowed(&admitted, watching);
        let stream = EventStream::new(body, check, times, may_go_on, generation)
            .noting_tasks(viewer.tasks_of(expected.task_of));
        Ok(ResponseBody::frames(Box::pin(stream)).holding(held))
    }

    /// A JSON answer that is read whole, and cut down to what may be seen.
    ///
    /// An error or the end of a session may come with JSON that is no message;
    /// its status says enough, and nothing of it is passed on.
    async fn filtered(
        self,
        body: UpstreamBody,
        must_be_message: bool,
    ) -> Result<ResponseBody, Refusal> {
        let Self {
            admitted,
            expected,
            watching: _,
            mut held,
            ends,
        } = self;
        let limits = admitted.runtime.limits();
        let bounds = CollectLimits {
            max: limits.max_response_bytes,
            idle: limits.request_timeout,
            total: limits.request_timeout,
            budget: limits.max_buffered_bytes,
        };
        let reading = collect(body, bounds, &admitted.shared.buffered);
        let collected = match tokio::time::timeout_at(ends, reading).await {
            Ok(Ok(collected)) => collected,
            Ok(Err(error)) => return Err(unreadable(&error)),
            Err(_elapsed) => return Err(Refusal::UpstreamTimedOut),
        };
        held.buffered.extend(collected.guards);
        if collected.bytes.is_empty() {
            return Ok(ResponseBody::empty().holding(held));
        }
        let viewer = Viewer::of(&admitted);
        let mut out = Vec::with_capacity(collected.bytes.len());
        let scan = admitted.runtime.scan_limits();
        let filtered = match filter_json(&collected.bytes, scan, &mut out, &mut *viewer.keep()) {
            Ok(filtered) => filtered,
            Err(_no_message) if !must_be_message => {
                return Ok(ResponseBody::empty().holding(held));
            }
            Err(error) => {
                tracing::warn!(server = %admitted.server.name, %error, "answer not passed on");
                return Err(Refusal::UpstreamAnswer("upstream_message"));
            }
        };
        if let Some(task) = filtered.created_task {
            (viewer.tasks_of(expected.task_of))(&task);
        }
        let bytes = if filtered.changed {
            Bytes::from(out)
        } else {
            collected.bytes
        };
        Ok(ResponseBody::full(bytes).holding(held))
    }

    /// An answer that is passed on as it comes, up to the limit.
    fn capped(self, body: UpstreamBody) -> Result<ResponseBody, Refusal> {
        let max = self.admitted.runtime.limits().max_response_bytes;
        if body
            .size_hint()
            .exact()
            .is_some_and(|length| length > max as u64)
        {
            return Err(Refusal::UpstreamAnswer("upstream_too_large"));
        }
        if body.is_end_stream() {
            return Ok(ResponseBody::empty().holding(self.held));
        }
        let capped = CappedBody::new(body, max, self.ends);
        Ok(ResponseBody::frames(Box::pin(capped)).holding(self.held))
    }
}

fn unreadable(error: &CollectError<hyper::Error>) -> Refusal {
    match error {
        CollectError::TooLarge => Refusal::UpstreamAnswer("upstream_too_large"),
        CollectError::TimedOut => Refusal::UpstreamTimedOut,
        CollectError::OutOfMemory => Refusal::Overloaded,
        CollectError::BrokenOff(_) => Refusal::UpstreamAnswer("upstream_broken_off"),
    }
}
