use serde::{Deserialize, Serialize};

use crate::reference::{CaRef, SecretKeyRef};

/// An MCP server elsewhere, reached with this pod's identity. The same rules
/// apply as for servers in the pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RemoteServer {
    /// Name of the server in rules, metrics and audit lines.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::dns_label"))]
    pub name: String,
    /// URL of its MCP endpoint.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::remote_url"))]
    pub url: String,
    /// Certificate authorities that it is verified with. Without it, the
    /// public ones and the built-in CA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<CaRef>,
    /// Canonical URI of the server: the audience of tokens for it. Without it,
    /// url.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::resource"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Port on the pod's loopback where the app reaches it.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::port"))]
    pub listen_port: u16,
    /// How tokens for it are fetched. Without it, the pod's certificate is the
    /// only credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<RemoteAuth>,
}

/// How tokens for a remote server are fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RemoteAuth {
    /// By the OAuth client credentials grant (RFC 6749 section 4.4).
    pub client_credentials: RemoteClientCredentials,
}

/// A client of an authorization server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RemoteClientCredentials {
    /// URL of the authorization server; its metadata (RFC 8414) names the token
    /// endpoint.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::identity_url"))]
    pub issuer: String,
    /// The client id.
    pub client_id_ref: SecretKeyRef,
    /// The client's secret.
    pub client_secret_ref: SecretKeyRef,
    /// Scopes to ask for.
    #[cfg_attr(
        feature = "crd",
        schemars(schema_with = "crate::schema::required_scopes")
    )]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
}
