//! What the tests of this crate share: keys made on the spot, tokens signed
//! with them, a moment in time, and a key server that counts.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384,
    RSA_PSS_SHA512, RsaEncoding, RsaKeyPair, RsaPublicKeyComponents,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderValue};
use serde_json::{Value, json};
use sidegate_policy::clock::{Clock, ManualClock};
use sidegate_policy::scope::ScopeHierarchy;
use sidegate_telemetry::metrics::Metrics;

use crate::claims::{ClaimRules, Millis, Use, VerifiedClaims};
use crate::{
    Algorithm, Authenticator, AuthnSettings, InvalidAuthn, IssuerSettings, JwksSettings, KeySource,
};

mod server;

pub(crate) use server::{Answer, KeyServer};

pub(crate) const NOW: i64 = 1_700_000_000;
pub(crate) const ISSUER: &str = "https://idp.test";
pub(crate) const RESOURCE: &str = "https://mcp.test/mcp";

pub(crate) fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A private key for tests.
pub(crate) enum TestKey {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair, &'static str),
    Ed(Ed25519KeyPair),
}

// === impl TestKey ===

impl TestKey {
    pub(crate) fn rsa() -> Self {
        Self::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).expect("a key"))
    }

    pub(crate) fn p256() -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        Self::Ec(key, "P-256")
    }

    pub(crate) fn p384() -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).expect("a key");
        Self::Ec(key, "P-384")
    }

    pub(crate) fn ed25519() -> Self {
        Self::Ed(Ed25519KeyPair::generate().expect("a key"))
    }

    /// The public half as a JWK, with more members.
    pub(crate) fn jwk(&self, more: &Value) -> Value {
        let mut jwk = match self {
            Self::Rsa(key) => {
                let public = RsaPublicKeyComponents::<Vec<u8>>::from(key.public_key());
                json!({"kty": "RSA", "n": base64(public.n), "e": base64(public.e)})
            }
            Self::Ec(key, curve) => {
                let point = &key.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                json!({"kty": "EC", "crv": curve, "x": base64(x), "y": base64(y)})
            }
            Self::Ed(key) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": base64(key.public_key().as_ref())})
            }
        };
        merge(&mut jwk, more);
        jwk
    }

    pub(crate) fn sign(&self, alg: &str, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Rsa(key) => {
                let padding: &'static dyn RsaEncoding = match alg {
                    "RS384" => &RSA_PKCS1_SHA384,
                    "RS512" => &RSA_PKCS1_SHA512,
                    "PS256" => &RSA_PSS_SHA256,
                    "PS384" => &RSA_PSS_SHA384,
                    "PS512" => &RSA_PSS_SHA512,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(padding, &SystemRandom::new(), message, &mut signature)
                    .expect("signs");
                signature
            }
            Self::Ec(key, _) => key
                .sign(&SystemRandom::new(), message)
                .expect("signs")
                .as_ref()
                .to_vec(),
            Self::Ed(key) => key.sign(message).as_ref().to_vec(),
        }
    }

    /// A token with exactly these texts as header and claims.
    pub(crate) fn token_of(&self, header: &str, claims: &str) -> String {
        let alg = serde_json::from_str::<Value>(header).ok();
        let alg = alg
            .as_ref()
            .and_then(|header| header["alg"].as_str())
            .unwrap_or_default();
        let signed = format!("{}.{}", base64(header), base64(claims));
        let signature = base64(self.sign(alg, signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    /// A token with these members added to a plain header and good claims;
    /// a member that is the text `<absent>` is left out.
    pub(crate) fn token(&self, header: &Value, claims: &Value) -> String {
        let mut whole_header = json!({"alg": "RS256", "typ": "at+jwt", "kid": "k1"});
        merge(&mut whole_header, header);
        let mut whole_claims = good_claims();
        merge(&mut whole_claims, claims);
        self.token_of(&whole_header.to_string(), &whole_claims.to_string())
    }
}

/// One RSA key for all tests: generating one takes long.
pub(crate) fn rsa_key() -> &'static TestKey {
    static KEY: OnceLock<TestKey> = OnceLock::new();
    KEY.get_or_init(TestKey::rsa)
}

/// Another one.
pub(crate) fn other_rsa_key() -> &'static TestKey {
    static KEY: OnceLock<TestKey> = OnceLock::new();
    KEY.get_or_init(TestKey::rsa)
}

