//! Requests of workloads that lie: nothing comes from them but the key.

use std::time::Duration;

use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    PKCS_ECDSA_P521_SHA512, PKCS_ED25519, PKCS_RSA_SHA256, PublicKeyData, SanType, SigningKey,
};
use rustls_pki_types::alg_id::{self, AlgorithmIdentifier};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer};
use x509_parser::prelude::FromDer;

use super::pki::{NOW, for_request, pem_of, subject, uri_name};
use crate::{Authority, CertificateRequest, InvalidRequest, Subject, new_key_and_request};

const HOUR: Duration = Duration::from_secs(3600);
const KIND: &str = "CERTIFICATE REQUEST";

fn refused(text: &str) -> InvalidRequest {
    CertificateRequest::from_pem(text).expect_err("refused")
}

fn key_pair() -> KeyPair {
    KeyPair::generate().expect("a key")
}

fn der_of(pem: &str) -> Vec<u8> {
    CertificateSigningRequestDer::from_pem_slice(pem.as_bytes())
        .expect("PEM")
        .to_vec()
}

/// A value in DER, of these parts.
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = match u16::try_from(content.len()).expect("short") {
        short @ 0..=127 => vec![short.to_be_bytes()[1]],
        middle @ 128..=255 => vec![0x81, middle.to_be_bytes()[1]],
        long => [&[0x82][..], &long.to_be_bytes()].concat(),
    };
    [&[tag][..], &length, &content].concat()
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    der(0x30, parts)
}

fn bits(content: &[u8]) -> Vec<u8> {
    der(3, &[&[0], content])
}

/// A request in parts, to be put together wrongly.
struct Parts {
    version: Vec<u8>,
    key_algorithm: Vec<u8>,
    key: Vec<u8>,
    attributes: Vec<u8>,
    signature_algorithm: Vec<u8>,
}

impl Parts {
    fn new(key: AlgorithmIdentifier, bytes: &[u8], signature: AlgorithmIdentifier) -> Self {
        Self {
            version: vec![2, 1, 0],
            key_algorithm: sequence(&[&key]),
            key: bits(bytes),
            attributes: vec![0xa0, 0],
            signature_algorithm: sequence(&[&signature]),
        }
    }

    fn signed(&self, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
        let key = sequence(&[&self.key_algorithm, &self.key]);
        let info = sequence(&[&self.version, &[0x30, 0], &key, &self.attributes]);
        let signature = bits(&sign(&info));
        pem_of(
            KIND,
            &sequence(&[&info, &self.signature_algorithm, &signature]),
        )
    }

    fn signed_by(&self, key: &KeyPair) -> String {
        self.signed(|info| key.sign(info).expect("signed"))
    }
}

fn p256(key: &KeyPair) -> Parts {
    Parts::new(alg_id::ECDSA_P256, key.der_bytes(), alg_id::ECDSA_SHA256)
}

#[test]
fn our_own_requests_are_signed() {
    let made = new_key_and_request().expect("a request");
    let request = CertificateRequest::from_pem(&made.request_pem).expect("taken");
    let root = Authority::create("root", NOW, HOUR).expect("an authority");
    let leaf = root
        .sign(&request, &subject(), NOW, HOUR)
        .expect("a certificate");
    let material = crate::ServerMaterial {
        certificate_pem: leaf.into_bytes(),
        key_pem: made.key_pem,
        client_ca_pem: None,
    };
    crate::server::server_config_at(crate::TlsMode::Server, &material, &[], NOW).expect("a pair");
}

#[test]
fn keys_of_all_supported_kinds_are_taken() {
    for algorithm in [
        &PKCS_ECDSA_P256_SHA256,
        &PKCS_ECDSA_P384_SHA384,
        &PKCS_ED25519,
        &PKCS_RSA_SHA256,
    ] {
        let key = KeyPair::generate_for(algorithm).expect("a key");
        let request = CertificateRequest::from_pem(&for_request(&key, |_| {})).expect("taken");
        assert_eq!(
            request.key.subject_public_key_info(),
            key.subject_public_key_info()
        );
    }
    let key = KeyPair::generate_for(&PKCS_ECDSA_P521_SHA512).expect("a key");
    assert_eq!(refused(&for_request(&key, |_| {})), InvalidRequest::Key);
}

