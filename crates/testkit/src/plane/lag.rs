//! A way to the API server on which the answers about one object can be held
//! back, as a slow watch would be. Everything else passes.

use std::fs;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::apiserver::ApiServer;
use crate::client::Version;
use crate::client::tls::ClientTls;

/// A port that forwards to the API server, until it is dropped. Its client
/// speaks plain HTTP/1.1, so that what it asks for can be seen: each of its
/// connections has one answer at a time, and a watch has one of its own.
#[derive(Debug)]
pub(super) struct Lag {
    address: SocketAddr,
    held: watch::Sender<Option<String>>,
    task: JoinHandle<()>,
}

// === impl Lag ===

impl Lag {
    /// A way to `server` that leads over `through`.
    ///
    /// # Panics
    /// There is no port, or no certificate.
    pub(super) async fn new(server: &ApiServer, through: SocketAddr) -> Self {
        let authority = fs::read_to_string(server.ca_file()).expect("a certificate");
        let tls = ClientTls::new(&authority);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (held, seen) = watch::channel(None);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    came = listener.accept() => {
                        let Ok((near, _)) = came else { continue };
                        connections.spawn(forward(near, through, tls.clone(), seen.clone()));
                    }
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        Self {
            address,
            held,
            task,
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Holds answers about the objects of this name back, or lets all of them
    /// through again.
    pub(super) fn hold(&self, name: Option<&str>) {
        let selector = name.map(|name| format!("metadata.name%3D{name}"));
        self.held.send_replace(selector);
    }
}

impl Drop for Lag {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Forwards until one side ends.
async fn forward(
    mut near: TcpStream,
    through: SocketAddr,
    tls: ClientTls,
    mut held: watch::Receiver<Option<String>>,
) {
    let Ok(far) = TcpStream::connect(through).await else {
        return;
    };
    // It adds no wait of its own to small messages.
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let Ok(mut far) = tls.connect(far, Version::Http1).await else {
        return;
    };
    let mut asked = String::new();
    let (mut said, mut answered) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        let is_held = held
            .borrow_and_update()
            .as_ref()
            .is_some_and(|selector| asked.contains(selector));
        let passed = tokio::select! {
            count = near.read(&mut said) => match count {
                Ok(count) if count > 0 => {
                    asked = asked_now(&said[..count]).unwrap_or(asked);
                    let written = far.write_all(&said[..count]).await;
                    written.is_ok() && far.flush().await.is_ok()
                }
                Ok(_) | Err(_) => false,
            },
            count = far.read(&mut answered), if !is_held => match count {
                Ok(count) if count > 0 => near.write_all(&answered[..count]).await.is_ok(),
                Ok(_) | Err(_) => false,
            },
            changed = held.changed() => changed.is_ok(),
        };
        if !passed {
            return;
        }
    }
}

/// The first line of a request, if that is what begins here.
fn asked_now(bytes: &[u8]) -> Option<String> {
    let line = bytes.split(|byte| *byte == b'\r').next()?;
    let line = std::str::from_utf8(line).ok()?;
    line.ends_with(" HTTP/1.1").then(|| line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_told_from_its_body() {
        let request = b"GET /api/v1/secrets?watch=true HTTP/1.1\r\nhost: a\r\n\r\n";
        let asked = asked_now(request).expect("a request");
        assert_eq!(asked, "GET /api/v1/secrets?watch=true HTTP/1.1");
        for body in [&b"{\"a\":\r\n1}"[..], b"", b"\xff HTTP/1.1\r\n"] {
            assert_eq!(asked_now(body), None);
        }
    }
}
