use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use sidegate_policy::clock::SystemClock;
use sidegate_telemetry::audit::AuditLog;
use sidegate_telemetry::metrics::Metrics;

use super::*;
use crate::drain::Drain;
use crate::hold::{self, HoldOptions};
use crate::run::status::Status;

fn wanted(name: &str, address: SocketAddr) -> Wanted {
    Wanted {
        name: name.to_owned(),
        server_port: 8080,
        address,
    }
}

fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

async fn prepare(
    listeners: &Listeners,
    name: &str,
    address: SocketAddr,
) -> Result<Prepared, ListenError> {
    listeners.prepare(vec![wanted(name, address)], None).await
}

#[tokio::test]
async fn an_address_in_use_is_refused_with_its_cause() {
    let taken = std::net::TcpListener::bind(any_port()).expect("binds");
    let address = taken.local_addr().expect("has an address");
    let error = prepare(&Listeners::default(), "support", address).await;
    let text = error.expect_err("in use").to_string();
    assert!(
        text.contains("`support`") && text.contains(&address.to_string()),
        "{text}"
    );
}

#[tokio::test]
async fn the_wildcard_of_another_listener_is_not_shared() {
    let taken = std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("binds");
    let port = taken.local_addr().expect("has an address").port();
    let address = (Ipv4Addr::LOCALHOST, port).into();
    let prepared = prepare(&Listeners::default(), "support", address).await;
    assert!(prepared.is_err());
}

#[tokio::test]
async fn a_bound_address_is_kept() {
    let listeners = Listeners::default();
    let prepared = prepare(&listeners, "a", any_port()).await.expect("binds");
    let socket = prepared.sockets.first().expect("one").clone();
    let address = socket.address;
    let task = tokio::spawn(std::future::pending());
    let listeners = Listeners {
        accepting: vec![Accepting { socket, task }],
        ..listeners
    };

    let same = prepare(&listeners, "a", any_port()).await.expect("kept");
    assert_eq!(same.sockets.first().expect("one").address, address);
    let other = prepare(&listeners, "b", any_port()).await.expect("binds");
    assert_ne!(other.sockets.first().expect("one").address, address);
}

#[test]
fn only_errors_of_the_system_back_off() {
    assert!(is_of_the_peer(&io::ErrorKind::ConnectionAborted.into()));
    assert!(!is_of_the_peer(&io::Error::from_raw_os_error(24)), "EMFILE");
    assert!(!is_of_the_peer(&io::Error::from_raw_os_error(23)), "ENFILE");
}

fn shared() -> Arc<Shared> {
    let metrics = Metrics::new();
    let audit = AuditLog::start(Box::new(io::sink()), Arc::clone(&metrics));
    Shared::new(
        metrics,
        Arc::new(audit),
        Arc::new(SystemClock),
        Drain::new(),
    )
}

/// A holder of two ports and listeners that take them.
struct Held {
    hold: HeldSockets,
    addresses: [SocketAddr; 2],
    listeners: Listeners,
    _dir: tempfile::TempDir,
}

impl Held {
    fn start() -> Self {
        let free = [(); 2].map(|()| std::net::TcpListener::bind(any_port()).expect("binds"));
        let addresses = free.each_ref().map(|it| it.local_addr().expect("bound"));
        drop(free);
        let dir = tempfile::tempdir().expect("a directory");
        let socket = dir.path().join("hold.sock");
        tokio::spawn(hold::hold(HoldOptions {
            socket: socket.clone(),
            ports: addresses.map(|it| it.port()).to_vec(),
            bind: Some(Ipv4Addr::LOCALHOST.into()),
        }));
        Self {
            hold: HeldSockets::at(socket),
            addresses,
            listeners: Listeners::default(),
            _dir: dir,
        }
    }

    async fn apply(&mut self, wanted: Vec<Wanted>) -> Vec<SocketAddr> {
        let prepared = self.listeners.prepare(wanted, Some(&self.hold)).await;
        let transport = Arc::new(ArcSwap::new(Transport::new(None)));
        self.listeners
            .install(prepared.expect("held"), &transport, &shared());
        let bound = self.listeners.bound();
        bound.iter().map(|listener| listener.address).collect()
    }
}

/// How a connection ends that nobody serves.
async fn end_of_connection(address: SocketAddr) -> io::Result<usize> {
    use tokio::io::AsyncReadExt as _;
    let mut stream = TcpStream::connect(address).await?;
    stream.read(&mut [0]).await
}

/// The listeners of these tests have no configuration, so they close what they
/// accept; only what is turned away is reset.
async fn is_turned_away(address: SocketAddr) -> bool {
    match end_of_connection(address).await {
        Ok(0) => false,
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => true,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn held_ports_that_are_not_asked_for_turn_connections_away() {
    let mut held = Held::start();
    let [a, b] = held.addresses;
    assert_eq!(held.apply(vec![wanted("a", a)]).await, [a]);
    assert!(!is_turned_away(a).await && is_turned_away(b).await);
    let both = vec![wanted("a", a), wanted("b", b)];
    assert_eq!(held.apply(both).await, [a, b]);
    assert!(!is_turned_away(a).await && !is_turned_away(b).await);
    assert_eq!(held.apply(vec![wanted("b", b)]).await, [b]);
    assert!(is_turned_away(a).await && !is_turned_away(b).await);
    assert_eq!(held.apply(vec![wanted("renamed", b)]).await, [b]);
    assert!(is_turned_away(a).await && !is_turned_away(b).await);
    held.listeners.close();
    assert_eq!(held.listeners.bound(), []);
    assert!(is_turned_away(a).await && is_turned_away(b).await);
}

#[tokio::test]
async fn held_ports_are_not_foreign_whether_or_not_they_are_asked_for() {
    let mut held = Held::start();
    let [a, b] = held.addresses;
    let status = Status::default();
    let ours = || status.facts().addresses().collect::<BTreeSet<_>>();
    assert_eq!(held.apply(vec![wanted("a", a)]).await, [a]);
    status.loaded(0, &held.listeners);
    assert_eq!(ours(), BTreeSet::from([a, b]));
    assert_eq!(held.apply(vec![wanted("b", b)]).await, [b]);
    status.loaded(0, &held.listeners);
    assert_eq!(ours(), BTreeSet::from([a, b]));
    held.listeners.close();
    status.closed(&held.listeners);
    assert_eq!(ours(), BTreeSet::from([a, b]));
    assert_eq!(status.facts().listeners, []);
}

#[tokio::test]
async fn ports_that_are_not_held_are_bound_and_closed() {
    let mut held = Held::start();
    let [a, _] = held.addresses;
    let bound = held
        .apply(vec![wanted("a", a), wanted("own", any_port())])
        .await;
    let own = *bound.last().expect("two");
    assert!(!is_turned_away(own).await);
    held.listeners.close();
    tokio::task::yield_now().await;
    let refused = end_of_connection(own).await.expect_err("closed").kind();
    assert_eq!(refused, io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn what_is_held_stays_in_use_without_its_holder() {
    let mut held = Held::start();
    let [a, b] = held.addresses;
    held.apply(vec![wanted("a", a)]).await;
    held.hold = HeldSockets::at("/nowhere".into()).with_patience(Duration::ZERO);
    let both = vec![wanted("a", a), wanted("b", b)];
    assert_eq!(held.apply(both).await, [a, b], "both were handed over");
    let more = held
        .listeners
        .prepare(vec![wanted("c", any_port())], Some(&held.hold));
    let error = more.await.expect_err("nobody says whether it is held");
    assert!(matches!(&error, ListenError::Held(_)), "{error}");
}