#[test]
fn nothing_comes_from_a_request_but_the_key() {
    let greedy = |params: &mut CertificateParams| {
        params
            .distinguished_name
            .push(DnType::CommonName, "kube-apiserver");
        params
            .distinguished_name
            .push(DnType::OrganizationName, "system:masters");
        params.subject_alt_names = vec![
            uri_name("spiffe://td/ns/other/sa/admin"),
            SanType::DnsName("kubernetes.default.svc".try_into().expect("a name")),
            SanType::IpAddress([10, 0, 0, 1].into()),
        ];
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any];
        let mut unknown = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
        unknown.set_criticality(true);
        params.custom_extensions = vec![unknown];
    };
    let key = key_pair();
    let root = Authority::create("root", NOW, HOUR).expect("an authority");
    let wanted = Subject {
        spiffe_id: Some("spiffe://td/ns/a/sa/x".parse().expect("an id")),
        ..subject()
    };
    let signed = |text: &str| {
        let request = CertificateRequest::from_pem(text).expect("a request");
        root.sign(&request, &wanted, NOW, HOUR).expect("signed")
    };
    let plain = signed(&for_request(&key, |_| {}));
    let greedy = signed(&for_request(&key, greedy));
    assert_eq!(apart_from_serial(&plain), apart_from_serial(&greedy));
}

/// What a certificate says, but for its serial number.
fn apart_from_serial(pem: &str) -> Vec<String> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM");
    let (_, parsed) =
        x509_parser::certificate::X509Certificate::from_der(&der).expect("a certificate");
    let extensions = parsed.iter_extensions();
    let mut said: Vec<_> = extensions
        .map(|it| format!("{} {} {:?}", it.oid, it.critical, it.value))
        .collect();
    said.push(parsed.subject().to_string());
    said.push(format!("{:?}", parsed.validity()));
    said.push(format!("{:?}", parsed.public_key().raw));
    assert!(!pem.is_empty() && said.len() >= 8, "{said:?}");
    said
}

#[test]
fn attributes_are_not_even_read() {
    let key = key_pair();
    let parts = Parts {
        attributes: der(0xa0, &[b"no attributes at all"]),
        ..p256(&key)
    };
    CertificateRequest::from_pem(&parts.signed_by(&key)).expect("has a key and its signature");
}

#[test]
fn a_request_is_signed_by_its_own_key() {
    let (key, other) = (key_pair(), key_pair());
    let parts = p256(&key);
    CertificateRequest::from_pem(&parts.signed_by(&key)).expect("put together rightly");
    assert_eq!(refused(&parts.signed_by(&other)), InvalidRequest::Signature);
    let nothing = parts.signed(|_| Vec::new());
    assert_eq!(refused(&nothing), InvalidRequest::Signature);
    let something_else = parts.signed(|_| key.sign(b"something else").expect("signed"));
    assert_eq!(refused(&something_else), InvalidRequest::Signature);
}

#[test]
fn a_key_of_one_kind_is_none_of_another() {
    let edwards = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
    let parts = Parts::new(alg_id::ED25519, edwards.der_bytes(), alg_id::ED25519);
    CertificateRequest::from_pem(&parts.signed_by(&edwards)).expect("put together rightly");
    for (named, expected) in [
        (alg_id::ECDSA_P256, InvalidRequest::Key),
        (alg_id::RSA_ENCRYPTION, InvalidRequest::Key),
        (alg_id::ED448, InvalidRequest::Key),
    ] {
        let parts = Parts::new(named, edwards.der_bytes(), alg_id::ED25519);
        assert_eq!(refused(&parts.signed_by(&edwards)), expected);
    }
    let key = key_pair();
    for (signature, is_taken) in [
        (alg_id::ECDSA_SHA256, true),
        (alg_id::ECDSA_SHA384, false),
        (alg_id::ED25519, false),
        (alg_id::RSA_PKCS1_SHA256, false),
        (AlgorithmIdentifier::from_slice(&[]), false),
    ] {
        let parts = Parts::new(alg_id::ECDSA_P256, key.der_bytes(), signature);
        let taken = CertificateRequest::from_pem(&parts.signed_by(&key));
        assert_eq!(taken.is_ok(), is_taken, "{signature:?}");
    }
}

