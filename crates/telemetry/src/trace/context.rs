//! The trace context of a request (W3C Trace Context, level 1).

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use super::random::{Purpose, number, write_hex};

/// Length of a `traceparent` of version 00.
const LENGTH: usize = 55;
/// Where the trace id is in it.
const TRACE_ID: std::ops::Range<usize> = 3..35;
/// The only flag that version 00 defines.
const SAMPLED: u8 = 1;

/// The place of a request in a trace. What goes upstream names the sidecar's
/// own span as the parent.
#[derive(Clone, PartialEq, Eq)]
pub struct TraceContext {
    traceparent: [u8; LENGTH],
}

// === impl TraceContext ===

impl TraceContext {
    /// Continues the trace of a valid `traceparent` with a span of its own;
    /// else starts a new trace, as the specification asks of whoever gets an
    /// invalid one.
    ///
    /// A new trace is marked as sampled: the usual sampler of a server follows
    /// its parent's flag and samples when it has no parent, so a sidecar in
    /// front of it changes nothing.
    #[must_use]
    pub fn from_headers(traceparent: Option<&[u8]>) -> Self {
        match traceparent.and_then(Parent::parse) {
            Some(parent) => Self::continuing(&parent),
            None => Self::new_trace(),
        }
    }

    /// The id of the trace: 32 lower-case hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> &str {
        self.traceparent().get(TRACE_ID).unwrap_or_default()
    }

    /// The `traceparent` for the server behind the sidecar.
    #[must_use]
    pub fn traceparent(&self) -> &str {
        std::str::from_utf8(&self.traceparent).unwrap_or_default()
    }

    fn continuing(parent: &Parent<'_>) -> Self {
        Self::of(next_index(), parent.flags & SAMPLED, |trace_id| {
            trace_id.copy_from_slice(parent.trace_id);
        })
    }

    fn new_trace() -> Self {
        let index = next_index();
        Self::of(index, SAMPLED, |trace_id| {
            let (high, low) = trace_id.split_at_mut(16);
            write_hex(high, number(Purpose::TraceHigh, index));
            write_hex(low, not_zero(number(Purpose::TraceLow, index)));
        })
    }

    fn of(index: u64, flags: u8, write_trace_id: impl FnOnce(&mut [u8; 32])) -> Self {
        let mut traceparent = *b"00-00000000000000000000000000000000-0000000000000000-00";
        let [_, _, _, rest @ ..] = &mut traceparent;
        if let Some((trace_id, rest)) = rest.split_first_chunk_mut() {
            write_trace_id(trace_id);
            let [_, span_id @ .., _, high, low] = rest else {
                return Self { traceparent };
            };
            write_hex(span_id, not_zero(number(Purpose::Span, index)));
            write_hex(std::slice::from_mut(high), u64::from(flags >> 4));
            write_hex(std::slice::from_mut(low), u64::from(flags & 0xf));
        }
        Self { traceparent }
    }
}

fn next_index() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// An id of zeros only is invalid.
fn not_zero(value: u64) -> u64 {
    value.max(1)
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "TraceContext({})", self.traceparent())
    }
}

/// What is taken from the caller's `traceparent`.
struct Parent<'a> {
    trace_id: &'a [u8; 32],
    flags: u8,
}

impl<'a> Parent<'a> {
    /// Reads a `traceparent` (section 3.2): version, trace id, parent id and
    /// flags in lower-case hexadecimal digits. A later version may add fields
    /// behind a dash and is read as far as it is known.
    fn parse(text: &'a [u8]) -> Option<Self> {
        let (version, rest) = take_hex::<2>(text)?;
        let (trace_id, rest) = take_hex::<32>(rest.strip_prefix(b"-")?)?;
        let (parent_id, rest) = take_hex::<16>(rest.strip_prefix(b"-")?)?;
        let (flags, rest) = take_hex::<2>(rest.strip_prefix(b"-")?)?;
        let ends_well = match version {
            b"ff" => false,
            b"00" => rest.is_empty(),
            _ => rest.is_empty() || rest.starts_with(b"-"),
        };
        let is_zero = |digits: &[u8]| digits.iter().all(|digit| *digit == b'0');
        if !ends_well || is_zero(trace_id) || is_zero(parent_id) {
            return None;
        }
        let flags = std::str::from_utf8(flags).ok()?;
        Some(Self {
            trace_id,
            flags: u8::from_str_radix(flags, 16).ok()?,
        })
    }
}

