//! Opens a listening socket, in the sidecar and in what holds its ports alike.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that the kernel completes before they are accepted.
const BACKLOG: i32 = 1024;

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
