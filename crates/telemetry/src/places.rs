//! Who may be connected to the ports of metrics and probes.
//!
//! Anybody reaches these ports, and the kubelet restarts what does not answer
//! its probes. So a newcomer always gets a place: when there is none left,
//! whoever has the most connections loses its oldest idle one.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A bounded number of connections, and of those from one address. Each has a
/// `T` that is dropped when it has to give way.
#[derive(Debug)]
pub struct Places<T> {
    most: usize,
    each: usize,
    inner: Mutex<Inner<T>>,
}

#[derive(Debug)]
struct Inner<T> {
    /// By age: the oldest first.
    taken: BTreeMap<u64, Taken<T>>,
    next: u64,
}

#[derive(Debug)]
struct Taken<T> {
    source: IpAddr,
    answering: usize,
    _stands: T,
}

/// The place of one connection, until it is dropped.
#[derive(Debug)]
pub struct Place<T> {
    places: Arc<Places<T>>,
    id: u64,
}

/// The connection is not idle until this is dropped.
#[derive(Debug)]
pub struct Answering<T>(Arc<Place<T>>);

// === impl Places ===

impl<T> Places<T> {
    /// Room for `most` connections, at most `each` of them from one address.
    #[must_use]
    pub fn new(most: usize, each: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            each,
            inner: Mutex::new(Inner {
                taken: BTreeMap::new(),
                next: 0,
            }),
        })
    }

    /// A place for a connection from `source`. Another one may lose its own:
    /// its `T` is dropped.
    #[must_use]
    pub fn take(self: &Arc<Self>, source: IpAddr, stands: T) -> Arc<Place<T>> {
        let source = source.to_canonical();
        let mut inner = self.lock();
        let lost = inner.make_room(source, self.most, self.each);
        let id = inner.next;
        inner.next += 1;
        let taken = Taken {
            source,
            answering: 0,
            _stands: stands,
        };
        inner.taken.insert(id, taken);
        drop(inner);
        // Not under the lock: who is told may come back at once.
        drop(lost);
        Arc::new(Place {
            places: Arc::clone(self),
            id,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Inner ===

impl<T> Inner<T> {
    /// Takes out who has to give way, if there is no room for one more.
    fn make_room(&mut self, source: IpAddr, most: usize, each: usize) -> Option<Taken<T>> {
        let own = self.taken.values().filter(|it| it.source == source);
        if own.count() >= each {
            return self.take_oldest(|it| it.source == source);
        }
        if self.taken.len() < most {
            return None;
        }
        let mut counts = HashMap::<IpAddr, usize>::new();
        for taken in self.taken.values() {
            *counts.entry(taken.source).or_default() += 1;
        }
        let highest = counts.values().copied().max();
        self.take_oldest(|it| counts.get(&it.source).copied() == highest)
    }

    /// Takes out the oldest idle one; the oldest if they are all busy.
    fn take_oldest(&mut self, of: impl Fn(&Taken<T>) -> bool) -> Option<Taken<T>> {
        let candidates = || self.taken.iter().filter(|(_, it)| of(it));
        let idle = candidates().find(|(_, it)| it.answering == 0);
        let id = *idle.or_else(|| candidates().next())?.0;
        self.taken.remove(&id)
    }
}

// === impl Place ===

impl<T> Place<T> {
    /// Says that a request is being answered: idle ones give way before.
    #[must_use]
    pub fn answering(self: &Arc<Self>) -> Answering<T> {
        if let Some(taken) = self.places.lock().taken.get_mut(&self.id) {
            taken.answering += 1;
        }
        Answering(Arc::clone(self))
    }
}

impl<T> Drop for Place<T> {
    fn drop(&mut self) {
        let taken = self.places.lock().taken.remove(&self.id);
        drop(taken);
    }
}

// === impl Answering ===

impl<T> Drop for Answering<T> {
    fn drop(&mut self) {
        if let Some(taken) = self.0.places.lock().taken.get_mut(&self.0.id) {
            taken.answering = taken.answering.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    fn address(last: u8) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, last).into()
    }

    /// Tells its name when it is dropped.
    struct Stands(&'static str, Sender<&'static str>);

    impl Drop for Stands {
        fn drop(&mut self) {
            let _nobody_listens = self.1.send(self.0);
        }
    }

    struct Rig {
        places: Arc<Places<Stands>>,
        lost: Sender<&'static str>,
        told: Receiver<&'static str>,
    }

    impl Rig {
        fn new(most: usize, each: usize) -> Self {
            let (lost, told) = channel();
            Self {
                places: Places::new(most, each),
                lost,
                told,
            }
        }

        fn take(&self, last: u8, name: &'static str) -> Arc<Place<Stands>> {
            let stands = Stands(name, self.lost.clone());
            self.places.take(address(last), stands)
        }

        fn gone(&self) -> Vec<&'static str> {
            self.told.try_iter().collect()
        }
    }

    #[test]
    fn an_address_that_has_its_share_loses_its_oldest() {
        let rig = Rig::new(10, 2);
        let _other = rig.take(2, "other");
        let _held = [rig.take(1, "a"), rig.take(1, "b")];
        assert!(rig.gone().is_empty());
        let _c = rig.take(1, "c");
        assert_eq!(rig.gone(), ["a"]);
        let mapped = Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped();
        let stands = Stands("d", rig.lost.clone());
        let _d = rig.places.take(mapped.into(), stands);
        assert_eq!(rig.gone(), ["b"], "the same address");
    }

    #[test]
    fn when_all_are_taken_who_has_the_most_gives_way() {
        let rig = Rig::new(4, 3);
        let _first = rig.take(2, "first");
        let _held = [rig.take(1, "a"), rig.take(1, "b"), rig.take(1, "c")];
        let _newcomer = rig.take(3, "newcomer");
        assert_eq!(rig.gone(), ["a"]);
        let _another = rig.take(4, "another");
        assert_eq!(rig.gone(), ["b"]);
        let _fifth = rig.take(5, "fifth");
        assert_eq!(rig.gone(), ["first"], "each has one: the oldest");
    }

    #[test]
    fn one_that_is_being_answered_goes_last() {
        let rig = Rig::new(2, 2);
        let a = rig.take(1, "a");
        let answering = a.answering();
        let b = rig.take(1, "b");
        let c = rig.take(1, "c");
        assert_eq!(rig.gone(), ["b"]);
        let _both = c.answering();
        let d = rig.take(1, "d");
        assert_eq!(rig.gone(), ["a"], "all are busy");
        drop(answering);
        drop((a, b, c, d));
    }

    #[test]
    fn whoever_leaves_makes_room_and_is_forgotten() {
        let rig = Rig::new(2, 2);
        let held = [rig.take(1, "a"), rig.take(1, "b")];
        drop(held);
        assert_eq!(rig.gone().len(), 2);
        let _c = rig.take(1, "c");
        assert!(rig.gone().is_empty());
        assert_eq!(rig.places.lock().taken.len(), 1);
    }
}
