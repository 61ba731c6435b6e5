//! Connecting with pinned authorities, and servers that ask for certificates
//! without needing them.

use std::io;
use std::time::Duration;

use rcgen::{ExtendedKeyUsagePurpose, SanType};
use rustls::{CertificateError, Error};
use sidegate_policy::clock::{Clock, SystemClock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::pki::{Ca, Leaf, PATIENCE, connection, subject};
use crate::client::client_config_at;
use crate::server::server_config_at;
use crate::{
    AcceptError, Authority, ClientStream, ClientTls, InvalidRoots, InvalidTls, PeerCertificate,
    PemFault, PrivateKeyPem, ServerMaterial, ServerStream, Subject, TlsAcceptor, TlsMode, Usages,
    client_config, key_ids, server_config_with,
};

const DAY: i64 = 24 * 3600;
const TWO_DAYS: Duration = Duration::from_secs(48 * 3600);
const PROTOCOL: &[&[u8]] = &[b"sidegate/1"];

fn now() -> i64 {
    SystemClock.unix_seconds()
}

/// An authority in the middle of its life.
fn authority() -> Authority {
    let lifetime = Duration::from_secs(60 * 24 * 3600);
    Authority::create("root", now() - 30 * DAY, lifetime).expect("an authority")
}

fn endpoint_at(issuer: &Authority, clients: Option<&str>, now_unix: i64) -> ServerMaterial {
    let wanted = Subject {
        usages: Usages::Server,
        ..subject()
    };
    let (certificate, key_pem) = issuer
        .issue(&wanted, now_unix, TWO_DAYS)
        .expect("a certificate");
    ServerMaterial {
        certificate_pem: certificate.into_bytes(),
        key_pem,
        client_ca_pem: clients.map(|pem| pem.as_bytes().to_vec()),
    }
}

/// A server whose certificate and clients are of these authorities.
fn optional(endpoints: &Authority, clients: &str) -> TlsAcceptor {
    let material = endpoint_at(endpoints, Some(clients), now());
    let tls = server_config_with(TlsMode::Optional, &material, PROTOCOL).expect("valid");
    TlsAcceptor::new(tls)
}

fn server(endpoints: &Authority) -> TlsAcceptor {
    let material = endpoint_at(endpoints, None, now());
    TlsAcceptor::new(server_config_with(TlsMode::Server, &material, PROTOCOL).expect("valid"))
}

fn pinned(roots: &str) -> ClientTls {
    client_config(roots.as_bytes(), None, PROTOCOL).expect("valid")
}

fn workload() -> Subject {
    Subject {
        common_name: "the-uid".into(),
        spiffe_id: Some("spiffe://td/ns/a/sa/x".parse().expect("an id")),
        usages: Usages::Both,
        dns_names: Vec::new(),
    }
}

/// A client with a certificate that was made then.
fn workload_at(roots: &str, issuer: &Authority, then: i64) -> ClientTls {
    let (chain, key) = issuer
        .issue(&workload(), then, TWO_DAYS)
        .expect("a certificate");
    let identity = Some((chain.as_bytes(), &key));
    client_config_at(roots.as_bytes(), identity, PROTOCOL, then).expect("valid then")
}

type Served = Result<(ServerStream<TcpStream>, Option<PeerCertificate>), AcceptError>;

/// A handshake, and one byte each way.
async fn meet(
    acceptor: &TlsAcceptor,
    client: &ClientTls,
    name: &str,
) -> (Served, io::Result<ClientStream<TcpStream>>) {
    let (ours, theirs) = connection().await;
    let served = async {
        let (mut stream, peer) = acceptor.accept_with_certificate(theirs, PATIENCE).await?;
        stream.write_all(b"x").await.map_err(AcceptError::Io)?;
        stream.flush().await.map_err(AcceptError::Io)?;
        Ok((stream, peer))
    };
    let connected = async {
        let mut stream = client.connect(ours, name).await?;
        stream.read_u8().await?;
        Ok(stream)
    };
    tokio::join!(Box::pin(served), Box::pin(connected))
}

/// Why the client did not trust the server.
async fn distrust(acceptor: &TlsAcceptor, client: &ClientTls, name: &str) -> CertificateError {
    let (_, connected) = meet(acceptor, client, name).await;
    let error = connected.expect_err("not trusted");
    let of_tls = error.get_ref().and_then(|error| error.downcast_ref());
    match of_tls {
        Some(Error::InvalidCertificate(error)) => error.clone(),
        _ => panic!("{error}"),
    }
}

#[tokio::test]
async fn only_the_pinned_authorities_are_trusted() {
    let (root, other) = (authority(), authority());
    let acceptor = server(&root);
    let (served, connected) = meet(&acceptor, &pinned(root.certificate_pem()), "localhost").await;
    assert_eq!(served.expect("accepted").1, None);
    let stream = connected.expect("connected");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(PROTOCOL[0]));
    let error = distrust(&acceptor, &pinned(other.certificate_pem()), "localhost").await;
    // Same name, another key.
    assert!(
        matches!(
            error,
            CertificateError::BadSignature | CertificateError::UnknownIssuer
        ),
        "{error}"
    );
}

