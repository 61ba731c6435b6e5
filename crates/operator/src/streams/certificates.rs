//! Which pods have a certificate of ours.
//!
//! Once a pod has shown its certificate, its streams need certificate and
//! token: a token that was copied out of the pod is not enough any more. This
//! replica knows at once of what was shown here; of what was shown elsewhere, or
//! before it was started again, by the condition of the pod
//! ([`ShownCertificate`]).
//!
//! But a rule that asks for a certificate which the pod cannot have would keep
//! its sidecar away for as long as that would have lasted. So it is asked for
//! only when the pod has shown it, in a handshake of a stream that was
//! recognized: of what was signed nobody knows whether the sidecar got it, and
//! kept it. And it is not asked for
//! - after it has ended; the sidecar may have a newer one, and shows it with its
//!   next stream,
//! - when the authority that signed it is not trusted any more,
//! - when the pod has another sandbox. The memory volume in which a sidecar
//!   keeps key and certificate outlives its restarts and ends with the pod,
//!   whose successor has another uid; but a node that starts again empties it.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sidegate_tls::key_ids;

use crate::board::KnownPod;
use crate::pod_condition::ShownCertificate;

/// Pods that are remembered; about two hundred bytes each.
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
    authorities: Authorities,
}

/// The authorities that are trusted.
#[derive(Debug, Default)]
struct Authorities {
    pem: String,
    key_ids: Vec<String>,
}

#[derive(Debug, Clone, Default)]
struct Known {
    /// The last one that was shown here.
    shown: Option<ShownCertificate>,
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

    /// The pod showed a certificate.
    pub(super) fn shown(&self, uid: &Arc<str>, shown: ShownCertificate, now_unix: i64) {
        self.change(uid, now_unix, |known| {
            // The last one that was signed did not arrive, or was lost.
            known.signed = known.signed.filter(|it| it.until_unix == shown.until_unix);
            let before = known.shown.take();
            known.shown = before
                .filter(|before| shown.adds_nothing_to(before))
                .or(Some(shown));
        });
    }

    /// What the pod showed, it has in this sandbox.
    pub(super) fn in_sandbox(&self, uid: &str, sandbox_unix: Option<i64>) {
        let mut inner = self.lock();
        let known = inner.pods.get_mut(uid);
        if let Some(shown) = known.and_then(|it| it.shown.as_mut()) {
            shown.sandbox_unix = sandbox_unix;
        }
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
    pub(super) fn is_held(&self, pod: &KnownPod, now_unix: i64) -> bool {
        let inner = self.lock();
        let here = inner.pods.get(&pod.uid).and_then(|it| it.shown.as_ref());
        here.into_iter().chain(&pod.certificate).any(|shown| {
            shown.until_unix > now_unix
                && shown.sandbox_unix == pod.sandbox_unix
                && inner.authorities.key_ids.contains(&shown.authority)
        })
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

    /// These authorities are trusted now.
    pub(super) fn trust(&self, authorities_pem: &str) {
        let mut inner = self.lock();
        if inner.authorities.pem != authorities_pem {
            inner.authorities = Authorities {
                pem: authorities_pem.to_owned(),
                key_ids: key_ids(authorities_pem),
            };
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Known ===

impl Known {
    fn lasts(&self, now_unix: i64) -> bool {
        let signed = self.signed.map(|it| it.until_unix);
        let shown = self.shown.as_ref().map(|it| it.until_unix);
        shown.max(signed) > Some(now_unix)
    }
}

fn digest(names: &[String]) -> u64 {
    let mut hasher = DefaultHasher::new();
    names.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
