//! How many connections there may be, and how many of them before they are
//! recognized.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// File descriptors that are kept for everything else, at least.
const LEAST_KEPT: usize = 64;

/// Counts connections.
#[derive(Debug)]
pub(super) struct Arrivals {
    connections: Arc<Semaphore>,
    arriving: Arc<Semaphore>,
    per_source: usize,
    sources: Mutex<HashMap<IpAddr, usize>>,
}

/// A connection that is not recognized yet.
#[derive(Debug)]
pub(super) struct Arriving {
    connected: Connected,
    _arriving: OwnedSemaphorePermit,
    _source: FromSource,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Connected {
    _connection: OwnedSemaphorePermit,
}

#[derive(Debug)]
struct FromSource {
    arrivals: Arc<Arrivals>,
    source: IpAddr,
}

/// The most connections for which there are file descriptors: an eighth is kept
/// back, so that the API server and the health port stay within reach.
pub(super) fn most_connections() -> usize {
    let limit = rlimit::getrlimit(rlimit::Resource::NOFILE);
    let soft = limit.map_or(u64::MAX, |(soft, _)| soft);
    connections_for(usize::try_from(soft).unwrap_or(usize::MAX))
}

fn connections_for(descriptors: usize) -> usize {
    let kept = (descriptors / 8).max(LEAST_KEPT);
    descriptors.saturating_sub(kept).max(1)
}

/// What counts as one source: an IPv6 host has a network of its own.
pub(super) fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(address) => {
            let prefix = u128::from(address) >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from(prefix))
        }
        four @ IpAddr::V4(_) => four,
    }
}

// === impl Arrivals ===

impl Arrivals {
    pub(super) fn new(connections: usize, arriving: usize, per_source: usize) -> Arc<Self> {
        let semaphore = |count: usize| Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)));
        Arc::new(Self {
            connections: semaphore(connections),
            arriving: semaphore(arriving),
            per_source,
            sources: Mutex::default(),
        })
    }

    /// Lets a connection in, unless there are too many.
    pub(super) fn enter(self: &Arc<Self>, source: IpAddr) -> Option<Arriving> {
        let connection = Arc::clone(&self.connections).try_acquire_owned().ok()?;
        let arriving = Arc::clone(&self.arriving).try_acquire_owned().ok()?;
        let source = network(source);
        let mut sources = self.lock();
        let count = sources.entry(source).or_default();
        if *count >= self.per_source {
            return None;
        }
        *count += 1;
        Some(Arriving {
            connected: Connected {
                _connection: connection,
            },
            _arriving: arriving,
            _source: FromSource {
                arrivals: Arc::clone(self),
                source,
            },
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Arriving ===

impl Arriving {
    /// It is known whose connection it is.
    pub(super) fn recognized(self) -> Connected {
        self.connected
    }
}

// === impl FromSource ===

impl Drop for FromSource {
    fn drop(&mut self) {
        let mut sources = self.arrivals.lock();
        if let Some(count) = sources.get_mut(&self.source) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                sources.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    #[test]
    fn connections_are_bounded_for_as_long_as_they_last() {
        let arrivals = Arrivals::new(2, 10, 10);
        let first = arrivals.enter(ONE).expect("a place");
        let connected = first.recognized();
        let _second = arrivals.enter(ONE).expect("a place");
        assert!(arrivals.enter(ONE).is_none());
        drop(connected);
        assert!(arrivals.enter(ONE).is_some());
    }

    #[test]
    fn those_that_arrive_are_bounded_until_they_are_recognized() {
        let arrivals = Arrivals::new(10, 1, 10);
        let first = arrivals.enter(ONE).expect("a place");
        assert!(arrivals.enter(OTHER).is_none());
        let _connected = first.recognized();
        assert!(arrivals.enter(OTHER).is_some());
    }

    #[test]
    fn one_address_leaves_room_for_others() {
        let arrivals = Arrivals::new(10, 10, 2);
        let held: Vec<_> = std::iter::from_fn(|| arrivals.enter(ONE)).take(5).collect();
        assert_eq!(held.len(), 2);
        assert!(arrivals.enter(OTHER).is_some());
        drop(held);
        assert!(arrivals.enter(ONE).is_some());
        assert!(arrivals.lock().is_empty(), "nobody is remembered");
    }

    #[test]
    fn descriptors_are_kept_back() {
        assert_eq!(connections_for(1024), 896);
        assert_eq!(connections_for(128), 64);
        assert_eq!(connections_for(8), 1);
    }

    #[test]
    fn all_addresses_of_one_host_are_one_source() {
        let arrivals = Arrivals::new(10, 10, 2);
        let address =
            |network, host| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, network, 0, 0, 0, host));
        let enter = |network, host| arrivals.enter(address(network, host));
        let held: Vec<_> = (0..5).filter_map(|host| enter(1, host)).collect();
        assert_eq!(held.len(), 2);
        assert!(enter(2, 0).is_some(), "another network");
        drop(held);
        assert!(enter(1, 9).is_some());
        assert!(arrivals.lock().is_empty());
    }
}
