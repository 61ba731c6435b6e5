//! What can be wrong with a JSON text.

use std::fmt;

/// The first thing wrong, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    /// Offset in bytes.
    pub(crate) at: usize,
}

/// As wide as a word, so that results have no padding to copy around.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum FaultKind {
    Empty,
    Utf8,
    ByteOrderMark,
    Value,
    Name,
    Colon,
    ObjectEnd,
    ArrayEnd,
    StringEnd,
    ControlCharacter,
    Escape,
    LoneSurrogate,
    Number,
    Trailing,
    /// A number that a parser with doubles reads as infinity.
    OutOfRange,
    TooDeep,
    DuplicateName,
    /// A name that some parsers take for a reserved one.
    LookAlike,
    /// A member that the envelope does not have.
    UnknownMember,
    /// The text is JSON, but not the object that was expected.
    NotAnObject,
    /// An object that is no message, or could be two kinds of message.
    NotAMessage,
    /// An object where a list has to be: some readers go through its members.
    NotAList,
}

// === impl FaultKind ===

impl FaultKind {
    /// Whether the text is no JSON at all, rather than JSON that parsers read
    /// differently.
    pub(crate) fn is_grammar(self) -> bool {
        match self {
            Self::Empty
            | Self::Utf8
            | Self::ByteOrderMark
            | Self::Value
            | Self::Name
            | Self::Colon
            | Self::ObjectEnd
            | Self::ArrayEnd
            | Self::StringEnd
            | Self::ControlCharacter
            | Self::Escape
            | Self::LoneSurrogate
            | Self::Number
            | Self::Trailing => true,
            Self::OutOfRange
            | Self::TooDeep
            | Self::DuplicateName
            | Self::LookAlike
            | Self::UnknownMember
            | Self::NotAnObject
            | Self::NotAMessage
            | Self::NotAList => false,
        }
    }

    fn advice(self) -> &'static str {
        match self {
            Self::Empty => "nothing was sent, send one JSON-RPC message",
            Self::Utf8 => "the text must be UTF-8",
            Self::ByteOrderMark => "the text must not start with a byte order mark",
            Self::Value => "a JSON value was expected",
            Self::Name => "a member name in double quotes was expected",
            Self::Colon => "a colon was expected after the member name",
            Self::ObjectEnd => "a comma or a closing brace was expected",
            Self::ArrayEnd => "a comma or a closing bracket was expected",
            Self::StringEnd => "a string is not closed",
            Self::ControlCharacter => "control characters in strings must be escaped",
            Self::Escape => "an escape sequence is not valid",
            Self::LoneSurrogate => "surrogates must come in pairs",
            Self::Number => "a number is not well formed",
            Self::Trailing => "nothing may follow the message, send one message per request",
            Self::OutOfRange => "a number is too large for a double",
            Self::TooDeep => "objects and arrays are nested too deeply",
            Self::DuplicateName => "a member name occurs twice in one object",
            Self::LookAlike => "a member name resembles a reserved one, spell it exactly",
            Self::UnknownMember => {
                "a message has only the members jsonrpc, id, method, params, result and error"
            }
            Self::NotAnObject => "one JSON object was expected, batches are not supported",
            Self::NotAMessage => "a message has one of method, result and error",
            Self::NotAList => "a list was expected, not an object",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at byte {})", self.kind.advice(), self.at)
    }
}
