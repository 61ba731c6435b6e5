//! A POST: one JSON-RPC message, scanned, decided and passed on as it came.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method};
use hyper::body::Incoming;
use memchr::memmem;
use sidegate_mcp::{Call, Era, ListKind, McpHeaders, Received};
use sidegate_policy::resource::Context;
use sidegate_telemetry::trace::TraceContext;

use super::fields::{field, session_id};
use super::send::{Sending, send};
use crate::admitted::Admitted;
use crate::answer::Refusal;
use crate::collect::{CollectError, CollectLimits, Collected, collect};
use crate::connection_info::ConnectionInfo;
use crate::decide;
use crate::head;
use crate::held::Held;
use crate::names::{MCP_METHOD, MCP_NAME, MCP_PROTOCOL_VERSION, MCP_SESSION_ID, TRACEPARENT};
use crate::outcome::Exchange;
use crate::reply::Reply;
use crate::respond::{Expected, Watching};

/// What a server may answer a POST with, and what its client must accept.
const ANSWER_TYPES: [&str; 2] = ["application/json", "text/event-stream"];
const ACCEPT_ANSWERS: &str = "application/json, text/event-stream";

/// Every way in which a client says that a call may become a task holds this
/// word: `params.task`, or the capability of the tasks extension. A client
/// that spells it with escapes gets a task that nobody may ask about.
const TASK_WORD: &[u8] = b"task";

/// Reads, decides and forwards the message of a POST.
///
/// # Errors
/// The first check that fails, in the order of the checks below.
pub(super) async fn post(
    exchange: &mut Exchange,
    connection: &ConnectionInfo,
    admitted: Admitted,
    body: &mut Option<Incoming>,
) -> Result<Reply, Refusal> {
    let headers = &admitted.headers;
    head::check_media_type(headers)?;
    head::check_accept(headers, &ANSWER_TYPES)?;
    head::check_length(headers, admitted.runtime.limits())?;
    let body = body.take().ok_or(Refusal::BodyBrokenOff)?;
    let Collected { bytes, guards } = read(&admitted, connection, body).await?;

    let fields = mcp_headers(headers);
    let received = sidegate_mcp::receive(&bytes, &fields, admitted.runtime.scan_limits()).map_err(
        |rejection| {
            exchange.rpc_id.clone_from(&rejection.id);
            Refusal::Message(rejection)
        },
    )?;
    exchange.rpc_id = received.id.map(Into::into);
    let session = match received.era {
        // This era has no sessions; whatever the header says is not passed on.
        Era::Modern => None,
        Era::Legacy => session_id(headers)?,
    };
    exchange.asked(decide::method_label(&received));
    // The header says it nearer to the wire; `_meta` is for clients without one.
    if let Some(parent) = received
        .traceparent
        .as_deref()
        .filter(|_| !is_traced(headers))
    {
        exchange.trace = TraceContext::from_headers(Some(parent.as_bytes()));
    }
    if received.id.is_none() && decide::needs_id(&received) {
        return Err(Refusal::MissingId);
    }

    let server = &*admitted.server.name;
    let questions = decide::questions(
        &received,
        server,
        &admitted.principal,
        &admitted.shared.tasks,
    );
    if let Some(question) = questions.first() {
        exchange.about(&question.subject, received.arguments);
    }
    let context = Context {
        method: &received.method,
        arguments: received.arguments,
    };
    let permit = admitted.decide(exchange, &questions, &context, received.era)?;

    let session = session_for(&admitted, &received, session)?;
    let held = Held {
        in_progress: Some(admitted.enter()?),
        buffered: guards,
    };
    let sending = Sending {
        permit,
        method: Method::POST,
        accept: ACCEPT_ANSWERS,
        repeatable: is_repeatable(&received.call),
        expected: expected(&received, session, &bytes),
        watching: Watching {
            questions,
            method: received.method.as_ref().into(),
            arguments: received
                .arguments
                .map(|text| bytes.slice_ref(text.as_bytes())),
        },
        body: bytes.clone(),
        held,
    };
    send(exchange, admitted, sending).await
}

async fn read(
    admitted: &Admitted,
    connection: &ConnectionInfo,
    body: Incoming,
) -> Result<Collected, Refusal> {
    let limits = admitted.runtime.limits();
    let bounds = CollectLimits {
        max: limits.max_body_bytes,
        idle: limits.body_idle_timeout,
        total: limits.request_timeout,
        budget: limits.max_buffered_bytes,
    };
    collect(body, bounds, &admitted.shared.buffered)
        .await
        .map_err(|error| match error {
            CollectError::TooLarge => Refusal::BodyTooLarge,
            CollectError::TimedOut => Refusal::BodyTimedOut,
            CollectError::OutOfMemory => Refusal::Overloaded,
            CollectError::BrokenOff(_) => match connection.framing.body_fault() {
                Some(fault) => Refusal::Framing(fault),
                None => Refusal::BodyBrokenOff,
            },
        })
}

/// Requests that change nothing may be sent a second time when a pooled
/// connection turns out to be dead.
fn is_repeatable(call: &Call<'_>) -> bool {
    matches!(call, Call::List(_) | Call::ListTasks)
}

/// How the answer to this message has to be read.
fn expected(received: &Received<'_>, session: Option<Box<str>>, body: &Bytes) -> Expected {
    let opens_session = received.era == Era::Legacy && &*received.method == "initialize";
    let may_be_task = || memmem::find(body, TASK_WORD).is_some();
    let tool = if let Call::Tool { name } = &received.call {
        may_be_task().then(|| Arc::from(name.as_ref()))
    } else {
        None
    };
    Expected {
        era: received.era,
        session,
        opens_session,
        closes_session: false,
        filtered: must_filter(&received.call) || tool.is_some(),
        task_of: tool,
    }
}

/// Whether an answer can hold more than what was asked for by name.
fn must_filter(call: &Call<'_>) -> bool {
    match call {
        Call::Tool { .. }
        | Call::Prompt { .. }
        | Call::ReadResource { .. }
        | Call::Complete { .. } => false,
        Call::SubscribeResource { .. }
        | Call::Listen { .. }
        | Call::Task { .. }
        | Call::List(
            ListKind::Tools | ListKind::Prompts | ListKind::Resources | ListKind::Templates,
        )
        | Call::ListTasks
        | Call::Session
        | Call::Notification
        | Call::ClientResponse
        | Call::Other => true,
    }
}

fn is_traced(headers: &HeaderMap) -> bool {
    headers.contains_key(TRACEPARENT)
}

fn mcp_headers(headers: &HeaderMap) -> McpHeaders<'_> {
    McpHeaders {
        protocol_version: field(headers, &MCP_PROTOCOL_VERSION),
        method: field(headers, &MCP_METHOD),
        name: field(headers, &MCP_NAME),
        session: headers.contains_key(MCP_SESSION_ID),
    }
}

/// The session that the message belongs to.
///
/// # Errors
/// 404 for a session that is not this principal's; 429 when `initialize`
/// would open one too many.
fn session_for(
    admitted: &Admitted,
    received: &Received<'_>,
    session: Option<&str>,
) -> Result<Option<Box<str>>, Refusal> {
    match (received.era, session) {
        (Era::Modern, _) => Ok(None),
        (Era::Legacy, Some(id)) => admitted.own_session(id).map(|()| Some(id.into())),
        (Era::Legacy, None) if &*received.method == "initialize" => {
            admitted.check_session_room().map(|()| None)
        }
        (Era::Legacy, None) => Ok(None),
    }
}
