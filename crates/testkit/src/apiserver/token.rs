//! Service account tokens that an API server would have signed.

use std::fs;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use sidegate_dev::signing::{base64url, signing_input};

use super::{ApiServer, KEY};

// === impl ApiServer ===

impl ApiServer {
    /// A token with the claims of another one, changed, and a signature that
    /// this server takes for its own. It gives no such tokens itself: of the
    /// ones that it gives none ends before ten minutes.
    ///
    /// # Panics
    /// The other one is no token of this server.
    #[must_use]
    pub fn forge(&self, token: &str, change: impl FnOnce(&mut Value)) -> String {
        let mut parts = token.split('.');
        let header = decode(parts.next().expect("a header"));
        let mut claims = decode(parts.next().expect("claims"));
        change(&mut claims);
        let header = json!({"alg": "ES256", "kid": header["kid"]});
        let input = signing_input(&header.to_string(), &claims.to_string());
        let pem = fs::read(self.dir.path().join(KEY)).expect("the key");
        let key = PrivatePkcs8KeyDer::from_pem_slice(&pem).expect("a key");
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let key = EcdsaKeyPair::from_pkcs8(algorithm, key.secret_pkcs8_der()).expect("P-256");
        let signature = key.sign(&SystemRandom::new(), input.as_bytes());
        format!("{input}.{}", base64url(signature.expect("signs")))
    }
}

/// The header or the claims of a token.
fn decode(part: &str) -> Value {
    let bytes = URL_SAFE_NO_PAD.decode(part).expect("base64url");
    serde_json::from_slice(&bytes).expect("JSON")
}
