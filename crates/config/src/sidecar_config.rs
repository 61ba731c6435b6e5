//! What a sidecar is given: everything that it enforces, checked, with every
//! reference resolved and every default filled in.
//!
//! It is complete on the wire, secrets included, because it is what the config
//! stream carries. Whatever people look at is made by
//! [`SidecarConfig::redacted_json`], and `Debug` shows no secret.

mod duration_text;
mod limits;
mod read;
mod secret;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sidegate_policy::policy_config::PolicyConfig;

pub use self::limits::Limits;
pub use self::read::UnreadableConfig;
pub use self::secret::SecretText;

/// The version of this format. A sidecar refuses one that it does not know.
pub const SCHEMA_VERSION: u32 = 1;

/// The configuration of one sidecar.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SidecarConfig {
    /// The version of the format, [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// A hash of the content: equal versions enforce the same.
    pub version: String,
    /// `namespace/name` of the gateway.
    pub gateway: String,
    /// The MCP servers of the pod.
    pub servers: Vec<ServerConfig>,
    /// How connections are secured.
    pub tls: TlsConfig,
    /// How callers prove who they are.
    pub authentication: AuthenticationConfig,
    /// What they may do.
    pub policy: PolicyConfig,
    /// What audit lines say of arguments.
    pub audit_arguments: AuditArguments,
    /// Bounds on everything.
    pub limits: Limits,
    /// What is valid, but likely not what was meant, or not safe.
    pub warnings: Vec<String>,
}

/// One MCP server of the pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServerConfig {
    /// Its name; also the name of its listener.
    pub name: String,
    /// The port of the server, on loopback.
    pub port: u16,
    /// The port that the sidecar listens on.
    pub listen_port: u16,
    /// The path of the MCP endpoint.
    pub path: String,
    /// The canonical URIs (RFC 8707): accepted audiences and metadata.
    pub resources: Vec<String>,
    /// Accepted `Host` values, in lower case: names with or without a port. A
    /// name without one accepts every port.
    pub hosts: Vec<String>,
    /// Whether the names of the Services of the pod are accepted as `Host` too:
    /// the gateway leaves its hosts to default. They come beside this
    /// configuration, because they belong to a pod and not to a gateway.
    pub accept_service_hosts: bool,
    /// Accepted `Origin` values.
    pub allowed_origins: Vec<String>,
    /// The `Host` that the server sees.
    pub upstream_host: UpstreamHost,
    /// Whether the server gets the caller's token.
    pub keep_authorization: bool,
    /// Headers that tell the server who calls.
    pub identity_headers: IdentityHeaders,
    /// How the server's port is taken.
    pub exposure: Exposure,
}

/// The `Host` that a server sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpstreamHost {
    /// `127.0.0.1:<port>`.
    Loopback,
    /// The one that the caller sent.
    Preserve,
}

/// How a server's port is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exposure {
    /// The sidecar has it on the pod's addresses, the server on loopback.
    SamePort,
    /// The sidecar listens on another port.
    SeparatePort,
}

/// Names of the headers that tell a server who calls; none are off.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IdentityHeaders {
    /// For the token's `sub`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// For the token's `iss`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// For the client id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// For the scopes, separated by spaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<String>,
    /// For the SPIFFE id of the client certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spiffe_id: Option<String>,
}

/// How connections are secured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum TlsConfig {
    /// Not at all.
    Plaintext,
    /// The sidecar shows a certificate.
    Server {
        /// The certificate and those that lead to its root.
        certificate_pem: String,
        /// Its private key.
        key_pem: SecretText,
    },
    /// The sidecar and the caller show certificates.
    Mutual {
        /// The certificate and those that lead to its root.
        certificate_pem: String,
        /// Its private key.
        key_pem: SecretText,
        /// The authorities that sign certificates of callers.
        client_ca_pem: String,
    },
    /// The sidecar shows a certificate that the cluster's built-in authority
    /// issues to its pod. It reaches the sidecar on its own way, not in here.
    BuiltIn {
        /// Whether callers show certificates of that authority, too.
        mutual: bool,
    },
}

/// How callers prove who they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuthenticationConfig {
    /// Whether a caller without a token is refused, whatever its certificate.
    pub require_token: bool,
    /// The trusted issuers of tokens.
    pub issuers: Vec<IssuerConfig>,
}

/// A trusted issuer of tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IssuerConfig {
    /// The exact value of `iss`.
    pub issuer: String,
    /// Accepted audiences; when empty, the resources of the server.
    pub audiences: Vec<String>,
    /// Where its keys are.
    pub keys: KeysConfig,
    /// The accepted signature algorithms.
    pub algorithms: Vec<String>,
    /// Claims that hold scopes.
    pub scope_claims: Vec<String>,
    /// When set, this issuer can grant no other scopes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_scopes: Option<Vec<String>>,
}

