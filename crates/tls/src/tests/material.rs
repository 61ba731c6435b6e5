use proptest::prelude::*;
use rcgen::{KeyPair, date_time_ymd};

use super::pki::{Ca, Leaf};
use crate::roots::MAX_ROOTS;
use crate::server::server_config_at;
use crate::{InvalidTls, PemFault, PrivateKeyPem, ServerMaterial, TlsMode, server_config};

fn invalid(mode: TlsMode, material: &ServerMaterial) -> InvalidTls {
    server_config(mode, material).expect_err("not valid")
}

#[test]
fn tls_024_without_a_client_ca_there_is_no_mutual_tls() {
    let leaf = Ca::new("ca").server();
    assert_eq!(
        invalid(TlsMode::Mutual, &leaf.material(None)),
        InvalidTls::NoClientCa
    );
    for empty in ["", "\n", "# no certificate\n", &leaf.key_pem] {
        let error = invalid(TlsMode::Mutual, &leaf.material(Some(empty)));
        assert_eq!(error, InvalidTls::ClientCa(PemFault::Missing), "{empty}");
    }
    assert!(server_config(TlsMode::Server, &leaf.material(None)).is_ok());
}

#[test]
fn a_broken_client_ca_is_refused_whole() {
    let ca = Ca::new("ca");
    let leaf = ca.server();
    let cut = ca.pem.get(..ca.pem.len() / 2).expect("half");
    let error = invalid(
        TlsMode::Mutual,
        &leaf.material(Some(&format!("{}{cut}", ca.pem))),
    );
    assert_eq!(error, InvalidTls::ClientCa(PemFault::Broken));
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let error = invalid(
        TlsMode::Mutual,
        &leaf.material(Some(&format!("{}{garbage}", ca.pem))),
    );
    assert_eq!(error, InvalidTls::ClientCaUnreadable { position: 2 });
}

#[test]
fn a_client_ca_must_be_one() {
    let ca = Ca::new("ca");
    let leaf = ca.server();
    let bundle = format!("{}{}", ca.pem, leaf.pem);
    let error = invalid(TlsMode::Mutual, &leaf.material(Some(&bundle)));
    assert_eq!(error, InvalidTls::ClientCaIsNone { position: 2 });
}

#[test]
fn an_expired_client_ca_is_left_out_and_one_must_remain() {
    let old = Ca::with("old", |params| params.not_after = date_time_ymd(2020, 1, 1));
    let (ca, leaf) = (Ca::new("ca"), Ca::new("server").server());
    let error = invalid(TlsMode::Mutual, &leaf.material(Some(&old.pem)));
    assert_eq!(error, InvalidTls::ClientCaExpired);
    let bundle = format!("{}{}", old.pem, ca.pem);
    assert!(server_config(TlsMode::Mutual, &leaf.material(Some(&bundle))).is_ok());
}

#[test]
fn client_cas_are_bounded_on_both_sides() {
    let ca = Ca::new("ca");
    let leaf = ca.server();
    let most = leaf.material(Some(&ca.pem.repeat(MAX_ROOTS)));
    assert!(server_config(TlsMode::Mutual, &most).is_ok());
    let more = leaf.material(Some(&ca.pem.repeat(MAX_ROOTS + 1)));
    assert_eq!(
        invalid(TlsMode::Mutual, &more),
        InvalidTls::TooManyClientCas
    );
}

#[test]
fn tls_027_a_new_certificate_with_the_old_key_is_refused() {
    let ca = Ca::new("ca");
    let (old, new) = (ca.server(), ca.server());
    let mixed = Leaf {
        pem: new.pem,
        key_pem: old.key_pem,
    };
    let error = invalid(TlsMode::Server, &mixed.material(None));
    assert_eq!(error, InvalidTls::KeyMismatch);
    assert!(
        error.to_string().contains("replace both together"),
        "{error}"
    );
}

#[test]
fn the_leaf_comes_first() {
    let root = Ca::new("root");
    let middle = root.intermediate("middle");
    let leaf = middle.server();
    let turned = Leaf {
        pem: format!("{}{}{}", root.pem, middle.pem, leaf.pem),
        ..leaf.clone()
    };
    assert_eq!(
        invalid(TlsMode::Server, &turned.material(None)),
        InvalidTls::Order { position: 3 }
    );
    let right = Leaf {
        pem: format!("{}{}", leaf.pem, middle.pem),
        ..leaf
    };
    assert!(server_config(TlsMode::Server, &right.material(None)).is_ok());
}

