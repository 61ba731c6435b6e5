//! What a request is answered with, and how that is recorded.

use http::Response;

use crate::body::ResponseBody;

/// An answer, and how it is recorded.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) response: Response<ResponseBody>,
    pub(crate) record: Record,
}

/// How an answered request is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Record {
    /// Nothing was decided: metadata, preflight.
    Uncounted,
    /// Passed on; the word says how the answer goes.
    Answered(&'static str),
}