pub(crate) fn good_claims() -> Value {
    json!({
        "iss": ISSUER, "sub": "alice", "aud": RESOURCE, "client_id": "app",
        "exp": NOW + 600, "iat": NOW, "scope": "db:read weather:read",
    })
}

pub(crate) fn jwks(keys: &[Value]) -> String {
    json!({"keys": keys}).to_string()
}

/// Adds members; the text `<absent>` removes one.
pub(crate) fn merge(into: &mut Value, more: &Value) {
    let into = into.as_object_mut().expect("an object");
    for (name, value) in more.as_object().expect("an object") {
        if value == "<absent>" {
            into.remove(name);
        } else {
            into.insert(name.clone(), value.clone());
        }
    }
}

pub(crate) fn settings() -> AuthnSettings {
    AuthnSettings {
        leeway: Duration::from_secs(30),
        max_lifetime: Duration::from_secs(24 * 3600),
        max_token_bytes: 8192,
        cache_entries: 1000,
        jwks: JwksSettings {
            timeout: Duration::from_secs(5),
            max_bytes: 1 << 20,
            max_keys: 100,
            refresh: Duration::from_secs(300),
            cooldown: Duration::from_secs(30),
            stale: Duration::from_secs(3600),
        },
        allow_loopback: true,
        hierarchy: ScopeHierarchy::default(),
    }
}

pub(crate) fn issuer(name: &str, keys: KeySource) -> IssuerSettings {
    IssuerSettings {
        issuer: name.to_owned(),
        keys,
        algorithms: vec![Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa],
        scope_claims: vec!["scope".to_owned(), "scp".to_owned()],
        allowed_scopes: None,
        audiences: Vec::new(),
    }
}

pub(crate) fn static_issuer(keys: &[Value]) -> IssuerSettings {
    issuer(
        ISSUER,
        KeySource::Static {
            jwks_json: jwks(keys),
        },
    )
}

/// The issuer whose only key is [`rsa_key`] under the id `k1`.
pub(crate) fn rsa_issuer() -> IssuerSettings {
    static_issuer(&[rsa_key().jwk(&json!({"kid": "k1"}))])
}

/// A clock, metrics, and what is built with them.
pub(crate) struct World {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) metrics: Arc<Metrics>,
}

// === impl World ===

impl World {
    pub(crate) fn new() -> Self {
        Self {
            clock: Arc::new(ManualClock::new(NOW)),
            metrics: Metrics::new(),
        }
    }

    pub(crate) fn build(
        &self,
        settings: AuthnSettings,
        issuers: Vec<IssuerSettings>,
        previous: Option<&Authenticator>,
    ) -> Result<Authenticator, InvalidAuthn> {
        let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&self.clock);
        Authenticator::new(
            settings,
            issuers,
            clock,
            Arc::clone(&self.metrics),
            previous,
        )
    }

    pub(crate) fn authenticator(&self, issuers: Vec<IssuerSettings>) -> Authenticator {
        self.build(settings(), issuers, None)
            .expect("valid settings")
    }
}

pub(crate) fn bearer(token: &str) -> HeaderMap {
    let value = HeaderValue::from_str(&format!("Bearer {token}")).expect("a header value");
    HeaderMap::from_iter([(AUTHORIZATION, value)])
}

pub(crate) fn resources() -> Vec<String> {
    vec![RESOURCE.to_owned()]
}

pub(crate) fn verified_claims() -> VerifiedClaims {
    let claims = good_claims();
    let rules = ClaimRules {
        issuer: &Arc::from(ISSUER),
        scope_claims: &[],
        allowed_scopes: None,
        hierarchy: &ScopeHierarchy::default(),
        max_lifetime: Duration::from_secs(600),
    };
    let used = Use {
        now: Millis(NOW * 1000),
        leeway: Duration::ZERO,
        audiences: &resources(),
    };
    VerifiedClaims::read(
        claims.as_object().expect("an object").clone(),
        &rules,
        &used,
    )
    .expect("good claims")
}
