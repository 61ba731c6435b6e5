//! The parameters that decide, wherever a method has them.
//!
//! Values are collected as they stand, for every method alike; what a method
//! needs of them is checked when the call is made of them.

use crate::look_alike::refuse_look_alike;
use crate::scan::{Fault, Kind, Scanner, Text, Value};

/// Most uris or task ids of one subscription; each is decided.
pub(crate) const MAX_SUBSCRIBED: usize = 1024;

/// Members of `_meta` in the modern era (MCP 2026-07-28, schema
/// `RequestMetaObject`).
pub(crate) const META_PROTOCOL_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
pub(crate) const META_CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

/// Names that mean something in the params of some registered method.
const PARAMS: &[&str] = &[
    "name",
    "uri",
    "ref",
    "arguments",
    "taskId",
    "_meta",
    "cursor",
    "task",
    "inputResponses",
    "requestState",
    "notifications",
    "protocolVersion",
    "capabilities",
    "clientInfo",
    "level",
    "requestId",
    "reason",
    "argument",
    "context",
    "resourceSubscriptions",
    "taskIds",
    "progressToken",
    "progress",
    "total",
    "message",
];

const META: &[&str] = &[
    META_PROTOCOL_VERSION,
    META_CLIENT_CAPABILITIES,
    "io.modelcontextprotocol/clientInfo",
    "io.modelcontextprotocol/logLevel",
    "io.modelcontextprotocol/relatedTaskIds",
    "io.modelcontextprotocol/related-task",
    "io.modelcontextprotocol/subscriptionId",
    "progressToken",
    "traceparent",
    "tracestate",
    "baggage",
];

const REFERENCE: &[&str] = &["type", "name", "uri", "title"];

const NOTIFICATIONS: &[&str] = &[
    "toolsListChanged",
    "promptsListChanged",
    "resourcesListChanged",
    "resourceSubscriptions",
    "taskIds",
];

/// The members of `params` that decide.
#[derive(Debug, Default)]
pub(crate) struct Params<'a> {
    pub(crate) name: Option<Value<'a>>,
    pub(crate) uri: Option<Value<'a>>,
    pub(crate) task_id: Option<Value<'a>>,
    pub(crate) arguments: Option<Value<'a>>,
    pub(crate) protocol_version: Option<Value<'a>>,
    pub(crate) reference: Member<Reference<'a>>,
    pub(crate) meta: Member<Meta<'a>>,
    pub(crate) notifications: Member<Notifications<'a>>,
}

/// A member that must be an object.
#[derive(Debug, Default)]
pub(crate) enum Member<T> {
    #[default]
    Absent,
    Object(T),
    /// Something else than an object.
    Malformed,
}

/// `params.ref` of a completion.
#[derive(Debug, Default)]
pub(crate) struct Reference<'a> {
    pub(crate) kind: Option<Value<'a>>,
    pub(crate) name: Option<Value<'a>>,
    pub(crate) uri: Option<Value<'a>>,
}

/// `params._meta`.
#[derive(Debug, Default)]
pub(crate) struct Meta<'a> {
    pub(crate) protocol_version: Option<Value<'a>>,
    pub(crate) client_capabilities: Option<Kind>,
    pub(crate) traceparent: Option<Value<'a>>,
}

/// `params.notifications` of a subscription.
#[derive(Debug, Default)]
pub(crate) struct Notifications<'a> {
    pub(crate) uris: Strings<'a>,
    pub(crate) task_ids: Strings<'a>,
}

/// A list of strings.
#[derive(Debug, Default)]
pub(crate) struct Strings<'a> {
    pub(crate) all: Vec<Text<'a>>,
    /// Not a list, or something else than strings in it.
    pub(crate) malformed: bool,
    pub(crate) too_many: bool,
}

/// Walks the params object that comes next.
pub(crate) fn scan<'a>(scanner: &mut Scanner<'a>) -> Result<Params<'a>, Fault> {
    let mut params = Params::default();
    scanner.object(|scanner, name| {
        match &*name.decode() {
            "name" => params.name = Some(scanner.value()?),
            "uri" => params.uri = Some(scanner.value()?),
            "taskId" => params.task_id = Some(scanner.value()?),
            "arguments" => params.arguments = Some(scanner.value()?),
            "protocolVersion" => params.protocol_version = Some(scanner.value()?),
            "ref" => params.reference = member(scanner, scan_reference)?,
            "_meta" => params.meta = member(scanner, scan_meta)?,
            "notifications" => params.notifications = member(scanner, scan_notifications)?,
            other => skip(scanner, other, PARAMS)?,
        }
        Ok(())
    })?;
    Ok(params)
}

fn member<'a, T>(
    scanner: &mut Scanner<'a>,
    scan: fn(&mut Scanner<'a>) -> Result<T, Fault>,
) -> Result<Member<T>, Fault> {
    if scanner.kind()? == Kind::Object {
        return scan(scanner).map(Member::Object);
    }
    scanner.value()?;
    Ok(Member::Malformed)
}

fn scan_reference<'a>(scanner: &mut Scanner<'a>) -> Result<Reference<'a>, Fault> {
    let mut reference = Reference::default();
    scanner.object(|scanner, name| {
        match &*name.decode() {
            "type" => reference.kind = Some(scanner.value()?),
            "name" => reference.name = Some(scanner.value()?),
            "uri" => reference.uri = Some(scanner.value()?),
            other => skip(scanner, other, REFERENCE)?,
        }
        Ok(())
    })?;
    Ok(reference)
}

fn scan_meta<'a>(scanner: &mut Scanner<'a>) -> Result<Meta<'a>, Fault> {
    let mut meta = Meta::default();
    scanner.object(|scanner, name| {
        match &*name.decode() {
            META_PROTOCOL_VERSION => meta.protocol_version = Some(scanner.value()?),
            META_CLIENT_CAPABILITIES => meta.client_capabilities = Some(scanner.value()?.kind),
            "traceparent" => meta.traceparent = Some(scanner.value()?),
            other => skip(scanner, other, META)?,
        }
        Ok(())
    })?;
    Ok(meta)
}

fn scan_notifications<'a>(scanner: &mut Scanner<'a>) -> Result<Notifications<'a>, Fault> {
    let mut notifications = Notifications::default();
    scanner.object(|scanner, name| {
        match &*name.decode() {
            "resourceSubscriptions" => notifications.uris = scan_strings(scanner)?,
            "taskIds" => notifications.task_ids = scan_strings(scanner)?,
            other => skip(scanner, other, NOTIFICATIONS)?,
        }
        Ok(())
    })?;
    Ok(notifications)
}

fn scan_strings<'a>(scanner: &mut Scanner<'a>) -> Result<Strings<'a>, Fault> {
    let mut strings = Strings::default();
    if scanner.kind()? != Kind::Array {
        scanner.value()?;
        strings.malformed = true;
        return Ok(strings);
    }
    scanner.array(|scanner| {
        match scanner.value()?.text() {
            Some(_) if strings.all.len() == MAX_SUBSCRIBED => strings.too_many = true,
            Some(text) => strings.all.push(text),
            None => strings.malformed = true,
        }
        Ok(())
    })?;
    Ok(strings)
}

/// Steps over a member that decides nothing, unless its name could be taken
/// for one that does.
fn skip(scanner: &mut Scanner<'_>, name: &str, reserved: &[&str]) -> Result<(), Fault> {
    refuse_look_alike(name, reserved, scanner)?;
    scanner.value().map(drop)
}
