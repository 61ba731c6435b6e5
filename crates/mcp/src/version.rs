//! Which protocol version a message follows.

use crate::call::Era;
use crate::envelope::{Message, MessageBody};
use crate::error::push_json_string;
use crate::headers::{Field, McpHeaders, mismatch, plain};
use crate::params::{Member, Params};
use crate::rejection::{Rejection, RejectionKind};

/// The protocol versions that are served, oldest first.
pub const VERSIONS: [&str; 4] = ["2025-03-26", "2025-06-18", "2025-11-25", MODERN];

/// The version since which a request carries its version in `_meta`.
const MODERN: &str = "2026-07-28";

/// What a request without any version is taken for (MCP 2025-06-18,
/// "Protocol Version Header").
const ASSUMED: &str = "2025-03-26";

/// The rules that a request without a body follows, by its
/// `MCP-Protocol-Version`.
///
/// # Errors
/// [`Rejection`] of kind `UnsupportedVersion` or `HeaderMismatch`, as for a
/// message.
pub fn era_of_header(protocol_version: Field<'_>) -> Result<Era, Box<Rejection>> {
    let version = stated_in_header(protocol_version, false)?;
    Ok(era(version.unwrap_or(ASSUMED)))
}

/// Settles the version of a message from its header and its `_meta`, which
/// must agree.
///
/// # Errors
/// [`Rejection`] of kind `UnsupportedVersion`, `HeaderMismatch`, or
/// `InvalidParams` when `_meta` cannot be read.
pub(crate) fn settle(
    headers: &McpHeaders<'_>,
    message: &Message<'_>,
) -> Result<(&'static str, Era), Box<Rejection>> {
    let stated = match &message.body {
        MessageBody::Request { params, .. } => stated(params)?,
        MessageBody::Response => None,
    };
    let header_version = stated_in_header(headers.protocol_version, stated.is_some())?;
    let version = match (header_version, stated) {
        (Some(version), Some(stated)) if version == stated => version,
        (Some(_), Some(_)) => {
            return mismatch("the MCP-Protocol-Version header differs from _meta");
        }
        (None, Some(stated)) => {
            served(&stated, true)?;
            return mismatch("the MCP-Protocol-Version header is required");
        }
        (Some(version), None) => version,
        (None, None) => return without_version(headers, message),
    };
    Ok((version, era(version)))
}

fn stated_in_header(
    header: Field<'_>,
    states_version: bool,
) -> Result<Option<&'static str>, Box<Rejection>> {
    plain(header, "MCP-Protocol-Version")?
        .map(|value| served(value, states_version))
        .transpose()
}

fn era(version: &str) -> Era {
    if version == MODERN {
        Era::Modern
    } else {
        Era::Legacy
    }
}

/// A message that says no version, neither in its header nor in `_meta`.
fn without_version(
    headers: &McpHeaders<'_>,
    message: &Message<'_>,
) -> Result<(&'static str, Era), Box<Rejection>> {
    let MessageBody::Request { method, params } = &message.body else {
        return Ok((ASSUMED, Era::Legacy));
    };
    match &**method {
        // The first message of a modern client, which must name its version.
        "server/discover" if !headers.session => {
            mismatch("the MCP-Protocol-Version header is required")
        }
        // It asks for a version; which one is used, the server answers.
        "initialize" => {
            let asked = params
                .protocol_version
                .and_then(|value| value.text())
                .map(|text| text.decode());
            let asked = VERSIONS
                .into_iter()
                .find(|version| era(version) == Era::Legacy && Some(*version) == asked.as_deref());
            Ok((asked.unwrap_or(ASSUMED), Era::Legacy))
        }
        _ => Ok((ASSUMED, Era::Legacy)),
    }
}

/// The version in `_meta`.
fn stated(params: &Params<'_>) -> Result<Option<String>, Box<Rejection>> {
    let value = match &params.meta {
        Member::Absent => return Ok(None),
        Member::Object(meta) => meta.protocol_version,
        Member::Malformed => {
            return Err(Rejection::new(
                RejectionKind::InvalidParams,
                "params._meta must be an object",
            ));
        }
    };
    let Some(value) = value else { return Ok(None) };
    match value.text() {
        Some(text) => Ok(Some(text.decode().into_owned())),
        None => Err(Rejection::new(
            RejectionKind::InvalidParams,
            "the protocol version in params._meta must be a string",
        )),
    }
}

fn served(version: &str, states_version: bool) -> Result<&'static str, Box<Rejection>> {
    VERSIONS
        .into_iter()
        .find(|served| *served == version)
        .ok_or_else(|| unsupported(version, states_version))
}

/// A refusal that tells the client what to retry with.
///
/// A client that states its version in `_meta` is told only versions that it
/// can use so: it would not fall back to a handshake on this error
/// (MCP 2026-07-28, "Backward Compatibility").
fn unsupported(requested: &str, states_version: bool) -> Box<Rejection> {
    let supported = VERSIONS
        .iter()
        .filter(|version| !states_version || **version == MODERN);
    let mut data = String::from(r#"{"supported":["#);
    for (index, version) in supported.enumerate() {
        if index > 0 {
            data.push(',');
        }
        push_json_string(&mut data, version);
    }
    data.push_str(r#"],"requested":"#);
    // An echo of what may be kilobytes long serves nobody.
    let requested: String = requested.chars().take(64).collect();
    push_json_string(&mut data, &requested);
    data.push('}');
    Rejection::new(
        RejectionKind::UnsupportedVersion,
        "unsupported protocol version, see data.supported",
    )
    .with_data(data)
}

/// The versions that a legacy client may retry `initialize` with are in the
/// error to one that came with a modern header.
pub(crate) fn removed_initialize() -> Box<Rejection> {
    let mut rejection = unsupported(MODERN, false);
    rejection.kind = RejectionKind::MethodNotFound;
    rejection.message =
        "initialize does not exist in this version, send it without the MCP-Protocol-Version header".into();
    rejection
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_without_a_body_follows_its_header() {
        for (header, era) in [
            (Field::Absent, Era::Legacy),
            (Field::One(b"2025-03-26"), Era::Legacy),
            (Field::One(b" 2025-11-25\t"), Era::Legacy),
            (Field::One(b"2026-07-28"), Era::Modern),
        ] {
            assert_eq!(era_of_header(header), Ok(era), "{header:?}");
        }
    }

    #[test]
    fn a_header_that_cannot_be_followed_is_refused() {
        let kind = |header| era_of_header(header).unwrap_err().kind;
        for unserved in ["", "2024-11-05", "2025-11-25, 2026-07-28"] {
            let header = Field::One(unserved.as_bytes());
            assert_eq!(kind(header), RejectionKind::UnsupportedVersion);
        }
        assert_eq!(kind(Field::Many), RejectionKind::HeaderMismatch);
        assert_eq!(kind(Field::One(b"\xff")), RejectionKind::HeaderMismatch);
    }

    #[test]
    fn what_is_echoed_has_a_bound_on_both_sides() {
        let data = |length: usize| {
            let version = "9".repeat(length);
            let rejection = era_of_header(Field::One(version.as_bytes())).unwrap_err();
            rejection.data.unwrap().into_string()
        };
        let echo = format!("\"requested\":\"{}\"", "9".repeat(64));
        assert!(data(64).contains(&echo));
        assert_eq!(data(65), data(64));
    }
}
