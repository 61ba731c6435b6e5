//! A token that is good unless a test makes it bad.

use serde_json::{Map, Value, json};
use sidegate_policy::clock::{Clock as _, SystemClock};

use super::{Key, TestIssuer};

/// A token under way.
#[derive(Debug, Clone)]
pub struct TokenBuilder<'a> {
    issuer: &'a TestIssuer,
    key: Key,
    header: Map<String, Value>,
    claims: Map<String, Value>,
    raw_header: Option<String>,
    raw_claims: Option<String>,
}

// === impl TokenBuilder ===

impl<'a> TokenBuilder<'a> {
    pub(super) fn new(issuer: &'a TestIssuer, audience: &str) -> Self {
        let now = SystemClock.unix_seconds();
        let claims = json!({
            "iss": issuer.issuer(),
            "sub": "alice",
            "aud": audience,
            "iat": now,
            "exp": now + 300,
            "client_id": "app",
        });
        let token = Self {
            issuer,
            key: Key::Rsa,
            header: members(json!({"typ": "at+jwt"})),
            claims: members(claims),
            raw_header: None,
            raw_claims: None,
        };
        token.signed_by(Key::Rsa)
    }

    /// Signs with another key, and says so in the header.
    #[must_use]
    pub fn signed_by(mut self, key: Key) -> Self {
        self.key = key;
        self.header("alg", key.algorithm()).header("kid", key.kid())
    }

    /// Sets a member of the header, whatever the signature is.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header.insert(name.to_owned(), value.into());
        self
    }

    /// Leaves a member of the header out.
    #[must_use]
    pub fn without_header(mut self, name: &str) -> Self {
        self.header.remove(name);
        self
    }

    /// Sets a claim.
    #[must_use]
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// Leaves a claim out.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.claims.remove(name);
        self
    }

    /// Grants scopes, separated by spaces.
    #[must_use]
    pub fn scope(self, scope: &str) -> Self {
        self.claim("scope", scope)
    }

    /// Ends this many seconds from now; negative is the past.
    #[must_use]
    pub fn expires_in(self, seconds: i64) -> Self {
        self.claim("exp", SystemClock.unix_seconds() + seconds)
    }

    /// Uses this text as the header, JSON or not.
    #[must_use]
    pub fn raw_header(mut self, text: &str) -> Self {
        self.raw_header = Some(text.to_owned());
        self
    }

    /// Uses this text as the claims, JSON or not.
    #[must_use]
    pub fn raw_claims(mut self, text: &str) -> Self {
        self.raw_claims = Some(text.to_owned());
        self
    }

    /// The claims as they would be signed.
    #[must_use]
    pub fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    /// The token.
    #[must_use]
    pub fn sign(self) -> String {
        let text = |members: Map<String, Value>| Value::Object(members).to_string();
        let header = self.raw_header.unwrap_or_else(|| text(self.header));
        let claims = self.raw_claims.unwrap_or_else(|| text(self.claims));
        self.issuer.sign(self.key, &header, &claims)
    }

    /// The token with another first character in its signature.
    ///
    /// # Panics
    /// Never: a token has dots.
    #[must_use]
    pub fn forged(self) -> String {
        let token = self.sign();
        let (input, signature) = token.rsplit_once('.').expect("a token");
        let first = if signature.starts_with('A') { 'B' } else { 'A' };
        let rest: String = signature.chars().skip(1).collect();
        format!("{input}.{first}{rest}")
    }
}

fn members(value: Value) -> Map<String, Value> {
    let Value::Object(members) = value else {
        panic!("`{value}` has no members")
    };
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn parts(build: impl FnOnce(TokenBuilder<'_>) -> String) -> Vec<String> {
        let issuer = TestIssuer::start().await;
        build(issuer.token("https://a.example/mcp"))
            .split('.')
            .map(str::to_owned)
            .collect()
    }

    #[tokio::test]
    async fn every_part_can_be_chosen() {
        let token = |token: TokenBuilder<'_>| token.raw_header("h").raw_claims("c").sign();
        let parts = parts(token).await;
        assert_eq!(parts[..2], ["aA", "Yw"]);
        assert!(!parts[2].is_empty());
    }

    #[tokio::test]
    async fn a_token_without_signature_has_an_empty_third_part() {
        assert_eq!(
            parts(|token| token.signed_by(Key::None).sign()).await[2],
            ""
        );
    }

    #[tokio::test]
    async fn a_forged_token_differs_in_its_signature_only() {
        let issuer = TestIssuer::start().await;
        let token = issuer.token("a");
        let (good, forged) = (token.clone().sign(), token.forged());
        assert_ne!(good, forged);
        assert_eq!(
            good.rsplit_once('.').unwrap().0,
            forged.rsplit_once('.').unwrap().0
        );
    }
}
