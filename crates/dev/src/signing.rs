//! Signing keys of the desk, and tokens signed with them.

use std::fmt;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::{self, SystemRandom};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RsaKeyPair, RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// The system gave no key, no random bytes or no signature.
#[derive(Debug, thiserror::Error)]
#[error("the cryptographic library failed")]
pub struct SigningError;

/// A private key that signs tokens.
pub struct SigningKey {
    pair: Pair,
}

enum Pair {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// Base64 as in tokens and key sets (RFC 7515, section 2).
#[must_use]
pub fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A name that nobody guesses.
///
/// # Errors
/// [`SigningError`] when the system has no random bytes.
pub fn random_name() -> Result<String, SigningError> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes)?;
    Ok(base64url(bytes))
}

/// What a token's signature is over: header and claims exactly as given.
#[must_use]
pub fn signing_input(header: &str, claims: &str) -> String {
    format!("{}.{}", base64url(header), base64url(claims))
}

// === impl SigningKey ===

impl SigningKey {
    /// An RSA key of 2048 bits, for RS256.
    ///
    /// # Errors
    /// [`SigningError`]
    pub fn rsa() -> Result<Self, SigningError> {
        Ok(Self {
            pair: Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048)?),
        })
    }

    /// A key on P-256, for ES256.
    ///
    /// # Errors
    /// [`SigningError`]
    pub fn p256() -> Result<Self, SigningError> {
        Ok(Self {
            pair: Pair::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?),
        })
    }

    /// An Ed25519 key, for EdDSA.
    ///
    /// # Errors
    /// [`SigningError`]
    pub fn ed25519() -> Result<Self, SigningError> {
        Ok(Self {
            pair: Pair::Ed25519(Ed25519KeyPair::generate()?),
        })
    }

    /// The `alg` of its signatures.
    #[must_use]
    pub fn algorithm(&self) -> &'static str {
        match self.pair {
            Pair::Rsa(_) => "RS256",
            Pair::P256(_) => "ES256",
            Pair::Ed25519(_) => "EdDSA",
        }
    }

    /// The public half as a JWK (RFC 7517).
    #[must_use]
    pub fn jwk(&self, kid: &str) -> Value {
        let mut jwk = match &self.pair {
            Pair::Rsa(pair) => {
                let public = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                json!({"kty": "RSA", "n": base64url(public.n), "e": base64url(public.e)})
            }
            Pair::P256(pair) => {
                // An uncompressed point: 4, then x and y of the same length.
                let point = pair.public_key().as_ref().get(1..).unwrap_or_default();
                let (x, y) = point.split_at(point.len() / 2);
                json!({"kty": "EC", "crv": "P-256", "x": base64url(x), "y": base64url(y)})
            }
            Pair::Ed25519(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": base64url(pair.public_key())})
            }
        };
        if let Some(members) = jwk.as_object_mut() {
            members.insert("kid".to_owned(), kid.into());
            members.insert("use".to_owned(), "sig".into());
            members.insert("alg".to_owned(), self.algorithm().into());
        }
        jwk
    }

    /// The public half as PEM.
    ///
    /// # Errors
    /// [`SigningError`]
    pub fn public_pem(&self) -> Result<String, SigningError> {
        let der = match &self.pair {
            Pair::Rsa(pair) => pair.public_key().as_der()?.as_ref().to_vec(),
            Pair::P256(pair) => pair.public_key().as_der()?.as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.public_key().as_der()?.as_ref().to_vec(),
        };
        let text = STANDARD.encode(der);
        let mut pem = String::from("-----BEGIN PUBLIC KEY-----\n");
        let mut rest = text.as_str();
        while let Some((line, after)) = rest.split_at_checked(64) {
            pem.push_str(line);
            pem.push('\n');
            rest = after;
        }
        if !rest.is_empty() {
            pem.push_str(rest);
            pem.push('\n');
        }
        pem.push_str("-----END PUBLIC KEY-----\n");
        Ok(pem)
    }

    /// Signs bytes.
    ///
    /// # Errors
    /// [`SigningError`]
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SigningError> {
        Ok(match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(
                    &RSA_PKCS1_SHA256,
                    &SystemRandom::new(),
                    message,
                    &mut signature,
                )?;
                signature
            }
            Pair::P256(pair) => pair.sign(&SystemRandom::new(), message)?.as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
        })
    }

    /// A token of exactly this header and these claims.
    ///
    /// # Errors
    /// [`SigningError`]
    pub fn token(&self, header: &str, claims: &str) -> Result<String, SigningError> {
        let input = signing_input(header, claims);
        let signature = base64url(self.sign(input.as_bytes())?);
        Ok(format!("{input}.{signature}"))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("algorithm", &self.algorithm())
            .finish_non_exhaustive()
    }
}

