//! What the sidecar and the holder of its ports do alike: which addresses the
//! machine has, and how a listening socket is opened.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that the kernel completes before they are accepted.
const BACKLOG: i32 = 1024;

/// Why there is no address that others can dial.
#[derive(Debug, thiserror::Error)]
pub enum NoMachineAddress {
    /// There is nothing but loopback to listen on.
    #[error("no address but loopback to listen on: name one with `--bind`")]
    OnlyLoopback,
    /// The machine's addresses cannot be read.
    #[error("cannot read the addresses of this machine")]
    Interfaces(#[source] io::Error),
}

/// Every address of this machine that others can dial.
///
/// # Errors
/// [`NoMachineAddress::OnlyLoopback`] when there is only loopback.
pub(crate) fn machine_addresses() -> Result<Vec<IpAddr>, NoMachineAddress> {
    let interfaces = if_addrs::get_if_addrs().map_err(NoMachineAddress::Interfaces)?;
    let mut addresses: Vec<IpAddr> = interfaces
        .iter()
        .filter(|interface| !interface.is_loopback() && !interface.is_link_local())
        .map(|interface| interface.ip())
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() {
        Err(NoMachineAddress::OnlyLoopback)
    } else {
        Ok(addresses)
    }
}

/// Listens on `address`, which nobody else may have: no `SO_REUSEPORT`.
pub(crate) fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // Lets a restarted process take its port back from connections in
    // TIME_WAIT; another listener on the port still makes it fail.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // An IPv6 wildcard would take the IPv4 addresses, too.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
