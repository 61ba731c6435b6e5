use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{ExtendedKeyUsagePurpose, date_time_ymd};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, DigitallySignedStruct, Error, HandshakeKind,
    SignatureScheme,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::pki::{
    BOTH, Ca, Leaf, PATIENCE, client, connection, meet, meet_as, mutual, optional, plain, reason,
};
use crate::provider::provider;
use crate::{AcceptError, TlsAcceptor};

const ID: &str = "spiffe://td/ns/a/sa/x";

/// The alert that a client was sent.
fn alert(error: &std::io::Error) -> Option<AlertDescription> {
    if let Error::AlertReceived(alert) = error.get_ref()?.downcast_ref()? {
        Some(*alert)
    } else {
        None
    }
}

/// What becomes of a client with this certificate, in both versions.
async fn refused(acceptor: &TlsAcceptor, ca: &Ca, leaf: Option<&Leaf>) -> &'static str {
    let mut reasons = Vec::new();
    for version in [&TLS12, &TLS13] {
        let (accepted, connected) = meet(acceptor, client(ca, leaf, &[version])).await;
        assert!(connected.is_err(), "the client has no connection");
        reasons.push(reason(&accepted));
    }
    assert_eq!(reasons[0], reasons[1]);
    reasons[0]
}

#[tokio::test]
async fn tls_001_no_client_certificate_no_connection() {
    let ca = Ca::new("ca");
    let acceptor = mutual(&ca);
    assert_eq!(refused(&acceptor, &ca, None).await, "no_client_certificate");
    let (_, connected) = meet(&acceptor, client(&ca, None, BOTH)).await;
    let error = connected.expect_err("refused");
    assert_eq!(
        alert(&error),
        Some(AlertDescription::CertificateRequired),
        "{error}"
    );
}

#[tokio::test]
async fn tls_002_an_expired_client_certificate_is_refused() {
    let ca = Ca::new("ca");
    let leaf = ca.expired_client();
    assert_eq!(
        refused(&mutual(&ca), &ca, Some(&leaf)).await,
        "expired_client_certificate"
    );
}

#[tokio::test]
async fn tls_003_a_client_certificate_of_the_future_is_refused() {
    let ca = Ca::new("ca");
    let leaf = ca.leaf(|params| params.not_before = date_time_ymd(2090, 1, 1));
    assert_eq!(
        refused(&mutual(&ca), &ca, Some(&leaf)).await,
        "early_client_certificate"
    );
}

#[tokio::test]
async fn tls_004_another_authority_is_not_trusted() {
    let ca = Ca::new("ca");
    let acceptor = mutual(&ca);
    for (what, leaf) in [
        ("another name", Ca::new("other").client(&[ID])),
        ("the same name", Ca::new("ca").client(&[ID])),
        (
            "below a leaf of the right one",
            ca.intermediate("middle").client(&[ID]),
        ),
    ] {
        let reason = refused(&acceptor, &ca, Some(&leaf)).await;
        assert_eq!(reason, "untrusted_client_certificate", "{what}");
    }
}

#[tokio::test]
async fn a_chain_through_an_intermediate_is_trusted() {
    let ca = Ca::new("ca");
    let middle = ca.intermediate("middle");
    let leaf = middle.client(&[ID]);
    let leaf = Leaf {
        pem: format!("{}{}", leaf.pem, middle.pem),
        ..leaf
    };
    let (accepted, _) = meet(&mutual(&ca), client(&ca, Some(&leaf), BOTH)).await;
    assert_eq!(reason(&accepted), "accepted");
}

