//! A strict scanner of JSON text (RFC 8259).
//!
//! It accepts a text only when every parser that may read it next sees the
//! same values in it: UTF-8 without a byte order mark, one value, no name twice
//! in any object, no number that becomes infinite, no half of a surrogate pair,
//! bounded depth. It copies nothing: callers walk the members that they care
//! about and get slices of the text; everything else is checked and skipped.

mod fault;
mod names;
mod number;
mod string;
mod survey;
#[cfg(test)]
mod tests;

pub(crate) use fault::{Fault, FaultKind};
use names::Names;
pub(crate) use string::Text;
pub(crate) use survey::survey;

/// Deepest nesting whatever the configuration says: values are skipped by
/// recursion, and this is what a thread's stack holds with room to spare.
pub(crate) const MAX_DEPTH: usize = 256;

/// What a value is, by its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Object,
    Array,
    String,
    Number,
    True,
    False,
    Null,
}

/// A checked value: a slice of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Value<'a> {
    pub(crate) kind: Kind,
    pub(crate) raw: &'a str,
    /// Where it starts in the text.
    pub(crate) start: usize,
}

/// A position in a text that has been checked up to there.
#[derive(Debug, Clone)]
pub(crate) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    depth_left: usize,
}

// === impl Value ===

impl<'a> Value<'a> {
    /// Where it ends in the text.
    pub(crate) fn end(&self) -> usize {
        self.start + self.raw.len()
    }

    /// The string that this value is.
    pub(crate) fn text(&self) -> Option<Text<'a>> {
        match self.kind {
            Kind::String => Some(Text::quoted(self.raw)),
            Kind::Object | Kind::Array | Kind::Number | Kind::True | Kind::False | Kind::Null => {
                None
            }
        }
    }
}

// === impl Scanner ===

impl<'a> Scanner<'a> {
    /// Starts at the beginning of `body`.
    ///
    /// # Errors
    /// [`Fault`] when it is empty or not UTF-8.
    pub(crate) fn new(body: &'a [u8], max_depth: usize) -> Result<Self, Fault> {
        let text = std::str::from_utf8(body).map_err(|error| Fault {
            kind: FaultKind::Utf8,
            at: error.valid_up_to(),
        })?;
        if text.starts_with('\u{feff}') {
            return Err(Fault {
                kind: FaultKind::ByteOrderMark,
                at: 0,
            });
        }
        let mut scanner = Self {
            text,
            at: 0,
            depth_left: max_depth.min(MAX_DEPTH),
        };
        if scanner.next_byte().is_none() {
            return Err(scanner.fault(FaultKind::Empty));
        }
        Ok(scanner)
    }

