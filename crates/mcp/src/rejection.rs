//! Why a message is refused before anybody is asked whether it may pass.

/// A message that cannot be read in exactly one way, or not here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Which rule of the protocol it breaks.
    pub kind: RejectionKind,
    /// What to do about it, for the sender.
    pub message: String,
    /// JSON text for the `data` member of the error.
    pub data: Option<Box<str>>,
    /// JSON text of the message's id, where it could be read.
    pub id: Option<Box<str>>,
}

/// The classes of refusal, each with its JSON-RPC code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RejectionKind {
    /// Not one JSON text in UTF-8.
    Parse,
    /// JSON, but not one unambiguous JSON-RPC message.
    InvalidRequest,
    /// A protocol version that is not served.
    UnsupportedVersion,
    /// A header says something else than the body.
    HeaderMismatch,
    /// Parameters that the method cannot have.
    InvalidParams,
    /// A method that this version does not have.
    MethodNotFound,
}

// === impl RejectionKind ===

impl RejectionKind {
    /// The JSON-RPC error code.
    #[must_use]
    pub fn code(self) -> i64 {
        match self {
            Self::Parse => -32700,
            Self::InvalidRequest => -32600,
            Self::UnsupportedVersion => -32022,
            Self::HeaderMismatch => -32020,
            Self::InvalidParams => -32602,
            Self::MethodNotFound => -32601,
        }
    }

    /// The word for metrics and audit lines.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Parse => "parse_error",
            Self::InvalidRequest => "invalid_request",
            Self::UnsupportedVersion => "unsupported_version",
            Self::HeaderMismatch => "header_mismatch",
            Self::InvalidParams => "invalid_params",
            Self::MethodNotFound => "method_not_found",
        }
    }
}

// === impl Rejection ===

impl Rejection {
    pub(crate) fn new(kind: RejectionKind, message: impl Into<String>) -> Box<Self> {
        Box::new(Self {
            kind,
            message: message.into(),
            data: None,
            id: None,
        })
    }

    pub(crate) fn with_id(mut self: Box<Self>, id: Option<&str>) -> Box<Self> {
        self.id = id.map(Into::into);
        self
    }

    pub(crate) fn with_data(mut self: Box<Self>, data: String) -> Box<Self> {
        self.data = Some(data.into());
        self
    }
}
