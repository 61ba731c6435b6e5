//! Verified tokens that are remembered.
//!
//! The key is the SHA-256 of the whole token: two tokens never share an entry,
//! however much of their text they share. An entry holds what was verified,
//! with the issuer and the generation of its keys, and is worth nothing once
//! those have changed; what depends on the moment or on the server that is
//! called is checked at every use. Only verified tokens are entered, so that
//! made-up ones cannot push them out.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};

use crate::claims::VerifiedClaims;

const DIGEST_BYTES: usize = 32;

/// Fewest entries that are worth a lock of their own.
const ENTRIES_PER_SHARD: usize = 64;
const MOST_SHARDS: usize = 16;

/// The SHA-256 of a whole token.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TokenDigest([u8; DIGEST_BYTES]);

/// The latest token of a connection and its digest, compared byte by byte.
#[derive(Default)]
pub struct TokenMemo(Mutex<Option<(Box<str>, TokenDigest)>>);

/// What was verified, and by which keys.
#[derive(Debug, Clone)]
pub(crate) struct CachedToken {
    pub(crate) verified: Arc<VerifiedClaims>,
    /// Position of the issuer in the configuration.
    pub(crate) issuer: usize,
    /// Of the issuer's keys.
    pub(crate) generation: u64,
}

/// A bounded map. Each shard has two halves: entries go into the young one, and
/// when that is full it becomes the old one; what was not used since is gone
/// with the next turn.
pub(crate) struct TokenCache {
    shards: Vec<Mutex<Shard>>,
    /// Entries of half a shard.
    half: usize,
}

#[derive(Default)]
struct Shard {
    young: HashMap<TokenDigest, CachedToken>,
    old: HashMap<TokenDigest, CachedToken>,
}

// === impl TokenDigest ===

impl TokenDigest {
    pub(crate) fn of(token: &str) -> Self {
        let mut bytes = [0; DIGEST_BYTES];
        for (byte, digested) in bytes
            .iter_mut()
            .zip(digest(&SHA256, token.as_bytes()).as_ref())
        {
            *byte = *digested;
        }
        Self(bytes)
    }
}

// === impl TokenMemo ===

impl TokenMemo {
    pub(crate) fn digest(&self, token: &str) -> TokenDigest {
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*latest {
            Some((known, digest)) if **known == *token => *digest,
            Some(_) | None => {
                let digest = TokenDigest::of(token);
                *latest = Some((token.into(), digest));
                digest
            }
        }
    }
}

impl fmt::Debug for TokenMemo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenMemo(…)")
    }
}

// === impl TokenCache ===

impl TokenCache {
    /// A cache of at most this many entries; 0 and 1 remember nothing.
    pub(crate) fn new(entries: usize) -> Self {
        let shards = (entries / ENTRIES_PER_SHARD).clamp(1, MOST_SHARDS);
        let half = entries / shards / 2;
        let shards = (0..shards).map(|_| Mutex::default()).collect();
        Self { shards, half }
    }

    pub(crate) fn find(&self, token: &TokenDigest) -> Option<CachedToken> {
        self.shard(token)?.find(token, self.half)
    }

    pub(crate) fn insert(&self, token: TokenDigest, entry: CachedToken) {
        if self.half == 0 {
            return;
        }
        if let Some(mut shard) = self.shard(&token) {
            shard.insert(token, entry, self.half);
        }
    }

    fn shard(&self, token: &TokenDigest) -> Option<std::sync::MutexGuard<'_, Shard>> {
        let [first, ..] = token.0;
        let shard = self.shards.get(usize::from(first) % self.shards.len())?;
        Some(shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCache")
            .field("shards", &self.shards.len())
            .field("half", &self.half)
            .finish_non_exhaustive()
    }
}

// === impl Shard ===

impl Shard {
    fn find(&mut self, token: &TokenDigest, half: usize) -> Option<CachedToken> {
        if let Some(entry) = self.young.get(token) {
            return Some(entry.clone());
        }
        let entry = self.old.remove(token)?;
        self.insert(*token, entry.clone(), half);
        Some(entry)
    }

    fn insert(&mut self, token: TokenDigest, entry: CachedToken, half: usize) {
        if self.young.len() >= half && !self.young.contains_key(&token) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(token, entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn a_memo_gives_the_digest_of_the_token_that_is_asked_for() {
        let memo = TokenMemo::default();
        for token in ["a.b.c", "a.b.c", "a.b.d", "a.b.c"] {
            assert!(memo.digest(token) == TokenDigest::of(token), "{token}");
        }
        assert!(!format!("{memo:?}").contains("a.b"));
    }

    fn entry() -> CachedToken {
        CachedToken {
            verified: Arc::new(testing::verified_claims()),
            issuer: 0,
            generation: 0,
        }
    }

    fn len(cache: &TokenCache) -> usize {
        let shards = cache
            .shards
            .iter()
            .map(|shard| shard.lock().expect("not poisoned"));
        shards
            .map(|shard| shard.young.len() + shard.old.len())
            .sum()
    }

    #[test]
    fn what_is_entered_is_found_under_the_whole_token_only() {
        let cache = TokenCache::new(100);
        let shared = "x".repeat(100);
        cache.insert(TokenDigest::of(&format!("{shared}a")), entry());
        assert!(
            cache
                .find(&TokenDigest::of(&format!("{shared}a")))
                .is_some()
        );
        assert!(
            cache
                .find(&TokenDigest::of(&format!("{shared}b")))
                .is_none()
        );
        assert!(cache.find(&TokenDigest::of(&shared)).is_none());
    }

    #[test]
    fn it_never_holds_more_than_its_bound_and_at_least_a_third_of_it() {
        for bound in [0, 1, 2, 3, 63, 64, 128, 1000, 10_000] {
            let cache = TokenCache::new(bound);
            let entry = entry();
            for token in 0..bound * 3 {
                cache.insert(TokenDigest::of(&token.to_string()), entry.clone());
                if token % 97 == 0 {
                    assert!(len(&cache) <= bound, "{} of {bound}", len(&cache));
                }
            }
            let kept = len(&cache);
            assert!(
                kept <= bound && (bound < 2 || kept * 3 >= bound),
                "{kept} of {bound}"
            );
        }
    }

    #[test]
    fn what_is_used_stays() {
        let cache = TokenCache::new(64);
        let used = TokenDigest::of("used");
        cache.insert(used, entry());
        for token in 0..1000 {
            cache.insert(TokenDigest::of(&token.to_string()), entry());
            assert!(cache.find(&used).is_some(), "after {token}");
        }
        assert!(cache.find(&TokenDigest::of("0")).is_none());
    }
}
