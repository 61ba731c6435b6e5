use serde::{Deserialize, Serialize};

use crate::reference::{CaRef, ConfigMapKeyRef};

/// How callers prove who they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Authentication {
    /// Whether every request needs a token. false needs TLS mode Mutual: the
    /// caller's certificate is then enough. A token that is sent is verified
    /// in either case.
    #[serde(default = "require_token")]
    pub require_token: bool,
    /// Issuers whose tokens are accepted; each with its own keys. At least one
    /// when requireToken is true.
    #[cfg_attr(
        feature = "crd",
        schemars(
            length(max = 8),
            extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["issuer"])
        )
    )]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jwt: Vec<JwtIssuer>,
}

/// An issuer of tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JwtIssuer {
    /// The issuer's URL, character for character as in the iss claim.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::identity_url"))]
    pub issuer: String,
    /// Audiences that are accepted. Empty: the resources of the server that is
    /// called, or llm.resource.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::audiences"))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audiences: Vec<String>,
    /// Where the issuer's public keys are.
    pub jwks: Jwks,
    /// Signature algorithms that are accepted.
    #[cfg_attr(
        feature = "crd",
        schemars(length(min = 1, max = 10), extend("x-kubernetes-list-type" = "set"))
    )]
    #[serde(default = "algorithms")]
    pub algorithms: Vec<Algorithm>,
    /// Claims that hold scopes, as a list or separated by spaces.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::scope_claims"))]
    #[serde(default = "scope_claims")]
    pub scope_claims: Vec<String>,
    /// Scopes that this issuer may grant; others in its tokens are ignored.
    /// Empty: any.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::scopes"))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_scopes: Vec<String>,
}

/// Where an issuer's public keys are: exactly one of uri, configMapKeyRef and
/// inline.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "crd", schemars(extend("x-kubernetes-validations" = crate::schema::jwks_rules())))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Jwks {
    /// URL of the key set; it is fetched again when a key is unknown.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::identity_url"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// Certificate authorities that uri's host is verified with. Without it,
    /// the public ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<CaRef>,
    /// A ConfigMap that holds the key set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<ConfigMapKeyRef>,
    /// The key set itself, as JSON. Public keys only.
    #[cfg_attr(feature = "crd", schemars(length(min = 1, max = 65536)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inline: Option<String>,
}

/// A signature algorithm (RFC 7518, RFC 8037). Shared-key algorithms and
/// `none` do not exist here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RS256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    RS384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    RS512,
    /// RSASSA-PSS with SHA-256.
    PS256,
    /// RSASSA-PSS with SHA-384.
    PS384,
    /// RSASSA-PSS with SHA-512.
    PS512,
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// ECDSA on P-384 with SHA-384.
    ES384,
    /// Ed25519.
    EdDSA,
}

// === impl Authentication ===

impl Default for Authentication {
    fn default() -> Self {
        Self {
            require_token: require_token(),
            jwt: Vec::new(),
        }
    }
}

// === impl Algorithm ===

impl Algorithm {
    /// The name in a token's `alg` header.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::EdDSA => "EdDSA",
        }
    }
}

fn require_token() -> bool {
    true
}

fn algorithms() -> Vec<Algorithm> {
    vec![Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA]
}

fn scope_claims() -> Vec<String> {
    vec!["scope".to_owned(), "scp".to_owned()]
}
