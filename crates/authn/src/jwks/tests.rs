use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::testing::{TestKey, base64, jwks, merge, rsa_key};

fn set(keys: &[Value]) -> KeySet {
    KeySet::parse(jwks(keys).as_bytes(), 100).expect("a set with usable keys")
}

fn usable(key: &Value) -> bool {
    match KeySet::parse(jwks(std::slice::from_ref(key)).as_bytes(), 100) {
        Ok(set) => set.len() == 1,
        Err(error) => {
            assert_eq!(error, InvalidJwks::NoUsableKey);
            false
        }
    }
}

fn found(candidates: &Candidates<'_>) -> Option<usize> {
    match candidates {
        Candidates::Found(signers) => Some(signers.keys.len()),
        Candidates::WrongAlgorithm | Candidates::Unknown => None,
    }
}

#[test]
fn every_algorithm_verifies_its_own_signatures_only() {
    let (p256, p384, ed) = (TestKey::p256(), TestKey::p384(), TestKey::ed25519());
    let cases = [
        ("RS256", rsa_key()),
        ("RS384", rsa_key()),
        ("RS512", rsa_key()),
        ("PS256", rsa_key()),
        ("PS384", rsa_key()),
        ("PS512", rsa_key()),
        ("ES256", &p256),
        ("ES384", &p384),
        ("EdDSA", &ed),
    ];
    for (name, key) in cases {
        let set = set(&[key.jwk(&json!({"kid": "k", "alg": name, "use": "sig"}))]);
        let signature = key.sign(name, b"message");
        for (other, _) in cases {
            let algorithm = other.parse().expect("an algorithm");
            match set.candidates(Some("k"), algorithm) {
                Candidates::Found(signers) => {
                    assert_eq!(other, name);
                    assert!(signers.signed(b"message", &signature), "{name}");
                    assert!(!signers.signed(b"messagf", &signature), "{name}");
                    assert!(!signers.signed(b"message", &Vec::new()), "{name}");
                }
                Candidates::WrongAlgorithm => assert_ne!(other, name),
                Candidates::Unknown => panic!("{name} is there"),
            }
        }
    }
}

#[test]
fn a_key_without_algorithm_serves_those_of_its_kind() {
    let set = set(&[rsa_key().jwk(&json!({"kid": "k"}))]);
    assert_eq!(found(&set.candidates(Some("k"), Algorithm::Rs256)), Some(1));
    assert_eq!(found(&set.candidates(Some("k"), Algorithm::Ps512)), Some(1));
    let other_kind = set.candidates(Some("k"), Algorithm::Es256);
    assert!(matches!(other_kind, Candidates::WrongAlgorithm));
}

#[test]
fn keys_for_other_uses_are_left_out() {
    let key = |more: Value| rsa_key().jwk(&more);
    for usable_key in [
        key(json!({})),
        key(json!({"use": "sig"})),
        key(json!({"key_ops": ["verify"]})),
        key(json!({"key_ops": ["sign", "verify"]})),
        key(json!({"alg": "RS256"})),
        key(json!({"x5c": ["AA=="], "x5t": "AA", "unknown": 1})),
    ] {
        assert!(usable(&usable_key), "{usable_key}");
    }
    for unusable in [
        key(json!({"use": "enc"})),
        key(json!({"use": ["sig"]})),
        key(json!({"use": null})),
        key(json!({"key_ops": []})),
        key(json!({"key_ops": ["encrypt"]})),
        key(json!({"key_ops": "verify"})),
        key(json!({"use": "sig", "key_ops": ["deriveKey"]})),
        key(json!({"alg": "RSA-OAEP"})),
        key(json!({"alg": "HS256"})),
        key(json!({"alg": "none"})),
        key(json!({"alg": "ES256"})),
        key(json!({"alg": 1})),
        key(json!({"kid": 1})),
        key(json!({"kid": null})),
        key(json!({"kty": "rsa"})),
        key(json!({"kty": 1})),
        key(json!({"kty": "<absent>"})),
        key(json!({"d": "AQ"})),
        key(json!({"p": "AQ"})),
        key(json!({"k": "AQ"})),
        json!({}),
        json!({"kty": "oct", "k": base64([7; 32])}),
        json!({"kty": "oct", "k": base64([7; 32]), "alg": "HS256", "use": "sig"}),
    ] {
        assert!(!usable(&unusable), "{unusable}");
    }
}

