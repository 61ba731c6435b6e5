//! One stream for each pod and purpose: the newest.
//!
//! A sidecar that lost its connection comes back before this side notices, so
//! it is the older one that has to go.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sidegate_config::control::Purpose;
use tokio::sync::oneshot;

/// The streams that stand.
#[derive(Debug, Default)]
pub(super) struct Places {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    taken: HashMap<(Arc<str>, bool), Taken>,
    next: u64,
}

#[derive(Debug)]
struct Taken {
    id: u64,
    /// Dropped when another one takes the place.
    _stands: oneshot::Sender<()>,
}

/// The place of one stream.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    key: (Arc<str>, bool),
    id: u64,
    lost: oneshot::Receiver<()>,
}

// === impl Places ===

impl Places {
    /// Takes the place of a pod; whoever had it loses it.
    pub(super) fn take(self: &Arc<Self>, uid: &Arc<str>, purpose: Purpose) -> Place {
        let key = (Arc::clone(uid), purpose == Purpose::Enforce);
        let (stands, lost) = oneshot::channel();
        let mut inner = self.lock();
        inner.next += 1;
        let id = inner.next;
        let taken = Taken {
            id,
            _stands: stands,
        };
        inner.taken.insert(key.clone(), taken);
        drop(inner);
        Place {
            places: Arc::clone(self),
            key,
            id,
            lost,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Place ===

impl Place {
    /// Waits until another stream has the place.
    pub(super) async fn lost(&mut self) {
        let _dropped = (&mut self.lost).await;
    }

    /// Gives the place up. `last` runs if it was still this one's, and before
    /// another one can have it.
    pub(super) fn leave(self, last: impl FnOnce()) {
        let mut inner = self.places.lock();
        if inner
            .taken
            .get(&self.key)
            .is_some_and(|it| it.id == self.id)
        {
            inner.taken.remove(&self.key);
            last();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_newest_has_the_place() {
        let places = Arc::new(Places::default());
        let uid: Arc<str> = "u1".into();
        let mut first = places.take(&uid, Purpose::Enforce);
        assert!(first.lost.try_recv() == Err(oneshot::error::TryRecvError::Empty));
        let second = places.take(&uid, Purpose::Enforce);
        first.lost().await;
        let mut left = Vec::new();
        first.leave(|| left.push("first"));
        second.leave(|| left.push("second"));
        assert_eq!(left, ["second"]);
        assert!(places.lock().taken.is_empty());
    }

    #[test]
    fn other_pods_and_purposes_have_their_own() {
        let places = Arc::new(Places::default());
        let uid: Arc<str> = "u1".into();
        let mut first = places.take(&uid, Purpose::Enforce);
        let _identity = places.take(&uid, Purpose::Identity);
        let _other = places.take(&"u2".into(), Purpose::Enforce);
        assert!(first.lost.try_recv() == Err(oneshot::error::TryRecvError::Empty));
        assert_eq!(places.lock().taken.len(), 3);
    }
}
