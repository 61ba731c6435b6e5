//! Certificates of pods: what is in them, and what they are asked for.

use std::time::Duration;

use serde_json::json;
use sidegate_config::control::{FromOperator, FromSidecar, Purpose, RefusalReason};
use sidegate_policy::clock::{Clock as _, SystemClock};
use sidegate_tls::{
    Authority, PrivateKeyPem, ServerMaterial, Subject, TlsAcceptor, TlsMode, Usages, client_config,
    new_key_and_request, server_config_with,
};
use tokio::net::{TcpListener, TcpStream};

use super::Stage;
use super::sidecar::hello;

const ALPN: &[&[u8]] = &[b"test/1"];

/// Whether a server with this certificate is the one of that name.
async fn serves(chain_pem: &str, key_pem: &PrivateKeyPem, roots_pem: &str, name: &str) -> bool {
    let material = ServerMaterial {
        certificate_pem: chain_pem.into(),
        key_pem: key_pem.clone(),
        client_ca_pem: None,
    };
    let server = server_config_with(TlsMode::Server, &material, ALPN).expect("a server");
    let acceptor = TlsAcceptor::new(server);
    let client = client_config(roots_pem.as_bytes(), None, ALPN).expect("a client");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (connected, _accepted) = tokio::join!(
        async {
            let stream = TcpStream::connect(address).await.expect("a connection");
            client.connect(stream, name).await
        },
        async {
            let (stream, _) = listener.accept().await.expect("a connection");
            acceptor.accept(stream, Duration::from_secs(10)).await
        }
    );
    connected.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_has_the_names_of_the_pod_and_none_that_were_asked_for() {
    let stage = Stage::new("stream-csr").await;
    stage
        .cluster
        .apply(json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "desk"},
            "spec": {"selector": {"app": "support"}, "ports": [{"port": 80}]},
        }))
        .await;
    let token = stage.pod_with_token("support-0").await;
    let mut stream = stage.place.stream(&token).await;
    let key = new_key_and_request().expect("a key");
    let (chain, roots) = stream.certificate(&key.request_pem).await;
    // The Service may have come after the pod.
    let chain = match serves(&chain, &key.key_pem, &roots, "desk.stream-csr.svc").await {
        true => chain,
        false => {
            while !matches!(stream.next().await, FromOperator::Renew) {}
            stream.certificate(&key.request_pem).await.0
        }
    };
    assert!(serves(&chain, &key.key_pem, &roots, "desk.stream-csr.svc").await);
    for name in [
        "desk.other.svc",
        "other.stream-csr.svc",
        // They mean another Service elsewhere.
        "desk",
        "desk.stream-csr",
        "localhost",
        "support-0",
    ] {
        assert!(!serves(&chain, &key.key_pem, &roots, name).await, "{name}");
    }

    // The certificate and the token of the same pod begin a stream.
    let tls = stage.place.tls(Some((&chain, &key.key_pem)));
    let mut with = stage.place.try_connect(&tls).await.expect("a connection");
    with.say(&FromSidecar::Hello(hello(&token))).await;
    assert!(matches!(with.next().await, FromOperator::Welcome(_)));
    // From now on the token alone is not enough.
    let refusal = stage.place.refusal(&token).await;
    assert_eq!(
        refusal.reason,
        RefusalReason::WrongCertificate,
        "{refusal:?}"
    );
    // Nor is another pod's token, or another pod's certificate.
    let other = stage.pod_with_token("support-1").await;
    let _known = stage.place.stream(&other).await;
    let mut mixed = stage.place.try_connect(&tls).await.expect("a connection");
    mixed.say(&FromSidecar::Hello(hello(&other))).await;
    let refusal = mixed.refused().await;
    assert_eq!(
        refusal.reason,
        RefusalReason::WrongCertificate,
        "{refusal:?}"
    );
    stage.operator.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_authority_says_nothing() {
    let stage = Stage::new("stream-foreign").await;
    let uid = stage.pod("support-0").await;
    let token = stage.token("support-0", &uid).await;
    let _known = stage.place.stream(&token).await;
    let now = SystemClock.unix_seconds();
    let hour = Duration::from_secs(3600);
    let foreign = Authority::create("Sidegate", now, hour).expect("an authority");
    let subject = Subject {
        common_name: uid,
        spiffe_id: "spiffe://cluster.local/ns/stream-foreign/sa/support"
            .parse()
            .ok(),
        dns_names: Vec::new(),
        usages: Usages::Both,
    };
    let (chain, key) = foreign.issue(&subject, now, hour).expect("a certificate");
    let tls = stage.place.tls(Some((&chain, &key)));
    // In TLS 1.3 the client knows it by its first read.
    if let Ok(mut sidecar) = stage.place.try_connect(&tls).await {
        sidecar.try_say(&FromSidecar::Hello(hello(&token))).await;
        assert!(sidecar.try_next().await.is_none(), "it is not answered");
    }
    stage.operator.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_wants_an_identity_only_is_sent_no_configuration() {
    let stage = Stage::new("stream-identity").await;
    stage
        .cluster
        .gateway("support", &crate::cluster::spec("support"))
        .await;
    let token = stage.pod_with_token("support-0").await;
    let mut enforces = stage.place.stream(&token).await;
    enforces.snapshot().await;
    let mut hello = hello(&token);
    hello.purpose = Purpose::Identity;
    let mut stream = stage.place.connect().await;
    stream.say(&FromSidecar::Hello(hello)).await;
    let key = new_key_and_request().expect("a key");
    assert!(matches!(stream.next().await, FromOperator::Welcome(_)));
    assert!(matches!(stream.next().await, FromOperator::Authorities(_)));
    // The next thing that it hears is the certificate.
    stream.certificate_at_once(&key.request_pem).await;
    stage.operator.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_ends_the_stream() {
    let stage = Stage::new("stream-bad-csr").await;
    let token = stage.pod_with_token("support-0").await;
    let mut stream = stage.place.stream(&token).await;
    stream.ask_for_certificate("no PEM").await;
    let refusal = stream.refused().await;
    assert_eq!(refusal.reason, RefusalReason::Protocol, "{refusal:?}");
    stage.operator.stop().await.expect("it stops");
}