#[test]
fn a_point_is_on_its_curve_and_written_in_full() {
    let key = key_pair();
    let sign =
        |bytes: &[u8]| Parts::new(alg_id::ECDSA_P256, bytes, alg_id::ECDSA_SHA256).signed_by(&key);
    let point = key.der_bytes().to_vec();
    let mut off = point.clone();
    off[64] ^= 1;
    assert_eq!(refused(&sign(&off)), InvalidRequest::Signature);
    let compressed = [&[2 + (point[64] & 1)], &point[1..33]].concat();
    assert_eq!(refused(&sign(&compressed)), InvalidRequest::Key);
    let mut hybrid = point.clone();
    hybrid[0] = 6 + (point[64] & 1);
    assert_eq!(refused(&sign(&hybrid)), InvalidRequest::Key);
    assert_eq!(refused(&sign(&[])), InvalidRequest::Key);
    assert_eq!(refused(&sign(&[4])), InvalidRequest::Key);
}

/// A request with a made-up RSA key, and no good signature.
fn with_rsa(modulus_bits: usize) -> String {
    let mut modulus = vec![0xff; modulus_bits.div_ceil(8)];
    modulus[0] >>= (8 - modulus_bits % 8) % 8;
    if modulus[0] & 0x80 != 0 {
        modulus.insert(0, 0);
    }
    let key = sequence(&[&der(2, &[&modulus]), &der(2, &[&[1, 0, 1]])]);
    Parts::new(alg_id::RSA_ENCRYPTION, &key, alg_id::RSA_PKCS1_SHA256).signed(|_| vec![1; 256])
}

#[test]
fn rsa_keys_are_bounded_on_both_sides() {
    for modulus_bits in [2048, 2049, 3072, 4096] {
        let invalid = refused(&with_rsa(modulus_bits));
        assert_eq!(invalid, InvalidRequest::Signature, "{modulus_bits}");
    }
    for modulus_bits in [1, 512, 1024, 2047, 4097, 8192, 16384, 65536] {
        let invalid = refused(&with_rsa(modulus_bits));
        assert_eq!(invalid, InvalidRequest::Key, "{modulus_bits}");
    }
}

#[test]
fn sha_1_signs_nothing() {
    // sha1WithRSAEncryption, 1.2.840.113549.1.1.5
    const SHA1: AlgorithmIdentifier =
        AlgorithmIdentifier::from_slice(&[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 5, 5, 0]);
    let key = KeyPair::generate_for(&PKCS_RSA_SHA256).expect("a key");
    let with = |signature| Parts::new(alg_id::RSA_ENCRYPTION, key.der_bytes(), signature);
    let good = with(alg_id::RSA_PKCS1_SHA256).signed_by(&key);
    CertificateRequest::from_pem(&good).expect("put together rightly");
    let bad = with(SHA1).signed_by(&key);
    assert_eq!(refused(&bad), InvalidRequest::Signature);
}

