//! Follows one chunked body (RFC 9112 7.1), without extensions and trailers.
//!
//! Both are legal and both are refused: parsers disagree about them, and no
//! MCP client sends them.

use super::Fault;

/// Longest accepted chunk size, in hex digits: 4 GiB - 1 is far beyond any
/// accepted body, and a longer number is an attempt to overflow some parser.
const MAX_SIZE_DIGITS: u8 = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunked {
    Size { digits: u8, size: u64 },
    SizeLineFeed { size: u64 },
    Data { left: u64 },
    DataReturn,
    DataLineFeed,
    EndReturn,
    EndLineFeed,
}

/// How much of the input belonged to the body, and whether it ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChunkStep {
    pub(super) passed: usize,
    pub(super) done: bool,
    pub(super) fault: Option<Fault>,
}

impl Default for Chunked {
    fn default() -> Self {
        Self::Size { digits: 0, size: 0 }
    }
}

impl Chunked {
    /// Follows the body through `input`, at most to its end.
    pub(super) fn push(&mut self, input: &[u8]) -> ChunkStep {
        let mut passed = 0;
        while let Some(byte) = input.get(passed).copied() {
            if let Self::Data { left } = self {
                let here = input.len() - passed;
                let skipped = usize::try_from(*left).unwrap_or(usize::MAX).min(here);
                passed += skipped;
                *left -= skipped as u64;
                if *left == 0 {
                    *self = Self::DataReturn;
                }
                continue;
            }
            match self.next(byte) {
                Ok(Some(state)) => *self = state,
                Ok(None) => {
                    return ChunkStep {
                        passed: passed + 1,
                        done: true,
                        fault: None,
                    };
                }
                Err(fault) => {
                    return ChunkStep {
                        passed,
                        done: false,
                        fault: Some(fault),
                    };
                }
            }
            passed += 1;
        }
        ChunkStep {
            passed,
            done: false,
            fault: None,
        }
    }

    /// The state after one byte outside of data; none after the last byte.
    fn next(self, byte: u8) -> Result<Option<Self>, Fault> {
        let state = match (self, byte) {
            (Self::Size { digits, size }, _) => Self::after_size(digits, size, byte)?,
            (Self::SizeLineFeed { size: 0 }, b'\n') => Self::EndReturn,
            (Self::SizeLineFeed { size }, b'\n') => Self::Data { left: size },
            (Self::DataReturn, b'\r') => Self::DataLineFeed,
            (Self::DataLineFeed, b'\n') => Self::default(),
            (Self::EndReturn, b'\r') => Self::EndLineFeed,
            (Self::EndLineFeed, b'\n') => return Ok(None),
            (Self::EndReturn, b'\n') => return Err(Fault::BareLineFeed),
            (Self::EndReturn, _) => return Err(Fault::Trailers),
            (Self::SizeLineFeed { .. } | Self::EndLineFeed, _) => {
                return Err(Fault::BareCarriageReturn);
            }
            (Self::DataReturn | Self::DataLineFeed | Self::Data { .. }, _) => {
                return Err(Fault::ChunkEnd);
            }
        };
        Ok(Some(state))
    }

    fn after_size(digits: u8, size: u64, byte: u8) -> Result<Self, Fault> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b'\r' if digits > 0 => return Ok(Self::SizeLineFeed { size }),
            b';' | b' ' | b'\t' if digits > 0 => return Err(Fault::ChunkExtension),
            b'\n' => return Err(Fault::BareLineFeed),
            _ => return Err(Fault::ChunkSize),
        };
        if digits == MAX_SIZE_DIGITS {
            return Err(Fault::ChunkSize);
        }
        Ok(Self::Size {
            digits: digits + 1,
            size: size * 16 + u64::from(digit),
        })
    }
}
