use std::collections::HashSet;
use std::time::Duration;

use proptest::prelude::*;
use rcgen::{
    BasicConstraints, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P384_SHA384,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

use super::pki::{Ca, NOW, for_request, pem_of, subject};
use crate::{
    Authority, AuthorityError, CertificateRequest, InvalidSubject, InvalidTls, PemFault,
    PrivateKeyPem, Subject, Usages, Validity, new_key_and_request, validity,
};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

fn authority() -> Authority {
    Authority::create("an authority", NOW, YEAR).expect("an authority")
}

/// Shows the one certificate of a text to a test.
fn look<T>(pem: &str, see: impl FnOnce(&X509Certificate<'_>) -> T) -> T {
    assert_eq!(pem.matches("BEGIN").count(), 1, "one certificate");
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM");
    let (rest, parsed) = X509Certificate::from_der(&der).expect("a certificate");
    assert!(rest.is_empty());
    see(&parsed)
}

fn key(pem: &str) -> PrivateKeyPem {
    PrivateKeyPem::from(pem.as_bytes().to_vec())
}

#[test]
fn a_root_says_what_it_may_do() {
    let root = authority();
    assert_eq!(root.not_before_unix(), NOW - 300);
    assert_eq!(root.not_after_unix(), NOW + 365 * 24 * 3600);
    look(root.certificate_pem(), |root| {
        assert_eq!(root.subject().to_string(), "CN=an authority");
        assert_eq!(root.issuer(), root.subject());
        root.verify_signature(None).expect("signed by itself");
        let constraints = root.basic_constraints().expect("read").expect("some");
        assert!(constraints.critical && constraints.value.ca);
        assert_eq!(constraints.value.path_len_constraint, Some(0));
        let usage = root.key_usage().expect("read").expect("some");
        // keyCertSign (5) and cRLSign (6), RFC 5280, section 4.2.1.3.
        assert_eq!((usage.critical, usage.value.flags), (true, 0b110_0000));
    });
}

#[test]
fn serial_numbers_are_random_and_as_long_as_they_may_be() {
    let root = authority();
    let mut seen = HashSet::new();
    for _ in 0..50 {
        let (leaf, _) = root.issue(&subject(), NOW, HOUR).expect("issued");
        let serial = look(&leaf, |leaf| leaf.raw_serial().to_vec());
        assert_eq!(serial.len(), 20);
        assert!((0x40..0x80).contains(&serial[0]), "positive: {serial:?}");
        assert!(seen.insert(serial));
    }
    let serial = look(root.certificate_pem(), |root| root.raw_serial().to_vec());
    assert_eq!(serial.len(), 20);
}

#[test]
fn a_leaf_says_what_the_authority_knows() {
    let root = authority();
    let wanted = Subject {
        common_name: "4b3c5ab1-uid".into(),
        spiffe_id: Some("spiffe://td/ns/a/sa/x".parse().expect("an id")),
        dns_names: vec!["svc.a.svc.cluster.local".into(), "*.a.example".into()],
        usages: Usages::Both,
    };
    let KeyRequest { request, key_der } = key_request();
    let leaf = root.sign(&request, &wanted, NOW, HOUR).expect("signed");
    look(&leaf, |leaf| {
        assert_eq!(leaf.subject().to_string(), "CN=4b3c5ab1-uid");
        assert_eq!(leaf.public_key().raw, key_der);
        let constraints = leaf.basic_constraints().expect("read").expect("some");
        assert!(constraints.critical && !constraints.value.ca);
        let usage = leaf.key_usage().expect("read").expect("some");
        // digitalSignature (0)
        assert_eq!((usage.critical, usage.value.flags), (true, 1));
        let names = leaf
            .subject_alternative_name()
            .expect("read")
            .expect("some");
        assert_eq!(
            names.value.general_names,
            [
                GeneralName::URI("spiffe://td/ns/a/sa/x"),
                GeneralName::DNSName("svc.a.svc.cluster.local"),
                GeneralName::DNSName("*.a.example"),
            ]
        );
        look(root.certificate_pem(), |root| {
            leaf.verify_signature(Some(root.public_key()))
                .expect("signed by the root");
            assert_eq!(leaf.issuer().as_raw(), root.subject().as_raw());
        });
    });
}

struct KeyRequest {
    request: CertificateRequest,
    key_der: Vec<u8>,
}

fn key_request() -> KeyRequest {
    let key = KeyPair::generate().expect("a key");
    let pem = for_request(&key, |_| {});
    KeyRequest {
        request: CertificateRequest::from_pem(&pem).expect("a request"),
        key_der: rcgen::PublicKeyData::subject_public_key_info(&key),
    }
}

#[test]
fn a_certificate_is_for_the_wanted_usages_only() {
    let root = authority();
    for (usages, server, client) in [
        (Usages::Server, true, false),
        (Usages::Client, false, true),
        (Usages::Both, true, true),
    ] {
        let wanted = Subject {
            usages,
            ..subject()
        };
        let (leaf, _) = root.issue(&wanted, NOW, HOUR).expect("issued");
        look(&leaf, |leaf| {
            let usage = leaf
                .extended_key_usage()
                .expect("read")
                .expect("some")
                .value;
            assert_eq!((usage.server_auth, usage.client_auth), (server, client));
            assert!(!usage.any && usage.other.is_empty());
        });
    }
}

#[test]
fn a_leaf_without_names_has_none() {
    let wanted = Subject {
        dns_names: Vec::new(),
        spiffe_id: None,
        usages: Usages::Client,
        ..subject()
    };
    let (leaf, _) = authority().issue(&wanted, NOW, HOUR).expect("issued");
    look(&leaf, |leaf| {
        assert!(leaf.subject_alternative_name().expect("read").is_none());
    });
}

#[test]
fn a_leaf_begins_and_ends_within_its_root() {
    let root = authority();
    let (first, last) = (root.not_before_unix(), root.not_after_unix());
    let at = |now, lifetime| {
        let (leaf, _) = root.issue(&subject(), now, lifetime)?;
        let Validity {
            not_before_unix,
            not_after_unix,
        } = validity(&leaf).expect("a certificate");
        Ok::<_, AuthorityError>((not_before_unix, not_after_unix))
    };
    assert_eq!(at(NOW + 600, HOUR), Ok((NOW + 300, NOW + 4200)));
    assert_eq!(at(NOW + 10, HOUR), Ok((NOW - 290, NOW + 3610)));
    assert_eq!(at(first, HOUR), Ok((first, first + 3600)), "not before it");
    assert_eq!(at(last - 3600, HOUR), Ok((last - 3900, last)));
    assert_eq!(at(last - 3599, HOUR), Ok((last - 3899, last)), "cut");
    assert_eq!(at(last - 1, HOUR), Ok((last - 301, last)), "cut");
    assert_eq!(at(NOW, Duration::MAX), Err(AuthorityError::Lifetime));
    assert_eq!(at(NOW, Duration::ZERO), Err(AuthorityError::Lifetime));
    assert_eq!(at(last, HOUR), Err(AuthorityError::Expired));
    assert_eq!(at(i64::MAX, HOUR), Err(AuthorityError::Expired));
    assert_eq!(at(first - 1, HOUR), Err(AuthorityError::NotYetValid));
    assert_eq!(at(i64::MIN, HOUR), Err(AuthorityError::NotYetValid));
}

#[test]
fn a_root_that_has_expired_can_be_read_and_does_not_sign() {
    let root = authority();
    let again = Authority::from_pem(root.certificate_pem(), root.key_pem()).expect("readable");
    let late = again.not_after_unix() + 1;
    let KeyRequest { request, .. } = key_request();
    let signed = again.sign(&request, &subject(), late, HOUR);
    assert_eq!(signed, Err(AuthorityError::Expired));
}

#[test]
fn a_root_lives_as_long_as_time_can_be_written() {
    let last = 253_402_300_799_i64; // the end of 9999
    let rest = |seconds: i64| Duration::from_secs(seconds.unsigned_abs());
    let root = Authority::create("root", NOW, rest(last - NOW)).expect("just so");
    assert_eq!(root.not_after_unix(), last);
    for lifetime in [rest(last - NOW + 1), Duration::MAX, Duration::ZERO] {
        let error = Authority::create("root", NOW, lifetime).expect_err("no time");
        assert_eq!(error, AuthorityError::Lifetime);
    }
    for now in [i64::MIN, 299, i64::MAX] {
        let error = Authority::create("root", now, DAY).expect_err("no time");
        assert_eq!(error, AuthorityError::Lifetime, "{now}");
    }
    assert!(Authority::create("root", 300, DAY).is_ok());
}

#[test]
fn names_are_bounded_on_both_sides() {
    let long = |count| "é".repeat(count);
    let invalid = AuthorityError::Subject(InvalidSubject::CommonName);
    for name in ["", "a\nb", "a\0", &long(65)] {
        let error = Authority::create(name, NOW, DAY).expect_err("no name");
        assert_eq!(error, invalid, "{name}");
        let wanted = Subject {
            common_name: name.to_owned(),
            ..subject()
        };
        let error = authority().issue(&wanted, NOW, DAY).expect_err("no name");
        assert_eq!(error, invalid, "{name}");
    }
    let root = Authority::create(&long(64), NOW, DAY).expect("an authority");
    let again = Authority::from_pem(root.certificate_pem(), root.key_pem()).expect("the same");
    let (leaf, _) = again.issue(&subject(), NOW, HOUR).expect("issued");
    look(&leaf, |leaf| {
        look(root.certificate_pem(), |root| {
            assert_eq!(leaf.issuer().as_raw(), root.subject().as_raw());
        });
    });
}

#[test]
fn a_stored_root_signs_like_the_one_that_was_stored() {
    let root = authority();
    let text = root.certificate_pem().to_owned();
    let again = Authority::from_pem(&text, &root.key_pem().expose().to_vec().into()).expect("it");
    assert_eq!(again.certificate_pem(), text);
    assert_eq!(again.key_pem().expose(), root.key_pem().expose());
    assert_eq!(again.not_before_unix(), root.not_before_unix());
    assert_eq!(again.not_after_unix(), root.not_after_unix());
    let known_as = look(&text, |root| {
        root.iter_extensions().find_map(|extension| {
            if let ParsedExtension::SubjectKeyIdentifier(id) = extension.parsed_extension() {
                Some(id.0.to_vec())
            } else {
                None
            }
        })
    });
    assert!(known_as.is_some());
    for authority in [&root, &again] {
        let (leaf, _) = authority.issue(&subject(), NOW, HOUR).expect("issued");
        let issuer = look(&leaf, |leaf| {
            leaf.iter_extensions().find_map(|extension| {
                if let ParsedExtension::AuthorityKeyIdentifier(id) = extension.parsed_extension() {
                    id.key_identifier.as_ref().map(|id| id.0.to_vec())
                } else {
                    None
                }
            })
        });
        assert_eq!(issuer, known_as);
    }
}

#[test]
fn the_text_of_a_root_can_be_published() {
    let root = authority();
    let pem = root.certificate_pem();
    let untidy = format!("\n\n{}", pem.trim_end());
    let again = Authority::from_pem(&untidy, root.key_pem()).expect("the same");
    assert_eq!(again.certificate_pem(), pem, "can be put before another");
    let key = str::from_utf8(root.key_pem().expose()).expect("text");
    for untidy in [
        format!("{pem}{key}"),
        format!("{key}{pem}"),
        format!("{pem}{pem}"),
        format!("# our root\n{pem}"),
        format!("{pem}# our root"),
    ] {
        let error = Authority::from_pem(&untidy, root.key_pem()).expect_err("more than one thing");
        assert_eq!(error, AuthorityError::NotAlone);
    }
}

#[test]
fn other_texts_are_no_authority() {
    let (root, other) = (authority(), authority());
    let (pem, root_key) = (root.certificate_pem(), root.key_pem());
    let of = |pem: &str, key: &PrivateKeyPem| Authority::from_pem(pem, key).expect_err("none");
    assert_eq!(of(pem, other.key_pem()), AuthorityError::KeyMismatch);
    let (leaf, leaf_key) = root.issue(&subject(), NOW, DAY).expect("issued");
    assert_eq!(of(&leaf, &leaf_key), AuthorityError::NoAuthority);
    let both = format!("{pem}{leaf}");
    assert_eq!(of(&both, root_key), AuthorityError::NotAlone);
    let missing = AuthorityError::Certificate(PemFault::Missing);
    assert_eq!(of("", root_key), missing);
    let cut = pem.get(..pem.len() / 2).expect("half");
    let broken = AuthorityError::Certificate(PemFault::Broken);
    assert_eq!(of(cut, root_key), broken);
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert_eq!(of(garbage, root_key), AuthorityError::Unreadable);
    assert_eq!(of(pem, &key("")), AuthorityError::Key(PemFault::Missing));
    let garbage = key("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    assert_eq!(of(pem, &garbage), AuthorityError::KeyUnsupported);
    let strong = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).expect("a key");
    let strong = key(&strong.serialize_pem());
    assert_eq!(of(pem, &strong), AuthorityError::KeyUnsupported);
}

#[test]
fn a_root_of_another_tool_is_one_when_it_may_sign() {
    let may = Ca::with("ca", |params| {
        params
            .distinguished_name
            .push(DnType::OrganizationName, "o");
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    });
    let root = Authority::from_pem(&may.pem, &key(&may.key_pem())).expect("an authority");
    let (leaf, _) = root.issue(&subject(), NOW, DAY).expect("issued");
    look(&leaf, |leaf| {
        look(&may.pem, |root| {
            assert_eq!(leaf.issuer().as_raw(), root.subject().as_raw());
        });
    });
    let may_not = Ca::with("ca", |params| {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    });
    let no_authority = Ca::with("ca", |params| params.is_ca = IsCa::ExplicitNoCa);
    for ca in [may_not, no_authority] {
        let error = Authority::from_pem(&ca.pem, &key(&ca.key_pem())).expect_err("none");
        assert_eq!(error, AuthorityError::NoAuthority);
    }
    let unlimited = Ca::with("ca", |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    });
    assert!(Authority::from_pem(&unlimited.pem, &key(&unlimited.key_pem())).is_ok());
}

#[test]
fn keys_are_in_no_debug_output() {
    let root = authority();
    let made = new_key_and_request().expect("a request");
    let request = CertificateRequest::from_pem(&made.request_pem).expect("a request");
    let (_, leaf_key) = root.issue(&subject(), NOW, HOUR).expect("issued");
    let shown = format!("{root:?} {root:#?} {made:?} {request:?} {leaf_key:?}");
    for key in [root.key_pem(), &made.key_pem, &leaf_key] {
        let text = str::from_utf8(key.expose()).expect("text");
        let lines = text.lines().filter(|line| !line.starts_with("-----"));
        for line in lines {
            assert!(!shown.contains(line));
        }
        let der = rustls_pki_types::PrivateKeyDer::from_pem_slice(key.expose()).expect("a key");
        let listed = format!("{:?}", &der.secret_der()[..40]);
        let listed = listed.trim_matches(['[', ']']);
        assert!(!shown.contains(listed));
    }
    assert!(shown.contains("redacted"), "{shown}");
}

#[test]
fn the_validity_of_a_certificate_can_be_read() {
    let root = authority();
    let leaf = root.issue(&subject(), NOW, HOUR).expect("issued").0;
    let of_leaf = Validity {
        not_before_unix: NOW - 300,
        not_after_unix: NOW + 3600,
    };
    assert_eq!(validity(&leaf), Ok(of_leaf));
    let chain = format!("{leaf}{}", root.certificate_pem());
    assert_eq!(validity(&chain), Ok(of_leaf), "of the leaf");
    let missing = InvalidTls::Certificate(PemFault::Missing);
    assert_eq!(validity(""), Err(missing));
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert_eq!(validity(garbage), Err(InvalidTls::CertificateUnreadable));
}

#[test]
fn a_name_that_cannot_be_written_is_none_of_an_authority() {
    let named = |kinds: &[DnType]| {
        let ca = Ca::with("ca", |params| {
            if kinds.is_empty() {
                params.distinguished_name = DistinguishedName::new();
            }
            for kind in kinds {
                params.distinguished_name.push(kind.clone(), "x");
            }
        });
        Authority::from_pem(&ca.pem, &key(&ca.key_pem())).map(drop)
    };
    assert_eq!(named(&[DnType::OrganizationName]), Ok(()));
    for kinds in [
        &[][..],
        &[
            DnType::OrganizationalUnitName,
            DnType::CustomDnType(vec![2, 5, 4, 11]),
        ],
        &[DnType::from_oid(&[1, 2, 3])],
    ] {
        assert_eq!(named(kinds), Err(AuthorityError::Name), "{kinds:?}");
    }
}

#[test]
fn an_authority_below_another_is_no_root() {
    let below = Ca::new("root").intermediate("below");
    let error = Authority::from_pem(&below.pem, &key(&below.key_pem())).expect_err("no root");
    assert_eq!(error, AuthorityError::NoRoot);
}

thread_local! {
    static ROOT: Authority = authority();
}

proptest! {
    #[test]
    fn no_text_of_an_authority_panics(text in "\\PC*") {
        ROOT.with(|root| {
            prop_assert!(Authority::from_pem(&text, root.key_pem()).is_err());
            let key = text.clone().into_bytes().into();
            prop_assert!(Authority::from_pem(root.certificate_pem(), &key).is_err());
            Ok(())
        })?;
    }

    #[test]
    fn no_byte_of_a_root_can_be_changed(at: usize, byte: u8) {
        ROOT.with(|root| {
            let pem = root.certificate_pem().as_bytes();
            let mut der = CertificateDer::from_pem_slice(pem).expect("PEM").to_vec();
            let at = at % der.len();
            prop_assume!(der[at] != byte);
            der[at] = byte;
            let changed = Authority::from_pem(&pem_of("CERTIFICATE", &der), root.key_pem());
            prop_assert!(changed.is_err(), "byte {}", at);
            Ok(())
        })?;
    }
}

/// Made by OpenSSL: the library here never leaves the identifier out.
const WITHOUT_KEY_ID: &str = "-----BEGIN CERTIFICATE-----
MIIBUTCB+KADAgECAhRyBul6Bf06a+idkuuaikdJUjILxTAKBggqhkjOPQQDAjAU
MRIwEAYDVQQDDAluby1rZXktaWQwIBcNMjYxMTMwMTYyMzA4WhgPMjEyNjExMDYx
NjIzMDhaMBQxEjAQBgNVBAMMCW5vLWtleS1pZDBZMBMGByqGSM49AgEGCCqGSM49
AwEHA0IABFMWoYJtsOjg1fULn3EC6Mene2/k7yc7jhIekzZ80yhh/gckBwHCAwat
aVfpRhYV5U2qzP1BQdI8G3LOjlwYiFWjJjAkMBIGA1UdEwEB/wQIMAYBAf8CAQAw
DgYDVR0PAQH/BAQDAgEGMAoGCCqGSM49BAMCA0gAMEUCIQCrvWJBui/qqWCA6sqO
IJ1Fphqf9hYKJyoe6mF456ZS0gIgCWekoj8ERDIiwrvIMzGeEyAF0O3h+sFSooTZ
RSblTKg=
-----END CERTIFICATE-----
";
const ITS_KEY: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgvh1hiMsqk6jC1u5q
TLBW5BUUhU4rZMH64Fv+yYGrVIKhRANCAARTFqGCbbDo4NX1C59xAujHp3tv5O8n
O44SHpM2fNMoYf4HJAcBwgMGrWlX6UYWFeVNqsz9QUHSPBtyzo5cGIhV
-----END PRIVATE KEY-----
";

#[test]
fn an_authority_without_a_key_identifier_cannot_be_told_from_others() {
    let error = Authority::from_pem(WITHOUT_KEY_ID, &key(ITS_KEY)).expect_err("no identifier");
    assert_eq!(error, AuthorityError::NoKeyId);
    assert!(error.to_string().contains("subject key identifier"));
}
