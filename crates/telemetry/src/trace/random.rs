//! Numbers that nobody outside the process can predict, at the price of a
//! short hash. They name things; they protect nothing.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

/// What a number is for; numbers for different purposes are unrelated.
#[derive(Debug, Clone, Copy, Hash)]
pub(super) enum Purpose {
    RequestPrefix,
    RequestKey,
    TraceHigh,
    TraceLow,
    Span,
}

/// The number with this index for this purpose: a hash under a key that the
/// operating system chose when the process began.
pub(super) fn number(purpose: Purpose, index: u64) -> u64 {
    static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    KEY.hash_one((purpose, index))
}

/// Writes `value` in lower-case hexadecimal digits over `digits`, the last
/// digit at its end.
pub(super) fn write_hex(digits: &mut [u8], mut value: u64) {
    for digit in digits.iter_mut().rev() {
        let low = u8::try_from(value & 0xf).unwrap_or(0);
        *digit = if low < 10 {
            b'0' + low
        } else {
            b'a' + (low - 10)
        };
        value >>= 4;
    }
}
