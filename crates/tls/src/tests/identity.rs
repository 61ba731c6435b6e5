use std::time::Duration;

use proptest::prelude::*;
use rcgen::{CustomExtension, SanType};
use rustls_pki_types::CertificateDer;
use sidegate_policy::clock::{Clock as _, SystemClock};
use sidegate_policy::principal::InvalidSpiffeId;

use super::pki::{BOTH, Ca, client, meet, mutual, reason, subject, uri_name};
use crate::certificate::certificates;
use crate::identity::identity_of;
use crate::{AcceptError, Authority, InvalidIdentity, key_ids};

const ID: &str = "spiffe://td.example/ns/a/sa/x";

fn id_of(uris: &[&str]) -> Result<Option<String>, InvalidIdentity> {
    let der = Ca::new("ca").client(uris).der();
    identity_of(&der).map(|peer| peer.spiffe_id.map(|id| id.to_string()))
}

#[test]
fn tls_006_the_identity_is_the_one_uri() {
    assert_eq!(id_of(&[ID]), Ok(Some(ID.to_owned())));
    assert_eq!(
        id_of(&["spiffe://td.example/ns/b/sa/x"]),
        Ok(Some("spiffe://td.example/ns/b/sa/x".into()))
    );
}

#[test]
fn tls_009_an_identity_is_taken_literally() {
    assert_eq!(
        id_of(&["spiffe://td/ns/team.a/sa/x"]),
        Ok(Some("spiffe://td/ns/team.a/sa/x".into()))
    );
}

#[test]
fn a_certificate_without_a_spiffe_id_has_no_name() {
    assert_eq!(id_of(&[]), Ok(None));
    for uri in [
        "https://example.org/spiffe://td/a",
        "urn:uuid:4e1e6e1c",
        "spiffes://td/a",
    ] {
        assert_eq!(id_of(&[uri]), Ok(None), "{uri}");
    }
}

#[test]
fn several_uris_name_nobody() {
    for uris in [
        &[ID, ID][..],
        &[ID, "spiffe://td/b"],
        &[ID, "https://example.org/"],
        &["https://example.org/", ID],
        &["urn:a:b", "urn:a:c"],
    ] {
        assert_eq!(id_of(uris), Err(InvalidIdentity::SeveralUris), "{uris:?}");
    }
}

#[test]
fn what_looks_like_a_spiffe_id_must_be_one() {
    use InvalidSpiffeId as E;
    for (uri, error) in [
        ("spiffe://", E::TrustDomain),
        ("spiffe:", E::Scheme),
        ("SPIFFE://td/a", E::Scheme),
        ("Spiffe://td/a", E::Scheme),
        (" spiffe://td/a", E::Scheme),
        ("spiffe:/td/a", E::Scheme),
        ("spiffe://TD/a", E::TrustDomain),
        ("spiffe://td:443/a", E::TrustDomain),
        ("spiffe://td/../a", E::Path),
        ("spiffe://td/a%2fb", E::Path),
        ("spiffe://td/a/", E::Path),
        ("spiffe://td/a?b", E::Path),
    ] {
        assert_eq!(
            id_of(&[uri]),
            Err(InvalidIdentity::SpiffeId(error)),
            "{uri}"
        );
    }
}

#[test]
fn other_kinds_of_names_do_not_count() {
    let leaf = Ca::new("ca").leaf(|params| {
        params.subject_alt_names = vec![
            SanType::DnsName("spiffe.example".try_into().expect("a name")),
            uri_name(ID),
            SanType::Rfc822Name("a@example.org".try_into().expect("a name")),
        ];
    });
    assert_eq!(
        identity_of(&leaf.der())
            .expect("named")
            .spiffe_id
            .map(|id| id.to_string())
            .as_deref(),
        Some(ID)
    );
}

/// Alternative names that a careful issuer would not make.
fn with_names(content: &[u8]) -> CertificateDer<'static> {
    let content = content.to_vec();
    Ca::new("ca")
        .leaf(|params| {
            params.custom_extensions =
                vec![CustomExtension::from_oid_content(&[2, 5, 29, 17], content)];
        })
        .der()
}

