//! `McpGateway`: what guards the MCP servers and models of some pods.

mod audit;
mod authentication;
mod authorization;
mod limits;
mod llm;
mod rate_limit;
mod remote;
mod server;
mod tls;

use serde::{Deserialize, Serialize};

pub use audit::{Audit, AuditArguments};
pub use authentication::{Algorithm, Authentication, Jwks, JwtIssuer};
pub use authorization::{Authorization, Effect, Mode, PrincipalMatch, Rule};
pub use limits::Limits;
pub use llm::{Llm, LocalAccess, Route, Target, ToolLoop};
pub use rate_limit::{Anomaly, AnomalyAction, RateLimit, RateLimitPer, RateLimitScope};
pub use remote::{RemoteAuth, RemoteClientCredentials, RemoteServer};
pub use server::{AuthorizationHeader, Exposure, IdentityHeaders, Server, UpstreamHost};
pub use tls::{Tls, TlsMode};

use crate::{is_default, selector::LabelSelector};

/// Guards MCP servers and model access of the pods that it selects: who may
/// call, what they may call, and with which arguments. A sidecar in each of
/// these pods enforces it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(kube::CustomResource, schemars::JsonSchema))]
#[cfg_attr(
    feature = "crd",
    kube(
        group = "sidegate.dev",
        version = "v1alpha1",
        kind = "McpGateway",
        plural = "mcpgateways",
        namespaced,
        shortname = "mcpgw",
        category = "mcp",
        category = "sidegate",
        status = "crate::status::McpGatewayStatus",
        derive = "PartialEq",
        doc = "Guards the MCP servers and the model access of the pods that it selects.",
        printcolumn = r#"{"name":"Ready", "type":"string", "jsonPath":".status.conditions[?(@.type==\"Ready\")].status", "description":"Whether every ready pod enforces this configuration"}"#,
        printcolumn = r#"{"name":"Programmed", "type":"string", "jsonPath":".status.dataPlane.summary", "description":"Pods that have confirmed it, of those that match"}"#,
        printcolumn = r#"{"name":"Mode", "type":"string", "jsonPath":".spec.authorization.mode", "description":"Enforce, or Audit, which lets through what no rule allows"}"#,
        printcolumn = r#"{"name":"Age", "type":"date", "jsonPath":".metadata.creationTimestamp"}"#,
        printcolumn = r#"{"name":"Reason", "type":"string", "jsonPath":".status.conditions[?(@.type==\"Ready\")].reason", "description":"Why it is ready or not", "priority":1}"#,
        printcolumn = r#"{"name":"TLS", "type":"string", "jsonPath":".spec.tls.mode", "description":"How callers connect", "priority":1}"#
    )
)]
#[cfg_attr(feature = "crd", schemars(extend("x-kubernetes-validations" = crate::schema::gateway_rules())))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct McpGatewaySpec {
    /// Which pods of the namespace it guards. Never empty, and it cannot be
    /// changed. A pod has one gateway; the oldest wins.
    #[cfg_attr(
        feature = "crd",
        schemars(extend("x-kubernetes-validations" = crate::schema::gateway_selector_rules()))
    )]
    pub selector: LabelSelector,
    /// The MCP servers in the pod. At least one of servers, llm and
    /// remoteServers is needed.
    #[cfg_attr(
        feature = "crd",
        schemars(
            length(max = 16),
            extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
        )
    )]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<Server>,
    /// How callers connect.
    #[serde(default)]
    pub tls: Tls,
    /// How callers prove who they are.
    #[serde(default)]
    pub authentication: Authentication,
    /// What callers may do. What no rule allows is denied.
    #[serde(default)]
    pub authorization: Authorization,
    /// Access to language models through this pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub llm: Option<Llm>,
    /// MCP servers elsewhere that the app in the pod reaches through its
    /// sidecar. Names are unique together with servers.
    #[cfg_attr(
        feature = "crd",
        schemars(
            length(max = 16),
            extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
        )
    )]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remote_servers: Vec<RemoteServer>,
    /// How much callers may use in a time.
    #[cfg_attr(
        feature = "crd",
        schemars(
            length(max = 32),
            extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
        )
    )]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rate_limits: Vec<RateLimit>,
    /// When a model provider's failures are an anomaly, and what follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anomaly: Option<Anomaly>,
    /// What audit lines contain.
    #[serde(default)]
    pub audit: Audit,
    /// Bounds on sizes, numbers and times. A limit that is not set has a safe
    /// default; what exceeds a limit is refused, never cut.
    #[serde(default, skip_serializing_if = "is_default")]
    pub limits: Limits,
    /// Accept that a server can be reached without passing its sidecar: the
    /// gateway may then be ready all the same.
    #[serde(default, skip_serializing_if = "is_default")]
    pub accept_bypass: bool,
}
