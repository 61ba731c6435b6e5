//! Changes to a text, by span.

use std::ops::Range;

/// What an answer that must not be shared says instead.
const PRIVATE: &[u8] = b"\"private\"";

/// The changes to one text, in the order in which they were found.
#[derive(Debug, Default)]
pub(super) struct Edits {
    all: Vec<Edit>,
}

#[derive(Debug)]
struct Edit {
    span: Range<usize>,
    with: &'static [u8],
}

/// Cuts elements out of one array so that its commas stay right.
#[derive(Debug, Default)]
pub(super) struct ListCut {
    /// Where the last element ended, once one was kept.
    kept_until: Option<usize>,
    /// Where elements to cut start, while none was kept.
    cut_from: Option<usize>,
    last_end: usize,
}

// === impl Edits ===

impl Edits {
    pub(super) fn cut(&mut self, span: Range<usize>) {
        self.all.push(Edit { span, with: b"" });
    }

    /// Makes the value of a `cacheScope` private.
    pub(super) fn make_private(&mut self, span: Range<usize>) {
        self.all.push(Edit {
            span,
            with: PRIVATE,
        });
    }

    /// How many changes there are, to come back to with [`Edits::forget`].
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Forgets all changes since there were `len`.
    pub(super) fn forget(&mut self, len: usize) {
        self.all.truncate(len);
    }

    /// Appends the changed text to `out`; whether there was any change.
    pub(super) fn apply(mut self, text: &[u8], out: &mut Vec<u8>) -> bool {
        out.reserve(text.len());
        self.all.sort_by_key(|edit| edit.span.start);
        let mut at = 0;
        for Edit { span, with } in &self.all {
            out.extend_from_slice(text.get(at..span.start).unwrap_or_default());
            out.extend_from_slice(with);
            at = span.end;
        }
        out.extend_from_slice(text.get(at..).unwrap_or_default());
        !self.all.is_empty()
    }
}

// === impl ListCut ===

impl ListCut {
    /// Notes the next element of the array.
    pub(super) fn element(&mut self, edits: &mut Edits, span: Range<usize>, keep: bool) {
        match (keep, self.kept_until) {
            (true, _) => {
                if let Some(start) = self.cut_from.take() {
                    edits.cut(start..span.start);
                }
                self.kept_until = Some(span.end);
            }
            (false, Some(end)) => {
                edits.cut(end..span.end);
                self.kept_until = Some(span.end);
            }
            (false, None) => {
                self.cut_from.get_or_insert(span.start);
            }
        }
        self.last_end = span.end;
    }

    /// The array has ended.
    pub(super) fn finish(self, edits: &mut Edits) {
        if let Some(start) = self.cut_from {
            edits.cut(start..self.last_end);
        }
    }
}
