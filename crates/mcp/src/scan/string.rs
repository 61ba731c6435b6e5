//! Strings: found at speed, decoded only when somebody needs their value.

use std::borrow::Cow;

use memchr::memchr;

use super::{Fault, FaultKind, Scanner};

/// A checked string, without its quotes, still escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Text<'a> {
    inner: &'a str,
    /// How many escape sequences it has. A word rather than a flag: a result
    /// with padding in it is copied in pieces, which costs more than the scan.
    escapes: usize,
}

// === impl Text ===

impl<'a> Text<'a> {
    /// The string between the quotes of `raw`, which was checked before.
    pub(super) fn quoted(raw: &'a str) -> Self {
        let inner = raw
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
            .unwrap_or_default();
        Self {
            inner,
            escapes: usize::from(memchr(b'\\', inner.as_bytes()).is_some()),
        }
    }

    pub(super) fn inner(self) -> &'a str {
        self.inner
    }

    pub(super) fn is_escaped(self) -> bool {
        self.escapes > 0
    }

    /// The value of the string; borrowed when it has no escapes.
    pub(crate) fn decode(self) -> Cow<'a, str> {
        if self.is_escaped() {
            Cow::Owned(unescape(self.inner))
        } else {
            Cow::Borrowed(self.inner)
        }
    }
}

/// Decodes escapes that [`Scanner::string`] has checked.
fn unescape(escaped: &str) -> String {
    let mut value = String::with_capacity(escaped.len());
    let mut chars = escaped.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            value.push(c);
            continue;
        }
        match chars.next() {
            Some('b') => value.push('\u{8}'),
            Some('f') => value.push('\u{c}'),
            Some('n') => value.push('\n'),
            Some('r') => value.push('\r'),
            Some('t') => value.push('\t'),
            Some('u') => value.push(unicode_escape(&mut chars)),
            // A quote, a backslash or a solidus stands for itself.
            Some(itself) => value.push(itself),
            None => {}
        }
    }
    value
}

/// What follows `\u`, with the second half of a surrogate pair.
fn unicode_escape(chars: &mut std::str::Chars<'_>) -> char {
    let unit = |chars: &mut std::str::Chars<'_>| {
        chars
            .by_ref()
            .take(4)
            .fold(0_u32, |unit, c| unit << 4 | c.to_digit(16).unwrap_or(0))
    };
    let first = unit(chars);
    let code = if (0xd800..0xdc00).contains(&first) {
        // The backslash and the `u` of the second half.
        let _ = chars.by_ref().take(2).count();
        0x10000 + ((first - 0xd800) << 10) + unit(chars).saturating_sub(0xdc00)
    } else {
        first
    };
    char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
}

impl<'a> Scanner<'a> {
    /// Steps over the string that starts here.
    #[inline]
    pub(super) fn string(&mut self) -> Result<Text<'a>, Fault> {
        let bytes = self.text.as_bytes();
        let start = self.at + 1;
        let mut at = start;
        let mut escapes = 0;
        loop {
            at += plain_length(bytes.get(at..).unwrap_or_default());
            match bytes.get(at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escapes += 1;
                    at = escape_end(bytes, at)?;
                }
                Some(_) => {
                    return Err(Fault {
                        kind: FaultKind::ControlCharacter,
                        at,
                    });
                }
                None => {
                    return Err(Fault {
                        kind: FaultKind::StringEnd,
                        at,
                    });
                }
            }
        }
        self.at = at + 1;
        Ok(Text {
            inner: self.slice(start, at),
            escapes,
        })
    }
}

/// Where the escape sequence that starts at `at` ends.
fn escape_end(bytes: &[u8], at: usize) -> Result<usize, Fault> {
    let fault = |kind| Err(Fault { kind, at });
    match bytes.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') => match code_unit(bytes, at + 2) {
            Some(0xd800..0xdc00) => match (bytes.get(at + 6..at + 8), code_unit(bytes, at + 8)) {
                (Some(b"\\u"), Some(0xdc00..0xe000)) => Ok(at + 12),
                (Some(b"\\u"), None) => fault(FaultKind::Escape),
                _ => fault(FaultKind::LoneSurrogate),
            },
            Some(0xdc00..0xe000) => fault(FaultKind::LoneSurrogate),
            Some(_) => Ok(at + 6),
            None => fault(FaultKind::Escape),
        },
        Some(_) | None => fault(FaultKind::Escape),
    }
}

/// Four hexadecimal digits.
fn code_unit(bytes: &[u8], at: usize) -> Option<u32> {
    let digits = bytes.get(at..)?.first_chunk::<4>()?;
    digits.iter().try_fold(0, |unit, digit| {
        Some(unit << 4 | char::from(*digit).to_digit(16)?)
    })
}

/// How many bytes come before the first one that ends a plain run of a string:
/// a quote, a backslash or a control character.
#[inline]
fn plain_length(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    // Names and most values end within two words.
    for _ in 0..2 {
        let Some((word, tail)) = rest.split_first_chunk::<8>() else {
            break;
        };
        if let Some(offset) = first_special(*word) {
            return bytes.len() - rest.len() + offset;
        }
        rest = tail;
    }
    long_plain_length(bytes, rest)
}

fn long_plain_length(bytes: &[u8], mut rest: &[u8]) -> usize {
    // A shape that the compiler turns into vector instructions.
    while let Some((block, tail)) = rest.split_first_chunk::<32>() {
        if block
            .iter()
            .fold(false, |found, byte| found | is_special(*byte))
        {
            break;
        }
        rest = tail;
    }
    while let Some((word, tail)) = rest.split_first_chunk::<8>() {
        if let Some(offset) = first_special(*word) {
            return bytes.len() - rest.len() + offset;
        }
        rest = tail;
    }
    let tail = rest
        .iter()
        .position(|byte| is_special(*byte))
        .unwrap_or(rest.len());
    bytes.len() - rest.len() + tail
}

fn is_special(byte: u8) -> bool {
    byte < b' ' || byte == b'"' || byte == b'\\'
}

/// The first special byte of a word, all eight looked at together.
///
/// A subtraction borrows only out of a byte that is itself a hit, so the
/// lowest mark is always right, and only that one is used.
#[inline]
pub(super) fn first_special(word: [u8; 8]) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGHS: u64 = u64::from_le_bytes([0x80; 8]);
    const QUOTES: u64 = u64::from_le_bytes([b'"'; 8]);
    const BACKSLASHES: u64 = u64::from_le_bytes([b'\\'; 8]);
    const SPACES: u64 = u64::from_le_bytes([b' '; 8]);
    let word = u64::from_le_bytes(word);
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word;
    let controls = word.wrapping_sub(SPACES) & !word;
    let marks = (zeros(word ^ QUOTES) | zeros(word ^ BACKSLASHES) | controls) & HIGHS;
    (marks != 0).then(|| marks.trailing_zeros() as usize / 8)
}