#[test]
fn rsa_keys_are_bounded_on_both_sides() {
    let key = |modulus: Vec<u8>, exponent: &[u8]| json!({"kty": "RSA", "n": base64(modulus), "e": base64(exponent)});
    let modulus = |bits: usize| {
        let mut modulus = vec![0xff_u8; bits.div_ceil(8)];
        modulus[0] >>= modulus.len() * 8 - bits;
        modulus
    };
    const F4: &[u8] = &[1, 0, 1];
    for (bits, expected) in [(512, false), (1024, false), (2047, false), (2048, true)] {
        assert_eq!(usable(&key(modulus(bits), F4)), expected, "{bits}");
    }
    assert!(usable(&key(modulus(8192), F4)));
    assert!(!usable(&key(modulus(8193), F4)));
    let mut even = modulus(2048);
    *even.last_mut().expect("a byte") = 0xfe;
    assert!(!usable(&key(even, F4)));
    let padded = [vec![0], modulus(2048)].concat();
    assert!(
        usable(&key(padded, F4)),
        "some issuers write a leading zero"
    );
    let short = [vec![0; 128], modulus(1024)].concat();
    assert!(!usable(&key(short, F4)), "zeros are no bits");
    for (exponent, expected) in [
        (&[][..], false),
        (&[0], false),
        (&[1], false),
        (&[2], false),
        (&[3], true),
        (&[4], false),
        (&[0, 1], false),
        (&[1, 0, 0], false),
        (&[0xff, 0xff, 0xff, 0xff], true),
        (&[1, 0, 0, 0, 1], false),
    ] {
        assert_eq!(
            usable(&key(modulus(2048), exponent)),
            expected,
            "{exponent:?}"
        );
    }
}

#[test]
fn points_must_be_whole_and_on_their_curve() {
    let good = TestKey::p256().jwk(&json!({}));
    assert!(usable(&good));
    assert!(usable(&TestKey::p384().jwk(&json!({}))));
    assert!(usable(&TestKey::ed25519().jwk(&json!({}))));
    let x = good["x"].as_str().expect("a coordinate").to_owned();
    for change in [
        json!({"crv": "P-384"}),
        json!({"crv": "P-521"}),
        json!({"crv": "secp256k1"}),
        json!({"crv": "<absent>"}),
        json!({"y": "<absent>"}),
        json!({"y": x}),
        json!({"y": base64([1; 31])}),
        json!({"y": base64([1; 33])}),
        json!({"x": base64([0; 32]), "y": base64([0; 32])}),
        json!({"x": format!("{x}=")}),
        json!({"x": 1}),
    ] {
        let mut key = good.clone();
        merge(&mut key, &change);
        assert!(!usable(&key), "{change}");
    }
    for change in [
        json!({"crv": "Ed448"}),
        json!({"crv": "X25519"}),
        json!({"x": base64([1; 31])}),
    ] {
        assert!(!usable(&TestKey::ed25519().jwk(&change)), "{change}");
    }
}

#[test]
fn keys_are_found_by_id() {
    let (a, b) = (TestKey::ed25519(), TestKey::ed25519());
    let set = set(&[a.jwk(&json!({"kid": "a"})), b.jwk(&json!({"kid": "b"}))]);
    let Candidates::Found(signers) = set.candidates(Some("b"), Algorithm::EdDsa) else {
        panic!("it is there")
    };
    assert!(signers.signed(b"m", &b.sign("EdDSA", b"m")));
    assert!(
        !signers.signed(b"m", &a.sign("EdDSA", b"m")),
        "another key of the set"
    );
    for unknown in ["c", "", "A", "a "] {
        let candidates = set.candidates(Some(unknown), Algorithm::EdDsa);
        assert!(matches!(candidates, Candidates::Unknown), "{unknown}");
    }
}

