//! Who else listens in the pod, where callers from outside can reach it.
//!
//! A server that listens on a pod address answers beside the sidecar. No
//! privilege is needed to see that: the tables of the pod's network namespace
//! are open to every process in it (proc_net(5)).

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use sidegate_config::control::{ForeignListener, MAX_LISTENERS};

/// As much of a table as is read. The kernel lists sockets that listen first.
const MAX_TABLE: u64 = 256 * 1024;
/// `TCP_LISTEN`.
const LISTENING: &str = "0A";

/// What is not foreign.
#[derive(Debug, Clone, Default)]
pub struct Own {
    /// Where the sidecar and whoever holds its ports listen.
    pub addresses: BTreeSet<SocketAddr>,
    /// Their user.
    pub user_id: u32,
    /// The ports of the pod's servers, which matter most.
    pub server_ports: BTreeSet<u16>,
}

/// Everybody else who listens on an address that is not loopback.
///
/// # Errors
/// What the system says when the table cannot be read. A kernel without IPv6
/// has only one table.
pub fn foreign_listeners(own: &Own) -> io::Result<Vec<ForeignListener>> {
    let v4 = table("/proc/self/net/tcp")?;
    let v6 = match table("/proc/self/net/tcp6") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        read => read?,
    };
    Ok(foreign_in(&v4, &v6, own))
}

/// The same from the texts of both tables: sorted, and no more than
/// [`MAX_LISTENERS`]. Of too many, those on a server's port are kept first, and
/// of these the ones that listen on every address.
#[must_use]
pub fn foreign_in(tcp: &str, tcp6: &str, own: &Own) -> Vec<ForeignListener> {
    let listeners: BTreeSet<_> = tcp
        .lines()
        .chain(tcp6.lines())
        .filter_map(listener)
        .filter(|listener| own.is_foreign(listener))
        .collect();
    let mut foreign: Vec<_> = listeners.into_iter().collect();
    foreign.sort_by_key(|listener| {
        let address = listener.address;
        let is_servers = own.server_ports.contains(&address.port());
        (!is_servers, !address.ip().is_unspecified())
    });
    foreign.truncate(MAX_LISTENERS);
    foreign.sort_unstable();
    foreign
}

fn table(path: &str) -> io::Result<String> {
    let mut text = Vec::new();
    File::open(path)?.take(MAX_TABLE).read_to_end(&mut text)?;
    // The last line of a table that is cut is not read as another one.
    let whole = text.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
    text.truncate(whole);
    Ok(String::from_utf8_lossy(&text).into_owned())
}

// === impl Own ===

impl Own {
    fn is_foreign(&self, listener: &ForeignListener) -> bool {
        let is_ours =
            listener.user_id == self.user_id && self.addresses.contains(&listener.address);
        !is_ours && !listener.address.ip().is_loopback()
    }
}

/// The socket of a line, if it listens; none for any other line.
fn listener(line: &str) -> Option<ForeignListener> {
    let mut fields = line.split_ascii_whitespace();
    let (address, state) = (fields.nth(1)?, fields.nth(1)?);
    if state != LISTENING {
        return None;
    }
    let user_id = fields.nth(3)?.parse().ok()?;
    Some(ForeignListener {
        address: socket_address(address)?,
        user_id,
    })
}

/// An address as the kernel prints it: words of 32 bits in the machine's byte
/// order, then the port.
fn socket_address(text: &str) -> Option<SocketAddr> {
    let (words, port) = text.split_once(':')?;
    let ip = match words.len() {
        8 => IpAddr::from(word(words)?),
        32 => {
            let mut bytes = [0; 16];
            for (index, place) in bytes.chunks_exact_mut(4).enumerate() {
                place.copy_from_slice(&word(words.get(index * 8..index * 8 + 8)?)?);
            }
            Ipv6Addr::from(bytes).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::try_from(hex(port, 4)?).ok()?))
}

/// The bytes of a word in the order of the network.
fn word(text: &str) -> Option<[u8; 4]> {
    hex(text, 8).map(u32::to_ne_bytes)
}

fn hex(text: &str, digits: usize) -> Option<u32> {
    let is_hex = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| u32::from_str_radix(text, 16).ok())?
}

#[cfg(test)]
mod tests;
