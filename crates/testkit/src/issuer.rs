//! An issuer that signs whatever a test asks for, and a key server that fails
//! as it is told.

mod key_server;
mod token;

use std::net::SocketAddr;
use std::sync::OnceLock;

use aws_lc_rs::hmac;
use serde_json::{Value, json};
use sidegate_dev::signing::{SigningKey, base64url, signing_input};

use self::key_server::KeyServer;
pub use self::key_server::Serving;
pub use self::token::TokenBuilder;

/// Which of the issuer's keys signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// RSA with 2048 bits: RS256.
    Rsa,
    /// P-256: ES256.
    P256,
    /// Ed25519: EdDSA.
    Ed25519,
    /// An RSA key that is not published.
    Unpublished,
    /// The text of the public RSA key, as a shared secret: HS256.
    PublicAsSecret,
    /// No signature at all: `none`.
    None,
}

/// An issuer with a key set on loopback.
#[derive(Debug)]
pub struct TestIssuer {
    issuer: String,
    rsa: SigningKey,
    p256: SigningKey,
    ed25519: SigningKey,
    /// Made when it is first used: few tests need it.
    unpublished: OnceLock<SigningKey>,
    server: KeyServer,
}

// === impl TestIssuer ===

impl TestIssuer {
    /// An issuer whose name is the address of its key server.
    ///
    /// # Panics
    /// There is no port or no key.
    pub async fn start() -> Self {
        let server = KeyServer::start().await;
        let issuer = Self {
            issuer: format!("http://{}", server.address()),
            rsa: SigningKey::rsa().expect("a key"),
            p256: SigningKey::p256().expect("a key"),
            ed25519: SigningKey::ed25519().expect("a key"),
            unpublished: OnceLock::new(),
            server,
        };
        issuer.serve(Serving::Keys(issuer.jwks()));
        issuer
    }

    /// Its name, as in `iss`.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Where its keys are.
    #[must_use]
    pub fn jwks_uri(&self) -> String {
        format!("{}/jwks", self.issuer)
    }

    /// The address of its key server.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Its key set.
    #[must_use]
    pub fn jwks(&self) -> Value {
        let keys = [
            self.rsa.jwk("rsa"),
            self.p256.jwk("p256"),
            self.ed25519.jwk("ed25519"),
        ];
        json!({ "keys": keys })
    }

    /// A token for `audience`, good unless it is changed.
    #[must_use]
    pub fn token(&self, audience: &str) -> TokenBuilder<'_> {
        TokenBuilder::new(self, audience)
    }

    /// Changes what the key server says from now on.
    pub fn serve(&self, serving: Serving) {
        self.server.serve(serving);
    }

    /// Replaces the RSA key. The new one is called `kid`; it is published, and
    /// the old one is not any more, if `publish`.
    ///
    /// # Panics
    /// There is no key.
    pub fn rotate(&mut self, kid: &str, publish: bool) {
        self.rsa = SigningKey::rsa().expect("a key");
        if publish {
            self.serve(Serving::Keys(json!({ "keys": [self.rsa.jwk(kid)] })));
        }
    }

    /// How often its keys were asked for.
    #[must_use]
    pub fn fetches(&self) -> u64 {
        self.server.fetches()
    }

    /// Refuses connections, as if it were not there.
    pub fn take_down(&mut self) {
        self.server.take_down();
    }

    /// Comes back at the same port.
    ///
    /// # Panics
    /// Somebody else took the port.
    pub async fn bring_up(&mut self) {
        self.server.bring_up().await;
    }

    fn sign(&self, key: Key, header: &str, claims: &str) -> String {
        let input = signing_input(header, claims);
        let signature = match key {
            Key::Rsa => self.rsa.sign(input.as_bytes()).expect("signs"),
            Key::P256 => self.p256.sign(input.as_bytes()).expect("signs"),
            Key::Ed25519 => self.ed25519.sign(input.as_bytes()).expect("signs"),
            Key::Unpublished => {
                let key = || SigningKey::rsa().expect("a key");
                let key = self.unpublished.get_or_init(key);
                key.sign(input.as_bytes()).expect("signs")
            }
            Key::PublicAsSecret => {
                let secret = self.rsa.public_pem().expect("a key");
                let secret = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
                hmac::sign(&secret, input.as_bytes()).as_ref().to_vec()
            }
            Key::None => Vec::new(),
        };
        format!("{input}.{}", base64url(signature))
    }
}

// === impl Key ===

impl Key {
    fn algorithm(self) -> &'static str {
        match self {
            Self::Rsa | Self::Unpublished => "RS256",
            Self::P256 => "ES256",
            Self::Ed25519 => "EdDSA",
            Self::PublicAsSecret => "HS256",
            Self::None => "none",
        }
    }

    fn kid(self) -> &'static str {
        match self {
            Self::Rsa | Self::PublicAsSecret | Self::None => "rsa",
            Self::P256 => "p256",
            Self::Ed25519 => "ed25519",
            Self::Unpublished => "unpublished",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sidegate_dev::fetch::fetch;

    use super::*;

    async fn keys(issuer: &TestIssuer) -> anyhow::Result<(u16, Value)> {
        let answer = fetch(&issuer.jwks_uri().parse()?, None).await?;
        let body = serde_json::from_slice(answer.body()).unwrap_or_default();
        Ok((answer.status().as_u16(), body))
    }

    #[tokio::test]
    async fn keys_are_served_counted_and_gone() {
        let mut issuer = TestIssuer::start().await;
        assert_eq!(keys(&issuer).await.unwrap(), (200, issuer.jwks()));
        assert_eq!(issuer.fetches(), 1);
        issuer.serve(Serving::Status(500));
        assert_eq!(keys(&issuer).await.unwrap().0, 500);
        issuer.take_down();
        keys(&issuer).await.unwrap_err();
        issuer.bring_up().await;
        assert_eq!(
            keys(&issuer).await.unwrap().0,
            500,
            "what it says outlives its absence"
        );
        issuer.rotate("next", true);
        assert_eq!(keys(&issuer).await.unwrap().1["keys"][0]["kid"], "next");
        assert_eq!(issuer.fetches(), 4);
    }

    #[tokio::test]
    async fn a_key_server_can_take_its_time() {
        let issuer = TestIssuer::start().await;
        issuer.serve(Serving::Late(Duration::from_secs(60), issuer.jwks()));
        let waited = tokio::time::timeout(Duration::from_millis(50), keys(&issuer)).await;
        assert!(waited.is_err());
        assert_eq!(issuer.fetches(), 1);
    }
}
