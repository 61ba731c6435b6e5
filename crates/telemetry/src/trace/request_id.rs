//! The id of a request in audit lines and logs.

use std::fmt;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::random::{Purpose, number, write_hex};

const HALF: usize = 16;

/// The id of one request: 32 hexadecimal digits, unique in this process, and
/// among processes as far as 64 random bits can make it. It says nothing about
/// how many requests there were.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RequestId([u8; 2 * HALF]);

// === impl RequestId ===

impl RequestId {
    /// The next id.
    #[must_use]
    pub fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        static PREFIX: LazyLock<u64> = LazyLock::new(|| number(Purpose::RequestPrefix, 0));
        static KEY: LazyLock<u64> = LazyLock::new(|| number(Purpose::RequestKey, 0));
        let index = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut text = [b'0'; 2 * HALF];
        let (prefix, suffix) = text.split_at_mut(HALF);
        write_hex(prefix, *PREFIX);
        write_hex(suffix, shuffle(index ^ *KEY));
        Self(text)
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// A one-to-one mapping, so that different indices stay different: odd
/// multiplications and xor-shifts can be undone.
fn shuffle(mut value: u64) -> u64 {
    value = (value ^ (value >> 31)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    value = (value ^ (value >> 29)).wrapping_mul(0xa076_1d64_78bd_642f);
    value ^ (value >> 32)
}

impl fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "RequestId({})", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_unique_over_threads_and_of_one_shape() {
        let threads: Vec<_> = (0..4)
            .map(|_| std::thread::spawn(|| (0..10_000).map(|_| RequestId::next()).collect()))
            .collect();
        let ids: Vec<RequestId> = threads
            .into_iter()
            .flat_map(|thread| -> Vec<RequestId> { thread.join().expect("ids") })
            .collect();
        for id in &ids {
            assert_eq!(id.as_str().len(), 32);
            assert!(
                id.as_str()
                    .bytes()
                    .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')),
                "{id}"
            );
        }
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 40_000);
    }

    #[test]
    fn an_id_does_not_tell_the_next() {
        let (a, b) = (RequestId::next(), RequestId::next());
        let same = a
            .as_str()
            .bytes()
            .zip(b.as_str().bytes())
            .skip(16)
            .filter(|(a, b)| a == b)
            .count();
        assert!(same < 12, "{a} {b}");
    }
}
