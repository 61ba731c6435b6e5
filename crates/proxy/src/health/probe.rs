//! One probe of a server on loopback, as the kubelet would do it.

mod grpc;
mod http;
mod tls;

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

use sidegate_config::probes::Target;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// How a probe ended.
pub(super) type Outcome = Result<(), Failure>;

/// Why a probe failed, in words of our own: what a server says is not for
/// whoever reaches the health port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// Nobody listens.
    Refused,
    /// There was no answer in time.
    Timeout,
    /// The connection failed, or what came was no answer.
    NoAnswer,
    /// TLS was not agreed on.
    Tls,
    /// Too many redirects.
    Redirects,
    /// The probe cannot be sent as it is written.
    Unsendable,
    /// An HTTP status.
    Status(u16),
    /// A status of gRPC.
    Grpc(u32),
    /// A gRPC server that does not serve.
    NotServing,
}

/// Drives a connection until it is dropped.
struct Driven(JoinHandle<()>);

/// Asks once.
pub(super) async fn probe(target: &Target) -> Outcome {
    match target {
        Target::Tcp { port } => connect(*port).await.map(drop),
        Target::Http {
            port,
            path,
            scheme,
            headers,
        } => http::get(*port, path, *scheme, headers).await,
        Target::Grpc { port, service } => grpc::check(*port, service.as_deref()).await,
    }
}

/// Connects to the server, by IPv4 first, as requests do.
async fn connect(port: u16) -> Result<TcpStream, Failure> {
    match TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
        Ok(stream) => Ok(stream),
        Err(first) => TcpStream::connect((Ipv6Addr::LOCALHOST, port))
            .await
            .map_err(|_| {
                if first.kind() == io::ErrorKind::ConnectionRefused {
                    Failure::Refused
                } else {
                    Failure::NoAnswer
                }
            }),
    }
}

// === impl Driven ===

impl Driven {
    fn start(connection: impl Future + Send + 'static) -> Self {
        Self(tokio::spawn(async move {
            connection.await;
        }))
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        self.0.abort();
    }
}

// === impl Failure ===

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("connection refused"),
            Self::Timeout => f.write_str("timeout"),
            Self::NoAnswer => f.write_str("no answer"),
            Self::Tls => f.write_str("no TLS"),
            Self::Redirects => f.write_str("too many redirects"),
            Self::Unsendable => f.write_str("path or headers cannot be sent"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::Grpc(status) => write!(f, "grpc status {status}"),
            Self::NotServing => f.write_str("not serving"),
        }
    }
}

#[cfg(test)]
mod tests;
