//! Cutting what a caller may not see out of a server's answers.
//!
//! An answer is scanned as strictly as a request. Lists are recognised by their
//! place in a result, not by the request: a legacy stream may replay an answer
//! to another one. What is cut is cut by span and everything else stays byte
//! for byte, so that nothing in an answer is lost or invented.

mod edits;
mod message;
#[cfg(test)]
mod tests;

use edits::{Edits, ListCut};
use message::MessageFilter;

use crate::item::Item;
use crate::received::ScanLimits;
use crate::scan::{Fault, Kind, Scanner};

/// An answer of a server that cannot be passed on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// It is not strict JSON, or no JSON-RPC message.
    #[error("the server's answer is not one unambiguous JSON-RPC message: {0}")]
    Malformed(String),
    /// It is about something that the caller may not see, as a whole.
    #[error("the server's answer is about something that the caller may not see")]
    Hidden,
    /// An event of a stream is over its limit.
    #[error("an event of the server's stream is over {max} bytes")]
    EventTooLarge {
        /// The limit.
        max: usize,
    },
}

/// What came out of a filter, besides the bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filtered {
    /// The id of the task that the answer says was created.
    pub created_task: Option<String>,
    /// Whether the output differs from the input.
    pub changed: bool,
}

/// What the scan of a whole body says to do with it.
#[derive(Debug)]
pub(crate) enum Verdict {
    Pass(Filtered),
    /// Every message in it is about something that may not be seen.
    Drop,
}

/// Filters one JSON-RPC message, or a batch of them, and appends it to `out`.
///
/// Every list of tools, prompts, resources, resource templates and tasks in a
/// result keeps only the items that `keep` accepts; such a result no longer
/// says that it may be cached for everybody.
///
/// # Errors
/// [`FilterError`]; `out` is then as it was.
pub fn filter_json(
    body: &[u8],
    limits: ScanLimits,
    out: &mut Vec<u8>,
    keep: &mut dyn FnMut(Item<'_>) -> bool,
) -> Result<Filtered, FilterError> {
    match filter(body, limits, out, keep)? {
        Verdict::Pass(filtered) => Ok(filtered),
        Verdict::Drop => Err(FilterError::Hidden),
    }
}

/// As [`filter_json`], for a carrier that can leave a message out.
pub(crate) fn filter(
    body: &[u8],
    limits: ScanLimits,
    out: &mut Vec<u8>,
    keep: &mut dyn FnMut(Item<'_>) -> bool,
) -> Result<Verdict, FilterError> {
    let mut edits = Edits::default();
    let mut created_task = None;
    if scan(body, limits, &mut edits, &mut created_task, keep)? {
        return Ok(Verdict::Drop);
    }
    let changed = edits.apply(body, out);
    Ok(Verdict::Pass(Filtered {
        created_task,
        changed,
    }))
}

/// Whether the body as a whole must be left out.
fn scan(
    body: &[u8],
    limits: ScanLimits,
    edits: &mut Edits,
    created_task: &mut Option<String>,
    keep: &mut dyn FnMut(Item<'_>) -> bool,
) -> Result<bool, FilterError> {
    let mut scanner = Scanner::new(body, limits.max_depth)?;
    let hidden = if scanner.kind()? == Kind::Array {
        scan_batch(&mut scanner, edits, created_task, keep)?
    } else {
        MessageFilter {
            edits,
            created_task,
            keep,
        }
        .scan(&mut scanner)?
    };
    scanner.end()?;
    Ok(hidden)
}

/// Batches are gone since 2025-06-18, but an older server may answer with one.
fn scan_batch(
    scanner: &mut Scanner<'_>,
    edits: &mut Edits,
    created_task: &mut Option<String>,
    keep: &mut dyn FnMut(Item<'_>) -> bool,
) -> Result<bool, Fault> {
    let mut batch = ListCut::default();
    let (mut any, mut any_kept) = (false, false);
    scanner.array(|scanner| {
        scanner.kind()?;
        let start = scanner.position();
        let edits_before = edits.len();
        let hidden = MessageFilter {
            edits,
            created_task,
            keep,
        }
        .scan(scanner)?;
        if hidden {
            edits.forget(edits_before);
        }
        batch.element(edits, start..scanner.position(), !hidden);
        any = true;
        any_kept |= !hidden;
        Ok(())
    })?;
    batch.finish(edits);
    Ok(any && !any_kept)
}

impl From<Fault> for FilterError {
    fn from(fault: Fault) -> Self {
        Self::Malformed(fault.to_string())
    }
}
