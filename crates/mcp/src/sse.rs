//! Server-sent events (WHATWG HTML, "Server-sent events"), filtered while they
//! come.
//!
//! The bytes may be split anywhere. An event is passed on when the blank line
//! that ends it has come, not later; comments between events at once, because
//! they keep connections alive. An event that never ends is never passed on,
//! as its reader would not act on it either.

mod event;
mod meter;
#[cfg(test)]
mod tests;

use event::{Event, Line};
use memchr::memchr2;
pub use meter::SseMeter;

use crate::filter::{FilterError, Verdict, filter};
use crate::item::Item;
use crate::received::ScanLimits;

/// Filters the messages in an event stream.
#[derive(Debug)]
pub struct SseFilter {
    max_event_bytes: usize,
    limits: ScanLimits,
    /// The event, or the line between events, that has not ended yet.
    event: Event,
    /// Whose line feed it is, if one comes after the carriage return.
    pending_line_feed: LineFeed,
    created_task: Option<String>,
}

/// What a line feed at the start of the next bytes belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineFeed {
    /// It ends an empty line of its own.
    Own,
    /// It is the second half of a line end within the current event.
    OfLine,
    /// It is the second half of a line end that was passed on.
    OfPassed,
    /// It is the second half of the end of an event that was left out.
    OfDropped,
}

// === impl SseFilter ===

impl SseFilter {
    /// A filter for one stream, from its first byte on.
    #[must_use]
    pub fn new(max_event_bytes: usize, limits: ScanLimits) -> Self {
        Self {
            max_event_bytes,
            limits,
            event: Event::first(),
            pending_line_feed: LineFeed::Own,
            created_task: None,
        }
    }

    /// Takes the next bytes of the stream and appends what may be passed on to
    /// `out`.
    ///
    /// # Errors
    /// [`FilterError`]; the stream must then be broken off.
    pub fn push(
        &mut self,
        data: &[u8],
        out: &mut Vec<u8>,
        keep: &mut dyn FnMut(Item<'_>) -> bool,
    ) -> Result<(), FilterError> {
        let mut rest = data;
        loop {
            rest = self.take_line_feed(rest, out)?;
            let Some(end) = memchr2(b'\r', b'\n', rest) else {
                return self.append(rest);
            };
            let (line, after) = rest.split_at(end + 1);
            self.append(line)?;
            let whose = self.end_line(out, keep)?;
            if line.ends_with(b"\r") {
                self.pending_line_feed = whose;
            }
            rest = after;
        }
    }

    /// The stream has ended; half an event is left out.
    ///
    /// # Errors
    /// None at present: what is incomplete has no meaning for its reader.
    pub fn finish(
        &mut self,
        _out: &mut Vec<u8>,
        _keep: &mut dyn FnMut(Item<'_>) -> bool,
    ) -> Result<(), FilterError> {
        self.event = Event::default();
        Ok(())
    }

    /// The id of the task that the stream said was created, once.
    pub fn take_created_task(&mut self) -> Option<String> {
        self.created_task.take()
    }

    /// Puts a line feed that completes an earlier carriage return where that
    /// one went.
    fn take_line_feed<'d>(
        &mut self,
        data: &'d [u8],
        out: &mut Vec<u8>,
    ) -> Result<&'d [u8], FilterError> {
        let Some((first, rest)) = data.split_first() else {
            return Ok(data);
        };
        let whose = std::mem::replace(&mut self.pending_line_feed, LineFeed::Own);
        if *first != b'\n' || whose == LineFeed::Own {
            return Ok(data);
        }
        match whose {
            LineFeed::Own | LineFeed::OfDropped => {}
            LineFeed::OfPassed => out.push(b'\n'),
            LineFeed::OfLine => {
                self.append(b"\n")?;
                self.event.extend_last_line();
            }
        }
        Ok(rest)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), FilterError> {
        if self.event.len() + bytes.len() > self.max_event_bytes {
            return Err(FilterError::EventTooLarge {
                max: self.max_event_bytes,
            });
        }
        self.event.append(bytes);
        Ok(())
    }

    /// A line has ended; says where a line feed after it would belong.
    fn end_line(
        &mut self,
        out: &mut Vec<u8>,
        keep: &mut dyn FnMut(Item<'_>) -> bool,
    ) -> Result<LineFeed, FilterError> {
        match self.event.end_line() {
            Line::Field => Ok(LineFeed::OfLine),
            Line::BetweenEvents => {
                self.event.take(out);
                Ok(LineFeed::OfPassed)
            }
            Line::EndOfEvent => {
                let passed = self.pass_event(out, keep)?;
                Ok(if passed {
                    LineFeed::OfPassed
                } else {
                    LineFeed::OfDropped
                })
            }
        }
    }

    /// Whether the event was passed on.
    fn pass_event(
        &mut self,
        out: &mut Vec<u8>,
        keep: &mut dyn FnMut(Item<'_>) -> bool,
    ) -> Result<bool, FilterError> {
        let data = self.event.data();
        if data.is_empty() {
            self.event.take(out);
            return Ok(true);
        }
        let mut filtered_data = Vec::new();
        let verdict = filter(&data, self.limits, &mut filtered_data, keep)?;
        drop(data);
        match verdict {
            Verdict::Drop => {
                self.event = Event::default();
                Ok(false)
            }
            Verdict::Pass(filtered) => {
                if filtered.created_task.is_some() {
                    self.created_task = filtered.created_task;
                }
                if filtered.changed {
                    self.event.take_with(&filtered_data, out);
                } else {
                    self.event.take(out);
                }
                Ok(true)
            }
        }
    }
}