    /// Where the scanner is in the text.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// What comes next.
    ///
    /// # Errors
    /// [`Fault`] when no value starts here.
    pub(crate) fn kind(&mut self) -> Result<Kind, Fault> {
        match self.next_byte() {
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b'"') => Ok(Kind::String),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b't') => Ok(Kind::True),
            Some(b'f') => Ok(Kind::False),
            Some(b'n') => Ok(Kind::Null),
            Some(_) | None => Err(self.fault(FaultKind::Value)),
        }
    }

    /// Checks the next value, whatever it is, and steps over it.
    ///
    /// # Errors
    /// [`Fault`] at the first thing wrong in it.
    pub(crate) fn value(&mut self) -> Result<Value<'a>, Fault> {
        let kind = self.kind()?;
        let start = self.at;
        self.skip(kind)?;
        Ok(Value {
            kind,
            raw: self.slice(start, self.at),
            start,
        })
    }

    /// As [`Scanner::value`] for a value of this kind that nobody needs.
    fn skip(&mut self, kind: Kind) -> Result<(), Fault> {
        match kind {
            Kind::Object => self.object(|scanner, _| {
                let kind = scanner.kind()?;
                scanner.skip(kind)
            }),
            Kind::Array => self.array(|scanner| {
                let kind = scanner.kind()?;
                scanner.skip(kind)
            }),
            Kind::String => self.string().map(drop),
            Kind::Number => self.number(),
            Kind::True => self.literal("true"),
            Kind::False => self.literal("false"),
            Kind::Null => self.literal("null"),
        }
    }

    /// Walks the object that comes next; `member` must step over one value.
    ///
    /// # Errors
    /// [`Fault`] of the walk, or what `member` returned.
    pub(crate) fn object<F>(&mut self, mut member: F) -> Result<(), Fault>
    where
        F: FnMut(&mut Self, Text<'a>) -> Result<(), Fault>,
    {
        self.enter(b'{')?;
        if self.next_byte() == Some(b'}') {
            return self.leave();
        }
        let mut names = Names::default();
        loop {
            let (name, head) = self.member_name()?;
            names.add(name, head).map_err(|kind| self.fault(kind))?;
            member(self, name)?;
            match self.next_byte() {
                Some(b',') => self.at += 1,
                Some(b'}') => break,
                Some(_) | None => return Err(self.fault(FaultKind::ObjectEnd)),
            }
        }
        names.finish().map_err(|kind| self.fault(kind))?;
        self.leave()
    }

    /// Walks the array that comes next; `element` must step over one value.
    ///
    /// # Errors
    /// [`Fault`] of the walk, or what `element` returned.
    pub(crate) fn array<F>(&mut self, mut element: F) -> Result<(), Fault>
    where
        F: FnMut(&mut Self) -> Result<(), Fault>,
    {
        self.enter(b'[')?;
        if self.next_byte() == Some(b']') {
            return self.leave();
        }
        loop {
            element(self)?;
            match self.next_byte() {
                Some(b',') => self.at += 1,
                Some(b']') => return self.leave(),
                Some(_) | None => return Err(self.fault(FaultKind::ArrayEnd)),
            }
        }
    }

    /// Nothing but white space may be left.
    ///
    /// # Errors
    /// [`Fault`] at the first other byte.
    pub(crate) fn end(&mut self) -> Result<(), Fault> {
        match self.next_byte() {
            None => Ok(()),
            Some(_) => Err(self.fault(FaultKind::Trailing)),
        }
    }

    pub(crate) fn fault(&self, kind: FaultKind) -> Fault {
        Fault { kind, at: self.at }
    }

    /// A name and its colon, with the first bytes of the name.
    fn member_name(&mut self) -> Result<(Text<'a>, u64), Fault> {
        if self.next_byte() != Some(b'"') {
            return Err(self.fault(FaultKind::Name));
        }
        let start = self.at + 1;
        let name = self.string()?;
        let head = names::head_at(self.text.as_bytes(), start, name.inner().len());
        if self.next_byte() != Some(b':') {
            return Err(self.fault(FaultKind::Colon));
        }
        self.at += 1;
        Ok((name, head))
    }

    /// The next byte that is not white space; the scanner stays on it.
    #[inline]
    fn next_byte(&mut self) -> Option<u8> {
        loop {
            match self.text.as_bytes().get(self.at) {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.at += 1,
                other => return other.copied(),
            }
        }
    }

    fn enter(&mut self, opening: u8) -> Result<(), Fault> {
        if self.next_byte() != Some(opening) {
            return Err(self.fault(FaultKind::Value));
        }
        let Some(left) = self.depth_left.checked_sub(1) else {
            return Err(self.fault(FaultKind::TooDeep));
        };
        self.depth_left = left;
        self.at += 1;
        Ok(())
    }

    fn leave(&mut self) -> Result<(), Fault> {
        self.depth_left += 1;
        self.at += 1;
        Ok(())
    }

    fn literal(&mut self, word: &str) -> Result<(), Fault> {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        if !rest.starts_with(word.as_bytes()) {
            return Err(self.fault(FaultKind::Value));
        }
        self.at += word.len();
        Ok(())
    }

    /// A slice between two positions that the scanner stood on, which are
    /// never inside a character.
    fn slice(&self, start: usize, end: usize) -> &'a str {
        self.text.get(start..end).unwrap_or_default()
    }
}