#[tokio::test]
async fn a_certificate_for_servers_only_is_none_for_clients() {
    let ca = Ca::new("ca");
    let leaf = ca.leaf(|params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    assert_eq!(
        refused(&mutual(&ca), &ca, Some(&leaf)).await,
        "untrusted_client_certificate"
    );
}

#[tokio::test]
async fn in_mode_server_nobody_is_asked_and_nobody_is_named() {
    let ca = Ca::new("ca");
    let acceptor = plain(&ca);
    for leaf in [None, Some(&ca.client(&[ID]))] {
        let (accepted, connected) = meet(&acceptor, client(&ca, leaf, BOTH)).await;
        assert!(accepted.expect("accepted").1.is_none());
        connected.expect("connected");
    }
}

#[tokio::test]
async fn http_2_and_http_1_are_offered_in_this_order() {
    let ca = Ca::new("ca");
    let acceptor = plain(&ca);
    for (offered, chosen) in [
        (&[&b"http/1.1"[..], b"h2"][..], Some(&b"h2"[..])),
        (&[b"http/1.1"], Some(b"http/1.1")),
        (&[], None),
    ] {
        let mut client = client(&ca, None, BOTH);
        client.alpn_protocols = offered.iter().map(|protocol| protocol.to_vec()).collect();
        let (accepted, _) = meet(&acceptor, client).await;
        let (stream, _) = accepted.expect("accepted");
        assert_eq!(stream.get_ref().1.alpn_protocol(), chosen);
    }
    let mut client = client(&ca, None, BOTH);
    client.alpn_protocols = vec![b"h3".to_vec()];
    let (accepted, _) = meet(&acceptor, client).await;
    assert!(accepted.is_err(), "no protocol in common");
}

#[tokio::test]
async fn both_versions_are_spoken() {
    let ca = Ca::new("ca");
    let leaf = ca.client(&[ID]);
    for version in [&TLS12, &TLS13] {
        let (accepted, _) = meet(&mutual(&ca), client(&ca, Some(&leaf), &[version])).await;
        let (stream, peer) = accepted.expect("accepted");
        assert_eq!(stream.get_ref().1.protocol_version(), Some(version.version));
        assert!(peer.is_some());
    }
}

/// A hello of this version, by hand: no library speaks the old ones any more.
/// But for the version there is nothing wrong with it.
fn hello(minor: u8) -> Vec<u8> {
    let extensions = [
        &[0, 13, 0, 6, 0, 4, 4, 3, 8, 4][..], // signature algorithms
        &[0, 10, 0, 6, 0, 4, 0, 29, 0, 23],   // groups
        &[0, 11, 0, 2, 1, 0],                 // point formats
        &[0, 23, 0, 0],                       // extended master secret
    ]
    .concat();
    let length = |length: usize| u8::try_from(length).expect("short");
    let body = [
        &[3, minor][..],
        &[7; 32],                        // random
        &[0],                            // no session
        &[0, 4, 0xc0, 0x2b, 0xc0, 0x09], // ECDHE-ECDSA, new and old
        &[1, 0],                         // no compression
        &[0, length(extensions.len())],
        &extensions,
    ]
    .concat();
    let handshake = [&[1, 0, 0, length(body.len())][..], &body].concat();
    [&[22, 3, 1, 0, length(handshake.len())][..], &handshake].concat()
}

#[tokio::test]
async fn tls_015_older_versions_are_refused() {
    let ca = Ca::new("ca");
    for acceptor in [plain(&ca), mutual(&ca)] {
        for minor in [0, 1, 2] {
            let (mut ours, theirs) = connection().await;
            ours.write_all(&hello(minor)).await.expect("sent");
            let accepted = acceptor.accept(theirs, PATIENCE).await;
            assert_eq!(reason(&accepted), "incompatible", "3.{minor}");
            let mut answer = Vec::new();
            ours.read_to_end(&mut answer).await.expect("an answer");
            // A fatal alert: protocol_version.
            assert!(answer.ends_with(&[2, 70]), "{answer:?}");
        }
        let (mut ours, theirs) = connection().await;
        ours.write_all(&hello(3)).await.expect("sent");
        ours.shutdown().await.expect("ended");
        let accepted = acceptor.accept(theirs, PATIENCE).await;
        assert_eq!(reason(&accepted), "io", "the version was the only fault");
        assert_eq!(
            ours.read_u8().await.expect("an answer"),
            22,
            "a server hello"
        );
    }
}

/// A client that takes any server certificate, for names that it is not for.
#[derive(Debug)]
struct Credulous;

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[tokio::test]
async fn tls_019_the_rule_for_clients_does_not_depend_on_the_name() {
    let ca = Ca::new("ca");
    let acceptor = mutual(&ca);
    let leaf = ca.client(&[ID]);
    for (name, sends_name) in [
        ("localhost", true),
        ("localhost", false),
        ("unknown.example", true),
        ("LOCALHOST", true),
        ("_.localhost", true),
        ("127.0.0.1", true),
    ] {
        for (leaf, expected) in [(None, "no_client_certificate"), (Some(&leaf), "accepted")] {
            let mut client = client(&ca, leaf, BOTH);
            client.enable_sni = sends_name;
            client
                .dangerous()
                .set_certificate_verifier(Arc::new(Credulous));
            let (accepted, _) = meet_as(&acceptor, Arc::new(client), name).await;
            assert_eq!(reason(&accepted), expected, "{name} {sends_name}");
        }
    }
}

#[tokio::test]
async fn tls_023_plaintext_is_no_tls() {
    let ca = Ca::new("ca");
    for text in [
        "GET /mcp HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let (mut ours, theirs) = connection().await;
        ours.write_all(text.as_bytes()).await.expect("sent");
        let accepted = mutual(&ca).accept(theirs, PATIENCE).await;
        assert_eq!(reason(&accepted), "not_tls", "{text}");
        let mut answer = Vec::new();
        // Closed; a reset is as good.
        let _closed = ours.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    }
}

#[tokio::test]
async fn a_silent_or_slow_client_is_given_up() {
    let acceptor = mutual(&Ca::new("ca"));
    let timeout = Duration::from_millis(200);
    let (_silent, theirs) = connection().await;
    let started = Instant::now();
    let accepted = acceptor.accept(theirs, timeout).await;
    assert_eq!(reason(&accepted), "timeout");
    assert!(started.elapsed() >= timeout && started.elapsed() < PATIENCE);

    let (mut slow, theirs) = connection().await;
    let dripping = async {
        for byte in hello(3).into_iter().cycle() {
            if slow.write_all(&[byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let accepted = tokio::select! {
        accepted = acceptor.accept(theirs, timeout) => accepted,
        () = dripping => panic!("accepting never ended"),
    };
    assert_eq!(reason(&accepted), "timeout");
}

#[tokio::test]
async fn a_client_that_goes_away_is_an_error_of_the_connection() {
    let acceptor = mutual(&Ca::new("ca"));
    let (ours, theirs) = connection().await;
    drop(ours);
    let accepted = acceptor.accept(theirs, PATIENCE).await;
    assert_eq!(reason(&accepted), "io");
}

#[tokio::test]
async fn a_client_that_does_not_trust_us_says_so() {
    let ca = Ca::new("ca");
    let (accepted, _) = meet(&mutual(&ca), client(&Ca::new("other"), None, BOTH)).await;
    assert_eq!(reason(&accepted), "refused_by_client");
}

/// Cuts the first record, the hello, into records of one byte.
fn one_byte_records(record: &[u8]) -> Vec<u8> {
    let (head, body) = record.split_at(5);
    body.iter()
        .flat_map(|byte| [head[0], head[1], head[2], 0, 1, *byte])
        .collect()
}

/// A handshake by hand: the hello is sent as `send` says, the rest as usual.
async fn with_hello(
    acceptor: &TlsAcceptor,
    config: ClientConfig,
    send: fn(&mut std::net::TcpStream, &[u8]),
) -> &'static str {
    let (ours, theirs) = connection().await;
    let client = tokio::task::spawn_blocking(move || {
        let mut socket = ours.into_std().expect("a socket");
        socket.set_nonblocking(false).expect("blocking");
        let mut session =
            ClientConnection::new(Arc::new(config), "localhost".try_into().expect("a name"))
                .expect("a session");
        let mut hello = Vec::new();
        session.write_tls(&mut hello).expect("a hello");
        send(&mut socket, &hello);
        let mut stream = rustls::Stream::new(&mut session, &mut socket);
        let mut answer = [0];
        stream
            .write_all(b"x")
            .and_then(|()| stream.read_exact(&mut answer))
            .is_ok()
    });
    let accepted = acceptor.accept(theirs, PATIENCE).await;
    match accepted {
        Ok((mut stream, _)) => {
            let greeting = stream.read_u8().await.expect("a greeting");
            stream.write_all(&[greeting]).await.expect("sent");
            stream.flush().await.expect("sent");
            assert!(client.await.expect("a client"));
            "accepted"
        }
        Err(error) => {
            assert!(!client.await.expect("a client"));
            error.as_str()
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_018_a_hello_in_pieces_changes_nothing() {
    let ca = Ca::new("ca");
    let acceptor = mutual(&ca);
    let leaf = ca.client(&[ID]);
    let byte_by_byte: fn(&mut std::net::TcpStream, &[u8]) = |socket, hello| {
        socket.set_nodelay(true).expect("no delay");
        for byte in hello {
            socket.write_all(&[*byte]).expect("sent");
        }
    };
    let record_by_record: fn(&mut std::net::TcpStream, &[u8]) = |socket, hello| {
        socket.write_all(&one_byte_records(hello)).expect("sent");
    };
    for send in [byte_by_byte, record_by_record] {
        for (leaf, expected) in [(None, "no_client_certificate"), (Some(&leaf), "accepted")] {
            for version in [&TLS12, &TLS13] {
                let client = client(&ca, leaf, &[version]);
                assert_eq!(with_hello(&acceptor, client, send).await, expected);
            }
        }
    }
}

/// How the second handshake of one client went.
async fn second(acceptor: &TlsAcceptor, mut client: ClientConfig) -> Option<HandshakeKind> {
    client.resumption = Resumption::in_memory_sessions(8);
    let client = Arc::new(client);
    let (first, _) = meet_as(acceptor, Arc::clone(&client), "localhost").await;
    first.expect("accepted");
    let (again, _) = meet_as(acceptor, client, "localhost").await;
    again.expect("accepted").0.get_ref().1.handshake_kind()
}

#[tokio::test]
async fn a_session_cannot_stand_in_for_a_client_certificate() {
    let ca = Ca::new("ca");
    let leaf = ca.client(&[ID]);
    for version in [&TLS12, &TLS13] {
        let kind = second(&mutual(&ca), client(&ca, Some(&leaf), &[version])).await;
        assert_ne!(kind, Some(HandshakeKind::Resumed));
        for leaf in [None, Some(&leaf)] {
            let kind = second(&optional(&ca), client(&ca, leaf, &[version])).await;
            assert_ne!(kind, Some(HandshakeKind::Resumed));
        }
        // The client would have: it does where nobody is named.
        let kind = second(&plain(&ca), client(&ca, None, &[version])).await;
        assert_eq!(kind, Some(HandshakeKind::Resumed));
    }
}

#[tokio::test]
async fn random_bytes_end_the_handshake_and_nothing_else() {
    let acceptor = mutual(&Ca::new("ca"));
    let mut state = 7_u64;
    for round in 0..200 {
        let (mut ours, theirs): (TcpStream, TcpStream) = connection().await;
        let mut bytes = if round % 2 == 0 {
            hello(3)
        } else {
            vec![0; 64]
        };
        for byte in &mut bytes {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            if round % 2 == 1 || state >> 60 == 0 {
                *byte = (state >> 32) as u8;
            }
        }
        ours.write_all(&bytes).await.expect("sent");
        ours.shutdown().await.expect("ended");
        let accepted = acceptor.accept(theirs, PATIENCE).await;
        assert!(
            !matches!(accepted, Ok(_) | Err(AcceptError::Timeout)),
            "{bytes:?}"
        );
    }
}