#[test]
fn without_an_id_there_must_be_no_choice() {
    let (ed, other) = (TestKey::ed25519(), TestKey::ed25519());
    let one = set(&[
        ed.jwk(&json!({"kid": "a"})),
        rsa_key().jwk(&json!({"kid": "b"})),
    ]);
    assert_eq!(found(&one.candidates(None, Algorithm::EdDsa)), Some(1));
    let two = set(&[ed.jwk(&json!({"kid": "a"})), other.jwk(&json!({}))]);
    assert!(matches!(
        two.candidates(None, Algorithm::EdDsa),
        Candidates::Unknown
    ));
    let none = set(&[rsa_key().jwk(&json!({}))]);
    assert!(matches!(
        none.candidates(None, Algorithm::EdDsa),
        Candidates::Unknown
    ));
    assert!(matches!(
        none.candidates(Some("a"), Algorithm::Rs256),
        Candidates::Unknown
    ));
}

#[test]
fn keys_with_one_id_are_all_tried_up_to_a_bound() {
    let keys: Vec<TestKey> = (0..5).map(|_| TestKey::ed25519()).collect();
    let jwks: Vec<Value> = keys
        .iter()
        .map(|key| key.jwk(&json!({"kid": "same"})))
        .collect();
    let set = set(&jwks);
    let Candidates::Found(signers) = set.candidates(Some("same"), Algorithm::EdDsa) else {
        panic!("they are there")
    };
    let verdicts = keys
        .iter()
        .map(|key| signers.signed(b"m", &key.sign("EdDSA", b"m")));
    assert_eq!(
        verdicts.collect::<Vec<_>>(),
        [true, true, true, true, false]
    );
}

#[test]
fn a_set_over_its_bound_is_refused_whole() {
    let keys: Vec<Value> = (0..3).map(|_| TestKey::ed25519().jwk(&json!({}))).collect();
    let text = jwks(&keys);
    assert_eq!(
        KeySet::parse(text.as_bytes(), 3).expect("in bounds").len(),
        3
    );
    let refused = KeySet::parse(text.as_bytes(), 2).map(|_| ());
    assert_eq!(refused, Err(InvalidJwks::TooManyKeys { found: 3, max: 2 }));
}

#[test]
fn what_is_no_set_is_refused_whole() {
    let key = TestKey::ed25519().jwk(&json!({"kid": "a"})).to_string();
    for (text, expected) in [
        (
            String::new(),
            InvalidJwks::Json("it is not a JSON object, or nested too deeply"),
        ),
        (
            "<html>".to_owned(),
            InvalidJwks::Json("it is not a JSON object, or nested too deeply"),
        ),
        (
            format!("[{key}]"),
            InvalidJwks::Json("it is not a JSON object, or nested too deeply"),
        ),
        (
            format!("{{\"keys\":[],\"keys\":[{key}]}}"),
            InvalidJwks::Json("it names a member twice"),
        ),
        (
            format!("{{\"keys\":[{key},{{\"kty\":\"RSA\",\"kty\":\"OKP\"}}]}}"),
            InvalidJwks::Json("it names a member twice"),
        ),
        ("{}".to_owned(), InvalidJwks::NotASet),
        (format!("{{\"keys\":{key}}}"), InvalidJwks::NotASet),
        (format!("{{\"Keys\":[{key}]}}"), InvalidJwks::NotASet),
        (format!("{{\"keys\":[{key},1]}}"), InvalidJwks::NotASet),
        ("{\"keys\":[]}".to_owned(), InvalidJwks::NoUsableKey),
    ] {
        assert_eq!(
            KeySet::parse(text.as_bytes(), 100).map(|_| ()),
            Err(expected),
            "{text}"
        );
    }
    let mixed = format!("{{\"keys\":[{{}},{key}],\"more\":1}}");
    let set = KeySet::parse(mixed.as_bytes(), 100).expect("one is usable");
    assert_eq!((set.len(), set.ignored()), (1, 1));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(text in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = KeySet::parse(&text, 100);
    }

    #[test]
    fn any_members_are_read_or_left_out(
        kty in "RSA|EC|OKP|oct",
        crv in "P-256|P-384|Ed25519",
        values in proptest::array::uniform4("[A-Za-z0-9_-]{0,90}"),
    ) {
        let [n, e, x, y] = values;
        let key = json!({"kty": kty, "crv": crv, "n": n, "e": e, "x": x, "y": y});
        let _ = KeySet::parse(jwks(&[key]).as_bytes(), 100);
    }
}
