//! What reached the demo server.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, Uri};
use serde_json::Value;

/// How much is kept of each; older entries are dropped, because the server may
/// run for days.
const MAX_ENTRIES: usize = 1000;

/// A request as it came in.
#[derive(Debug, Clone)]
pub struct SeenRequest {
    /// Its method.
    pub method: Method,
    /// Its target.
    pub uri: Uri,
    /// Its header.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// A tool that ran.
#[derive(Debug, Clone, PartialEq)]
pub struct Executed {
    /// Its name.
    pub tool: String,
    /// What it was given.
    pub arguments: Value,
}

/// Requests and tools, in order.
#[derive(Debug, Default)]
pub struct Ledger {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    requests: VecDeque<SeenRequest>,
    executed: VecDeque<Executed>,
}

// === impl Ledger ===

impl Ledger {
    /// The latest requests.
    #[must_use]
    pub fn requests(&self) -> Vec<SeenRequest> {
        self.state().requests.iter().cloned().collect()
    }

    /// The latest tools that ran.
    #[must_use]
    pub fn executed(&self) -> Vec<Executed> {
        self.state().executed.iter().cloned().collect()
    }

    /// Forgets everything.
    pub fn clear(&self) {
        *self.state() = State::default();
    }

    /// Checks that nothing came in.
    ///
    /// # Panics
    /// Something did; it is named.
    #[track_caller]
    #[expect(clippy::panic, reason = "the oracle of tests")]
    pub fn assert_untouched(&self) {
        let State { requests, executed } = &*self.state();
        if let Some(request) = requests.front() {
            panic!(
                "the server was reached: {} {} {executed:?}",
                request.method, request.uri
            );
        }
    }

    pub(super) fn request(&self, head: &Parts, body: Bytes) {
        let request = SeenRequest {
            method: head.method.clone(),
            uri: head.uri.clone(),
            headers: head.headers.clone(),
            body,
        };
        keep(&mut self.state().requests, request);
    }

    pub(super) fn executed_tool(&self, tool: &str, arguments: Value) {
        keep(
            &mut self.state().executed,
            Executed {
                tool: tool.to_owned(),
                arguments,
            },
        );
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn keep<T>(entries: &mut VecDeque<T>, entry: T) {
    if entries.len() == MAX_ENTRIES {
        entries.pop_front();
    }
    entries.push_back(entry);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_entries_go_when_there_are_too_many() {
        let ledger = Ledger::default();
        for number in 0..MAX_ENTRIES {
            ledger.executed_tool("tool", number.into());
        }
        assert_eq!(ledger.executed()[0].arguments, 0);
        ledger.executed_tool("tool", MAX_ENTRIES.into());
        assert_eq!(ledger.executed().len(), MAX_ENTRIES);
        assert_eq!(ledger.executed()[0].arguments, 1);
        ledger.clear();
        assert!(ledger.executed().is_empty());
    }
}
