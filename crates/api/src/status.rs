//! What the operator says about a resource. Unlike specs, status types accept
//! fields that they do not know: a newer operator may have written them.

use serde::{Deserialize, Serialize};

/// The observed state of an McpGateway.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct McpGatewayStatus {
    /// The generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Accepted, ResolvedRefs, Programmed and Ready; BypassPossible only when
    /// there is something to say.
    #[cfg_attr(
        feature = "crd",
        schemars(
            length(max = 8),
            extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"])
        )
    )]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The pods and what they enforce.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_plane: Option<DataPlane>,
    /// Pods that do not enforce the configuration, at most ten.
    #[cfg_attr(
        feature = "crd",
        schemars(
            length(max = 10),
            extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["pod"])
        )
    )]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failing: Vec<FailingPod>,
}

/// The observed state of an LlmProvider.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct LlmProviderStatus {
    /// The generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Accepted, ResolvedRefs and Ready.
    #[cfg_attr(
        feature = "crd",
        schemars(
            length(max = 8),
            extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"])
        )
    )]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Gateways that refer to it, whether or not they may use it, at most a
    /// hundred.
    #[cfg_attr(
        feature = "crd",
        schemars(
            length(max = 100),
            extend(
                "x-kubernetes-list-type" = "map",
                "x-kubernetes-list-map-keys" = ["namespace", "name"]
            )
        )
    )]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub used_by: Vec<UsedBy>,
}

/// One statement about a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What it is about, such as Ready.
    #[cfg_attr(
        feature = "crd",
        schemars(schema_with = "crate::schema::condition_type")
    )]
    #[serde(rename = "type")]
    pub condition_type: String,
    /// Whether it is so.
    pub status: ConditionStatus,
    /// The generation of the spec that it is about.
    #[cfg_attr(feature = "crd", schemars(range(min = 0)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When status last changed.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::time"))]
    pub last_transition_time: String,
    /// Why, in one word.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::reason"))]
    pub reason: String,
    /// Why, in a sentence, and what mends it.
    #[cfg_attr(feature = "crd", schemars(length(max = 32768)))]
    #[serde(default)]
    pub message: String,
}

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not.
    False,
    /// Nobody can say.
    Unknown,
}

/// The pods of a gateway, counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct DataPlane {
    /// Pods that the selector chooses and that have not finished.
    #[cfg_attr(feature = "crd", schemars(range(max = 1_000_000)))]
    #[serde(default)]
    pub matched: u32,
    /// Those that have a sidecar.
    #[cfg_attr(feature = "crd", schemars(range(max = 1_000_000)))]
    #[serde(default)]
    pub injected: u32,
    /// Those whose sidecar has confirmed the current configuration.
    #[cfg_attr(feature = "crd", schemars(range(max = 1_000_000)))]
    #[serde(default)]
    pub programmed: u32,
    /// programmed/matched, for the eye.
    #[cfg_attr(feature = "crd", schemars(length(max = 32)))]
    #[serde(default)]
    pub summary: String,
    /// Content hash of the current configuration.
    #[cfg_attr(feature = "crd", schemars(length(max = 128)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_version: Option<String>,
    /// Other open ports of the pods, as address:port. They are not guarded.
    #[cfg_attr(
        feature = "crd",
        schemars(schema_with = "crate::schema::other_listeners")
    )]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_listeners: Vec<String>,
}

/// A pod that does not enforce the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct FailingPod {
    /// Name of the pod.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::object_name"))]
    pub pod: String,
    /// Why, in one word.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::reason"))]
    pub reason: String,
    /// Why, in a sentence, and what mends it.
    #[cfg_attr(feature = "crd", schemars(length(max = 4096)))]
    #[serde(default)]
    pub message: String,
}

/// A gateway that uses a provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct UsedBy {
    /// The gateway's namespace.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::dns_label"))]
    pub namespace: String,
    /// The gateway's name.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::object_name"))]
    pub name: String,
}
