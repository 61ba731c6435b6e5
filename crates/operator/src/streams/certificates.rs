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
    /// The last one that each pod showed here.
    pods: HashMap<Arc<str>, ShownCertificate>,
    authorities: Authorities,
}

/// The authorities that are trusted.
#[derive(Debug, Default)]
struct Authorities {
    pem: String,
    key_ids: Vec<String>,
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
        let mut inner = self.lock();
        if inner.pods.len() >= self.capacity && !inner.pods.contains_key(uid) {
            inner.pods.retain(|_, shown| shown.until_unix > now_unix);
            if inner.pods.len() >= self.capacity {
                return;
            }
        }
        let before = inner.pods.get(uid);
        if !before.is_some_and(|before| shown.adds_nothing_to(before)) {
            inner.pods.insert(Arc::clone(uid), shown);
        }
    }

    /// What the pod showed, it has in this sandbox.
    pub(super) fn in_sandbox(&self, uid: &str, sandbox_unix: Option<i64>) {
        let mut inner = self.lock();
        if let Some(shown) = inner.pods.get_mut(uid) {
            shown.sandbox_unix = sandbox_unix;
        }
    }

    /// Whether the pod has a certificate that it could show.
    pub(super) fn is_held(&self, pod: &KnownPod, now_unix: i64) -> bool {
        let inner = self.lock();
        let here = inner.pods.get(&pod.uid);
        here.into_iter().chain(&pod.certificate).any(|shown| {
            shown.until_unix > now_unix
                && shown.sandbox_unix == pod.sandbox_unix
                && inner.authorities.key_ids.contains(&shown.authority)
        })
    }

    /// The pod is gone.
    pub(super) fn forget(&self, uid: &str) {
        self.lock().pods.remove(uid);
    }

    /// These authorities are trusted now. What one signed that went is forgotten:
    /// when it comes back, the pod has another certificate by then.
    pub(super) fn trust(&self, authorities_pem: &str) {
        let mut inner = self.lock();
        if inner.authorities.pem == authorities_pem {
            return;
        }
        let key_ids = key_ids(authorities_pem);
        inner
            .pods
            .retain(|_, shown| key_ids.contains(&shown.authority));
        inner.authorities = Authorities {
            pem: authorities_pem.to_owned(),
            key_ids,
        };
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
