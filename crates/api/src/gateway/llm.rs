use serde::{Deserialize, Serialize};

use crate::reference::ProviderRef;

/// Access to language models through the pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Llm {
    /// Port of the model endpoints.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::port"))]
    pub port: u16,
    /// Canonical URI of the model endpoints: the audience of tokens for them.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::resource"))]
    pub resource: String,
    /// Which models there are, and which providers serve them.
    #[cfg_attr(
        feature = "crd",
        schemars(
            length(min = 1, max = 64),
            extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
        )
    )]
    pub routes: Vec<Route>,
    /// How MCP tools are run for a model.
    #[serde(default)]
    pub tool_loop: ToolLoop,
    /// Lets the app in the pod call models without a token, with the pod's own
    /// identity. Off unless set. Whoever may port-forward to the pod shares it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_access: Option<LocalAccess>,
}

/// Models that callers name, and who serves them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Route {
    /// Name of the route in metrics and audit lines.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::dns_label"))]
    pub name: String,
    /// Model names that callers send.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::model_names"))]
    pub models: Vec<String>,
    /// Who serves them. Lower priority comes first; equal priority is split by
    /// weight.
    #[cfg_attr(
        feature = "crd",
        schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "atomic"))
    )]
    pub targets: Vec<Target>,
}

/// A model of a provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Target {
    /// The LlmProvider.
    pub provider: ProviderRef,
    /// The model's name at the provider.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::model_name"))]
    pub model: String,
    /// Lower is tried first; the next number when all before it have failed.
    #[cfg_attr(feature = "crd", schemars(range(max = 100)))]
    #[serde(default)]
    pub priority: u32,
    /// Share among targets of the same priority; 0 takes no requests.
    #[cfg_attr(feature = "crd", schemars(range(max = 1_000_000)))]
    #[serde(default = "weight")]
    pub weight: u32,
}

/// How MCP tools are run for a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ToolLoop {
    /// How often the model may ask for tools before it must answer.
    #[cfg_attr(feature = "crd", schemars(range(min = 1, max = 64)))]
    #[serde(default = "max_steps")]
    pub max_steps: u32,
}

/// Model access for the app in the pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LocalAccess {
    /// Scopes that the app then has.
    #[cfg_attr(
        feature = "crd",
        schemars(schema_with = "crate::schema::required_scopes")
    )]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
}

// === impl ToolLoop ===

impl Default for ToolLoop {
    fn default() -> Self {
        Self {
            max_steps: max_steps(),
        }
    }
}

fn weight() -> u32 {
    1
}

fn max_steps() -> u32 {
    8
}
