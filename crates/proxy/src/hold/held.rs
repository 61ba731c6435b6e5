//! The sockets of a holder, and how it comes by them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::exchange::HandOver;
use crate::sockets::{machine_addresses, open};

/// How long a missing socket is not worth a word: the address of a pod comes
/// late, and a sidecar gives back what it has.
const QUIET: Duration = Duration::from_secs(1);
/// How often it is said that sockets are missing.
const REPEAT: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Held {
    ports: BTreeSet<u16>,
    bind: Option<IpAddr>,
    sockets: BTreeMap<SocketAddr, Arc<TcpListener>>,
    missing: Option<Missing>,
}

/// Since when something is missing, and when that is said next.
#[derive(Debug)]
struct Missing {
    say: Instant,
    said: bool,
}

// === impl Held ===

impl Held {
    pub(super) fn new(ports: Vec<u16>, bind: Option<IpAddr>) -> Self {
        Self {
            ports: ports.into_iter().collect(),
            bind,
            sockets: BTreeMap::new(),
            missing: None,
        }
    }

    pub(super) fn ports(&self) -> &BTreeSet<u16> {
        &self.ports
    }

    pub(super) fn is_complete(&self) -> bool {
        self.missing.is_none()
    }

    pub(super) fn hand_over(&self) -> HandOver {
        HandOver {
            ports: self.ports.clone(),
            sockets: self.sockets.clone(),
        }
    }

    /// Binds what can be bound of what is missing.
    pub(super) fn complete(&mut self, now: Instant) {
        let addresses = match self.bind {
            Some(address) => Ok(vec![address]),
            None => machine_addresses(),
        };
        let failed = match addresses {
            Ok(addresses) => self.bind_all(&addresses),
            Err(error) => vec![error.to_string()],
        };
        self.note(failed, now);
    }

    /// Takes back a socket that a sidecar had from an earlier holder.
    pub(super) fn adopt(&mut self, address: SocketAddr, socket: Arc<TcpListener>) {
        if self.ports.contains(&address.port()) && !self.sockets.contains_key(&address) {
            info!(%address, "got the port back from the sidecar");
            self.sockets.insert(address, socket);
        }
    }

    fn bind_all(&mut self, addresses: &[IpAddr]) -> Vec<String> {
        let mut failed = Vec::new();
        for port in &self.ports {
            for address in addresses {
                let address = SocketAddr::new(*address, *port);
                if self.sockets.contains_key(&address) {
                    continue;
                }
                match open(address) {
                    Ok(socket) => {
                        info!(%address, "holding the port");
                        self.sockets.insert(address, Arc::new(socket));
                    }
                    Err(error) => failed.push(format!("{address}: {error}{}", advice(&error))),
                }
            }
        }
        failed
    }

    /// Says what is missing, soon and then again and again.
    fn note(&mut self, failed: Vec<String>, now: Instant) {
        if failed.is_empty() {
            if self.missing.take().is_some_and(|missing| missing.said) {
                info!("every port is held");
            }
            return;
        }
        let missing = self.missing.get_or_insert(Missing {
            say: now + QUIET,
            said: false,
        });
        if now >= missing.say {
            *missing = Missing {
                say: now + REPEAT,
                said: true,
            };
            for failed in failed {
                warn!("cannot hold {failed}; trying again");
            }
        }
    }
}

fn advice(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::AddrInUse {
        ": another process of the pod has the port, so callers reach it and not the sidecar. A \
         server must listen on 127.0.0.1 only (often by the variable HOST), or its port be exposed \
         as SeparatePort"
    } else if error.kind() == io::ErrorKind::PermissionDenied {
        ": ports below 1024 need a privilege"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn free_port() -> u16 {
        let listener = TcpListener::bind((HERE, 0)).unwrap();
        listener.local_addr().unwrap().port()
    }

    #[tokio::test(start_paused = true)]
    async fn a_taken_port_is_complained_about_and_taken_when_it_is_free() {
        let taken = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let mut held = Held::new(vec![port], Some(HERE));
        let begun = Instant::now();
        let said = |held: &Held| held.missing.as_ref().map(|missing| missing.said);
        held.complete(begun);
        assert_eq!(said(&held), Some(false));
        held.complete(begun + QUIET - Duration::from_millis(1));
        assert_eq!(said(&held), Some(false));
        held.complete(begun + QUIET);
        assert_eq!(said(&held), Some(true));
        assert!(held.hand_over().sockets.is_empty());

        drop(taken);
        held.complete(begun + QUIET);
        assert!(held.is_complete());
        let address = SocketAddr::new(HERE, port);
        assert!(held.hand_over().sockets.contains_key(&address));
        assert!(open(address).is_err(), "the port is not held");
        let wildcard = (Ipv4Addr::UNSPECIFIED, port).into();
        assert!(open(wildcard).is_err(), "the wildcard takes the port");
    }

    #[test]
    fn the_advice_says_what_to_change() {
        let text = advice(&io::ErrorKind::AddrInUse.into());
        assert!(text.contains("127.0.0.1") && text.contains("SeparatePort"));
    }

    #[tokio::test]
    async fn only_own_ports_are_adopted_and_none_twice() {
        let port = free_port();
        let mut held = Held::new(vec![port], Some(HERE));
        let address = SocketAddr::new(HERE, port);
        let socket = || Arc::new(TcpListener::bind((HERE, 0)).unwrap());
        let first = socket();
        held.adopt(address, Arc::clone(&first));
        held.adopt(address, socket());
        held.adopt(SocketAddr::new(HERE, port ^ 1), socket());
        let sockets = held.hand_over().sockets;
        assert_eq!(sockets.len(), 1);
        assert!(Arc::ptr_eq(sockets.get(&address).unwrap(), &first));
    }

    #[tokio::test]
    async fn ipv6_leaves_the_ipv4_addresses_alone() {
        let port = free_port();
        let six = SocketAddr::new(std::net::Ipv6Addr::UNSPECIFIED.into(), port);
        if let Ok(_held) = open(six) {
            open((HERE, port).into()).unwrap();
        }
    }
}
