//! Reads one complete request head: is it unambiguous, and how long is the body.

use memchr::{memchr, memchr_iter};

use super::Fault;

/// Longest `Content-Length`, in digits: one more could overflow 64 bits.
const MAX_LENGTH_DIGITS: usize = 18;

/// The length of the body that follows a head (RFC 9112 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    Sized(u64),
    Chunked,
}

/// What a head says about framing.
#[derive(Debug, Default)]
struct Facts {
    content_length: Option<u64>,
    chunked: bool,
    hosts: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
}

/// Reads a head, from its first byte to the empty line that ends it.
pub(super) fn read_head(head: &[u8]) -> Result<Length, Fault> {
    if holds_forbidden(head) {
        return Err(Fault::ControlCharacter);
    }
    let leading = empty_lines(head);
    let (empty, message) = head.split_at_checked(leading).unwrap_or((&[], head));
    let mut lines = Lines { rest: empty };
    while lines.next_line()?.is_some() {}

    let mut lines = Lines { rest: message };
    let request_line = lines.next_line()?.unwrap_or_default();
    let (method, version) = read_request_line(request_line)?;
    let mut facts = Facts::default();
    while let Some(line) = lines.next_line()? {
        if line.is_empty() {
            break;
        }
        read_header(line, &mut facts)?;
    }
    conclude(method, version, &facts)
}

/// Looks at whole blocks without stopping inside one, which the compiler turns
/// into vector instructions: heads are long and nearly always clean.
fn holds_forbidden(head: &[u8]) -> bool {
    head.chunks(64).any(|block| {
        let found = block
            .iter()
            .fold(0, |found, byte| found | u8::from(is_forbidden(*byte)));
        found != 0
    })
}

/// Control characters other than those that framing itself uses.
fn is_forbidden(byte: u8) -> bool {
    (byte < 0x20 && byte != b'\t' && byte != b'\r' && byte != b'\n') || byte == 0x7f
}

/// The lines of a head, each ended by exactly CR LF.
struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Lines<'a> {
    fn next_line(&mut self) -> Result<Option<&'a [u8]>, Fault> {
        let Some(feed) = memchr(b'\n', self.rest) else {
            return Ok(None);
        };
        let (line, rest) = self.rest.split_at_checked(feed).unwrap_or_default();
        self.rest = rest.get(1..).unwrap_or_default();
        let line = line.strip_suffix(b"\r").ok_or(Fault::BareLineFeed)?;
        match memchr(b'\r', line) {
            None => Ok(Some(line)),
            Some(_) => Err(Fault::BareCarriageReturn),
        }
    }
}

fn read_request_line(line: &[u8]) -> Result<(&[u8], Version), Fault> {
    let mut spaces = memchr_iter(b' ', line);
    let (Some(first), Some(second), None) = (spaces.next(), spaces.next(), spaces.next()) else {
        return Err(Fault::RequestLine);
    };
    let method = line.get(..first).unwrap_or_default();
    let target = line.get(first + 1..second).unwrap_or_default();
    let version = match line.get(second + 1..).unwrap_or_default() {
        b"HTTP/1.1" => Version::Http11,
        b"HTTP/1.0" => Version::Http10,
        _ => return Err(Fault::RequestLine),
    };
    // A target has no fragment (RFC 9112 3.2); the library would drop it and
    // serve what is left (LiteLLM CVE-2026-49468).
    if !is_token(method) || target.is_empty() || memchr(b'#', target).is_some() {
        return Err(Fault::RequestLine);
    }
    Ok((method, version))
}

fn read_header(line: &[u8], facts: &mut Facts) -> Result<(), Fault> {
    if let [b' ' | b'\t', ..] = line {
        return Err(Fault::ObsoleteFold);
    }
    let colon = memchr(b':', line).ok_or(Fault::HeaderName)?;
    let (name, value) = line.split_at_checked(colon).unwrap_or_default();
    let value = value.get(1..).unwrap_or_default();
    if let [.., b' ' | b'\t'] = name {
        return Err(Fault::SpaceBeforeColon);
    }
    if !is_token(name) {
        return Err(Fault::HeaderName);
    }
    // The length first: most names end the comparison there.
    match name.len() {
        4 if name.eq_ignore_ascii_case(b"host") => facts.hosts += 1,
        14 if name.eq_ignore_ascii_case(b"content-length") => {
            let length = read_length(value)?;
            if facts.content_length.replace(length).is_some() {
                return Err(Fault::RepeatedContentLength);
            }
        }
        17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
            if facts.chunked {
                return Err(Fault::RepeatedTransferEncoding);
            }
            // Names of codings ignore case (RFC 9112 7).
            if !trim(value).eq_ignore_ascii_case(b"chunked") {
                return Err(Fault::TransferEncoding);
            }
            facts.chunked = true;
        }
        _ => {}
    }
    Ok(())
}

fn read_length(value: &[u8]) -> Result<u64, Fault> {
    let digits = trim(value);
    if digits.is_empty() || digits.len() > MAX_LENGTH_DIGITS {
        return Err(Fault::ContentLength);
    }
    digits.iter().try_fold(0_u64, |length, digit| match digit {
        b'0'..=b'9' => Ok(length * 10 + u64::from(digit - b'0')),
        _ => Err(Fault::ContentLength),
    })
}

fn conclude(method: &[u8], version: Version, facts: &Facts) -> Result<Length, Fault> {
    let Facts {
        content_length,
        chunked,
        hosts,
    } = facts;
    match (version, hosts) {
        (Version::Http11, 0) => return Err(Fault::MissingHost),
        (Version::Http10, 0) | (Version::Http10 | Version::Http11, 1) => {}
        (Version::Http10 | Version::Http11, _) => return Err(Fault::RepeatedHost),
    }
    match (content_length, chunked, version) {
        (Some(_), true, _) => Err(Fault::LengthAndTransferEncoding),
        (None, true, Version::Http10) => Err(Fault::OldVersionTransferEncoding),
        (None, true, Version::Http11) => Ok(Length::Chunked),
        (Some(length), false, _) => Ok(Length::Sized(*length)),
        // Until HTTP/1.0 a body could end with the connection; read as empty,
        // its bytes would become the next request.
        (None, false, Version::Http10) if has_body(method) => Err(Fault::OldVersionWithoutLength),
        (None, false, _) => Ok(Length::Sized(0)),
    }
}

fn has_body(method: &[u8]) -> bool {
    !matches!(
        method,
        b"GET" | b"HEAD" | b"OPTIONS" | b"DELETE" | b"TRACE" | b"CONNECT"
    )
}

fn is_token(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|byte| is_token_byte(*byte))
}

fn is_token_byte(byte: u8) -> bool {
    TOKEN_BYTES
        .get(usize::from(byte))
        .copied()
        .unwrap_or_default()
}

/// `tchar` of RFC 9110 5.6.2, by byte.
const TOKEN_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 0x7f {
        let marks = matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        );
        #[expect(
            clippy::indexing_slicing,
            reason = "a constant: checked when it is compiled"
        )]
        {
            table[byte as usize] = marks || byte.is_ascii_alphanumeric();
        }
        byte += 1;
    }
    table
};

/// Without the optional white space around a value (RFC 9110 5.6.3).
fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// Length of the empty lines before a request line (RFC 9112 2.2).
pub(super) fn empty_lines(buf: &[u8]) -> usize {
    let mut rest = buf;
    while let [b'\r', b'\n', after @ ..] | [b'\n', after @ ..] = rest {
        rest = after;
    }
    buf.len() - rest.len()
}