#[tokio::test]
async fn the_name_of_the_server_is_verified() {
    let root = authority();
    let (acceptor, client) = (server(&root), pinned(root.certificate_pem()));
    for name in [
        "other.example",
        "127.0.0.1",
        "::1",
        "[::1]",
        "sub.localhost",
    ] {
        let error = distrust(&acceptor, &client, name).await;
        assert!(
            matches!(error, CertificateError::NotValidForNameContext { .. }),
            "{name}: {error}"
        );
    }
    for name in ["", "a b", "https://localhost", "localhost:1", "[localhost"] {
        let (ours, _theirs) = connection().await;
        let error = client.connect(ours, name).await.expect_err("no name");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{name}");
    }
}

#[tokio::test]
async fn a_server_can_be_named_by_its_address() {
    let ca = Ca::new("ca");
    let leaf = ca.leaf(|params| {
        params.subject_alt_names = ["127.0.0.1", "::1"]
            .map(|address| SanType::IpAddress(address.parse().expect("an address")))
            .to_vec();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    let tls = server_config_with(TlsMode::Server, &leaf.material(None), PROTOCOL);
    let acceptor = TlsAcceptor::new(tls.expect("valid"));
    for name in ["127.0.0.1", "::1", "[::1]"] {
        let (_, connected) = meet(&acceptor, &pinned(&ca.pem), name).await;
        connected.expect(name);
    }
    let error = distrust(&acceptor, &pinned(&ca.pem), "127.0.0.2").await;
    assert!(matches!(
        error,
        CertificateError::NotValidForNameContext { .. }
    ));
}

#[tokio::test]
async fn tls_002_a_server_certificate_has_its_time() {
    let root = authority();
    let client = pinned(root.certificate_pem());
    let made_at = |then: i64| {
        let material = endpoint_at(&root, None, then);
        let tls = server_config_at(TlsMode::Server, &material, PROTOCOL, then);
        TlsAcceptor::new(tls.expect("valid then"))
    };
    let error = distrust(&made_at(now() - 3 * DAY), &client, "localhost").await;
    assert!(
        matches!(error, CertificateError::ExpiredContext { .. }),
        "{error}"
    );
    let error = distrust(&made_at(now() + DAY), &client, "localhost").await;
    assert!(
        matches!(error, CertificateError::NotValidYetContext { .. }),
        "{error}"
    );
    let (_, connected) = meet(&made_at(now() - DAY), &client, "localhost").await;
    connected.expect("still valid");
}

#[tokio::test]
async fn a_certificate_for_clients_is_none_for_servers() {
    let root = authority();
    let wanted = Subject {
        usages: Usages::Client,
        ..subject()
    };
    let (certificate, key_pem) = root.issue(&wanted, now(), TWO_DAYS).expect("issued");
    let material = ServerMaterial {
        certificate_pem: certificate.into_bytes(),
        key_pem,
        client_ca_pem: None,
    };
    let tls = server_config_with(TlsMode::Server, &material, PROTOCOL).expect("valid");
    let client = pinned(root.certificate_pem());
    let error = distrust(&TlsAcceptor::new(tls), &client, "localhost").await;
    assert!(
        matches!(error, CertificateError::InvalidPurposeContext { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn both_roots_are_trusted_during_their_change_on_both_sides() {
    let (old, new) = (authority(), authority());
    let bundle = format!("{}{}", old.certificate_pem(), new.certificate_pem());
    for endpoints in [&old, &new] {
        for workloads in [&old, &new] {
            let acceptor = optional(endpoints, &bundle);
            let client = workload_at(&bundle, workloads, now());
            let (served, connected) = meet(&acceptor, &client, "localhost").await;
            assert!(served.expect("accepted").1.is_some());
            connected.expect("connected");
        }
    }
}

#[tokio::test]
async fn a_connection_outlives_the_change_of_the_root() {
    let (old, new) = (authority(), authority());
    let acceptor = optional(&old, old.certificate_pem());
    let client = workload_at(old.certificate_pem(), &old, now());
    let (served, connected) = meet(&acceptor, &client, "localhost").await;
    let (mut served, mut connected) = (served.expect("accepted").0, connected.expect("connected"));

    let material = endpoint_at(&new, Some(new.certificate_pem()), now());
    let tls = server_config_with(TlsMode::Optional, &material, PROTOCOL).expect("valid");
    acceptor.replace(tls);
    let (_, again) = meet(&acceptor, &client, "localhost").await;
    again.expect_err("the old root is gone");
    let client = workload_at(new.certificate_pem(), &new, now());
    let (_, again) = meet(&acceptor, &client, "localhost").await;
    again.expect("the new root is there");

    served.write_all(b"y").await.expect("sent");
    served.flush().await.expect("sent");
    assert_eq!(connected.read_u8().await.expect("read"), b'y');
}

#[tokio::test]
async fn in_mode_optional_a_certificate_is_not_needed_and_named_when_shown() {
    let (endpoints, workloads) = (authority(), authority());
    let acceptor = optional(&endpoints, workloads.certificate_pem());
    let roots = endpoints.certificate_pem();
    let (served, connected) = meet(&acceptor, &pinned(roots), "localhost").await;
    assert_eq!(served.expect("accepted").1, None);
    connected.expect("connected");

    let client = workload_at(roots, &workloads, now());
    let (served, connected) = meet(&acceptor, &client, "localhost").await;
    let PeerCertificate {
        spiffe_id,
        dns_names,
        common_name,
        not_after_unix,
        authority_key_id,
    } = served.expect("accepted").1.expect("shown");
    assert_eq!(spiffe_id, workload().spiffe_id);
    assert_eq!(dns_names, workload().dns_names);
    assert_eq!(common_name.as_deref(), Some("the-uid"));
    assert!((now() + 2 * DAY - 60..=now() + 2 * DAY).contains(&not_after_unix));
    let ids = key_ids(workloads.certificate_pem());
    assert_eq!(authority_key_id.as_ref(), ids.first());
    assert!(authority_key_id.is_some());
    connected.expect("connected");
}

#[tokio::test]
async fn in_mode_optional_a_certificate_that_is_shown_must_verify() {
    let (endpoints, workloads) = (authority(), authority());
    let acceptor = optional(&endpoints, workloads.certificate_pem());
    let roots = endpoints.certificate_pem();
    for (issuer, then, reason) in [
        (&workloads, now() - 3 * DAY, "expired_client_certificate"),
        (&workloads, now() + DAY, "early_client_certificate"),
        // The authority of the endpoints is none of workloads.
        (&endpoints, now(), "untrusted_client_certificate"),
        (&authority(), now(), "untrusted_client_certificate"),
    ] {
        let client = workload_at(roots, issuer, then);
        let (served, connected) = meet(&acceptor, &client, "localhost").await;
        assert_eq!(served.expect_err("refused").as_str(), reason);
        connected.expect_err("refused");
    }
    let ca = Ca::new("workloads");
    let acceptor = optional(&endpoints, &ca.pem);
    let Leaf { pem, key_pem } = ca.client(&["spiffe://td/a", "spiffe://td/b"]);
    let key = PrivateKeyPem::from(key_pem.into_bytes());
    let identity = Some((pem.as_bytes(), &key));
    let client = client_config(roots.as_bytes(), identity, PROTOCOL).expect("valid");
    let (served, _) = meet(&acceptor, &client, "localhost").await;
    assert_eq!(served.expect_err("ambiguous").as_str(), "identity");
}

#[test]
fn mode_optional_needs_somebody_to_trust() {
    let material = endpoint_at(&authority(), None, now());
    let error = server_config_with(TlsMode::Optional, &material, PROTOCOL).expect_err("nobody");
    assert_eq!(error, InvalidTls::NoClientCa);
}

#[tokio::test]
async fn the_server_must_agree_on_a_protocol() {
    let root = authority();
    let material = endpoint_at(&root, None, now());
    let speaking = |alpn: &[&[u8]]| {
        let tls = server_config_with(TlsMode::Server, &material, alpn).expect("valid");
        TlsAcceptor::new(tls)
    };
    let (_, connected) = meet(&speaking(&[]), &pinned(root.certificate_pem()), "localhost").await;
    let error = connected.expect_err("no protocol");
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert!(
        error.to_string().contains("did not agree on a protocol"),
        "{error}"
    );

    let http = speaking(&[b"h2", b"http/1.1"]);
    let (served, connected) = meet(&http, &pinned(root.certificate_pem()), "localhost").await;
    served.expect_err("no protocol in common");
    connected.expect_err("no protocol in common");

    let several = speaking(&[b"other", PROTOCOL[0]]);
    let (_, connected) = meet(&several, &pinned(root.certificate_pem()), "localhost").await;
    connected.expect("one in common");

    let silent = client_config(root.certificate_pem().as_bytes(), None, &[]).expect("valid");
    let (served, connected) = meet(&speaking(PROTOCOL), &silent, "localhost").await;
    assert_eq!(
        served.expect("accepted").0.get_ref().1.alpn_protocol(),
        None
    );
    connected.expect("asked for none");
}

#[tokio::test]
async fn every_handshake_is_a_full_one() {
    let root = authority();
    let client = pinned(root.certificate_pem());
    let acceptor = server(&root);
    for _ in 0..3 {
        let (_, connected) = meet(&acceptor, &client, "localhost").await;
        let stream = connected.expect("connected");
        let kind = stream.get_ref().1.handshake_kind();
        assert_eq!(kind, Some(rustls::HandshakeKind::Full));
        assert!(!stream.get_ref().1.is_early_data_accepted());
    }
}

#[tokio::test]
async fn what_does_not_speak_tls_is_an_error() {
    let client = pinned(authority().certificate_pem());
    let (ours, mut theirs) = connection().await;
    let answering = async {
        theirs
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await?;
        theirs.shutdown().await
    };
    let (connected, _) = tokio::join!(client.connect(ours, "localhost"), answering);
    connected.expect_err("not TLS");
    let (ours, theirs) = connection().await;
    drop(theirs);
    client.connect(ours, "localhost").await.expect_err("closed");
}

#[test]
fn without_authorities_there_is_no_client() {
    let of = |pem: &str| client_config(pem.as_bytes(), None, PROTOCOL).expect_err("nobody");
    let missing = InvalidTls::Roots(InvalidRoots::Pem(PemFault::Missing));
    assert_eq!(of(""), missing);
    let root = authority();
    let (leaf, _) = root.issue(&subject(), now(), TWO_DAYS).expect("issued");
    let bundle = format!("{}{leaf}", root.certificate_pem());
    let no_authority = InvalidRoots::NoAuthority { position: 2 };
    assert_eq!(of(&bundle), InvalidTls::Roots(no_authority));
    let old = Authority::create("old", now() - 3 * DAY, TWO_DAYS).expect("an authority");
    let error = of(old.certificate_pem());
    assert_eq!(error, InvalidTls::Roots(InvalidRoots::Expired));
    assert_eq!(
        error.to_string(),
        "the trusted authorities of the server: all of them have expired: renew them"
    );
    let bundle = format!("{}{}", old.certificate_pem(), root.certificate_pem());
    assert!(client_config(bundle.as_bytes(), None, PROTOCOL).is_ok());
}

#[tokio::test]
async fn an_expired_root_among_others_is_not_trusted() {
    let lifetime = Duration::from_secs(30 * 24 * 3600);
    let old = Authority::create("old", now() - 29 * DAY, lifetime).expect("an authority");
    let new = authority();
    let bundle = format!("{}{}", old.certificate_pem(), new.certificate_pem());
    // Two days later, when the old one has expired and its leaf says otherwise.
    let later = client_config_at(bundle.as_bytes(), None, PROTOCOL, now() + 2 * DAY);
    let later = later.expect("valid");
    let acceptor = server(&old);
    let error = distrust(&acceptor, &later, "localhost").await;
    assert_eq!(error, CertificateError::UnknownIssuer);
    let (_, connected) = meet(&server(&new), &later, "localhost").await;
    connected.expect("the new one");
}

#[test]
fn an_own_certificate_is_valid_and_has_its_key() {
    let (root, today) = (authority(), now());
    let roots = root.certificate_pem().as_bytes();
    let (chain, key) = root.issue(&workload(), today, TWO_DAYS).expect("issued");
    let (_, other) = root.issue(&workload(), today, TWO_DAYS).expect("issued");
    let with = |key, now| client_config_at(roots, Some((chain.as_bytes(), key)), PROTOCOL, now);
    assert!(with(&key, today).is_ok());
    let error = with(&other, today).expect_err("another key");
    assert_eq!(error, InvalidTls::KeyMismatch);
    let error = with(&key, today + 4 * DAY).expect_err("late");
    assert_eq!(error, InvalidTls::Expired { days: 2 });
    let error = with(&key, today - DAY).expect_err("early");
    assert_eq!(error, InvalidTls::NotYetValid);
}

#[test]
fn a_client_shows_no_key() {
    let root = authority();
    let client = workload_at(root.certificate_pem(), &root, now());
    assert_eq!(
        format!("{client:?}"),
        "ClientTls { shows_certificate: true, protocols: 1, .. }"
    );
    let client = pinned(root.certificate_pem());
    assert!(format!("{client:?}").contains("shows_certificate: false"));
}
