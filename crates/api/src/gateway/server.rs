use serde::{Deserialize, Serialize};

use crate::is_default;

/// An MCP server in the pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "crd", schemars(extend("x-kubernetes-validations" = crate::schema::server_rules())))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Server {
    /// Name of the server in rules, metrics and audit lines.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::dns_label"))]
    pub name: String,
    /// Port of the MCP server, as its container declares it.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::port"))]
    pub port: u16,
    /// Path of the server's MCP endpoint.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::path"))]
    #[serde(default = "path")]
    pub path: String,
    /// Canonical URIs of the server (RFC 8707). Tokens for any of them are
    /// accepted; metadata and challenges name the one whose host was dialled,
    /// else the first.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::resources"))]
    pub resources: Vec<String>,
    /// Host values that are accepted beside the hosts of resources and those of
    /// the pod's Services.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::hosts"))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Web origins whose pages may call the server, such as
    /// `https://app.example.com`. Every other request with an Origin is refused.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::origins"))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_origins: Vec<String>,
    /// The Host that the server sees. Loopback: 127.0.0.1 and its port, without
    /// Origin. Preserve: what the caller sent.
    #[serde(default)]
    pub upstream_host: UpstreamHost,
    /// What happens to the caller's Authorization header. Keep hands the
    /// caller's token to the server.
    #[serde(default)]
    pub authorization_header: AuthorizationHeader,
    /// Headers that tell the server who calls. Each is off until it has a name.
    #[serde(default, skip_serializing_if = "is_default")]
    pub identity_headers: IdentityHeaders,
    /// Where the sidecar listens. SamePort: on the pod's addresses at the
    /// server's port, the server itself on 127.0.0.1. SeparatePort: at
    /// listenPort, for a server that cannot bind 127.0.0.1.
    #[serde(default)]
    pub exposure: Exposure,
    /// The sidecar's port under SeparatePort.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::port"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen_port: Option<u16>,
    /// Further environment variables to set to 127.0.0.1 in the server's
    /// container, so that it listens there.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::variables"))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bind_env: Vec<String>,
}

/// The Host that a server sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
pub enum UpstreamHost {
    /// 127.0.0.1 and the server's port.
    #[default]
    Loopback,
    /// What the caller sent.
    Preserve,
}

/// What happens to the caller's Authorization header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
pub enum AuthorizationHeader {
    /// The server never sees it.
    #[default]
    Remove,
    /// The server gets it.
    Keep,
}

/// Where the sidecar listens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
pub enum Exposure {
    /// On the pod's addresses, at the server's port.
    #[default]
    SamePort,
    /// At a port of its own.
    SeparatePort,
}

/// Names of headers that carry the verified identity of the caller to the
/// server. Values that callers send under these names are dropped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "crd", schemars(extend("x-kubernetes-validations" = crate::schema::identity_headers_rules())))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IdentityHeaders {
    /// Header for the token's subject.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::header_name"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Header for the token's issuer.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::header_name"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Header for the token's client.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::header_name"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Header for the caller's scopes, separated by spaces.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::header_name"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<String>,
    /// Header for the SPIFFE id of the caller's certificate.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::header_name"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spiffe_id: Option<String>,
}

fn path() -> String {
    "/mcp".to_owned()
}
