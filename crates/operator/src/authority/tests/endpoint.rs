//! What the operator's endpoints show, by real handshakes.

use std::net::SocketAddr;

use sidegate_policy::clock::ManualClock;
use sidegate_tls::{ClientTls, PeerCertificate, PrivateKeyPem, client_config, new_key_and_request};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::super::endpoint::{Clients, Endpoint};
use super::super::rotation::Step;
use super::*;

const ALPN: &[&[u8]] = &[b"test/1"];
const PATIENCE: Duration = Duration::from_secs(10);

/// One connection to an endpoint: what the endpoint knows of the client, or
/// that there is none.
async fn connect(endpoint: &mut Endpoint, client: &ClientTls) -> Option<Option<PeerCertificate>> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
        .await
        .unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (accepted, _) = listener.accept().await.unwrap();
    let acceptor = endpoint.acceptor().await;
    let (connected, accepted) = tokio::join!(
        client.connect(stream, "localhost"),
        acceptor.accept_with_certificate(accepted, PATIENCE)
    );
    connected.ok()?;
    accepted.ok().map(|(_, peer)| peer)
}

fn client(trust: &Trust, identity: Option<(&[u8], &PrivateKeyPem)>) -> ClientTls {
    client_config(trust.endpoint_roots_pem().as_bytes(), identity, ALPN).expect("a client")
}

fn endpoint(trust: TrustReceiver, clients: Clients) -> Endpoint {
    Endpoint::new("test", trust, Arc::new(SystemClock), clients, ALPN)
}

#[tokio::test]
async fn a_workload_is_known_by_its_certificate_and_may_come_without() {
    let trust = trust();
    let (_trust_tx, receiver) = watch::channel(Some(Arc::clone(&trust)));
    let mut endpoint = endpoint(receiver, Clients::Workloads);
    let key = new_key_and_request().expect("a request");
    let chain = trust
        .sign_workload(&key.request_pem, &identity(), now())
        .expect("it is signed");
    let with = client(&trust, Some((chain.as_bytes(), &key.key_pem)));
    let peer = connect(&mut endpoint, &with)
        .await
        .flatten()
        .expect("a peer");
    let id = peer.spiffe_id.expect("a SPIFFE id");
    assert_eq!(id.as_str(), "spiffe://cluster.local/ns/crm/sa/support");
    assert_eq!(peer.common_name.as_deref(), Some(&*identity().pod_uid));
    let without = client(&trust, None);
    assert_eq!(connect(&mut endpoint, &without).await, Some(None));

    // One of another authority is not taken, nor is an endpoint's own.
    let other = super::trust()
        .sign_workload(&key.request_pem, &identity(), now())
        .expect("it is signed");
    let foreign = client(&trust, Some((other.as_bytes(), &key.key_pem)));
    assert_eq!(connect(&mut endpoint, &foreign).await, None);
    let own = trust.issue_endpoint(now()).expect("it is issued");
    let posing = client(&trust, Some((&own.certificate_pem, &own.key_pem)));
    assert_eq!(connect(&mut endpoint, &posing).await, None);
}

#[tokio::test]
async fn workload_roots_do_not_vouch_for_the_operator() {
    let trust = trust();
    let (_trust_tx, receiver) = watch::channel(Some(Arc::clone(&trust)));
    let mut endpoint = endpoint(receiver, Clients::Nobody);
    let good = client(&trust, None);
    assert_eq!(connect(&mut endpoint, &good).await, Some(None));
    let wrong = client_config(trust.workload_roots_pem().as_bytes(), None, ALPN);
    assert_eq!(
        connect(&mut endpoint, &wrong.expect("a client")).await,
        None
    );
}

#[tokio::test]
async fn a_change_of_trust_is_shown_at_once_and_old_clients_still_trust_it() {
    let mut stored = stored();
    let settings = settings();
    let lifetimes = *settings.lifetimes(Purpose::Endpoints);
    let mut go = |step, at| {
        let set = stored
            .endpoints
            .after(step, Purpose::Endpoints, &lifetimes, at);
        stored.endpoints = Arc::new(set.expect("a set"));
        Arc::new(Trust::new(&stored, &settings))
    };
    let both = go(Step::Create, now());
    let (trust_tx, receiver) = watch::channel(Some(Arc::clone(&both)));
    let mut endpoint = endpoint(receiver, Clients::Nobody);
    let during = client(&both, None);
    assert!(connect(&mut endpoint, &during).await.is_some());
    go(Step::Promote { candidate: 1 }, now());
    let after = go(Step::Drop { index: 0 }, now());
    let later = client(&after, None);
    assert!(
        connect(&mut endpoint, &later).await.is_none(),
        "the old root signed"
    );
    trust_tx.send_replace(Some(after));
    assert!(connect(&mut endpoint, &later).await.is_some());
    assert!(connect(&mut endpoint, &during).await.is_some());
}

#[tokio::test]
async fn a_certificate_is_renewed_after_two_thirds_of_its_life_and_kept_without_a_root() {
    let day = Duration::from_secs(24 * 60 * 60);
    // What is shown is valid now, so the story begins in the past.
    let start = now() - 60 * 24 * 60 * 60;
    let trust = Arc::new(Trust::new(&stored_since(start), &settings()));
    let (_trust_tx, receiver) = watch::channel(Some(trust));
    let clock = Arc::new(ManualClock::new(start));
    let time = Arc::clone(&clock) as _;
    let mut endpoint = Endpoint::new("test", receiver, time, Clients::Nobody, ALPN);
    let first = endpoint.acceptor().await;
    clock.advance(60 * day - Duration::from_secs(1));
    endpoint.acceptor().await;
    assert_eq!(endpoint.certificates(), 1);
    clock.advance(Duration::from_secs(1));
    endpoint.acceptor().await;
    assert_eq!(endpoint.certificates(), 2);
    // The root is gone, and no other came: the last certificate stays.
    clock.advance(400 * day);
    let last = endpoint.acceptor().await;
    assert_eq!(endpoint.certificates(), 2);
    assert!(Arc::ptr_eq(&first, &last));
}

#[tokio::test]
async fn it_waits_for_the_first_trust() {
    let (trust_tx, receiver) = watch::channel(None);
    let mut endpoint = endpoint(receiver, Clients::Nobody);
    let trust = trust();
    let client = client(&trust, None);
    let (connected, ()) = tokio::join!(connect(&mut endpoint, &client), async {
        tokio::task::yield_now().await;
        trust_tx.send_replace(Some(Arc::clone(&trust)));
    });
    assert!(connected.is_some());
}