#[test]
fn a_request_is_exactly_as_it_is_defined() {
    let key = key_pair();
    let unreadable = |change: fn(&mut Parts)| {
        let mut parts = p256(&key);
        change(&mut parts);
        assert_eq!(refused(&parts.signed_by(&key)), InvalidRequest::Unreadable);
    };
    unreadable(|parts| parts.version = vec![2, 1, 1]);
    unreadable(|parts| parts.version.clear());
    unreadable(|parts| parts.attributes.clear());
    unreadable(|parts| parts.attributes.extend([5, 0]));
    unreadable(|parts| parts.key[2] = 1); // bits that are not used
    unreadable(|parts| parts.key[0] = 4); // an octet string
    unreadable(|parts| parts.key.extend([5, 0]));
    unreadable(|parts| parts.signature_algorithm[0] = 0x31);

    let good = der_of(&p256(&key).signed_by(&key));
    for garbage in [&[0][..], &[5, 0], &good] {
        let text = pem_of(KIND, &[&good, garbage].concat());
        assert_eq!(refused(&text), InvalidRequest::Unreadable);
    }
    for length in [0, 1, 2, 5, good.len() - 1] {
        let text = pem_of(KIND, &good[..length]);
        assert!(matches!(
            refused(&text),
            InvalidRequest::Unreadable | InvalidRequest::Pem
        ));
    }
    // Indefinite length, which DER does not have.
    let indefinite = [&[0x30, 0x80][..], &good[4..], &[0, 0]].concat();
    let text = pem_of(KIND, &indefinite);
    assert_eq!(refused(&text), InvalidRequest::Unreadable);
}

#[test]
fn a_text_has_one_section_and_nothing_else() {
    let text = for_request(&key_pair(), |_| {});
    let other = for_request(&key_pair(), |_| {});
    for fine in [
        text.trim_end().to_owned(),
        format!("\n  {text}\r\n"),
        text.replace('\n', "\r\n"),
    ] {
        CertificateRequest::from_pem(&fine).expect("the same");
    }
    let certificate = Authority::create("root", NOW, HOUR).expect("an authority");
    for wrong in [
        String::new(),
        "-----".into(),
        format!("{text}{other}"),
        format!("{text}{text}"),
        format!("{}{text}", certificate.certificate_pem()),
        format!("{text}{}", certificate.certificate_pem()),
        format!("comment\n{text}"),
        format!("{text}comment"),
        format!("\u{feff}{text}"),
        text.replace("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"),
        text.replace("CERTIFICATE REQUEST", "CERTIFICATE"),
        text.replace("-----END", "----END"),
        text.replace("\n", "\n!"),
        text.replace("REQUEST-----\n", "REQUEST-----\nProc-Type: 4,ENCRYPTED\n\n"),
        certificate.certificate_pem().to_owned(),
    ] {
        assert_eq!(refused(&wrong), InvalidRequest::Pem, "{wrong}");
    }
}

#[test]
fn a_text_is_bounded() {
    let text = for_request(&key_pair(), |_| {});
    let padded = |length: usize| format!("{text}{}", "\n".repeat(length - text.len()));
    CertificateRequest::from_pem(&padded(16 * 1024)).expect("just fits");
    let long = refused(&padded(16 * 1024 + 1));
    assert_eq!(long, InvalidRequest::TooLong);
}

#[test]
fn errors_say_what_to_do_and_quote_nothing() {
    let error = CertificateRequest::from_pem("MII-secret-text").expect_err("none");
    assert_eq!(
        error.to_string(),
        "the certificate request is not exactly one PEM section `CERTIFICATE REQUEST`"
    );
    assert!(!format!("{error:?}").contains("secret"));
}

#[test]
fn no_byte_of_a_request_can_be_changed() {
    let good = der_of(&for_request(&key_pair(), |_| {}));
    for at in 0..good.len() {
        for byte in (0..=255).filter(|&byte| byte != good[at]) {
            let mut changed = good.clone();
            changed[at] = byte;
            let taken = CertificateRequest::from_pem(&pem_of(KIND, &changed));
            assert!(taken.is_err(), "byte {at} changed to {byte:#x}");
        }
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC*|(-----BEGIN CERTIFICATE REQUEST-----)?[A-Za-z0-9+/=\n]*(-----END CERTIFICATE REQUEST-----)?") {
        prop_assert!(CertificateRequest::from_pem(&text).is_err());
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(CertificateRequest::from_pem(&pem_of(KIND, &bytes)).is_err());
        let inside = sequence(&[&sequence(&[&bytes]), &bytes]);
        prop_assert!(CertificateRequest::from_pem(&pem_of(KIND, &inside)).is_err());
    }
}
