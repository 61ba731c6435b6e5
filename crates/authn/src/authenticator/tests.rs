//! Cases AUT-* and JWT-*: whole tokens through the front door.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use sidegate_policy::scope::ScopeHierarchy;

use super::*;
use crate::testing::{
    ISSUER, NOW, RESOURCE, TestKey, World, base64, bearer, good_claims, issuer, jwks,
    other_rsa_key, resources, rsa_issuer, rsa_key, settings, static_issuer,
};
use crate::{Algorithm, KeySource};

async fn ask(authenticator: &Authenticator, token: &str) -> Result<Arc<Claims>, AuthnError> {
    let claims = authenticator
        .authenticate(&bearer(token), &resources())
        .await?;
    Ok(claims.expect("there is a token"))
}

async fn refused(authenticator: &Authenticator, token: &str) -> &'static str {
    match ask(authenticator, token).await {
        Ok(_) => "believed",
        Err(AuthnError::Invalid(word)) => word,
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn jwt_001_a_good_token_is_believed() {
    let authenticator = World::new().authenticator(vec![rsa_issuer()]);
    assert!(authenticator.ready());
    let claims = ask(&authenticator, &rsa_key().token(&json!({}), &json!({})))
        .await
        .expect("good");
    assert_eq!(&*claims.issuer, ISSUER);
    assert_eq!(&*claims.subject, "alice");
    assert_eq!(claims.client_id.as_deref(), Some("app"));
    assert_eq!(claims.scopes.to_string(), "db:read weather:read");
    assert_eq!(claims.expires_at, NOW + 600);
    assert_eq!(Value::Object(claims.all.clone()), good_claims());
}

#[tokio::test]
async fn every_configured_algorithm_is_believed_and_no_other() {
    let (p256, p384, ed) = (TestKey::p256(), TestKey::p384(), TestKey::ed25519());
    let keys = [
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
    let set: Vec<Value> = [
        ("rsa", rsa_key()),
        ("p256", &p256),
        ("p384", &p384),
        ("ed", &ed),
    ]
    .map(|(id, key)| key.jwk(&json!({"kid": id})))
    .to_vec();
    for (configured, _) in keys {
        let algorithms = vec![configured.parse::<Algorithm>().expect("an algorithm")];
        let issuer = IssuerSettings {
            algorithms,
            ..static_issuer(&set)
        };
        let authenticator = World::new().authenticator(vec![issuer]);
        for (alg, key) in keys {
            let id = match alg {
                "ES256" => "p256",
                "ES384" => "p384",
                "EdDSA" => "ed",
                _ => "rsa",
            };
            let token = key.token(&json!({"alg": alg, "kid": id}), &json!({}));
            let expected = if alg == configured {
                "believed"
            } else {
                "algorithm_not_allowed"
            };
            assert_eq!(
                refused(&authenticator, &token).await,
                expected,
                "{alg} for {configured}"
            );
        }
    }
}

#[tokio::test]
async fn aut_001_no_header_is_no_caller() {
    let authenticator = World::new().authenticator(vec![rsa_issuer()]);
    let nobody = authenticator
        .authenticate(&HeaderMap::new(), &resources())
        .await;
    assert_eq!(
        nobody.expect("no credentials are no error").map(|_| ()),
        None
    );
}

#[tokio::test]
async fn aut_002_two_headers_are_refused_in_either_order() {
    let authenticator = World::new().authenticator(vec![rsa_issuer()]);
    let good = bearer(&rsa_key().token(&json!({}), &json!({})));
    let bad = bearer("bad");
    for (first, second) in [(&good, &bad), (&bad, &good), (&good, &good)] {
        let mut headers = first.clone();
        headers.append(http::header::AUTHORIZATION, second["authorization"].clone());
        let refused = authenticator
            .authenticate(&headers, &resources())
            .await
            .map(|_| ());
        assert_eq!(refused, Err(AuthnError::Malformed("several_credentials")));
    }
}

#[tokio::test]
async fn aut_009_013_what_is_no_token_is_refused() {
    let authenticator = World::new().authenticator(vec![rsa_issuer()]);
    for token in ["sk-anything", "..", "a.b.c", "e30.e30.e30", "null", "{}"] {
        let word = refused(&authenticator, token).await;
        assert!(
            ["token_malformed", "algorithm_not_allowed"].contains(&word),
            "{token}: {word}"
        );
    }
    assert_eq!(refused(&authenticator, "").await, "empty_token");
}

#[tokio::test]
async fn jwt_002_004_an_unsigned_token_is_refused() {
    let authenticator = World::new().authenticator(vec![rsa_issuer()]);
    let claims = base64(good_claims().to_string());
    for alg in ["none", "None", "NONE", "nOnE"] {
        let header = base64(json!({"alg": alg, "kid": "k1"}).to_string());
        let word = refused(&authenticator, &format!("{header}.{claims}.")).await;
        assert_eq!(word, "algorithm_not_allowed", "{alg}");
    }
    let good = rsa_key().token(&json!({}), &json!({}));
    let (signed, _) = good.rsplit_once('.').expect("three parts");
    assert_eq!(
        refused(&authenticator, &format!("{signed}.")).await,
        "bad_signature"
    );
    assert_eq!(
        refused(&authenticator, &format!("{signed}.AAAA")).await,
        "bad_signature"
    );
    assert_eq!(refused(&authenticator, signed).await, "token_malformed");
}

#[tokio::test]
async fn jwt_005_011_a_shared_secret_never_verifies() {
    use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};

    let secret = b"-----BEGIN PUBLIC KEY-----";
    let oct = json!({"kty": "oct", "k": base64(secret), "kid": "k1", "alg": "HS256"});
    let authenticator = World::new().authenticator(vec![static_issuer(&[
        oct,
        rsa_key().jwk(&json!({"kid": "k2"})),
    ])]);
    for kid in ["k1", "k2"] {
        let header = base64(json!({"alg": "HS256", "kid": kid}).to_string());
        let signed = format!("{header}.{}", base64(good_claims().to_string()));
        let signature = base64(sign(&Key::new(HMAC_SHA256, secret), signed.as_bytes()));
        let token = format!("{signed}.{signature}");
        assert_eq!(
            refused(&authenticator, &token).await,
            "algorithm_not_allowed"
        );
    }
    let by_oct = rsa_key().token(&json!({"kid": "k1"}), &json!({}));
    assert_eq!(
        refused(&authenticator, &by_oct).await,
        "unknown_key",
        "the oct key is not there"
    );
}

#[tokio::test]
async fn jwt_008_a_key_is_for_its_algorithm() {
    let key = rsa_key().jwk(&json!({"kid": "k1", "alg": "RS512"}));
    let issuer = IssuerSettings {
        algorithms: vec![Algorithm::Rs256, Algorithm::Rs512],
        ..static_issuer(&[key])
    };
    let authenticator = World::new().authenticator(vec![issuer]);
    let token = rsa_key().token(&json!({"alg": "RS256"}), &json!({}));
    assert_eq!(
        refused(&authenticator, &token).await,
        "algorithm_not_allowed"
    );
    let token = rsa_key().token(&json!({"alg": "RS512"}), &json!({}));
    assert_eq!(refused(&authenticator, &token).await, "believed");
}

#[tokio::test]
async fn jwt_020_an_unknown_key_is_refused() {
    let authenticator = World::new().authenticator(vec![rsa_issuer()]);
    for kid in [json!("k2"), json!(""), json!("K1"), json!("k1 ")] {
        let token = rsa_key().token(&json!({"kid": kid}), &json!({}));
        assert_eq!(
            refused(&authenticator, &token).await,
            "unknown_key",
            "{kid}"
        );
    }
    let token = rsa_key().token(&json!({"kid": "<absent>"}), &json!({}));
    assert_eq!(
        refused(&authenticator, &token).await,
        "believed",
        "there is one key only"
    );
    let token = other_rsa_key().token(&json!({}), &json!({}));
    assert_eq!(refused(&authenticator, &token).await, "bad_signature");
}

#[tokio::test]
async fn jwt_029_030_032_a_header_cannot_bring_or_change_anything() {
    let authenticator = World::new().authenticator(vec![rsa_issuer()]);
    let attacker = other_rsa_key();
    for header in [
        json!({"jwk": attacker.jwk(&json!({}))}),
        json!({"jwk": attacker.jwk(&json!({})), "kid": "<absent>"}),
        json!({"jku": "https://evil.test/jwks"}),
        json!({"x5u": "https://evil.test/cert"}),
        json!({"x5c": ["AA=="]}),
        json!({"crit": ["x-y"], "x-y": 1}),
        json!({"crit": []}),
        json!({"crit": ["b64"], "b64": false}),
        json!({"b64": false}),
        json!({"cty": "JWT"}),
        json!({"zip": "DEF"}),
        json!({"enc": "A128GCM"}),
        json!({"x-y": 1}),
    ] {
        for key in [attacker, rsa_key()] {
            let word = refused(&authenticator, &key.token(&header, &json!({}))).await;
            assert_eq!(word, "header_not_allowed", "{header}");
        }
    }
}

#[tokio::test]
async fn jwt_036_tokens_for_other_purposes_are_refused() {
    let authenticator = World::new().authenticator(vec![rsa_issuer()]);
    for typ in [
        "logout+jwt",
        "dpop+jwt",
        "secevent+jwt",
        "id_token",
        "JWS",
        "jose+json",
        "",
    ] {
        let token = rsa_key().token(&json!({"typ": typ}), &json!({}));
        assert_eq!(
            refused(&authenticator, &token).await,
            "typ_not_allowed",
            "{typ}"
        );
    }
    for typ in [
        "JWT",
        "jwt",
        "at+jwt",
        "AT+JWT",
        "application/at+jwt",
        "<absent>",
    ] {
        let token = rsa_key().token(&json!({"typ": typ}), &json!({}));
        assert_eq!(refused(&authenticator, &token).await, "believed", "{typ}");
    }
}

#[tokio::test]
async fn jwt_037_to_055_claims_are_held_to_the_rules() {
    let authenticator = World::new().authenticator(vec![rsa_issuer()]);
    for (claims, expected) in [
        (json!({"exp": NOW - 32}), "expired"),
        (json!({"exp": "<absent>"}), "missing_claim"),
        (json!({"exp": "1800000000"}), "bad_claim_type"),
        (json!({"exp": 1e18}), "bad_claim_type"),
        (json!({"exp": NOW + 90_000}), "lifetime_too_long"),
        (json!({"nbf": NOW + 32}), "not_yet_valid"),
        (json!({"iat": NOW + 32}), "issued_in_future"),
        (json!({"aud": "<absent>"}), "missing_claim"),
        (json!({"aud": 123}), "bad_claim_type"),
        (json!({"aud": {}}), "bad_claim_type"),
        (json!({"aud": null}), "bad_claim_type"),
        (json!({"aud": "https://MCP.test/mcp"}), "wrong_audience"),
        (json!({"aud": "https://mcp.test/mcp/"}), "wrong_audience"),
        (json!({"aud": "https://mcp.test/mcp2"}), "wrong_audience"),
        (json!({"aud": "https://gw-b.test/mcp"}), "wrong_audience"),
        (json!({"iss": "https://idp.test/"}), "unknown_issuer"),
        (json!({"iss": "https://IDP.test"}), "unknown_issuer"),
        (json!({"iss": "https://idp.test:443"}), "unknown_issuer"),
        (json!({"iss": 123}), "bad_claim_type"),
        (json!({"iss": [ISSUER]}), "bad_claim_type"),
        (json!({"iss": "<absent>"}), "missing_claim"),
        (json!({"sub": 1}), "bad_claim_type"),
        (
            json!({"sub": "<absent>", "client_id": "<absent>"}),
            "missing_claim",
        ),
        (json!({"scope": 7}), "believed"),
        (json!({"scope": "<absent>"}), "believed"),
    ] {
        let token = rsa_key().token(&json!({}), &claims);
        assert_eq!(refused(&authenticator, &token).await, expected, "{claims}");
    }
}

#[tokio::test]
async fn jwt_057_keys_are_bound_to_their_issuer() {
    let other = issuer(
        "https://other.test",
        KeySource::Static {
            jwks_json: jwks(&[other_rsa_key().jwk(&json!({"kid": "k1"}))]),
        },
    );
    let authenticator = World::new().authenticator(vec![rsa_issuer(), other]);
    let forged = other_rsa_key().token(&json!({}), &json!({}));
    assert_eq!(refused(&authenticator, &forged).await, "bad_signature");
    let own = other_rsa_key().token(&json!({}), &json!({"iss": "https://other.test"}));
    assert_eq!(refused(&authenticator, &own).await, "believed");
    let swapped = rsa_key().token(&json!({}), &json!({"iss": "https://other.test"}));
    assert_eq!(refused(&authenticator, &swapped).await, "bad_signature");
}

#[tokio::test]
async fn jwt_059_a_claim_named_twice_is_refused() {
    let authenticator = World::new().authenticator(vec![rsa_issuer()]);
    let claims = good_claims().to_string();
    let members = claims.strip_prefix('{').expect("an object");
    for twice in [
        format!("{{\"scope\":\"db:admin\",{members}"),
        format!("{{\"sc\\u006fpe\":\"db:admin\",{members}"),
        format!("{{\"x\":{{\"a\":1,\"a\":2}},{members}"),
        format!("{{\"exp\":1,{members}"),
    ] {
        let token = rsa_key().token_of(r#"{"alg":"RS256","kid":"k1"}"#, &twice);
        assert_eq!(
            refused(&authenticator, &token).await,
            "duplicate_member",
            "{twice}"
        );
    }
    let header = r#"{"alg":"RS256","kid":"k1","kid":"k1"}"#;
    let token = rsa_key().token_of(header, &claims);
    assert_eq!(refused(&authenticator, &token).await, "duplicate_member");
}

#[tokio::test]
async fn the_size_of_a_token_is_bounded_on_both_sides() {
    let world = World::new();
    let token = rsa_key().token(&json!({}), &json!({}));
    for (max_token_bytes, expected) in [
        (token.len(), "believed"),
        (token.len() - 1, "token_too_large"),
    ] {
        let settings = AuthnSettings {
            max_token_bytes,
            ..settings()
        };
        let authenticator = world
            .build(settings, vec![rsa_issuer()], None)
            .expect("valid");
        assert_eq!(refused(&authenticator, &token).await, expected);
    }
}

#[tokio::test]
async fn an_issuers_own_audiences_replace_those_of_the_server() {
    let issuer = IssuerSettings {
        audiences: vec!["api".to_owned()],
        ..rsa_issuer()
    };
    let authenticator = World::new().authenticator(vec![issuer]);
    for (aud, expected) in [("api", "believed"), (RESOURCE, "wrong_audience")] {
        let token = rsa_key().token(&json!({}), &json!({"aud": aud}));
        for _ in 0..2 {
            assert_eq!(refused(&authenticator, &token).await, expected, "{aud}");
        }
    }
}

#[tokio::test]
async fn jwt_078_tokens_that_look_alike_are_not_mixed_up() {
    let authenticator = World::new().authenticator(vec![rsa_issuer()]);
    let token_of = |sub: &str| {
        let claims = good_claims().to_string().replace("alice", sub);
        rsa_key().token_of(r#"{"alg":"RS256","kid":"k1"}"#, &claims)
    };
    let (alice, bobby) = (token_of("alice"), token_of("bobby"));
    let alike = alice
        .bytes()
        .zip(bobby.bytes())
        .take_while(|(a, b)| a == b)
        .count();
    assert!(alike > 100, "{alike}");
    for _ in 0..3 {
        assert_eq!(
            &*ask(&authenticator, &alice).await.expect("good").subject,
            "alice"
        );
        assert_eq!(
            &*ask(&authenticator, &bobby).await.expect("good").subject,
            "bobby"
        );
    }
    let (signed, _) = alice.rsplit_once('.').expect("three parts");
    let (_, signature) = bobby.rsplit_once('.').expect("three parts");
    let mixed = format!("{signed}.{signature}");
    assert_eq!(refused(&authenticator, &mixed).await, "bad_signature");
}

#[tokio::test]
async fn jwt_079_a_remembered_token_dies_with_its_expiry() {
    let world = World::new();
    let authenticator = world.authenticator(vec![rsa_issuer()]);
    let token = rsa_key().token(&json!({}), &json!({"exp": NOW + 2}));
    assert_eq!(refused(&authenticator, &token).await, "believed");
    assert!(authenticator.remembered(&TokenDigest::of(&token)).is_some());
    world.clock.advance(Duration::from_millis(31_999));
    assert_eq!(refused(&authenticator, &token).await, "believed");
    world.clock.advance(Duration::from_millis(1));
    assert_eq!(refused(&authenticator, &token).await, "expired");
}

#[tokio::test]
async fn a_remembered_token_is_held_to_the_audience_of_each_use() {
    let authenticator = World::new().authenticator(vec![rsa_issuer()]);
    let token = bearer(&rsa_key().token(&json!({}), &json!({})));
    let other = ["https://mcp.test/other".to_owned()];
    for _ in 0..2 {
        assert!(
            authenticator
                .authenticate(&token, &resources())
                .await
                .is_ok()
        );
        let refused = authenticator.authenticate(&token, &other).await.map(|_| ());
        assert_eq!(refused, Err(AuthnError::Invalid("wrong_audience")));
        let nowhere = authenticator.authenticate(&token, &[]).await.map(|_| ());
        assert_eq!(nowhere, Err(AuthnError::Invalid("wrong_audience")));
    }
}

#[tokio::test]
async fn a_refused_token_is_not_remembered_and_a_remembered_one_is_the_same_object() {
    let authenticator = World::new().authenticator(vec![rsa_issuer()]);
    let bad = other_rsa_key().token(&json!({}), &json!({}));
    assert_eq!(refused(&authenticator, &bad).await, "bad_signature");
    assert!(authenticator.remembered(&TokenDigest::of(&bad)).is_none());
    let good = rsa_key().token(&json!({}), &json!({}));
    let first = ask(&authenticator, &good).await.expect("good");
    let second = ask(&authenticator, &good).await.expect("good");
    assert!(Arc::ptr_eq(&first, &second));
}

#[tokio::test]
async fn a_successor_remembers_only_when_nothing_that_decides_changed() {
    let world = World::new();
    let first = world.authenticator(vec![rsa_issuer()]);
    let token = rsa_key().token(&json!({}), &json!({}));
    assert!(ask(&first, &token).await.is_ok());
    let successor = |settings: AuthnSettings, issuers: Vec<IssuerSettings>| {
        let next = world.build(settings, issuers, Some(&first)).expect("valid");
        next.remembered(&TokenDigest::of(&token)).is_some()
    };
    assert!(successor(settings(), vec![rsa_issuer()]));
    let second_issuer = IssuerSettings {
        issuer: "b".to_owned(),
        ..rsa_issuer()
    };
    let implied = [("db:read".to_owned(), vec!["db:admin".to_owned()])];
    let hierarchy = ScopeHierarchy::new(implied.into()).expect("a hierarchy");
    for (settings, issuers) in [
        (
            AuthnSettings {
                hierarchy,
                ..settings()
            },
            vec![rsa_issuer()],
        ),
        (
            AuthnSettings {
                leeway: Duration::ZERO,
                ..settings()
            },
            vec![rsa_issuer()],
        ),
        (
            AuthnSettings {
                max_lifetime: Duration::ZERO,
                ..settings()
            },
            vec![rsa_issuer()],
        ),
        (
            AuthnSettings {
                max_token_bytes: 1,
                ..settings()
            },
            vec![rsa_issuer()],
        ),
        (
            AuthnSettings {
                cache_entries: 10,
                ..settings()
            },
            vec![rsa_issuer()],
        ),
        (settings(), vec![second_issuer.clone(), rsa_issuer()]),
        (settings(), vec![rsa_issuer(), second_issuer]),
        (
            settings(),
            vec![IssuerSettings {
                allowed_scopes: Some(vec![]),
                ..rsa_issuer()
            }],
        ),
        (
            settings(),
            vec![IssuerSettings {
                scope_claims: vec![],
                ..rsa_issuer()
            }],
        ),
        (
            settings(),
            vec![IssuerSettings {
                audiences: vec!["a".into()],
                ..rsa_issuer()
            }],
        ),
        (
            settings(),
            vec![IssuerSettings {
                algorithms: vec![Algorithm::Es256],
                ..rsa_issuer()
            }],
        ),
        (
            settings(),
            vec![static_issuer(&[other_rsa_key().jwk(&json!({"kid": "k1"}))])],
        ),
        (settings(), vec![]),
    ] {
        let shown = format!("{settings:?} {issuers:?}");
        assert!(!successor(settings, issuers), "{shown}");
    }
}

#[test]
fn issuers_that_cannot_be_told_apart_or_used_are_refused() {
    let world = World::new();
    let refused = |issuers: Vec<IssuerSettings>| {
        world
            .build(settings(), issuers, None)
            .expect_err("refused")
            .to_string()
    };
    assert_eq!(
        refused(vec![rsa_issuer(), rsa_issuer()]),
        "issuer `https://idp.test` is configured twice; give each issuer one entry"
    );
    let nameless = IssuerSettings {
        issuer: String::new(),
        ..rsa_issuer()
    };
    assert!(refused(vec![nameless]).contains("empty name"));
    let idle = IssuerSettings {
        algorithms: Vec::new(),
        ..rsa_issuer()
    };
    assert!(refused(vec![idle]).contains("accepts no algorithm"));
}

#[tokio::test]
async fn refusals_and_remembered_tokens_are_counted() {
    let world = World::new();
    let authenticator = world.authenticator(vec![rsa_issuer()]);
    assert_eq!(refused(&authenticator, "a.b.c").await, "token_malformed");
    let good = rsa_key().token(&json!({}), &json!({}));
    for _ in 0..3 {
        assert_eq!(refused(&authenticator, &good).await, "believed");
    }
    let metrics = world.metrics.render();
    for line in [
        "sidegate_tokens_refused_total{reason=\"token_malformed\"} 1",
        "sidegate_token_cache_lookups_total{result=\"hit\"} 2",
        "sidegate_token_cache_lookups_total{result=\"miss\"} 2",
    ] {
        assert!(
            metrics.lines().any(|shown| shown == line),
            "{line}\n{metrics}"
        );
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(future)
}

fn ed_world() -> (TestKey, Authenticator) {
    let key = TestKey::ed25519();
    let authenticator =
        World::new().authenticator(vec![static_issuer(&[key.jwk(&json!({"kid": "k1"}))])]);
    (key, authenticator)
}

#[test]
fn no_token_that_differs_in_one_character_is_believed() {
    const ALPHABET: &[u8] = b"AZaz09-_.=+/ ,";
    let (key, authenticator) = ed_world();
    let token = key.token(&json!({"alg": "EdDSA"}), &json!({}));
    run(async {
        assert_eq!(refused(&authenticator, &token).await, "believed");
        for position in 0..token.len() {
            for &other in ALPHABET {
                let mut changed = token.clone().into_bytes();
                if changed[position] == other {
                    continue;
                }
                changed[position] = other;
                let changed = String::from_utf8(changed).expect("ASCII");
                let outcome = ask(&authenticator, &changed).await;
                // Spaces around a token are not part of it.
                assert!(outcome.is_err(), "{position}: {changed}");
            }
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_token_with_a_flipped_bit_is_believed(part in 0_usize..3, position: prop::sample::Index, bit in 0_u8..8) {
        let (key, authenticator) = ed_world();
        let token = key.token(&json!({"alg": "EdDSA"}), &json!({}));
        let mut parts: Vec<Vec<u8>> = token
            .split('.')
            .map(|part| {
                use base64::Engine;
                base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).expect("base64url")
            })
            .collect();
        let index = position.index(parts[part].len());
        parts[part][index] ^= 1 << bit;
        let changed: Vec<String> = parts.iter().map(base64).collect();
        prop_assert!(run(ask(&authenticator, &changed.join("."))).is_err());
        prop_assert!(run(ask(&authenticator, &token)).is_ok());
    }

    #[test]
    fn no_text_is_believed_and_none_causes_a_panic(text in "[ -~]{0,120}") {
        let (_, authenticator) = ed_world();
        prop_assert!(run(ask(&authenticator, &text)).is_err());
    }

    #[test]
    fn no_unsigned_claims_are_believed(header in "\\PC{0,60}", claims in "\\PC{0,60}", signature: Vec<u8>) {
        let (_, authenticator) = ed_world();
        let token = format!("{}.{}.{}", base64(header), base64(claims), base64(signature));
        prop_assert!(run(ask(&authenticator, &token)).is_err());
    }
}
