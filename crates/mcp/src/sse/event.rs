//! One event while it comes in.

use std::borrow::Cow;
use std::ops::Range;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Above this the buffer of an event is given back after it.
const KEPT_CAPACITY: usize = 64 * 1024;

/// The lines of an event that has not ended, as they came.
#[derive(Debug, Default)]
pub(super) struct Event {
    bytes: Vec<u8>,
    /// Where the current line starts.
    line_start: usize,
    data: Vec<DataLine>,
    /// Whether a line that is no comment has come.
    has_field: bool,
    /// Whether the current line is the first of the stream.
    first_line: bool,
}

#[derive(Debug)]
struct DataLine {
    /// With its line end.
    line: Range<usize>,
    value: Range<usize>,
}

/// What a line that has ended means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    /// Part of the event.
    Field,
    /// A comment or blank line outside of any event.
    BetweenEvents,
    /// The blank line that ends the event.
    EndOfEvent,
}

// === impl Event ===

impl Event {
    /// The first event of a stream, which a byte order mark may precede.
    pub(super) fn first() -> Self {
        Self {
            first_line: true,
            ..Self::default()
        }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn append(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The current line is complete, its last byte is its end.
    pub(super) fn end_line(&mut self) -> Line {
        let end = self.bytes.len();
        let mut start = self.line_start;
        if std::mem::take(&mut self.first_line)
            && self.slice(start..end).starts_with(BYTE_ORDER_MARK)
        {
            start += BYTE_ORDER_MARK.len();
        }
        let content = start..end.saturating_sub(1);
        let line = std::mem::replace(&mut self.line_start, end)..end;
        match self.slice(content.clone()).first() {
            None if self.has_field => Line::EndOfEvent,
            None => Line::BetweenEvents,
            Some(b':') if self.has_field => Line::Field,
            Some(b':') => Line::BetweenEvents,
            Some(_) if !self.is_known_field(content.clone()) => {
                self.make_comment(line);
                if self.has_field {
                    Line::Field
                } else {
                    Line::BetweenEvents
                }
            }
            Some(_) => {
                self.has_field = true;
                if let Some(value) = self.data_value(content) {
                    self.data.push(DataLine { line, value });
                }
                Line::Field
            }
        }
    }

    /// Leaves nothing of the current line but a comment. Readers ignore fields
    /// without a meaning; one that does not would see what was never filtered.
    /// The line itself stays: without it, a carriage return before and a line
    /// feed behind would become one line end, and an empty line would be lost.
    fn make_comment(&mut self, line: Range<usize>) {
        let end = self.bytes.last().copied();
        self.bytes.truncate(line.start);
        self.bytes.push(b':');
        self.bytes.extend(end);
        self.line_start = self.bytes.len();
    }

    /// A line feed came after the line that had ended with a carriage return.
    pub(super) fn extend_last_line(&mut self) {
        self.line_start = self.bytes.len();
        if let Some(last) = self.data.last_mut()
            && last.line.end + 1 == self.line_start
        {
            last.line.end = self.line_start;
        }
    }

    /// The data of the event: its data lines, joined by line feeds.
    pub(super) fn data(&self) -> Cow<'_, [u8]> {
        match self.data.as_slice() {
            [] => Cow::Borrowed(&[]),
            [only] => Cow::Borrowed(self.slice(only.value.clone())),
            [first, rest @ ..] => {
                let mut joined = self.slice(first.value.clone()).to_vec();
                for line in rest {
                    joined.push(b'\n');
                    joined.extend_from_slice(self.slice(line.value.clone()));
                }
                Cow::Owned(joined)
            }
        }
    }

    /// Appends the event to `out` as it came, and starts the next one.
    pub(super) fn take(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes);
        self.clear();
    }

    /// Appends the event with other data to `out`, and starts the next one.
    pub(super) fn take_with(&mut self, json: &[u8], out: &mut Vec<u8>) {
        out.reserve(self.bytes.len());
        let mut at = 0;
        for (index, data) in self.data.iter().enumerate() {
            extend_lines(out, self.slice(at..data.line.start));
            if index == 0 {
                let name = self.slice(data.line.start..data.value.start);
                out.extend_from_slice(name);
                if name.ends_with(b"data") {
                    // The line had no colon, as it had no value.
                    out.push(b':');
                }
                // Line feeds in JSON are white space; here they would end the line.
                out.extend(
                    json.iter()
                        .map(|byte| if *byte == b'\n' { b' ' } else { *byte }),
                );
                out.extend_from_slice(self.slice(data.value.end..data.line.end));
            }
            at = data.line.end;
        }
        extend_lines(out, self.slice(at..self.bytes.len()));
        self.clear();
    }

    /// Whether the line names one of the fields of the grammar.
    fn is_known_field(&self, content: Range<usize>) -> bool {
        let line = self.slice(content);
        let name = line.split(|byte| *byte == b':').next();
        matches!(name, Some(b"data" | b"event" | b"id" | b"retry"))
    }

    /// The value of a data line: what comes after the colon and one space.
    fn data_value(&self, content: Range<usize>) -> Option<Range<usize>> {
        let rest = self.slice(content.clone()).strip_prefix(b"data")?;
        let value = match rest.strip_prefix(b":") {
            Some(value) => value.strip_prefix(b" ").unwrap_or(value),
            None if rest.is_empty() => rest,
            // Another field whose name begins alike.
            None => return None,
        };
        Some(content.end - value.len()..content.end)
    }

    fn slice(&self, range: Range<usize>) -> &[u8] {
        self.bytes.get(range).unwrap_or_default()
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_CAPACITY);
        self.data.clear();
        self.line_start = 0;
        self.has_field = false;
    }
}

/// Appends lines that did not follow what is in `out`: a line feed of theirs
/// must not complete a carriage return there, or an empty line would be lost.
fn extend_lines(out: &mut Vec<u8>, lines: &[u8]) {
    if out.ends_with(b"\r") && lines.starts_with(b"\n") {
        out.push(b'\n');
    }
    out.extend_from_slice(lines);
}
