//! What a request holds until its answer has ended: its place among the
//! requests of its principal, and the memory of its bodies.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sidegate_policy::principal::PrincipalKey;

/// What one request holds until its answer has ended.
#[derive(Debug, Default)]
pub struct Held {
    #[expect(dead_code, reason = "held for what its drop gives back")]
    pub(crate) in_progress: Option<InProgressGuard>,
    pub(crate) buffered: Vec<BufferedGuard>,
}

/// Bytes of bodies in memory, over all requests (`limits.maxBufferedBytes`).
#[derive(Debug, Default)]
pub(crate) struct Buffered(AtomicUsize);

impl Buffered {
    /// Takes `bytes` of the budget, or nothing when that would pass `limit`.
    pub(crate) fn take(self: &Arc<Self>, bytes: usize, limit: usize) -> Option<BufferedGuard> {
        let mut used = self.0.load(Ordering::Relaxed);
        loop {
            let next = used.checked_add(bytes).filter(|next| *next <= limit)?;
            match self
                .0
                .compare_exchange_weak(used, next, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => {
                    return Some(BufferedGuard {
                        budget: Arc::clone(self),
                        bytes,
                    });
                }
                Err(now) => used = now,
            }
        }
    }
}

/// Gives its bytes back when dropped.
#[derive(Debug)]
pub(crate) struct BufferedGuard {
    budget: Arc<Buffered>,
    bytes: usize,
}

impl Drop for BufferedGuard {
    fn drop(&mut self) {
        self.budget.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

const SHARDS: usize = 16;

type Counts = HashMap<PrincipalKey, u32, BuildHasherDefault<KeyHash>>;

/// Takes over the hash that a key brings with it.
#[derive(Debug, Default)]
struct KeyHash(u64);

impl Hasher for KeyHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, bytes: &[u8]) {
        // Keys bring a number; whatever else comes still gets a hash.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
}

/// Requests in progress by principal (`limits.maxRequestsPerPrincipal`).
#[derive(Debug)]
pub(crate) struct InProgress {
    shards: [Mutex<Counts>; SHARDS],
}

impl InProgress {
    pub(crate) fn new() -> Self {
        Self {
            shards: Default::default(),
        }
    }

    fn shard(&self, key: &PrincipalKey) -> Option<&Mutex<Counts>> {
        // The upper bits: the map inside the shard goes by the lower ones.
        let hash = BuildHasherDefault::<KeyHash>::default().hash_one(key) >> 32;
        self.shards
            .get(usize::try_from(hash % SHARDS as u64).unwrap_or(0))
    }

    /// Counts one more request, or refuses it at the limit.
    pub(crate) fn enter(
        self: &Arc<Self>,
        key: &PrincipalKey,
        limit: u32,
    ) -> Option<InProgressGuard> {
        let mut counts = self
            .shard(key)?
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(key.clone()).or_insert(0);
        if *count >= limit {
            return None;
        }
        *count += 1;
        Some(InProgressGuard {
            counts: Arc::clone(self),
            key: key.clone(),
        })
    }

    fn leave(&self, key: &PrincipalKey) {
        let Some(shard) = self.shard(key) else { return };
        let mut counts = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(key);
            }
        }
    }
}

/// Leaves the count when dropped.
#[derive(Debug)]
pub(crate) struct InProgressGuard {
    counts: Arc<InProgress>,
    key: PrincipalKey,
}

impl Drop for InProgressGuard {
    fn drop(&mut self) {
        self.counts.leave(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffered_bytes_are_given_back() {
        let budget = Arc::new(Buffered::default());
        let first = budget.take(60, 100).expect("fits");
        assert!(budget.take(41, 100).is_none(), "one byte over the limit");
        let second = budget.take(40, 100).expect("exactly the limit fits");
        drop(first);
        assert!(budget.take(60, 100).is_some());
        drop(second);
        assert!(budget.take(100, 100).is_some());
    }

    #[test]
    fn a_principal_is_counted_until_its_requests_end() {
        let counts = Arc::new(InProgress::new());
        let principal = sidegate_policy::principal::Principal::verified(
            Some(sidegate_policy::principal::PeerIdentity::new(None)),
            None,
        )
        .expect("a peer makes a principal");
        let first = counts.enter(principal.key(), 2).expect("first");
        let second = counts.enter(principal.key(), 2).expect("second");
        assert!(
            counts.enter(principal.key(), 2).is_none(),
            "third is over the limit"
        );
        drop(first);
        assert!(counts.enter(principal.key(), 2).is_some());
        drop(second);
    }
}