fn take_hex<const N: usize>(text: &[u8]) -> Option<(&[u8; N], &[u8])> {
    let (digits, rest) = text.split_first_chunk::<N>()?;
    let is_hex = digits
        .iter()
        .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    is_hex.then_some((digits, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn of(text: &str) -> TraceContext {
        TraceContext::from_headers(Some(text.as_bytes()))
    }

    #[test]
    fn a_valid_parent_is_continued_with_an_own_span() {
        let context = of(VALID);
        assert_eq!(context.trace_id(), TRACE);
        assert!(context.traceparent().starts_with(&format!("00-{TRACE}-")));
        assert!(!context.traceparent().contains("00f067aa0ba902b7"));
        assert!(context.traceparent().ends_with("-01"));
        assert_ne!(of(VALID).traceparent(), context.traceparent());
    }

    #[test]
    fn only_the_known_flag_is_passed_on() {
        for (flags, passed) in [("00", "-00"), ("01", "-01"), ("fe", "-00"), ("ff", "-01")] {
            let context = of(&format!("00-{TRACE}-00f067aa0ba902b7-{flags}"));
            assert_eq!(context.trace_id(), TRACE);
            assert!(context.traceparent().ends_with(passed), "{flags}");
        }
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        for text in [
            format!("01-{TRACE}-00f067aa0ba902b7-01"),
            format!("cc-{TRACE}-00f067aa0ba902b7-01-what-the-future-will-be-like"),
        ] {
            assert_eq!(of(&text).trace_id(), TRACE, "{text}");
            assert!(of(&text).traceparent().starts_with("00-"), "{text}");
        }
    }

    #[test]
    fn an_invalid_parent_starts_a_new_trace() {
        let zeros = "0".repeat(32);
        for text in [
            String::new(),
            format!("ff-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{TRACE}-00f067aa0ba902b7-01-more"),
            format!("00-{TRACE}-00f067aa0ba902b7-01-"),
            format!("cc-{TRACE}-00f067aa0ba902b7-01.more"),
            format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-00F067AA0BA902B7-01"),
            format!("00-{zeros}-00f067aa0ba902b7-01"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{TRACE}-00f067aa0ba902b7-1"),
            format!("00-{TRACE}-00f067aa0ba902b7-+1"),
            format!("00-{TRACE}-00f067aa0ba902b7"),
            format!(" {VALID}"),
            format!("{VALID} "),
            format!("00_{TRACE}-00f067aa0ba902b7-01"),
            format!("{VALID},{VALID}"),
        ] {
            let context = of(&text);
            assert_ne!(context.trace_id(), TRACE, "{text}");
            assert!(
                Parent::parse(context.traceparent().as_bytes()).is_some(),
                "{context:?}"
            );
        }
        assert_ne!(
            TraceContext::from_headers(None),
            TraceContext::from_headers(None)
        );
    }

    proptest! {
        #[test]
        fn whatever_comes_a_valid_context_goes_on(text: Vec<u8>) {
            let context = TraceContext::from_headers(Some(&text));
            prop_assert!(Parent::parse(context.traceparent().as_bytes()).is_some());
            prop_assert_eq!(context.trace_id().len(), 32);
        }

        #[test]
        fn nearly_valid_parents_are_told_apart(text in "0[01]-[0-9a-f]{31,33}-[0-9a-f]{15,17}-0[01](-x)?") {
            let context = of(&text);
            let continued = text.get(3..35) == Some(context.trace_id());
            let fields: Vec<_> = text.split('-').collect();
            let lengths = fields.iter().take(4).map(|field| field.len()).collect::<Vec<_>>();
            let valid = lengths == [2, 32, 16, 2]
                && (fields.len() == 4 || fields[0] != "00")
                && fields[1].contains(|c| c != '0') && fields[2].contains(|c| c != '0');
            prop_assert_eq!(continued, valid);
        }
    }
}
