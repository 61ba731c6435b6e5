//! What an authorization server is told.

use std::collections::BTreeSet;
use std::fmt;

/// An authorization server.
#[derive(Debug, Clone, Default)]
pub struct AuthorityConfig {
    /// The issuer in its tokens, character for character; none: the address
    /// that it listens on.
    pub issuer: Option<String>,
    /// Its port on 127.0.0.1; 0 lets the system choose.
    pub port: u16,
    /// Who may ask for tokens.
    pub clients: Vec<Client>,
    /// What tokens may be for; the first when a request names none.
    pub resources: Vec<String>,
}

/// A confidential client.
#[derive(Clone)]
pub struct Client {
    /// Its `client_id`.
    pub id: String,
    /// Its secret.
    pub secret: String,
    /// Scopes that it may have.
    pub allowed_scopes: BTreeSet<String>,
    /// Scopes that it gets when it asks for none.
    pub default_scopes: BTreeSet<String>,
}

// === impl Client ===

impl Client {
    /// A client that gets all it may have unless it asks for less.
    #[must_use]
    pub fn new(id: &str, secret: &str, scopes: &[&str]) -> Self {
        let scopes: BTreeSet<_> = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        Self {
            id: id.to_owned(),
            secret: secret.to_owned(),
            default_scopes: scopes.clone(),
            allowed_scopes: scopes,
        }
    }

    /// The same client, which may have more when it asks for it.
    #[must_use]
    pub fn may_also_have(mut self, scopes: &[&str]) -> Self {
        self.allowed_scopes
            .extend(scopes.iter().map(|scope| (*scope).to_owned()));
        self
    }
}

impl fmt::Debug for Client {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("id", &self.id)
            .field("allowed_scopes", &self.allowed_scopes)
            .finish_non_exhaustive()
    }
}
