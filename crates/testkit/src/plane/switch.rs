//! A name that leads to whom a test wants: a small forwarder on loopback.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// A port that forwards to one of several others, until it is dropped.
#[derive(Debug)]
pub struct Switch {
    address: SocketAddr,
    targets: watch::Sender<Vec<SocketAddr>>,
    accepted: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

// === impl Switch ===

impl Switch {
    /// A port of 127.0.0.1 that leads nowhere yet.
    ///
    /// # Panics
    /// There is no port.
    pub async fn new() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (targets, seen) = watch::channel(Vec::new());
        let accepted = Arc::<AtomicUsize>::default();
        let task = tokio::spawn(accept(listener, seen, Arc::clone(&accepted)));
        Self {
            address,
            targets,
            accepted,
            task,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// How many connections came so far, forwarded or not.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Forwards new connections to these, in turn, or to the next that answers.
    /// Connections to others are cut. With none, whoever connects is cut off.
    pub fn point(&self, targets: &[SocketAddr]) {
        self.targets.send_replace(targets.to_vec());
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(
    listener: TcpListener,
    targets: watch::Receiver<Vec<SocketAddr>>,
    accepted: Arc<AtomicUsize>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            came = listener.accept() => {
                let Ok((near, _)) = came else { continue };
                let turn = accepted.fetch_add(1, Ordering::SeqCst);
                connections.spawn(forward(near, turn, targets.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Forwards until one side ends or the target is none any more.
async fn forward(mut near: TcpStream, turn: usize, mut targets: watch::Receiver<Vec<SocketAddr>>) {
    let mut order = targets.borrow_and_update().clone();
    let count = order.len().max(1);
    order.rotate_left(turn % count);
    let Some((target, mut far)) = connect(&order).await else {
        return;
    };
    // It adds no wait of its own to small messages.
    let _ = near.set_nodelay(true);
    let both = async { tokio::io::copy_bidirectional(&mut near, &mut far).await };
    tokio::select! {
        _ended = both => {}
        _cut = targets.wait_for(|targets| !targets.contains(&target)) => {}
    }
}

async fn connect(order: &[SocketAddr]) -> Option<(SocketAddr, TcpStream)> {
    for target in order {
        let connected: io::Result<TcpStream> = TcpStream::connect(target).await;
        if let Ok(stream) = connected {
            let _ = stream.set_nodelay(true);
            return Some((*target, stream));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use crate::client::Client;
    use crate::upstream::{Reply, Upstream};

    use super::*;

    #[tokio::test]
    async fn it_leads_to_whom_it_is_pointed() {
        let one = Upstream::start(|_| Reply::status(201, &[], b"")).await;
        let two = Upstream::start(|_| Reply::status(202, &[], b"")).await;
        let switch = Switch::new().await;
        let client = Client::plaintext(switch.address());
        assert!(client.get("/").await.is_err(), "it leads nowhere");
        switch.point(&[one.address()]);
        assert_eq!(client.get("/").await.unwrap().status, 201);
        let mut connection = client.connect().await.unwrap();
        let get = || http::Request::get("/").body(bytes::Bytes::new()).unwrap();
        assert_eq!(connection.send(get()).await.unwrap().status, 201);
        switch.point(&[two.address()]);
        assert!(connection.send(get()).await.is_err(), "it is cut");
        for _ in 0..2 {
            assert_eq!(client.get("/").await.unwrap().status, 202);
        }
    }

    #[tokio::test]
    async fn a_target_that_does_not_answer_is_passed_over() {
        let [gone] = crate::process::free_ports();
        let one = Upstream::start(|_| Reply::status(201, &[], b"")).await;
        let switch = Switch::new().await;
        switch.point(&[(std::net::Ipv4Addr::LOCALHOST, gone).into(), one.address()]);
        for _ in 0..3 {
            let answer = Client::plaintext(switch.address()).get("/").await.unwrap();
            assert_eq!(answer.status, 201);
        }
    }
}
