//! The second look at a message that is refused.
//!
//! The scanner stops at the first thing wrong. Whether the sender's JSON was
//! broken or merely ambiguous, and which id the refusal should carry, needs the
//! rest of the text: this walk checks the grammar alone, at any depth, without
//! recursion.

use super::{Fault, FaultKind, Kind, Scanner, Value};

/// Checks that `body` is JSON by grammar alone.
///
/// Returns the value of the only member `id` of a top-level object, if it is a
/// string or a number.
///
/// # Errors
/// [`Fault`] at the first thing that is not JSON.
pub(crate) fn survey(body: &[u8]) -> Result<Option<Value<'_>>, Fault> {
    let mut walk = Walk {
        scanner: Scanner::new(body, 0)?,
        open: Vec::new(),
        ids: Ids::None,
    };
    walk.run()?;
    match walk.ids {
        Ids::One(id) => Ok(Some(id)),
        Ids::None | Ids::Unusable => Ok(None),
    }
}

struct Walk<'a> {
    scanner: Scanner<'a>,
    /// The objects (true) and arrays (false) around the scanner.
    open: Vec<bool>,
    ids: Ids<'a>,
}

enum Ids<'a> {
    None,
    One(Value<'a>),
    Unusable,
}

// === impl Walk ===

impl<'a> Walk<'a> {
    fn run(&mut self) -> Result<(), Fault> {
        loop {
            if self.begin_value()? && !self.end_values()? {
                return self.scanner.end();
            }
        }
    }

    /// Steps over a scalar or into an object or array; true when a value has
    /// ended.
    fn begin_value(&mut self) -> Result<bool, Fault> {
        match self.scanner.kind()? {
            Kind::Object => self.enter(true, b'}'),
            Kind::Array => self.enter(false, b']'),
            Kind::Number => {
                match self.scanner.number() {
                    // Its size is no matter of grammar, and it has been read.
                    Err(fault) if fault.kind == FaultKind::OutOfRange => {}
                    other => other?,
                }
                Ok(true)
            }
            Kind::String | Kind::True | Kind::False | Kind::Null => {
                self.scanner.value().map(|_| true)
            }
        }
    }

    fn enter(&mut self, object: bool, closing: u8) -> Result<bool, Fault> {
        self.scanner.at += 1;
        if self.scanner.next_byte() == Some(closing) {
            self.scanner.at += 1;
            return Ok(true);
        }
        self.open.push(object);
        if object {
            self.name()?;
        }
        Ok(false)
    }

    /// Follows what comes after a value; true when another value comes.
    fn end_values(&mut self) -> Result<bool, Fault> {
        while let Some(object) = self.open.last().copied() {
            match (self.scanner.next_byte(), object) {
                (Some(b','), true) => {
                    self.scanner.at += 1;
                    self.name()?;
                    return Ok(true);
                }
                (Some(b','), false) => {
                    self.scanner.at += 1;
                    return Ok(true);
                }
                (Some(b'}'), true) | (Some(b']'), false) => {
                    self.scanner.at += 1;
                    self.open.pop();
                }
                (_, true) => return Err(self.scanner.fault(FaultKind::ObjectEnd)),
                (_, false) => return Err(self.scanner.fault(FaultKind::ArrayEnd)),
            }
        }
        Ok(false)
    }

    fn name(&mut self) -> Result<(), Fault> {
        let (name, _) = self.scanner.member_name()?;
        if self.open.len() == 1 && name.decode() == "id" {
            self.ids = match (&self.ids, self.scalar()) {
                (Ids::None, Some(id)) => Ids::One(id),
                _ => Ids::Unusable,
            };
        }
        Ok(())
    }

    /// The string or number that comes next, without stepping over it.
    fn scalar(&self) -> Option<Value<'a>> {
        let mut ahead = self.scanner.clone();
        match ahead.kind() {
            Ok(Kind::String | Kind::Number) => ahead.value().ok(),
            Ok(Kind::Object | Kind::Array | Kind::True | Kind::False | Kind::Null) | Err(_) => None,
        }
    }
}
