//! Follows the messages of one HTTP/1 connection, byte for byte, without I/O.

use memchr::memchr;

use super::Fault;
use super::chunked::{ChunkStep, Chunked};
use super::head::{Length, empty_lines, read_head};

/// The largest head that is followed, and the largest that the library may
/// buffer: the two must give up at the same byte. Large enough that an overlong
/// URI (64 KiB in the library) is answered as such and not as a large head.
pub(crate) const MAX_HEAD_BYTES: usize = 128 * 1024;

/// Where the messages of the connection are.
#[derive(Debug)]
pub(crate) struct Watch {
    state: State,
    /// The start of a head that came in pieces; empty, and without memory,
    /// whenever a head comes whole.
    partial: Vec<u8>,
    heads: u64,
}

#[derive(Debug)]
enum State {
    Head,
    Sized(u64),
    Chunked(Chunked),
    Ended,
}

/// The input ends here, for this reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Head(Fault),
    Body(Fault),
}

/// How much of a piece of input may be passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) passed: usize,
    pub(crate) end: Option<End>,
}

impl Watch {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Head,
            partial: Vec::new(),
            heads: 0,
        }
    }

    /// Follows the next bytes of the connection.
    pub(crate) fn push(&mut self, input: &[u8]) -> Seen {
        let mut rest = input;
        while !rest.is_empty() {
            let step = match &mut self.state {
                State::Head => self.push_head(rest),
                State::Sized(left) => {
                    let skipped = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    *left -= skipped as u64;
                    if *left == 0 {
                        self.state = State::Head;
                    }
                    Seen {
                        passed: skipped,
                        end: None,
                    }
                }
                State::Chunked(chunked) => {
                    let ChunkStep {
                        passed,
                        done,
                        fault,
                    } = chunked.push(rest);
                    if done {
                        self.state = State::Head;
                    }
                    Seen {
                        passed,
                        end: fault.map(End::Body),
                    }
                }
                State::Ended => break,
            };
            rest = rest.get(step.passed..).unwrap_or_default();
            if step.end.is_some() {
                self.state = State::Ended;
                return Seen {
                    passed: input.len() - rest.len(),
                    end: step.end,
                };
            }
        }
        Seen {
            passed: input.len() - rest.len(),
            end: None,
        }
    }

    /// Whether the last message has ended and no other has begun.
    pub(crate) fn between_messages(&self) -> bool {
        matches!(self.state, State::Head) && self.partial.is_empty()
    }

    /// Whether a head has begun and not ended.
    pub(crate) fn head_is_partial(&self) -> bool {
        matches!(self.state, State::Head) && !self.partial.is_empty()
    }

    /// How many heads came before the one with the fault.
    pub(crate) fn heads_before_end(&self) -> u64 {
        self.heads
    }

    fn push_head(&mut self, input: &[u8]) -> Seen {
        if self.partial.is_empty() {
            if let Some((head, _)) = head_end(input, 0).and_then(|end| input.split_at_checked(end))
            {
                return self.finish_head(read_head(head), head.len());
            }
            self.partial.extend_from_slice(input);
            return self.check_partial(input.len());
        }
        let before = self.partial.len();
        self.partial.extend_from_slice(input);
        let Some(end) = head_end(&self.partial, before) else {
            return self.check_partial(input.len());
        };
        let partial = std::mem::take(&mut self.partial);
        let verdict = read_head(partial.get(..end).unwrap_or_default());
        self.finish_head(verdict, end - before)
    }

    fn check_partial(&mut self, passed: usize) -> Seen {
        let end = (self.partial.len() >= MAX_HEAD_BYTES).then(|| {
            self.partial = Vec::new();
            End::Head(Fault::HeadTooLarge)
        });
        Seen { passed, end }
    }

    fn finish_head(&mut self, verdict: Result<Length, Fault>, passed: usize) -> Seen {
        let length = match verdict {
            Ok(length) => length,
            Err(fault) => {
                return Seen {
                    passed,
                    end: Some(End::Head(fault)),
                };
            }
        };
        self.heads += 1;
        self.state = match length {
            Length::Sized(0) => State::Head,
            Length::Sized(length) => State::Sized(length),
            Length::Chunked => State::Chunked(Chunked::default()),
        };
        Seen { passed, end: None }
    }
}

/// Where the head ends that `buf` begins with; none when it does not end in
/// `buf`. The first `searched` bytes are known not to hold the end.
///
/// A line may end in a bare line feed here: the library reads it so, and the
/// input must be cut exactly where the library sees the head end. That such a
/// line is a fault is found by `read_head`.
fn head_end(buf: &[u8], searched: usize) -> Option<usize> {
    // The last three bytes may be the start of CR LF CR LF.
    let mut from = empty_lines(buf).max(searched.saturating_sub(3));
    loop {
        let feed = from + memchr(b'\n', buf.get(from..)?)?;
        match buf.get(feed + 1..)? {
            [b'\n', ..] => return Some(feed + 2),
            [b'\r', b'\n', ..] => return Some(feed + 3),
            _ => from = feed + 1,
        }
    }
}
