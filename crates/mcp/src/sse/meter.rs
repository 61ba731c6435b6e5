//! Watching only how large events are.

use memchr::memchr2;

use crate::filter::FilterError;

/// Counts the bytes of events in a stream whose messages are not read: the
/// answer to a call, which is the caller's to see.
#[derive(Debug)]
pub struct SseMeter {
    max_event_bytes: usize,
    /// Bytes of the event, or of the line between events.
    event: usize,
    /// Bytes of the current line, without its end.
    line: usize,
    is_comment: bool,
    has_field: bool,
    after_carriage_return: bool,
}

// === impl SseMeter ===

impl SseMeter {
    /// A meter for one stream, from its first byte on.
    #[must_use]
    pub fn new(max_event_bytes: usize) -> Self {
        Self {
            max_event_bytes,
            event: 0,
            line: 0,
            is_comment: false,
            has_field: false,
            after_carriage_return: false,
        }
    }

    /// Takes the next bytes of the stream.
    ///
    /// # Errors
    /// [`FilterError::EventTooLarge`] at the first byte over the limit; the
    /// stream must then be broken off.
    pub fn push(&mut self, data: &[u8]) -> Result<(), FilterError> {
        let mut rest = data;
        loop {
            rest = self.take_line_feed(rest)?;
            let Some(end) = memchr2(b'\r', b'\n', rest) else {
                return self.extend_line(rest);
            };
            let (line, after) = rest.split_at(end);
            self.extend_line(line)?;
            self.count(1)?;
            self.end_line();
            self.after_carriage_return = after.starts_with(b"\r");
            rest = after.get(1..).unwrap_or_default();
        }
    }

    /// A line feed after a carriage return ends no line of its own; it is
    /// counted with the event that it is in, if any.
    fn take_line_feed<'d>(&mut self, data: &'d [u8]) -> Result<&'d [u8], FilterError> {
        if data.is_empty() || !std::mem::take(&mut self.after_carriage_return) {
            return Ok(data);
        }
        let Some(rest) = data.strip_prefix(b"\n") else {
            return Ok(data);
        };
        self.count(usize::from(self.event > 0))?;
        Ok(rest)
    }

    fn extend_line(&mut self, bytes: &[u8]) -> Result<(), FilterError> {
        if self.line == 0 && !bytes.is_empty() {
            self.is_comment = bytes.first() == Some(&b':');
        }
        self.line += bytes.len();
        self.count(bytes.len())
    }

    fn count(&mut self, bytes: usize) -> Result<(), FilterError> {
        self.event = self.event.saturating_add(bytes);
        if self.event > self.max_event_bytes {
            return Err(FilterError::EventTooLarge {
                max: self.max_event_bytes,
            });
        }
        Ok(())
    }

    fn end_line(&mut self) {
        let blank = self.line == 0;
        self.line = 0;
        self.has_field = !blank && (self.has_field || !self.is_comment);
        if !self.has_field {
            self.event = 0;
        }
    }
}
