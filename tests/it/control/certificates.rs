//! Certificates of the built-in authority.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use sidegate_config::control::{FromOperator, FromSidecar};
use sidegate_config::sidecar_config::{SidecarConfig, TlsConfig};
use sidegate_testkit::certificates::{AGENT, TestAuthority};
use sidegate_testkit::client::Client;
use sidegate_testkit::control::{snapshot, version, withdrawn};
use sidegate_testkit::mcp;
use sidegate_testkit::poll::until;
use sidegate_testkit::process::SidegateProcess;

use super::{Pod, metric, shown, until_answer, until_unready};

const EXPIRY: &str = "sidegate_certificate_expiry_timestamp_seconds";

fn mutual(pod: &Pod) -> SidecarConfig {
    pod.config(|spec| spec["tls"] = json!({"mode": "Mutual"}))
}

/// A caller with a certificate of the authority that signs now.
fn caller(pod: &Pod, address: SocketAddr) -> Client {
    Client::tls(address, &pod.operator.workloads_pem())
        .host("localhost")
        .identity(&pod.operator.client(AGENT))
}

async fn secured(pod: &Pod) -> (SidegateProcess, SocketAddr) {
    let mut sidecar = pod.enforcing(snapshot(1, &mutual(pod))).await;
    let address = sidecar.address("support").await;
    (sidecar, address)
}

fn requests(pod: &Pod) -> usize {
    let said = pod.operator.said();
    let asks = |said: &&FromSidecar| matches!(said, FromSidecar::CertificateRequest(_));
    said.iter().filter(asks).count()
}

