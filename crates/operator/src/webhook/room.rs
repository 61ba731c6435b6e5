//! What callers may take of this process at once.
//!
//! Whoever reaches the port can post to it, and one of them must not keep the
//! API server out: an address gets a share of everything.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::injector::admission::MAX_REVIEW_BYTES;

const CONNECTIONS: usize = 256;
const CONNECTIONS_EACH: usize = 64;
/// Bodies, in KiB.
const BODIES: usize = 48 * 1024;
const BODIES_EACH: usize = 24 * 1024;
/// Memory of small reviews that were read, in MiB.
const SMALL_REVIEWS: usize = 96;
const SMALL_REVIEWS_EACH: usize = 48;
/// Large reviews at a time. Small ones, which nearly every pod has, never wait
/// for them.
const LARGE_REVIEWS: usize = 1;
const LARGE_REVIEWS_EACH: usize = 1;
const MAX_SMALL_BYTES: usize = 256 * 1024;
/// What a byte of JSON becomes at most: an object of one member takes an entry
/// of a tree, which is some 600 bytes for five.
const GROWTH: usize = 128;
/// What a small review takes at least, so that their number is bounded, too. A
/// large one takes 128 MiB at most, for the number of its values is bounded.
const MIN_REVIEW_MIB: usize = 2;
/// The API server waits five seconds in all.
const PATIENCE: Duration = Duration::from_secs(2);

/// What there is.
#[derive(Debug)]
pub(super) struct Room {
    guests: Mutex<HashMap<IpAddr, Weak<Guest>>>,
    connections: Arc<Semaphore>,
    bodies: Arc<Semaphore>,
    reviews: Lanes,
}

/// The share of one address.
#[derive(Debug)]
struct Guest {
    connections: Arc<Semaphore>,
    bodies: Arc<Semaphore>,
    reviews: Lanes,
}

/// Reviews wait in the order in which they come, so large ones have a lane of
/// their own.
#[derive(Debug)]
struct Lanes {
    small: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

/// A connection that has its place.
#[derive(Debug, Clone)]
pub(super) struct Seat {
    room: Arc<Room>,
    guest: Arc<Guest>,
    _places: Arc<[OwnedSemaphorePermit; 2]>,
}

/// Something has its place until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    _permits: Vec<OwnedSemaphorePermit>,
}

// === impl Room ===

impl Room {
    pub(super) fn new() -> Self {
        Self {
            guests: Mutex::default(),
            connections: Arc::new(Semaphore::new(CONNECTIONS)),
            bodies: Arc::new(Semaphore::new(BODIES)),
            reviews: Lanes::new(SMALL_REVIEWS, LARGE_REVIEWS),
        }
    }

    /// A place for a connection; none when all, or all of this address, are
    /// taken.
    pub(super) fn seat(self: &Arc<Self>, address: IpAddr) -> Option<Seat> {
        let guest = self.guest(address.to_canonical());
        let own = Arc::clone(&guest.connections).try_acquire_owned().ok()?;
        let place = Arc::clone(&self.connections).try_acquire_owned().ok()?;
        Some(Seat {
            room: Arc::clone(self),
            guest,
            _places: Arc::new([own, place]),
        })
    }

    fn guest(&self, address: IpAddr) -> Arc<Guest> {
        let mut guests = self.guests.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(guest) = guests.get(&address).and_then(Weak::upgrade) {
            return guest;
        }
        // Those that are here have a connection, so they are few.
        guests.retain(|_, guest| guest.strong_count() > 0);
        let guest = Arc::new(Guest {
            connections: Arc::new(Semaphore::new(CONNECTIONS_EACH)),
            bodies: Arc::new(Semaphore::new(BODIES_EACH)),
            reviews: Lanes::new(SMALL_REVIEWS_EACH, LARGE_REVIEWS_EACH),
        });
        guests.insert(address, Arc::downgrade(&guest));
        guest
    }
}

// === impl Seat ===

impl Seat {
    /// A place for a body of at most this length. None when there is none for
    /// a while.
    pub(super) async fn body(&self, bytes: usize) -> Option<Place> {
        let size = kibibytes(bytes);
        let own = Arc::clone(&self.guest.bodies);
        let all = Arc::clone(&self.room.bodies);
        places([own, all], size).await
    }

    /// A place for what a body of this length becomes.
    pub(super) async fn review(&self, bytes: usize) -> Option<Place> {
        let (own, all) = (&self.guest.reviews, &self.room.reviews);
        if bytes > MAX_SMALL_BYTES {
            return places([&own.large, &all.large].map(Arc::clone), 1).await;
        }
        places([&own.small, &all.small].map(Arc::clone), mebibytes(bytes)).await
    }
}

// === impl Lanes ===

impl Lanes {
    fn new(small: usize, large: usize) -> Self {
        Self {
            small: Arc::new(Semaphore::new(small)),
            large: Arc::new(Semaphore::new(large)),
        }
    }
}