#[test]
fn names_that_cannot_be_read_name_nobody() {
    // A sequence of one URI: [6], length, bytes.
    let uri = |bytes: &[u8]| {
        let length = u8::try_from(bytes.len()).expect("short");
        [&[0x30, length + 2, 0x86, length], bytes].concat()
    };
    assert!(
        identity_of(&with_names(&uri(ID.as_bytes())))
            .expect("named")
            .spiffe_id
            .is_some()
    );
    assert_eq!(
        identity_of(&with_names(&uri(b"spiffe://td/\xff\xfe"))),
        Err(InvalidIdentity::Unreadable)
    );
    assert_eq!(
        identity_of(&with_names(b"\x30\x7f\x86")),
        Err(InvalidIdentity::Unreadable)
    );
    let nul = identity_of(&with_names(&uri(b"spiffe://td/a\0b")));
    assert_eq!(nul, Err(InvalidIdentity::SpiffeId(InvalidSpiffeId::Path)));
    assert_eq!(
        identity_of(&CertificateDer::from(&b"\x30\x00"[..])),
        Err(InvalidIdentity::Unreadable)
    );
}

#[test]
fn doubled_names_name_nobody() {
    let leaf = Ca::new("ca").leaf(|params| {
        params.subject_alt_names = vec![uri_name(ID)];
        let content = [&[0x30, 0x0e, 0x86, 0x0c][..], b"spiffe://t/b"].concat();
        params.custom_extensions =
            vec![CustomExtension::from_oid_content(&[2, 5, 29, 17], content)];
    });
    assert_eq!(identity_of(&leaf.der()), Err(InvalidIdentity::Unreadable));
}

#[tokio::test]
async fn the_acceptor_says_who_connected() {
    let ca = Ca::new("ca");
    let acceptor = mutual(&ca);
    for (uris, expected) in [(&[ID][..], Some(ID)), (&[], None)] {
        let (accepted, connected) =
            meet(&acceptor, client(&ca, Some(&ca.client(uris)), BOTH)).await;
        let (_, peer) = accepted.expect("accepted");
        let peer = peer.expect("mutual: always somebody");
        assert_eq!(
            peer.spiffe_id().map(ToString::to_string).as_deref(),
            expected
        );
        connected.expect("connected");
    }
}

#[tokio::test]
async fn an_ambiguous_client_is_refused_within_the_handshake() {
    let ca = Ca::new("ca");
    let acceptor = mutual(&ca);
    for (uris, expected) in [
        (&[ID, "spiffe://td/b"][..], InvalidIdentity::SeveralUris),
        (
            &["spiffe://TD/b"],
            InvalidIdentity::SpiffeId(InvalidSpiffeId::TrustDomain),
        ),
    ] {
        let (accepted, connected) =
            meet(&acceptor, client(&ca, Some(&ca.client(uris)), BOTH)).await;
        assert_eq!(reason(&accepted), "identity");
        let Err(AcceptError::Identity(invalid)) = accepted else {
            panic!("refused")
        };
        assert_eq!(invalid, expected);
        let error = connected.expect_err("refused").to_string();
        assert!(error.contains("alert"), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
        prop_assert_eq!(identity_of(&CertificateDer::from(bytes)), Err(InvalidIdentity::Unreadable));
    }

    #[test]
    fn a_damaged_certificate_is_read_without_panic(at in 0_usize..10_000, byte: u8) {
        thread_local! {
            static DER: Vec<u8> = Ca::new("ca").client(&[ID]).der().to_vec();
        }
        let mut der = DER.with(Clone::clone);
        let at = at % der.len();
        der[at] = byte;
        if let Ok(peer) = identity_of(&CertificateDer::from(der))
            && let Some(id) = peer.spiffe_id
        {
            prop_assert!(id.as_str().starts_with("spiffe://"));
        }
    }
}

/// A certificate names the key that signed it, so that it can be told which of
/// several authorities that was.
#[test]
fn the_authority_of_a_certificate_is_known_by_its_key() {
    let now = SystemClock.unix_seconds();
    let authority = || Authority::create("root", now, Duration::from_secs(7200));
    let (one, other) = (authority().expect("one"), authority().expect("another"));
    let both = format!("{}{}", one.certificate_pem(), other.certificate_pem());
    let ids = key_ids(&both);
    assert_eq!(ids.len(), 2);
    assert_ne!(ids[0], ids[1]);
    for (signer, id) in [(&one, &ids[0]), (&other, &ids[1])] {
        // As the operator has it after a restart.
        let signer = Authority::from_pem(signer.certificate_pem(), signer.key_pem());
        let signer = signer.expect("an authority");
        let issued = signer.issue(&subject(), now, Duration::from_secs(3600));
        let (certificate_pem, _) = issued.expect("a certificate");
        let der = certificates(certificate_pem.as_bytes()).expect("PEM");
        let peer = identity_of(&der[0]).expect("readable");
        assert_eq!(peer.authority_key_id.as_ref(), Some(id));
    }
    assert!(key_ids("").is_empty() && key_ids("nobody").is_empty());
}