/// Where the keys of an issuer are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum KeysConfig {
    /// Here.
    Inline {
        /// A JSON Web Key Set (RFC 7517) with public keys.
        jwks: String,
    },
    /// At the issuer.
    Remote {
        /// The URL of the key set.
        uri: String,
        /// The only authorities to trust for it; the public ones when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ca_pem: Option<String>,
    },
}

/// What audit lines say of arguments.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AuditArguments {
    /// Nothing.
    #[default]
    Omit,
    /// A hash of them.
    Hash,
    /// The arguments themselves.
    Include,
}

// === impl SidecarConfig ===

impl SidecarConfig {
    /// The configuration of a gateway that is gone, which is kept for its ports
    /// only: with no key but the one that the built-in authority certifies.
    #[must_use]
    pub fn without_secrets(mut self) -> Self {
        self.tls = match self.tls {
            TlsConfig::Plaintext => TlsConfig::Plaintext,
            TlsConfig::BuiltIn { mutual } => TlsConfig::BuiltIn { mutual },
            TlsConfig::Server {
                certificate_pem: _,
                key_pem: _,
            } => TlsConfig::BuiltIn { mutual: false },
            TlsConfig::Mutual {
                certificate_pem: _,
                key_pem: _,
                client_ca_pem: _,
            } => TlsConfig::BuiltIn { mutual: true },
        };
        self
    }

    /// The configuration for people: without secrets.
    #[must_use]
    pub fn redacted_json(&self) -> Value {
        let mut shown = self.clone();
        match &mut shown.tls {
            TlsConfig::Plaintext | TlsConfig::BuiltIn { mutual: _ } => {}
            TlsConfig::Server {
                certificate_pem: _,
                key_pem,
            }
            | TlsConfig::Mutual {
                certificate_pem: _,
                key_pem,
                client_ca_pem: _,
            } => {
                *key_pem = SecretText::from(secret::REDACTED.as_bytes().to_vec());
            }
        }
        // All keys are text and all numbers finite: nothing can fail.
        serde_json::to_value(&shown).unwrap_or(Value::Null)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> SidecarConfig {
        SidecarConfig {
            schema_version: SCHEMA_VERSION,
            version: "0123456789abcdef".to_owned(),
            gateway: "crm/support".to_owned(),
            servers: vec![ServerConfig {
                name: "support".to_owned(),
                port: 8080,
                listen_port: 8080,
                path: "/mcp".to_owned(),
                resources: vec!["https://support.example.com/mcp".to_owned()],
                hosts: vec!["support.example.com".to_owned()],
                accept_service_hosts: true,
                allowed_origins: vec![],
                upstream_host: UpstreamHost::Loopback,
                keep_authorization: false,
                identity_headers: IdentityHeaders::default(),
                exposure: Exposure::SamePort,
            }],
            tls: TlsConfig::Mutual {
                certificate_pem: "the certificate".to_owned(),
                key_pem: SecretText::from(b"canary".to_vec()),
                client_ca_pem: "the authority".to_owned(),
            },
            authentication: AuthenticationConfig {
                require_token: true,
                issuers: vec![IssuerConfig {
                    issuer: "https://idp.example.com/".to_owned(),
                    audiences: vec![],
                    keys: KeysConfig::Remote {
                        uri: "https://idp.example.com/jwks".to_owned(),
                        ca_pem: None,
                    },
                    algorithms: vec!["ES256".to_owned()],
                    scope_claims: vec!["scope".to_owned()],
                    allowed_scopes: None,
                }],
            },
            policy: PolicyConfig {
                trust_domain: "cluster.local".to_owned(),
                ..Default::default()
            },
            audit_arguments: AuditArguments::Omit,
            limits: Limits::default(),
            warnings: vec![],
        }
    }

    #[test]
    fn it_comes_back_from_the_wire_whole() {
        let text = serde_json::to_string(&config()).expect("JSON");
        assert!(text.contains("canary"), "the sidecar needs the key");
        let back: SidecarConfig = serde_json::from_str(&text).expect("a configuration");
        assert_eq!(back, config());
    }

    #[test]
    fn people_see_everything_but_the_key() {
        let json = config().redacted_json();
        assert_eq!(json["tls"]["keyPem"], "<redacted>");
        assert_eq!(json["tls"]["certificatePem"], "the certificate");
        assert_eq!(json["limits"]["requestTimeout"], "1m");
        let debug = format!("{:?}", config());
        assert!(
            !json.to_string().contains("canary") && !debug.contains("canary"),
            "{debug}"
        );
    }

    #[test]
    fn what_is_kept_for_its_ports_has_no_key() {
        let kept = config().without_secrets();
        assert_eq!(kept.tls, TlsConfig::BuiltIn { mutual: true });
        let text = serde_json::to_string(&kept).expect("JSON");
        assert!(!text.contains("canary"), "{text}");
        assert_eq!(kept.servers, config().servers);
    }

    #[test]
    fn a_field_of_another_version_is_refused() {
        let mut json = serde_json::to_value(config()).expect("JSON");
        json["authentication"]["optional"] = Value::Bool(true);
        assert!(serde_json::from_value::<SidecarConfig>(json).is_err());
    }
}
