//! What was asked, as far as the answer depends on it.

use std::sync::Arc;

use bytes::Bytes;
use sidegate_mcp::Era;
use sidegate_policy::resource::Action;

use crate::decide::{Question, Subject};

/// What the request was, as far as its answer depends on it.
#[derive(Debug)]
pub(crate) struct Expected {
    pub(crate) era: Era,
    /// The session that the request belongs to.
    pub(crate) session: Option<Box<str>>,
    /// The answer may hand out a session id: `initialize`.
    pub(crate) opens_session: bool,
    /// The answer ends the session: DELETE.
    pub(crate) closes_session: bool,
    /// The answer is read and filtered; else only its size is watched.
    pub(crate) filtered: bool,
    /// The tool whose call may become a task.
    pub(crate) task_of: Option<Arc<str>>,
}

/// What a stream was permitted for.
#[derive(Debug)]
pub(crate) struct Watching {
    pub(crate) questions: Vec<Question>,
    pub(crate) method: Box<str>,
    /// JSON text, a part of the message.
    pub(crate) arguments: Option<Bytes>,
}

// === impl Watching ===

impl Watching {
    /// A stream about the server as a whole.
    pub(crate) fn session(method: &str) -> Self {
        Self {
            questions: vec![Question {
                action: Action::UseSession,
                subject: Subject::Server,
            }],
            method: method.into(),
            arguments: None,
        }
    }
}