#[test]
fn a_certificate_serves_from_its_first_to_its_last_second() {
    let ca = Ca::new("ca");
    let leaf = ca.leaf(|params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 3);
    });
    let (first, last) = (1_577_836_800, 1_578_009_600);
    let at = |now| server_config_at(TlsMode::Server, &leaf.material(None), &[], now);
    assert_eq!(at(first).expect("valid").not_after_unix(), last);
    assert!(at(last).is_ok());
    assert_eq!(
        at(last + 1).expect_err("late"),
        InvalidTls::Expired { days: 0 }
    );
    assert_eq!(
        at(last + 172_801).expect_err("late"),
        InvalidTls::Expired { days: 2 }
    );
    assert!(at(first - 300).is_ok(), "clocks differ");
    assert_eq!(at(first - 301).expect_err("early"), InvalidTls::NotYetValid);
    assert!(matches!(
        server_config(TlsMode::Server, &leaf.material(None)),
        Err(InvalidTls::Expired { days }) if days > 1_000
    ));
}

#[test]
fn a_missing_or_broken_certificate_or_key_is_named() {
    let leaf = Ca::new("ca").server();
    let of = |pem: &str, key_pem: &str| {
        let leaf = Leaf {
            pem: pem.to_owned(),
            key_pem: key_pem.to_owned(),
        };
        invalid(TlsMode::Server, &leaf.material(None))
    };
    assert_eq!(
        of("", &leaf.key_pem),
        InvalidTls::Certificate(PemFault::Missing)
    );
    assert_eq!(
        of(&leaf.key_pem, &leaf.key_pem),
        InvalidTls::Certificate(PemFault::Missing)
    );
    assert_eq!(of(&leaf.pem, ""), InvalidTls::Key(PemFault::Missing));
    assert_eq!(of(&leaf.pem, &leaf.pem), InvalidTls::Key(PemFault::Missing));
    let broken = leaf.key_pem.replace("-----END", "*****END");
    assert_eq!(of(&leaf.pem, &broken), InvalidTls::Key(PemFault::Broken));
    let encrypted = leaf.key_pem.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    assert_eq!(
        of(&leaf.pem, &encrypted),
        InvalidTls::Key(PemFault::Encrypted)
    );
    let nonsense = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    assert_eq!(of(&leaf.pem, nonsense), InvalidTls::KeyUnsupported);
    let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert_eq!(
        of(nonsense, &leaf.key_pem),
        InvalidTls::CertificateUnreadable
    );
}

#[test]
fn every_kind_of_key_serves() {
    for algorithm in [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ED25519,
    ] {
        let key = KeyPair::generate_for(algorithm).expect("a key");
        let certificate = rcgen::CertificateParams::default()
            .self_signed(&key)
            .expect("a certificate");
        let leaf = Leaf {
            pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        };
        assert!(
            server_config(TlsMode::Server, &leaf.material(None)).is_ok(),
            "{algorithm:?}"
        );
    }
}

#[test]
fn log_006_no_debug_output_or_error_shows_the_key() {
    let leaf = Ca::new("ca").server();
    let material = leaf.material(None);
    let tls = server_config(TlsMode::Server, &material).expect("valid");
    let canary = leaf.key_pem.lines().nth(1).expect("the key");
    // Texts and the decimal bytes that a derived Debug would print.
    let bytes = format!("{:?}", canary.as_bytes().get(..8).expect("bytes"));
    let bytes = bytes.trim_matches(['[', ']']);
    let broken = Leaf {
        key_pem: format!("-----BEGIN {canary}\n{canary}\n"),
        ..leaf.clone()
    };
    let error = invalid(TlsMode::Server, &broken.material(None));
    for shown in [
        format!("{material:?}"),
        format!("{tls:?}"),
        format!("{error:?} {error}"),
        format!(
            "{:?}",
            PrivateKeyPem::from(leaf.key_pem.clone().into_bytes())
        ),
    ] {
        assert!(!shown.contains(canary) && !shown.contains(bytes), "{shown}");
    }
}

#[test]
fn messages_say_what_to_do() {
    for (error, part) in [
        (
            InvalidTls::Certificate(PemFault::Missing),
            "certificate (tls.crt) is missing: expected a PEM",
        ),
        (
            InvalidTls::Key(PemFault::Encrypted),
            "key (tls.key) is encrypted: store it without",
        ),
        (InvalidTls::ClientCa(PemFault::Broken), "(ca.crt) is broken"),
        (
            InvalidTls::Expired { days: 3 },
            "has expired, 3 days ago: renew it",
        ),
        (
            InvalidTls::NoClientCa,
            "needs the CA of the clients (ca.crt)",
        ),
    ] {
        assert!(error.to_string().contains(part), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_the_texts_are_nothing_panics(certificate: Vec<u8>, key: Vec<u8>, ca: Vec<u8>) {
        let material = ServerMaterial {
            certificate_pem: certificate,
            key_pem: PrivateKeyPem::from(key),
            client_ca_pem: Some(ca),
        };
        prop_assert!(server_config(TlsMode::Mutual, &material).is_err());
    }
}
