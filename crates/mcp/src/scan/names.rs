//! Finding a name that occurs twice in one object.
//!
//! Names are compared after unescaping. Objects have few members as a rule, so
//! the first ones are kept in place and compared one by one. An object with
//! more, or with an escape in a name, is collected and sorted at its end: no
//! input makes that slower than sorting it.

use std::borrow::Cow;

use super::{FaultKind, Text};

/// Members up to which comparing one by one is quicker, and needs no heap.
const FEW: usize = 12;

/// The names of one object so far.
#[derive(Debug)]
pub(super) struct Names<'a> {
    few: [Name<'a>; FEW],
    count: usize,
    /// Used instead of `few` once it holds something.
    many: Vec<(u64, Cow<'a, str>)>,
}

#[derive(Debug, Clone, Copy)]
struct Name<'a> {
    /// The first eight bytes, which tell most names apart.
    head: u64,
    text: &'a str,
}

impl Default for Names<'_> {
    fn default() -> Self {
        Self {
            few: [Name { head: 0, text: "" }; FEW],
            count: 0,
            many: Vec::new(),
        }
    }
}

// === impl Names ===

impl<'a> Names<'a> {
    /// Adds the name of the next member; `head` is that of the escaped name.
    #[inline]
    pub(super) fn add(&mut self, name: Text<'a>, head: u64) -> Result<(), FaultKind> {
        if !self.many.is_empty() || name.is_escaped() || self.count == FEW {
            self.add_to_many(name);
            return Ok(());
        }
        let new = Name {
            head,
            text: name.inner(),
        };
        let known = self.few.get(..self.count).unwrap_or_default();
        if known
            .iter()
            .any(|old| old.head == new.head && old.text == new.text)
        {
            return Err(FaultKind::DuplicateName);
        }
        if let Some(free) = self.few.get_mut(self.count) {
            *free = new;
            self.count += 1;
        }
        Ok(())
    }

    #[cold]
    fn add_to_many(&mut self, name: Text<'a>) {
        if self.many.is_empty() {
            let known = self.few.get(..self.count).unwrap_or_default();
            self.many.extend(
                known
                    .iter()
                    .map(|name| (name.head, Cow::Borrowed(name.text))),
            );
        }
        let name = name.decode();
        self.many.push((head(&name), name));
    }

    /// The object has ended.
    #[inline]
    pub(super) fn finish(&mut self) -> Result<(), FaultKind> {
        if self.many.is_empty() {
            return Ok(());
        }
        self.many.sort_unstable();
        let twice = self
            .many
            .iter()
            .zip(self.many.iter().skip(1))
            .any(|(a, b)| a == b);
        if twice {
            Err(FaultKind::DuplicateName)
        } else {
            Ok(())
        }
    }
}

/// The first eight bytes of a name, so that numbers sort as names do.
fn head(name: &str) -> u64 {
    head_at(name.as_bytes(), 0, name.len())
}

/// [`head`] of the name of `length` bytes at `start`; what follows it in the
/// text, if anything, makes that one load.
#[inline]
pub(super) fn head_at(text: &[u8], start: usize, length: usize) -> u64 {
    let rest = text.get(start..).unwrap_or_default();
    let Some(first) = rest.first_chunk::<8>() else {
        let mut padded = [0; 8];
        for (to, from) in padded.iter_mut().zip(rest.iter().take(length)) {
            *to = *from;
        }
        return u64::from_be_bytes(padded);
    };
    let all = u64::from_be_bytes(*first);
    match length {
        0 => 0,
        1..8 => all & (u64::MAX << (64 - 8 * length)),
        _ => all,
    }
}
