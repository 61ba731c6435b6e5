//! What an authenticator is built from.

use std::fmt;
use std::time::Duration;

use sidegate_policy::scope::ScopeHierarchy;
use url::Url;

use crate::algorithm::Algorithm;
use crate::jwks::InvalidJwks;

/// Bounds and choices that hold for every issuer.
#[derive(Debug, Clone)]
pub struct AuthnSettings {
    /// How far the clocks of issuer and gateway may differ; applied to `exp`,
    /// `nbf` and `iat`.
    pub leeway: Duration,
    /// Longest time from `iat` (or from now, without `iat`) to `exp`.
    pub max_lifetime: Duration,
    /// Longest token in bytes.
    pub max_token_bytes: usize,
    /// How many verified tokens are remembered; 0 remembers none.
    pub cache_entries: usize,
    /// How key sets are fetched.
    pub jwks: JwksSettings,
    /// Accept loopback addresses, and plain http to them, for key sets. For
    /// running from files only.
    pub allow_loopback: bool,
    /// Scopes that imply other scopes.
    pub hierarchy: ScopeHierarchy,
}

/// How key sets are fetched and for how long they are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JwksSettings {
    /// Limit on one fetch as a whole, from the name look-up to the last byte.
    pub timeout: Duration,
    /// Largest key set in bytes.
    pub max_bytes: usize,
    /// Most keys in a set; a larger set is refused whole.
    pub max_keys: usize,
    /// Time between two fetches.
    pub refresh: Duration,
    /// An unknown key id causes at most two fetches within this time.
    pub cooldown: Duration,
    /// Keys are not believed any more when they were fetched longer ago.
    pub stale: Duration,
}

/// A trusted issuer of tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct IssuerSettings {
    /// The exact value of `iss`.
    pub issuer: String,
    /// Where its keys are.
    pub keys: KeySource,
    /// The accepted algorithms; at least one.
    pub algorithms: Vec<Algorithm>,
    /// Claims that hold scopes; those of all of them count.
    pub scope_claims: Vec<String>,
    /// When set, this issuer can grant no other scopes.
    pub allowed_scopes: Option<Vec<String>>,
    /// Accepted audiences; when empty, those of the server that is called.
    pub audiences: Vec<String>,
}

/// Where the keys of an issuer are.
#[derive(Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A JSON Web Key Set in the configuration.
    Static {
        /// The set as JSON.
        jwks_json: String,
    },
    /// A key set that is fetched.
    Remote {
        /// An `https` URL without user information or fragment.
        uri: Url,
        /// The only certificate authorities to trust for it, as PEM; the usual
        /// public ones when absent.
        ca_pem: Option<Vec<u8>>,
    },
}

/// Why an authenticator cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum InvalidAuthn {
    /// One issuer is configured twice, so its keys would be ambiguous.
    #[error("issuer `{0}` is configured twice; give each issuer one entry")]
    DuplicateIssuer(String),
    /// An issuer has no name.
    #[error("an issuer has an empty name; set it to the exact `iss` of its tokens")]
    EmptyIssuer,
    /// An issuer accepts no algorithm.
    #[error("issuer `{0}` accepts no algorithm; list at least one in `algorithms`")]
    NoAlgorithm(String),
    /// The key set of the configuration cannot be used.
    #[error("keys of issuer `{issuer}`: {source}")]
    Keys {
        /// The issuer.
        issuer: String,
        /// What is wrong with the set.
        source: InvalidJwks,
    },
    /// The key set URL cannot be used.
    #[error("key set URL of issuer `{issuer}`: {reason}")]
    Uri {
        /// The issuer.
        issuer: String,
        /// What is wrong and what would be right.
        reason: &'static str,
    },
    /// The certificate authorities for the key set URL cannot be used.
    #[error("certificate authorities for the keys of issuer `{issuer}`: {reason}")]
    Ca {
        /// The issuer.
        issuer: String,
        /// What is wrong.
        reason: String,
    },
    /// Keys are to be fetched, but nothing could run the fetches.
    #[error("keys can be fetched only inside a tokio runtime")]
    NoRuntime,
}

// === impl AuthnSettings ===

impl AuthnSettings {
    /// Whether a token verified under `self` would be verified alike under
    /// `other`.
    pub(crate) fn decides_like(&self, other: &Self) -> bool {
        let Self {
            leeway,
            max_lifetime,
            max_token_bytes,
            cache_entries,
            jwks,
            allow_loopback,
            hierarchy,
        } = self;
        *leeway == other.leeway
            && *max_lifetime == other.max_lifetime
            && *max_token_bytes == other.max_token_bytes
            && *cache_entries == other.cache_entries
            && *jwks == other.jwks
            && *allow_loopback == other.allow_loopback
            && *hierarchy == other.hierarchy
    }
}

// === impl KeySource ===

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Static { jwks_json } => f
                .debug_struct("Static")
                .field("bytes", &jwks_json.len())
                .finish(),
            Self::Remote { uri, ca_pem } => f
                .debug_struct("Remote")
                .field("uri", &uri.as_str())
                .field("own_ca", &ca_pem.is_some())
                .finish(),
        }
    }
}