// === impl SigningError ===

impl From<Unspecified> for SigningError {
    fn from(_: Unspecified) -> Self {
        Self
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
        VerificationAlgorithm,
    };

    use super::*;

    fn decoded(jwk: &Value, member: &str) -> Vec<u8> {
        URL_SAFE_NO_PAD
            .decode(jwk[member].as_str().unwrap())
            .unwrap()
    }

    fn verifies(algorithm: &'static dyn VerificationAlgorithm, key: &[u8], token: &str) -> bool {
        let (input, signature) = token.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        UnparsedPublicKey::new(algorithm, key)
            .verify(input.as_bytes(), &signature)
            .is_ok()
    }

    #[test]
    fn every_kind_of_key_signs_what_its_published_half_verifies() {
        let rsa = SigningKey::rsa().unwrap();
        let token = rsa.token(r#"{"alg":"RS256"}"#, r#"{"sub":"a"}"#).unwrap();
        let jwk = rsa.jwk("k");
        let public = RsaPublicKeyComponents {
            n: decoded(&jwk, "n"),
            e: decoded(&jwk, "e"),
        };
        let (input, signature) = token.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        public
            .verify(&RSA_PKCS1_2048_8192_SHA256, input.as_bytes(), &signature)
            .unwrap();

        let p256 = SigningKey::p256().unwrap();
        let jwk = p256.jwk("k");
        let point = [vec![4], decoded(&jwk, "x"), decoded(&jwk, "y")].concat();
        assert!(verifies(
            &ECDSA_P256_SHA256_FIXED,
            &point,
            &p256.token("{}", "{}").unwrap()
        ));

        let ed = SigningKey::ed25519().unwrap();
        let jwk = ed.jwk("k");
        assert!(verifies(
            &ED25519,
            &decoded(&jwk, "x"),
            &ed.token("{}", "{}").unwrap()
        ));
        assert_eq!(jwk["kid"], "k");
        assert_eq!(jwk["alg"], "EdDSA");
    }

    #[test]
    fn a_public_key_in_pem_has_lines_of_64_characters() {
        let pem = SigningKey::rsa().unwrap().public_pem().unwrap();
        let lines: Vec<_> = pem.lines().collect();
        assert_eq!(lines.first(), Some(&"-----BEGIN PUBLIC KEY-----"));
        assert_eq!(lines.last(), Some(&"-----END PUBLIC KEY-----"));
        let body = &lines[1..lines.len() - 1];
        assert!(body[..body.len() - 1].iter().all(|line| line.len() == 64));
        assert!(body.iter().all(|line| !line.is_empty() && line.len() <= 64));
        STANDARD.decode(body.concat()).unwrap();
    }

    #[test]
    fn a_key_does_not_show_itself() {
        let key = SigningKey::p256().unwrap();
        assert_eq!(
            format!("{key:?}"),
            r#"SigningKey { algorithm: "ES256", .. }"#
        );
    }

    #[test]
    fn names_differ() {
        assert_ne!(random_name().unwrap(), random_name().unwrap());
    }
}
