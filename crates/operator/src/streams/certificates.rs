//! Which pods have a certificate of ours.
//!
//! After its first certificate, a stream of a pod needs certificate and token:
//! a token that was copied out of the pod is not enough any more. But a rule
//! that asks for a certificate which the pod cannot have would keep its sidecar
//! away for as long as that would have lasted. So it is asked for only when
//! this replica knows that there is one: it was shown in a handshake here, or
//! it was signed here and the sidecar went on to talk after it had read it.
//!
//! Not asked for it is a sidecar
//! - whose answer got lost on the way,
//! - whose certificate ended while no operator was there to renew it,
//! - whose certificate is of an authority that was replaced,
//! - that another replica, or this one before it was started again, signed for.
//!   `KnownPod::ever_programmed` would cover that, but it does not say whether
//!   the certificate is still good.
//!
//! The memory volume in which a sidecar keeps key and certificate outlives its
//! restarts and ends with the pod, whose successor has another uid.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Pods that are remembered; about a hundred bytes each.
const CAPACITY: usize = 50_000;

/// The certificates that pods have, by the pods' uids.
#[derive(Debug)]
pub(super) struct Certificates {
    capacity: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    held: HashMap<Arc<str>, Held>,
    /// The authorities that signed them.
    authorities: String,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    until_unix: i64,
    names: Option<u64>,
}

// === impl Certificates ===

impl Default for Certificates {
    fn default() -> Self {
        Self::new(CAPACITY)
    }
}

impl Certificates {
    fn new(capacity: usize) -> Self {
        Self {
            capacity,
            inner: Mutex::default(),
        }
    }

    /// The pod has a certificate that lasts until then. `names` are those in
    /// it, if they are known.
    pub(super) fn held(
        &self,
        uid: &Arc<str>,
        until_unix: i64,
        names: Option<&[String]>,
        now_unix: i64,
    ) {
        let names = names.map(digest);
        let mut inner = self.lock();
        if inner.held.len() >= self.capacity && !inner.held.contains_key(uid) {
            inner.held.retain(|_, held| held.until_unix > now_unix);
            if inner.held.len() >= self.capacity {
                return;
            }
        }
        let held = inner.held.entry(Arc::clone(uid)).or_insert(Held {
            until_unix,
            names: None,
        });
        held.until_unix = held.until_unix.max(until_unix);
        held.names = names.or(held.names);
    }

    /// Whether the pod has a certificate that it could show.
    pub(super) fn is_held(&self, uid: &str, now_unix: i64) -> bool {
        let inner = self.lock();
        let held = inner.held.get(uid);
        held.is_some_and(|held| held.until_unix > now_unix)
    }

    /// Whether the certificate of the pod is known to carry these names.
    pub(super) fn has_names(&self, uid: &str, names: &[String]) -> bool {
        let inner = self.lock();
        let held = inner.held.get(uid);
        held.is_some_and(|held| held.names == Some(digest(names)))
    }

    /// The pod is gone.
    pub(super) fn forget(&self, uid: &str) {
        self.lock().held.remove(uid);
    }

    /// These authorities are trusted now. When one of those before is not any
    /// more, nobody can show what it signed, and who has such a certificate is
    /// not known.
    pub(super) fn trust(&self, authorities_pem: &str) {
        const END: &str = "-----END CERTIFICATE-----";
        let mut inner = self.lock();
        if inner.authorities == authorities_pem {
            return;
        }
        let all_are_there = inner
            .authorities
            .split(END)
            .map(str::trim)
            .all(|certificate| authorities_pem.contains(certificate));
        if !all_are_there {
            inner.held.clear();
        }
        authorities_pem.clone_into(&mut inner.authorities);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn digest(names: &[String]) -> u64 {
    let mut hasher = DefaultHasher::new();
    names.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "-----BEGIN CERTIFICATE-----\nb2xk\n-----END CERTIFICATE-----\n";
    const NEW: &str = "-----BEGIN CERTIFICATE-----\nbmV3\n-----END CERTIFICATE-----\n";

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_certificate_is_asked_for_while_it_lasts() {
        let certificates = Certificates::default();
        assert!(!certificates.is_held("u1", 100));
        certificates.held(&"u1".into(), 200, None, 100);
        assert!(certificates.is_held("u1", 199));
        assert!(!certificates.is_held("u1", 200));
        assert!(!certificates.is_held("u2", 100));
        // An older one that is shown does not shorten a newer one.
        certificates.held(&"u1".into(), 150, None, 100);
        assert!(certificates.is_held("u1", 199));
        certificates.forget("u1");
        assert!(!certificates.is_held("u1", 100));
    }

    #[test]
    fn its_names_are_known_when_it_was_signed_here() {
        let certificates = Certificates::default();
        let [one, other] = [names(&["a"]), names(&["a", "b"])];
        certificates.held(&"u1".into(), 200, None, 100);
        assert!(!certificates.has_names("u1", &one));
        certificates.held(&"u1".into(), 200, Some(&one), 100);
        certificates.held(&"u1".into(), 200, None, 100);
        assert!(certificates.has_names("u1", &one));
        assert!(!certificates.has_names("u1", &other));
    }

    #[test]
    fn an_authority_that_went_takes_its_certificates_with_it() {
        let certificates = Certificates::default();
        certificates.trust(OLD);
        certificates.held(&"u1".into(), 200, None, 100);
        certificates.trust(&format!("{OLD}{NEW}"));
        assert!(certificates.is_held("u1", 100), "one came, none went");
        certificates.trust(NEW);
        assert!(!certificates.is_held("u1", 100));
    }

    #[test]
    fn the_memory_is_bounded() {
        let certificates = Certificates::new(2);
        certificates.held(&"u1".into(), 150, None, 100);
        certificates.held(&"u2".into(), 200, None, 100);
        certificates.held(&"u3".into(), 200, None, 100);
        assert!(!certificates.is_held("u3", 100), "there is no room");
        certificates.held(&"u3".into(), 200, None, 150);
        assert!(certificates.is_held("u3", 150));
        assert_eq!(certificates.lock().held.len(), 2);
    }
}
