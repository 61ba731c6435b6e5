//! What is received, and what is refused with which code.

mod attacks;
mod calls;
mod versions;

use crate::{Era, Field, McpHeaders, Received, Rejection, RejectionKind, ScanLimits, receive};

const LIMITS: ScanLimits = ScanLimits {
    max_depth: 64,
    max_name_bytes: 128,
};

const MODERN_META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;

/// Headers by their values; an empty one does not come.
fn headers<'a>(version: &'a str, method: &'a str, name: &'a str) -> McpHeaders<'a> {
    let field = |value: &'a str| {
        if value.is_empty() {
            Field::Absent
        } else {
            Field::One(value.as_bytes())
        }
    };
    McpHeaders {
        protocol_version: field(version),
        method: field(method),
        name: field(name),
        session: false,
    }
}

fn no_headers() -> McpHeaders<'static> {
    headers("", "", "")
}

fn legacy(body: &[u8]) -> Result<Received<'_>, Box<Rejection>> {
    receive(body, &headers("2025-11-25", "", ""), LIMITS)
}

/// A modern request with the given members of `params` beside `_meta`.
fn modern_body(method: &str, params: &str) -> String {
    let comma = if params.is_empty() { "" } else { "," };
    format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{params}{comma}{MODERN_META}}}}}"#
    )
}

fn modern<'a>(body: &'a str, method: &str, name: &str) -> Result<Received<'a>, Box<Rejection>> {
    receive(
        body.as_bytes(),
        &headers("2026-07-28", method, name),
        LIMITS,
    )
}

fn kind(result: &Result<Received<'_>, Box<Rejection>>) -> Option<RejectionKind> {
    result.as_ref().err().map(|rejection| rejection.kind)
}

fn refused(result: Result<Received<'_>, Box<Rejection>>) -> Rejection {
    match result {
        Ok(received) => panic!("was received: {received:?}"),
        Err(rejection) => *rejection,
    }
}
