//! The names that a call is decided by.

use std::borrow::Cow;

use super::{ScanLimits, takes_arguments};
use crate::call::{Call, Reference};
use crate::params::{MAX_SUBSCRIBED, Member, Params, Strings};
use crate::registry::Shape;
use crate::rejection::{Rejection, RejectionKind};
use crate::scan::{Kind, Text, Value};

/// Longest uri, as in a request target.
const MAX_URI_BYTES: usize = 8 * 1024;

/// Longest id of a task.
const MAX_TASK_ID_BYTES: usize = 1024;

/// Longest `traceparent` worth looking at; version 00 has 55 bytes.
const MAX_TRACEPARENT_BYTES: usize = 256;

type Named<'a> = Result<Cow<'a, str>, Box<Rejection>>;

/// Makes a call of the parameters, with the JSON text of its arguments.
pub(super) fn call<'a>(
    shape: Option<Shape>,
    params: &Params<'a>,
    limits: ScanLimits,
) -> Result<(Call<'a>, Option<&'a str>), Box<Rejection>> {
    let Some(shape) = shape else {
        return Ok((Call::Other, None));
    };
    let name = || required(params.name, "params.name", limits.max_name_bytes);
    let uri = || required(params.uri, "params.uri", MAX_URI_BYTES);
    let call = match shape {
        Shape::Tool => Call::Tool { name: name()? },
        Shape::Prompt => Call::Prompt { name: name()? },
        Shape::ReadResource => Call::ReadResource { uri: uri()? },
        Shape::SubscribeResource => Call::SubscribeResource { uri: uri()? },
        Shape::Complete => Call::Complete {
            reference: reference(params, limits)?,
        },
        Shape::Listen => listen(params)?,
        Shape::Task => Call::Task {
            id: required(params.task_id, "params.taskId", MAX_TASK_ID_BYTES)?,
        },
        Shape::List(kind) => Call::List(kind),
        Shape::ListTasks => Call::ListTasks,
        Shape::Initialize | Shape::Session => Call::Session,
        Shape::Notification => Call::Notification,
    };
    let arguments = if takes_arguments(shape) {
        arguments(params)?
    } else {
        None
    };
    Ok((call, arguments))
}

/// The trace that the client says this is part of; one that is no string or
/// absurdly long is no trace, and no reason to refuse.
pub(super) fn traceparent<'a>(params: &Params<'a>) -> Option<Cow<'a, str>> {
    let Member::Object(meta) = &params.meta else {
        return None;
    };
    let value = meta.traceparent?.text()?.decode();
    (value.len() <= MAX_TRACEPARENT_BYTES).then_some(value)
}

fn arguments<'a>(params: &Params<'a>) -> Result<Option<&'a str>, Box<Rejection>> {
    match params.arguments {
        None => Ok(None),
        Some(Value {
            kind: Kind::Object,
            raw,
            ..
        }) => Ok(Some(raw)),
        Some(_) => invalid("params.arguments must be an object"),
    }
}

fn reference<'a>(params: &Params<'a>, limits: ScanLimits) -> Result<Reference<'a>, Box<Rejection>> {
    let Member::Object(reference) = &params.reference else {
        return invalid("params.ref must be an object");
    };
    let kind = reference
        .kind
        .and_then(|value| value.text())
        .map(|text| text.decode());
    // A reference with both could be read as either.
    match (kind.as_deref(), reference.name, reference.uri) {
        (Some("ref/prompt"), name, None) => {
            required(name, "params.ref.name", limits.max_name_bytes).map(Reference::Prompt)
        }
        (Some("ref/resource"), None, uri) => {
            required(uri, "params.ref.uri", MAX_URI_BYTES).map(Reference::Resource)
        }
        _ => invalid("params.ref must be a ref/prompt with a name or a ref/resource with a uri"),
    }
}

fn listen<'a>(params: &Params<'a>) -> Result<Call<'a>, Box<Rejection>> {
    match &params.notifications {
        Member::Absent => Ok(Call::Listen {
            uris: Vec::new(),
            task_ids: Vec::new(),
        }),
        Member::Object(notifications) => Ok(Call::Listen {
            uris: all(
                &notifications.uris,
                "params.notifications.resourceSubscriptions",
                MAX_URI_BYTES,
            )?,
            task_ids: all(
                &notifications.task_ids,
                "params.notifications.taskIds",
                MAX_TASK_ID_BYTES,
            )?,
        }),
        Member::Malformed => invalid("params.notifications must be an object"),
    }
}

fn all<'a>(
    strings: &Strings<'a>,
    member: &str,
    max: usize,
) -> Result<Vec<Cow<'a, str>>, Box<Rejection>> {
    if strings.malformed {
        return invalid(format!("{member} must be a list of strings"));
    }
    if strings.too_many {
        return invalid(format!(
            "{member} must have at most {MAX_SUBSCRIBED} entries"
        ));
    }
    strings
        .all
        .iter()
        .map(|text| name(Some(*text), member, max))
        .collect()
}

fn required<'a>(value: Option<Value<'a>>, member: &str, max: usize) -> Named<'a> {
    name(value.and_then(|value| value.text()), member, max)
}

/// A name that can be compared, logged and counted.
fn name<'a>(text: Option<Text<'a>>, member: &str, max: usize) -> Named<'a> {
    let name = text.map(|text| text.decode()).filter(|name| {
        !name.is_empty() && name.len() <= max && !name.chars().any(char::is_control)
    });
    match name {
        Some(name) => Ok(name),
        None => invalid(format!(
            "{member} must be a string of 1 to {max} bytes without control characters"
        )),
    }
}

fn invalid<T>(message: impl Into<String>) -> Result<T, Box<Rejection>> {
    Err(Rejection::new(RejectionKind::InvalidParams, message))
}