#[tokio::test]
async fn callers_of_the_same_authority_are_let_in_and_no_others() {
    let pod = Pod::new().await;
    let (_sidecar, address) = secured(&pod).await;
    let call = || mcp::call("get_customer", json!({})).token(&pod.token());
    let known = caller(&pod, address);
    for client in [known.clone(), known.http2()] {
        let answer = client.send(call()).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    pod.upstream.forget();
    let trusting = || Client::tls(address, &pod.operator.workloads_pem()).host("localhost");
    let other = TestAuthority::new();
    for stranger in [trusting(), trusting().identity(&other.client(AGENT))] {
        stranger.handshake().await.unwrap_err();
        stranger.send(call()).await.unwrap_err();
    }
    pod.upstream.assert_untouched();
}

#[tokio::test]
async fn a_snapshot_waits_for_the_certificate() {
    let pod = Pod::new().await;
    pod.operator.signs(false);
    let first = snapshot(1, &mutual(&pod));
    pod.operator.say(&FromOperator::Snapshot(first.clone()));
    let mut sidecar = pod.start();
    let waiting = until_answer(sidecar.admin().await, "/config", |answer| {
        answer.json()["source"]["waiting"].is_string()
    });
    let waiting = waiting.await.json();
    assert_eq!(waiting["ready"], false);
    assert!(
        waiting["source"]["waiting"]
            .as_str()
            .unwrap()
            .contains("waits for a certificate")
    );
    let judged =
        |said: &FromSidecar| matches!(said, FromSidecar::Confirmed(_) | FromSidecar::Rejected(_));
    assert!(!pod.operator.said().iter().any(judged));
    until_unready(&mut sidecar).await;
    assert_eq!(requests(&pod), 1);

    pod.operator.signs(true);
    pod.operator.hang_up();
    pod.until_confirmed(&first.version).await;
    sidecar.until_ready().await;
    let address = sidecar.address("support").await;
    caller(&pod, address).handshake().await.unwrap();
}

/// Also CFG-012: key and certificate are there after a restart.
#[tokio::test]
async fn cfg_012_a_restart_keeps_the_certificate() {
    let mut pod = Pod::new().await;
    let (mut sidecar, _) = secured(&pod).await;
    let expiry = metric(&mut sidecar, EXPIRY).await;
    pod.operator.take_down().await;
    sidecar.process().signal("KILL");
    sidecar.process().until_ended().await;
    let mut sidecar = pod.start();
    sidecar.until_ready().await;
    let address = sidecar.address("support").await;
    caller(&pod, address).handshake().await.unwrap();
    assert_eq!(metric(&mut sidecar, EXPIRY).await, expiry);
    pod.operator.bring_up().await;
    pod.operator.until_streams(2).await;
    assert!(pod.operator.streams()[1].certificate.is_some());
    assert_eq!(requests(&pod), 1, "it is young");
}

/// OPR-023. The key and the authority of a Secret go with its gateway, from the
/// listeners, too; and a gateway that comes after it finds nothing of them.
#[tokio::test]
async fn opr_023_nothing_of_a_secret_outlives_its_gateway() {
    let pod = Pod::new().await;
    let secrets = TestAuthority::new();
    let material = secrets.server();
    let mut first = pod.config(|_| {});
    first.version = "with-a-secret".to_owned();
    first.tls = TlsConfig::Mutual {
        certificate_pem: material.certificate_pem.clone(),
        key_pem: material.key_pem.expose().to_owned().into(),
        client_ca_pem: secrets.pem().to_owned(),
    };
    let mut sidecar = pod.enforcing(snapshot(1, &first)).await;
    let address = sidecar.address("support").await;
    let before = Client::tls(address, secrets.pem())
        .host("localhost")
        .identity(&secrets.client(AGENT));
    let call = || mcp::call("get_customer", json!({})).token(&pod.token());
    assert_eq!(before.send(call()).await.unwrap().status, 200);
    before.handshake().await.unwrap();

    pod.operator.say(&withdrawn(2));
    pod.until_confirmed(&version(2, "")).await;
    before.handshake().await.unwrap_err();
    let after = caller(&pod, address);
    assert_eq!(after.send(call()).await.unwrap().status, 503);

    let second = snapshot(3, &mutual(&pod));
    pod.operator.say(&FromOperator::Snapshot(second.clone()));
    pod.until_confirmed(&second.version).await;
    assert_eq!(after.send(call()).await.unwrap().status, 200);
    before.handshake().await.unwrap_err();
    // Whom the Secret's authority certified is nobody now.
    let stranger = Client::tls(address, &pod.operator.workloads_pem())
        .host("localhost")
        .identity(&secrets.client(AGENT));
    stranger.send(call()).await.unwrap_err();
    assert_eq!(requests(&pod), 1, "no renewal hides it");
}

#[tokio::test]
async fn a_renewal_under_load_fails_no_request() {
    let pod = Pod::new().await;
    // More than half of it is over when it comes.
    pod.operator.certificates_live(Duration::from_secs(200));
    let (mut sidecar, address) = secured(&pod).await;
    let first = metric(&mut sidecar, EXPIRY).await.unwrap();
    pod.operator
        .certificates_live(Duration::from_secs(48 * 3600));

    let (stop, done) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let mut load = tokio::task::JoinSet::new();
    for keep_alive in [true, false, true] {
        let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
        let (client, token) = (caller(&pod, address), pod.token());
        load.spawn(async move {
            let mut connection = client.connect().await.unwrap();
            while !stop.load(Ordering::SeqCst) {
                if !keep_alive {
                    connection = client.connect().await.unwrap();
                }
                let call = mcp::call("get_customer", json!({})).token(&token);
                let answer = connection.send(call).await.unwrap();
                assert_eq!(answer.status, 200, "{}", answer.text());
                assert_eq!(answer.header("connection"), "");
                done.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    let renewed = async {
        loop {
            let now = metric(&mut sidecar, EXPIRY).await.unwrap();
            if now > first {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    // It is asked for no sooner than five seconds after the first.
    tokio::time::timeout(Duration::from_secs(30), renewed)
        .await
        .expect("the certificate is renewed");
    let before = done.load(Ordering::SeqCst);
    until("requests are answered with the new one", || {
        (done.load(Ordering::SeqCst) > before + 20).then_some(())
    })
    .await;
    stop.store(true, Ordering::SeqCst);
    while let Some(worker) = load.join_next().await {
        worker.unwrap();
    }
    assert!(requests(&pod) >= 2);
}

#[tokio::test]
async fn a_wish_for_other_names_is_fulfilled() {
    let pod = Pod::new().await;
    let (_sidecar, _) = secured(&pod).await;
    assert_eq!(requests(&pod), 1);
    pod.operator.say_once(&FromOperator::Renew);
    until("it asks again", || (requests(&pod) == 2).then_some(())).await;
}

#[tokio::test]
async fn another_authority_drops_nobody_and_one_less_does() {
    let pod = Pod::new().await;
    let (mut sidecar, address) = secured(&pod).await;
    let old = caller(&pod, address);
    let mut connection = old.connect().await.unwrap();
    let call = || mcp::call("get_customer", json!({})).token(&pod.token());
    assert_eq!(connection.send(call()).await.unwrap().status, 200);

    // Both are trusted: whoever is connected stays.
    pod.operator.rotate(true);
    let new = Client::tls(address, old_pem(&pod).as_str())
        .host("localhost")
        .identity(&pod.operator.client(AGENT));
    let end = tokio::time::Instant::now() + sidegate_testkit::poll::PATIENCE;
    while new.handshake().await.is_err() {
        assert!(
            tokio::time::Instant::now() < end,
            "the new one is not trusted"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let answer = connection.send(call()).await.unwrap();
    assert_eq!(
        (answer.status.as_u16(), answer.header("connection")),
        (200, "")
    );
    old.handshake().await.unwrap();

    // The old one is gone: so is what it signed, and our own certificate is
    // one of those.
    pod.operator.forget_old_authorities();
    let closed = until_closing(&mut connection, call);
    closed.await;
    old.handshake().await.unwrap_err();
    until("it asks for another certificate", || {
        (requests(&pod) >= 2).then_some(())
    })
    .await;
    let after = Client::tls(address, &pod.operator.workloads_pem())
        .host("localhost")
        .identity(&pod.operator.client(AGENT));
    let end = tokio::time::Instant::now() + sidegate_testkit::poll::PATIENCE;
    while after.handshake().await.is_err() {
        assert!(
            tokio::time::Instant::now() < end,
            "no certificate of the new one"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(shown(&mut sidecar).await["ready"], true);
}

/// The authority that signed the sidecar's certificate, whoever signs now.
fn old_pem(pod: &Pod) -> String {
    std::fs::read_to_string(pod.path("state/authorities.pem")).unwrap()
}

async fn until_closing(
    connection: &mut sidegate_testkit::client::Connection,
    call: impl Fn() -> mcp::McpRequest,
) {
    let end = tokio::time::Instant::now() + sidegate_testkit::poll::PATIENCE;
    loop {
        match connection.send(call()).await {
            Ok(answer) if answer.header("connection") == "close" => return,
            Ok(_) => {}
            Err(_) => return,
        }
        assert!(tokio::time::Instant::now() < end, "it lives on");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// An authority that was replaced behind the sidecar's back.
#[tokio::test]
async fn a_certificate_that_the_operator_does_not_trust_is_replaced() {
    let mut pod = Pod::new().await;
    let (mut sidecar, address) = secured(&pod).await;
    pod.operator.take_down().await;
    pod.operator.rotate(false);
    pod.operator.bring_up().await;
    // It comes with the certificate of before, is refused, and comes without.
    until("it asks for a certificate of the new authority", || {
        (requests(&pod) == 2).then_some(())
    })
    .await;
    let end = tokio::time::Instant::now() + sidegate_testkit::poll::PATIENCE;
    while caller(&pod, address).handshake().await.is_err() {
        assert!(tokio::time::Instant::now() < end, "it was not replaced");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(shown(&mut sidecar).await["ready"], true);
}

#[tokio::test]
async fn adm_013_an_expired_certificate_is_not_ready() {
    let pod = Pod::new().await;
    pod.operator.certificates_live(Duration::from_secs(4));
    let (mut sidecar, _) = secured(&pod).await;
    pod.operator.signs(false);
    until_unready(&mut sidecar).await;
    assert_eq!(shown(&mut sidecar).await["source"]["connected"], true);
}

/// From then on the replica that saw it takes no token alone.
#[tokio::test]
async fn a_stream_without_certificate_is_followed_by_one_that_shows_it() {
    let pod = Pod::new().await;
    let _sidecar = pod.enforcing(snapshot(1, &pod.permitting("one"))).await;
    pod.operator.until_streams(2).await;
    let streams = pod.operator.streams();
    assert!(streams[0].certificate.is_none() && streams[0].closed);
    assert!(streams[1].certificate.is_some());
}
