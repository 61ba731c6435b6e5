//! One JSON-RPC message: its members, and nothing beside them.

use std::borrow::Cow;

use crate::look_alike::refuse_look_alike;
use crate::params::{self, Params};
use crate::rejection::{Rejection, RejectionKind};
use crate::scan::{Fault, FaultKind, Kind, Scanner, Value, survey};

/// Longest id that is a string; it comes back in every answer.
const MAX_ID_BYTES: usize = 1024;

/// Integers up to here are the same number in every parser (RFC 8259 section 6).
const MAX_ID_INTEGER: u64 = 1 << 53;

/// The members of a message as they stand.
#[derive(Debug, Default)]
pub(crate) struct Envelope<'a> {
    jsonrpc: Option<Value<'a>>,
    id: Option<Value<'a>>,
    method: Option<Value<'a>>,
    params_kind: Option<Kind>,
    params: Params<'a>,
    has_result: bool,
    has_error: bool,
}

/// A message of the right shape.
#[derive(Debug)]
pub(crate) struct Message<'a> {
    /// JSON text of the id.
    pub(crate) id: Option<&'a str>,
    pub(crate) body: MessageBody<'a>,
}

#[expect(
    clippy::large_enum_variant,
    reason = "one per request, and nearly always the large one"
)]
#[derive(Debug)]
pub(crate) enum MessageBody<'a> {
    /// A request, or without an id a notification.
    Request {
        method: Cow<'a, str>,
        params: Params<'a>,
    },
    /// An answer to a request of the server.
    Response,
}

/// Reads the one message in `body`.
///
/// # Errors
/// [`Rejection`] of kind `Parse` or `InvalidRequest`.
pub(crate) fn read(
    body: &[u8],
    max_depth: usize,
    max_name_bytes: usize,
) -> Result<Message<'_>, Box<Rejection>> {
    let envelope = scan(body, max_depth).map_err(|fault| refuse(body, fault))?;
    let id = envelope.id.map(|id| id.raw).filter(|id| is_id(id));
    envelope
        .into_message(max_name_bytes)
        .map_err(|rejection| rejection.with_id(id))
}

fn scan(body: &[u8], max_depth: usize) -> Result<Envelope<'_>, Fault> {
    let mut scanner = Scanner::new(body, max_depth)?;
    let mut envelope = Envelope::default();
    if scanner.kind()? == Kind::Object {
        let known = &mut envelope;
        scanner.object(|scanner, name| known.member(scanner, &name.decode()))?;
        scanner.end()?;
        return Ok(envelope);
    }
    let value = scanner.value()?;
    scanner.end()?;
    Err(Fault {
        kind: FaultKind::NotAnObject,
        at: value.start,
    })
}

/// A fault as the sender sees it: broken JSON first, whatever else is wrong.
fn refuse(body: &[u8], fault: Fault) -> Box<Rejection> {
    if fault.kind.is_grammar() {
        return Rejection::new(RejectionKind::Parse, fault.to_string());
    }
    match survey(body) {
        Ok(id) => {
            let id = id.map(|id| id.raw).filter(|id| is_id(id));
            Rejection::new(RejectionKind::InvalidRequest, fault.to_string()).with_id(id)
        }
        Err(grammar) => Rejection::new(RejectionKind::Parse, grammar.to_string()),
    }
}

// === impl Envelope ===

impl<'a> Envelope<'a> {
    fn member(&mut self, scanner: &mut Scanner<'a>, name: &str) -> Result<(), Fault> {
        match name {
            "jsonrpc" => self.jsonrpc = Some(scanner.value()?),
            "id" => self.id = Some(scanner.value()?),
            "method" => self.method = Some(scanner.value()?),
            "params" => {
                let kind = scanner.kind()?;
                self.params_kind = Some(kind);
                if kind == Kind::Object {
                    self.params = params::scan(scanner)?;
                } else {
                    scanner.value()?;
                }
            }
            "result" | "error" => {
                self.has_result |= name == "result";
                self.has_error |= name == "error";
                scanner.value()?;
            }
            _ => {
                const MEMBERS: &[&str] = &["jsonrpc", "id", "method", "params", "result", "error"];
                refuse_look_alike(name, MEMBERS, scanner)?;
                return Err(scanner.fault(FaultKind::UnknownMember));
            }
        }
        Ok(())
    }

    fn into_message(self, max_name_bytes: usize) -> Result<Message<'a>, Box<Rejection>> {
        let version = self
            .jsonrpc
            .and_then(|value| value.text())
            .map(|text| text.decode());
        if version.as_deref() != Some("2.0") {
            return invalid("jsonrpc must be the string 2.0");
        }
        if self.id.is_some_and(|id| !is_id(id.raw)) {
            return invalid(
                "id must be a string of at most 1024 bytes, or an integer between -2^53 and 2^53",
            );
        }
        let id = self.id.map(|id| id.raw);
        let Some(method) = self.method else {
            return self.into_response(id);
        };
        if self.has_result || self.has_error {
            return invalid("a message has either method or result or error");
        }
        let method = method.text().map(|text| text.decode());
        let well_formed = |method: &Cow<'_, str>| {
            !method.is_empty()
                && method.len() <= max_name_bytes
                && !method.chars().any(char::is_control)
        };
        let Some(method) = method.filter(well_formed) else {
            return invalid(format!(
                "method must be a string of 1 to {max_name_bytes} bytes without control characters"
            ));
        };
        if self.params_kind.is_some_and(|kind| kind != Kind::Object) {
            return invalid("params must be an object");
        }
        if id.is_some() && method.starts_with("notifications/") {
            return invalid("a notification has no id");
        }
        Ok(Message {
            id,
            body: MessageBody::Request {
                method,
                params: self.params,
            },
        })
    }

    fn into_response(self, id: Option<&'a str>) -> Result<Message<'a>, Box<Rejection>> {
        if self.has_result == self.has_error {
            return invalid("a message needs a method, or exactly one of result and error");
        }
        if self.params_kind.is_some() {
            return invalid("an answer has no params");
        }
        if id.is_none() {
            return invalid("an answer needs the id of what it answers");
        }
        Ok(Message {
            id,
            body: MessageBody::Response,
        })
    }
}

fn invalid<T>(message: impl Into<String>) -> Result<T, Box<Rejection>> {
    Err(Rejection::new(RejectionKind::InvalidRequest, message))
}

/// Whether JSON text is an id that every parser reads, and writes back, alike.
fn is_id(raw: &str) -> bool {
    if raw.starts_with('"') {
        let decoded = Scanner::new(raw.as_bytes(), 0).and_then(|mut scanner| scanner.value());
        return decoded
            .ok()
            .and_then(|value| value.text())
            .is_some_and(|text| text.decode().len() <= MAX_ID_BYTES);
    }
    // `-0` comes back as `0` from some.
    let digits = raw
        .strip_prefix('-')
        .filter(|digits| *digits != "0")
        .unwrap_or(raw);
    digits.bytes().all(|byte| byte.is_ascii_digit())
        && digits
            .parse::<u64>()
            .is_ok_and(|number| number <= MAX_ID_INTEGER)
}
