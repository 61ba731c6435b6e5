//! Which addresses a configuration listens on.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};

use sidegate_config::sidecar_config::ServerConfig;

use crate::hold::{HeldError, HeldSockets};
use crate::sockets::NoMachineAddress;

/// Where the traffic listeners shall be.
#[derive(Debug, Clone, Default)]
pub struct ListenOptions {
    /// The address of all listeners; none: every address of the machine but
    /// loopback.
    pub bind: Option<IpAddr>,
    /// Addresses of single listeners, by the server's name. Port 0 lets the
    /// system choose.
    pub listen: BTreeMap<String, SocketAddr>,
    /// Who holds the ports while the sidecar restarts; what it holds is not
    /// bound here.
    pub hold: Option<HeldSockets>,
}

/// Why a configuration cannot be listened for.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The sidecar would take the address on which it reaches the server.
    #[error(
        "listener `{name}`: {address} is the server's own address: give another one with \
         `--listen {name}=ADDRESS:PORT`, or a pod address with `--bind`"
    )]
    ServersOwnAddress {
        /// The server's name.
        name: String,
        /// The refused address.
        address: SocketAddr,
    },
    /// The machine has no address to listen on.
    #[error(transparent)]
    Machine(#[from] NoMachineAddress),
    /// `--listen` names a server that does not exist.
    #[error("`--listen {0}=…` names no server of the gateway")]
    UnknownName(String),
    /// The sockets that are held cannot be had.
    #[error(transparent)]
    Held(#[from] HeldError),
    /// A socket that was handed over cannot be listened on.
    #[error("cannot use a socket of `sidegate hold`: {0}")]
    Unusable(#[source] io::Error),
    /// An address cannot be bound.
    #[error("listener `{name}`: cannot listen on {address}: {source}{advice}")]
    Bind {
        /// The server's name.
        name: String,
        /// The address in question.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
        /// What to do about it.
        advice: &'static str,
    },
}

/// One address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) name: String,
    /// The port of the server behind, on loopback.
    pub(crate) server_port: u16,
    pub(crate) address: SocketAddr,
}

/// The addresses that `servers` ask for. `machine` is called only when the
/// machine's own addresses are needed.
///
/// # Errors
/// Everything of [`ListenError`] but `Bind`: nothing is bound here.
pub(crate) fn plan(
    servers: &[ServerConfig],
    options: &ListenOptions,
    machine: impl FnOnce() -> Result<Vec<IpAddr>, NoMachineAddress>,
) -> Result<Vec<Wanted>, ListenError> {
    let is_known = |name: &str| servers.iter().any(|server| server.name == name);
    if let Some(unknown) = options.listen.keys().find(|name| !is_known(name)) {
        return Err(ListenError::UnknownName(unknown.clone()));
    }
    let all_named = servers
        .iter()
        .all(|server| options.listen.contains_key(&server.name));
    let addresses = match options.bind {
        Some(address) => vec![address],
        None if all_named => Vec::new(),
        None => machine()?,
    };
    let mut wanted = Vec::new();
    for server in servers {
        let address = |address| Wanted {
            name: server.name.clone(),
            server_port: server.port,
            address,
        };
        match options.listen.get(&server.name) {
            Some(named) => wanted.push(address(*named)),
            None => wanted.extend(
                addresses
                    .iter()
                    .map(|ip| address(SocketAddr::new(*ip, server.listen_port))),
            ),
        }
    }
    match wanted.iter().find(|wanted| wanted.is_the_servers_own()) {
        None => Ok(wanted),
        Some(Wanted { name, address, .. }) => Err(ListenError::ServersOwnAddress {
            name: name.clone(),
            address: *address,
        }),
    }
}

// === impl Wanted ===

impl Wanted {
    /// Whether listening here would keep the server from its port, or have the
    /// sidecar call itself.
    fn is_the_servers_own(&self) -> bool {
        let ip = self.address.ip().to_canonical();
        self.address.port() == self.server_port && (ip.is_loopback() || ip.is_unspecified())
    }
}

// === impl ListenError ===

impl ListenError {
    pub(crate) fn bind(wanted: Wanted, source: io::Error) -> Self {
        let kind = source.kind();
        let advice = if kind == io::ErrorKind::AddrInUse {
            if wanted.address.port() == wanted.server_port {
                "; a server behind must listen on 127.0.0.1 only, not on every address"
            } else {
                "; another process has this port"
            }
        } else if kind == io::ErrorKind::AddrNotAvailable {
            "; this machine does not have that address"
        } else if kind == io::ErrorKind::PermissionDenied {
            "; ports below 1024 need a privilege"
        } else {
            ""
        };
        Self::Bind {
            name: wanted.name,
            address: wanted.address,
            source,
            advice,
        }
    }
}

#[cfg(test)]
mod tests;
