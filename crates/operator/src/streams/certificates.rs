//! Which pods have a certificate of ours.
//!
//! Once a pod has shown its certificate here, its streams need certificate and
//! token: a token that was copied out of the pod is not enough any more. But a
//! rule that asks for a certificate which the pod cannot have would keep its
//! sidecar away for as long as that would have lasted. So it is asked for only
//! when the pod has shown it, in a handshake of a stream that was recognized: of
//! what was signed nobody knows whether the sidecar got it, and kept it.
//!
//! Not asked for it is a sidecar
//! - that has not shown it yet, or only to another replica, or to this one
//!   before it was started again,
//! - whose certificate that it showed last has ended; it may have a newer one,
//!   and shows it with its next stream,
//! - whose certificate is of an authority that was replaced.
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
    pods: HashMap<Arc<str>, Known>,
    /// The authorities that signed them.
    authorities: String,
}

#[derive(Debug, Clone, Copy, Default)]
struct Known {
    /// Until when those last that were shown.
    shown_until_unix: Option<i64>,
    /// The last one that was signed here.
    signed: Option<Signed>,
}

#[derive(Debug, Clone, Copy)]
struct Signed {
    until_unix: i64,
    names: u64,
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

    /// The pod showed a certificate that lasts until then.
    pub(super) fn shown(&self, uid: &Arc<str>, until_unix: i64, now_unix: i64) {
        self.change(uid, now_unix, |known| {
            known.shown_until_unix = known.shown_until_unix.max(Some(until_unix));
            // The last one that was signed did not arrive, or was lost.
            known.signed = known.signed.filter(|it| it.until_unix == until_unix);
        });
    }

    /// A certificate with these names was signed; whether it arrives is not
    /// known.
    pub(super) fn signed(&self, uid: &Arc<str>, until_unix: i64, names: &[String], now_unix: i64) {
        let names = digest(names);
        self.change(uid, now_unix, |known| {
            known.signed = Some(Signed { until_unix, names });
        });
    }

    fn change(&self, uid: &Arc<str>, now_unix: i64, how: impl FnOnce(&mut Known)) {
        let mut inner = self.lock();
        if inner.pods.len() >= self.capacity && !inner.pods.contains_key(uid) {
            inner.pods.retain(|_, known| known.lasts(now_unix));
            if inner.pods.len() >= self.capacity {
                return;
            }
        }
        how(inner.pods.entry(Arc::clone(uid)).or_default());
    }

    /// Whether the pod has a certificate that it could show.
    pub(super) fn is_held(&self, uid: &str, now_unix: i64) -> bool {
        let inner = self.lock();
        let shown = inner.pods.get(uid).and_then(|it| it.shown_until_unix);
        shown.is_some_and(|until| until > now_unix)
    }

    /// Whether the certificate that the pod showed is known to carry these
    /// names.
    pub(super) fn has_names(&self, uid: &str, names: &[String]) -> bool {
        let inner = self.lock();
        let signed = inner.pods.get(uid).and_then(|it| it.signed);
        signed.is_some_and(|signed| signed.names == digest(names))
    }

    /// The pod is gone.
    pub(super) fn forget(&self, uid: &str) {
        self.lock().pods.remove(uid);
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
            inner.pods.clear();
        }
        authorities_pem.clone_into(&mut inner.authorities);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Known ===

impl Known {
    fn lasts(&self, now_unix: i64) -> bool {
        let signed = self.signed.map(|it| it.until_unix);
        self.shown_until_unix.max(signed) > Some(now_unix)
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
        let uid = "u1".into();
        assert!(!certificates.is_held("u1", 100));
        certificates.shown(&uid, 200, 100);
        assert!(certificates.is_held("u1", 199));
        assert!(!certificates.is_held("u1", 200));
        assert!(!certificates.is_held("u2", 100));
        // An older one that is shown does not shorten a newer one.
        certificates.shown(&uid, 150, 100);
        assert!(certificates.is_held("u1", 199));
        certificates.forget("u1");
        assert!(!certificates.is_held("u1", 100));
    }

    #[test]
    fn one_that_was_only_signed_is_not_asked_for() {
        let certificates = Certificates::default();
        let uid = "u1".into();
        certificates.signed(&uid, 200, &names(&["a"]), 100);
        assert!(!certificates.is_held("u1", 100));
        certificates.shown(&uid, 200, 100);
        // A newer one does not prolong it before it is shown, too.
        certificates.signed(&uid, 300, &names(&["a"]), 150);
        assert!(certificates.is_held("u1", 199) && !certificates.is_held("u1", 200));
        certificates.shown(&uid, 300, 150);
        assert!(certificates.is_held("u1", 299));
    }

    #[test]
    fn its_names_are_known_when_it_was_signed_here() {
        let certificates = Certificates::default();
        let [one, other] = [names(&["a"]), names(&["a", "b"])];
        let uid = "u1".into();
        certificates.shown(&uid, 200, 100);
        assert!(!certificates.has_names("u1", &one));
        certificates.signed(&uid, 210, &one, 110);
        certificates.shown(&uid, 210, 110);
        assert!(certificates.has_names("u1", &one));
        assert!(!certificates.has_names("u1", &other));
        // The newer one got lost: what is shown is another one.
        certificates.signed(&uid, 220, &other, 120);
        certificates.shown(&uid, 210, 120);
        assert!(!certificates.has_names("u1", &other));
    }

    #[test]
    fn an_authority_that_went_takes_its_certificates_with_it() {
        let certificates = Certificates::default();
        certificates.trust(OLD);
        certificates.shown(&"u1".into(), 200, 100);
        certificates.trust(&format!("{OLD}{NEW}"));
        assert!(certificates.is_held("u1", 100), "one came, none went");
        certificates.trust(NEW);
        assert!(!certificates.is_held("u1", 100));
    }

    #[test]
    fn the_memory_is_bounded() {
        let certificates = Certificates::new(2);
        certificates.signed(&"u1".into(), 150, &[], 100);
        certificates.shown(&"u2".into(), 200, 100);
        certificates.shown(&"u3".into(), 200, 100);
        assert!(!certificates.is_held("u3", 100), "there is no room");
        certificates.shown(&"u3".into(), 200, 150);
        assert!(certificates.is_held("u3", 150));
        assert_eq!(certificates.lock().pods.len(), 2);
    }
}
