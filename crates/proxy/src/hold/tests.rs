use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::*;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const PATIENCE: Duration = Duration::from_secs(20);

/// A holder as a task; its sockets close when it is dropped.
struct Running(JoinHandle<Result<Infallible, HoldError>>);

impl Running {
    fn start(socket: PathBuf, ports: &[u16]) -> Self {
        let options = HoldOptions {
            socket,
            ports: ports.to_vec(),
            bind: Some(HERE),
        };
        Self(tokio::spawn(hold(options)))
    }

    /// Ends it and waits until its sockets are closed.
    async fn end(self) {
        self.0.abort();
        let _ = self.0.await;
    }
}

fn socket(dir: &TempDir) -> PathBuf {
    dir.path().join("hold.sock")
}

fn held_by(dir: &TempDir) -> HeldSockets {
    HeldSockets::at(socket(dir)).with_patience(PATIENCE)
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((HERE, 0)).unwrap();
    listener.local_addr().unwrap()
}

fn is_taken(address: SocketAddr) -> bool {
    let wildcard = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port());
    let taken = crate::sockets::open(address).is_err();
    assert_eq!(crate::sockets::open(wildcard).is_err(), taken);
    taken
}

#[tokio::test]
async fn ports_stay_taken_without_a_sidecar_and_connections_wait_for_one() {
    let dir = tempfile::tempdir().unwrap();
    let address = free_address();
    let running = Running::start(socket(&dir), &[address.port()]);
    let handed = held_by(&dir).get(&[address]).await.unwrap();
    assert_eq!(handed.ports.len(), 1);
    drop(handed);
    assert!(is_taken(address));

    let _waits = TcpStream::connect(address).unwrap();
    let handed = held_by(&dir).get(&[address]).await.unwrap();
    let (_stream, _) = handed.sockets.get(&address).unwrap().accept().unwrap();
    drop(handed);
    running.end().await;
    assert!(!is_taken(address));
}

#[tokio::test]
async fn a_sidecar_waits_for_a_holder_that_starts_later() {
    let dir = tempfile::tempdir().unwrap();
    let address = free_address();
    let hold = held_by(&dir);
    let wanted = [address];
    let (handed, _running) = tokio::join!(hold.get(&wanted), async {
        tokio::task::yield_now().await;
        Running::start(socket(&dir), &[address.port()])
    });
    assert!(handed.unwrap().sockets.contains_key(&address));
}

#[tokio::test]
async fn a_holder_that_is_not_there_is_an_error_and_not_a_port_to_take() {
    let dir = tempfile::tempdir().unwrap();
    let hold = held_by(&dir).with_patience(Duration::ZERO);
    let error = hold.get(&[free_address()]).await.unwrap_err();
    assert!(matches!(&error, HeldError::Silent { .. }), "{error}");
    assert!(error.to_string().contains("hold.sock"), "{error}");
}

#[tokio::test]
async fn a_port_that_another_process_has_is_an_error_until_it_is_free() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind((HERE, 0)).unwrap();
    let address = taken.local_addr().unwrap();
    let other = free_address();
    let _running = Running::start(socket(&dir), &[address.port()]);
    let some = held_by(&dir).get(&[other]).await.unwrap();
    assert!(
        some.sockets.is_empty(),
        "another port is none of its business"
    );

    let hasty = held_by(&dir).with_patience(Duration::ZERO);
    let error = hasty.get(&[address]).await.unwrap_err();
    assert!(matches!(&error, HeldError::Missing { .. }), "{error}");

    drop(taken);
    let handed = held_by(&dir).get(&[address]).await.unwrap();
    assert!(handed.sockets.contains_key(&address));
}

#[tokio::test]
async fn a_new_holder_gets_the_sockets_back_from_the_sidecar() {
    let dir = tempfile::tempdir().unwrap();
    let address = free_address();
    let first = Running::start(socket(&dir), &[address.port()]);
    let handed = held_by(&dir).get(&[address]).await.unwrap();
    let keeper = Keeper::start(held_by(&dir), handed.sockets.clone());
    assert!(keeper.keeps(&handed.sockets));
    assert!(!keeper.keeps(&Ours::new()));
    drop(handed);
    first.end().await;
    assert!(is_taken(address), "the sidecar still has it");

    let second = Running::start(socket(&dir), &[address.port()]);
    // It can have it from nowhere else.
    let again = held_by(&dir).get(&[address]).await.unwrap();
    drop((again, keeper));
    // The drop of the keeper is a task's end.
    tokio::task::yield_now().await;
    assert!(is_taken(address));
    second.end().await;
}

#[tokio::test]
async fn the_number_of_ports_has_a_bound_on_both_sides() {
    let dir = tempfile::tempdir().unwrap();
    for count in [0, MAX_PORTS + 1] {
        let ports = vec![1; count];
        let options = HoldOptions {
            socket: socket(&dir),
            ports,
            bind: Some(HERE),
        };
        assert!(matches!(hold(options).await, Err(HoldError::Ports(it)) if it == count));
    }
    let ports = vec![free_address().port(); MAX_PORTS];
    let _running = Running::start(socket(&dir), &ports);
    let handed = held_by(&dir).get(&[]).await.unwrap();
    assert_eq!(handed.ports.len(), 1);
}