async fn places<const N: usize>(semaphores: [Arc<Semaphore>; N], size: u32) -> Option<Place> {
    let all = async {
        let mut permits = Vec::with_capacity(N);
        for semaphore in semaphores {
            permits.push(semaphore.acquire_many_owned(size).await.ok()?);
        }
        Some(Place { _permits: permits })
    };
    timeout(PATIENCE, all).await.ok().flatten()
}

fn kibibytes(bytes: usize) -> u32 {
    let bytes = bytes.clamp(1, MAX_REVIEW_BYTES);
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}

fn mebibytes(bytes: usize) -> u32 {
    let grown = bytes.saturating_mul(GROWTH).div_ceil(1024 * 1024);
    u32::try_from(grown.max(MIN_REVIEW_MIB)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn address(last: u8) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, last).into()
    }

    #[test]
    fn one_address_cannot_take_all_connections() {
        let room = Arc::new(Room::new());
        let take = |last| room.seat(address(last));
        let mut taken: Vec<_> = (0..CONNECTIONS_EACH).map_while(|_| take(1)).collect();
        assert_eq!(taken.len(), CONNECTIONS_EACH);
        assert!(take(1).is_none());
        // The same address as an IPv4 socket sees it.
        let mapped = Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped();
        assert!(room.seat(mapped.into()).is_none());
        taken.pop();
        taken.extend(take(1));
        for last in 2..=4 {
            taken.extend((0..CONNECTIONS_EACH).map_while(|_| take(last)));
        }
        assert_eq!(taken.len(), CONNECTIONS);
        assert!(take(5).is_none());
        taken.clear();
        assert!(take(5).is_some());
        assert_eq!(room.guests.lock().unwrap().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_wait_for_the_room_that_they_need() {
        let room = Arc::new(Room::new());
        let seat = room.seat(address(1)).unwrap();
        let most = BODIES_EACH / 3072;
        let mut taken = Vec::new();
        for _ in 0..most {
            taken.push(seat.body(MAX_REVIEW_BYTES).await.unwrap());
        }
        assert!(seat.body(1).await.is_none());
        let other = room.seat(address(2)).unwrap();
        assert!(other.body(MAX_REVIEW_BYTES).await.is_some());
        taken.pop();
        assert!(seat.body(MAX_REVIEW_BYTES).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn small_reviews_do_not_wait_for_large_ones() {
        let room = Arc::new(Room::new());
        let [seat, other] = [1, 2].map(|last| room.seat(address(last)).unwrap());
        let large = seat.review(MAX_REVIEW_BYTES).await.unwrap();
        assert!(seat.review(MAX_SMALL_BYTES + 1).await.is_none());
        let queue: Vec<_> = (0..8)
            .map(|_| {
                let seat = seat.clone();
                tokio::spawn(async move { seat.review(MAX_REVIEW_BYTES).await.is_some() })
            })
            .collect();
        tokio::task::yield_now().await;
        assert!(other.review(1000).await.is_some());
        assert!(seat.review(MAX_SMALL_BYTES).await.is_some());
        // Nor does a large one of another address wait for more than one.
        let next = tokio::spawn(async move { other.review(MAX_REVIEW_BYTES).await });
        tokio::task::yield_now().await;
        drop(large);
        assert!(next.await.unwrap().is_some());
        for waiting in queue {
            let _served = waiting.await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_address_cannot_take_all_reviews() {
        let room = Arc::new(Room::new());
        let [seat, other] = [1, 2].map(|last| room.seat(address(last)).unwrap());
        let mut small = Vec::new();
        for _ in 0..SMALL_REVIEWS_EACH / MIN_REVIEW_MIB {
            small.push(seat.review(1000).await.unwrap());
        }
        assert!(seat.review(1000).await.is_none());
        let waiting: Vec<_> = (0..64)
            .map(|_| {
                let seat = seat.clone();
                tokio::spawn(async move { seat.review(MAX_SMALL_BYTES).await.is_some() })
            })
            .collect();
        tokio::task::yield_now().await;
        for _ in 0..SMALL_REVIEWS_EACH / MIN_REVIEW_MIB {
            small.push(other.review(1000).await.unwrap());
        }
        for waiting in waiting {
            assert!(!waiting.await.unwrap());
        }
        small.clear();
        assert!(seat.review(MAX_SMALL_BYTES).await.is_some());
    }

    #[test]
    fn what_a_review_takes_grows_with_its_length_from_a_bound() {
        assert_eq!(mebibytes(0), 2);
        assert_eq!(mebibytes(16 * 1024), 2);
        assert_eq!(mebibytes(64 * 1024), 8);
        assert_eq!(mebibytes(MAX_SMALL_BYTES), 32);
        assert!(usize::try_from(mebibytes(MAX_SMALL_BYTES)).unwrap() <= SMALL_REVIEWS_EACH);
        assert_eq!(kibibytes(0), 1);
        assert_eq!(kibibytes(1025), 2);
        assert_eq!(kibibytes(usize::MAX), 3072);
    }
}
