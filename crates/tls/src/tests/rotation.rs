use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::client::Resumption;
use rustls::version::{TLS12, TLS13};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::pki::{BOTH, Ca, PATIENCE, client, connection, meet, meet_as, mutual, reason};
use crate::{TlsAcceptor, TlsMode, server_config};

const ID: &str = "spiffe://td/ns/a/sa/x";

#[tokio::test]
async fn tls_026_a_new_handshake_sees_the_new_certificate_and_old_connections_stay() {
    let ca = Ca::new("ca");
    let (old, new) = (ca.server(), ca.server());
    let tls = |leaf: &super::pki::Leaf| {
        server_config(TlsMode::Mutual, &leaf.material(Some(&ca.pem))).expect("valid")
    };
    let acceptor = TlsAcceptor::new(tls(&old));
    let leaf = ca.client(&[ID]);
    let (served, connected) = meet(&acceptor, client(&ca, Some(&leaf), BOTH)).await;
    let (mut served, _) = served.expect("accepted");
    let mut connected = connected.expect("connected");
    acceptor.replace(tls(&new));

    let (again, other) = meet(&acceptor, client(&ca, Some(&leaf), BOTH)).await;
    again.expect("accepted");
    let shown = |stream: &tokio_rustls::client::TlsStream<TcpStream>| {
        stream
            .get_ref()
            .1
            .peer_certificates()
            .and_then(|chain| chain.first().cloned())
    };
    assert_eq!(shown(&connected), Some(old.der()));
    assert_eq!(shown(&other.expect("connected")), Some(new.der()));

    connected.write_all(b"still here").await.expect("sent");
    connected.flush().await.expect("sent");
    let mut text = [0; 10];
    served.read_exact(&mut text).await.expect("read");
    assert_eq!(&text, b"still here");
}

#[tokio::test]
async fn a_handshake_that_began_before_ends_as_it_began() {
    let ca = Ca::new("ca");
    let acceptor = mutual(&ca);
    let (ours, theirs) = connection().await;
    let mut accepting = Box::pin(acceptor.accept(theirs, PATIENCE));
    // Begun: polled once, nothing came yet.
    assert!(futures_poll_once(&mut accepting).await.is_none());
    let other = Ca::new("other");
    acceptor.replace(
        server_config(TlsMode::Mutual, &other.server().material(Some(&other.pem))).expect("valid"),
    );
    let connector = TlsConnector::from(Arc::new(client(&ca, Some(&ca.client(&[ID])), BOTH)));
    let name = ServerName::try_from("localhost").expect("a name");
    let (accepted, connected) = tokio::join!(accepting, connector.connect(name, ours));
    assert_eq!(reason(&accepted), "accepted");
    connected.expect("connected");
}

async fn futures_poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    std::future::poll_fn(
        |context| match std::pin::Pin::new(&mut *future).poll(context) {
            std::task::Poll::Ready(output) => std::task::Poll::Ready(Some(output)),
            std::task::Poll::Pending => std::task::Poll::Ready(None),
        },
    )
    .await
}

#[tokio::test]
async fn an_authority_that_was_removed_is_not_trusted_any_more_not_even_by_sessions() {
    let (ca, next) = (Ca::new("ca"), Ca::new("next"));
    let server = ca.server();
    let leaf = ca.client(&[ID]);
    for version in [&TLS12, &TLS13] {
        let acceptor = mutual(&ca);
        let mut client = client(&ca, Some(&leaf), &[version]);
        client.resumption = Resumption::in_memory_sessions(8);
        let client = Arc::new(client);
        let (before, _) = meet_as(&acceptor, Arc::clone(&client), "localhost").await;
        assert_eq!(reason(&before), "accepted");
        let material = server.material(Some(&next.pem));
        acceptor.replace(server_config(TlsMode::Mutual, &material).expect("valid"));
        let (after, _) = meet_as(&acceptor, client, "localhost").await;
        assert_eq!(reason(&after), "untrusted_client_certificate");
    }
}

#[tokio::test]
async fn both_authorities_are_trusted_during_their_change() {
    let (old, new) = (Ca::new("ca"), Ca::new("ca"));
    let bundle = format!("{}{}", old.pem, new.pem);
    let material = old.server().material(Some(&bundle));
    let acceptor = TlsAcceptor::new(server_config(TlsMode::Mutual, &material).expect("valid"));
    for ca in [&old, &new] {
        let (accepted, _) = meet(&acceptor, client(&old, Some(&ca.client(&[ID])), BOTH)).await;
        assert_eq!(reason(&accepted), "accepted");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_026_no_handshake_fails_while_certificates_change() {
    let ca = Arc::new(Ca::new("ca"));
    let acceptor = Arc::new(mutual(&ca));
    let done = Arc::new(AtomicBool::new(false));
    let config = Arc::new(client(&ca, Some(&ca.client(&[ID])), BOTH));
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let (acceptor, config, done) = (
                Arc::clone(&acceptor),
                Arc::clone(&config),
                Arc::clone(&done),
            );
            tokio::spawn(async move {
                let mut handshakes = 0;
                while !done.load(Ordering::Relaxed) || handshakes < 5 {
                    let met = Box::pin(meet_as(&acceptor, Arc::clone(&config), "localhost"));
                    let (accepted, connected) = met.await;
                    assert_eq!(reason(&accepted), "accepted");
                    connected.expect("connected");
                    handshakes += 1;
                }
            })
        })
        .collect();
    for _ in 0..20 {
        let material = ca.server().material(Some(&ca.pem));
        acceptor.replace(server_config(TlsMode::Mutual, &material).expect("valid"));
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    done.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.expect("no handshake failed");
    }
}
