//! The keys that sign and those that are still published.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use crate::signing::{SigningError, SigningKey, random_name};

/// Published at once; rotating more often than this drops the oldest. A
/// gateway refuses key sets that are too large as a whole.
const MAX_OLD_KEYS: usize = 8;

pub(super) struct KeyRing {
    state: Mutex<State>,
}

struct State {
    current: SigningKey,
    kid: String,
    /// Public halves, the latest first.
    old: Vec<Value>,
}

// === impl KeyRing ===

impl KeyRing {
    pub(super) fn new() -> Result<Self, SigningError> {
        let state = State {
            current: SigningKey::rsa()?,
            kid: random_name()?,
            old: Vec::new(),
        };
        Ok(Self {
            state: Mutex::new(state),
        })
    }

    pub(super) fn rotate(&self) -> Result<String, SigningError> {
        // Made outside the lock: it takes long.
        let (next, kid) = (SigningKey::rsa()?, random_name()?);
        let mut state = self.state();
        let published = state.current.jwk(&state.kid);
        state.old.insert(0, published);
        state.old.truncate(MAX_OLD_KEYS);
        state.current = next;
        state.kid.clone_from(&kid);
        Ok(kid)
    }

    pub(super) fn retire(&self) {
        self.state().old.clear();
    }

    pub(super) fn jwks(&self) -> Value {
        let state = self.state();
        let mut keys = vec![state.current.jwk(&state.kid)];
        keys.extend_from_slice(&state.old);
        json!({ "keys": keys })
    }

    pub(super) fn sign(&self, claims: &Value) -> Result<String, SigningError> {
        let state = self.state();
        let header = json!({"typ": "at+jwt", "alg": state.current.algorithm(), "kid": state.kid});
        state
            .current
            .token(&header.to_string(), &claims.to_string())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is complete before anything can fail.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_keys_stay_up_to_a_number_and_go_when_retired() {
        let ring = KeyRing::new().unwrap();
        let first = ring.jwks()["keys"][0]["kid"].clone();
        let count = |ring: &KeyRing| ring.jwks()["keys"].as_array().unwrap().len();
        let published = |ring: &KeyRing| {
            ring.jwks()["keys"]
                .as_array()
                .unwrap()
                .iter()
                .any(|key| key["kid"] == first)
        };
        for rotation in 1..=MAX_OLD_KEYS {
            let kid = ring.rotate().unwrap();
            assert_eq!(
                ring.jwks()["keys"][0]["kid"],
                kid,
                "the key that signs comes first"
            );
            assert_eq!(count(&ring), rotation + 1);
            assert!(published(&ring), "{rotation}");
        }
        ring.rotate().unwrap();
        assert_eq!(count(&ring), MAX_OLD_KEYS + 1);
        assert!(!published(&ring));
        ring.retire();
        assert_eq!(count(&ring), 1);
    }
}
