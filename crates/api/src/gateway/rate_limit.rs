use serde::{Deserialize, Serialize};

use crate::duration::DurationText;

/// How much may be used in a time: exactly one of requests, tokens and cost.
/// The whole amount may be used at once; it then grows back evenly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "crd", schemars(extend("x-kubernetes-validations" = crate::schema::rate_limit_rules())))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RateLimit {
    /// Name of the limit in metrics and audit lines.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::dns_label"))]
    pub name: String,
    /// Who has a budget. Principal: each caller.
    #[serde(default)]
    pub per: RateLimitPer,
    /// Requests in a period.
    #[cfg_attr(feature = "crd", schemars(range(min = 1, max = 1_000_000_000)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
    /// Tokens of language models, in and out, in a period.
    #[cfg_attr(feature = "crd", schemars(range(min = 1, max = 1_000_000_000_000_u64)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Cost of language models in a period, in US dollars, such as "25.00".
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::cost"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<String>,
    /// The time in which the budget grows back.
    pub period: DurationText,
    /// Models that count, by the name that callers use. Absent: all, and for
    /// requests those to MCP servers too.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::rule_names"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<String>>,
    /// PerPod: each pod counts for itself. Shared: all pods count together;
    /// this needs a store.
    #[serde(default)]
    pub scope: RateLimitScope,
}

/// Who has a budget.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
pub enum RateLimitPer {
    /// Each caller.
    #[default]
    Principal,
}

/// Which pods count together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
pub enum RateLimitScope {
    /// Each pod counts for itself.
    #[default]
    PerPod,
    /// All pods of the gateway count together.
    Shared,
}

/// When a model provider's failures are an anomaly. Authentication failures
/// never count, and what callers did wrong does not either.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Anomaly {
    /// Failed requests in a window, in percent, above which it is one.
    #[cfg_attr(feature = "crd", schemars(range(min = 1, max = 100)))]
    #[serde(default = "failure_rate_percent")]
    pub failure_rate_percent: u8,
    /// The time that is looked at.
    #[serde(default = "window")]
    pub window: DurationText,
    /// Requests in a window below which nothing is concluded.
    #[cfg_attr(feature = "crd", schemars(range(min = 1, max = 1_000_000)))]
    #[serde(default = "min_requests")]
    pub min_requests: u32,
    /// Alert: an event and a metric. RateLimit: also fewer requests to the
    /// provider. Disable: also none, until cooldown has passed.
    #[serde(default)]
    pub action: AnomalyAction,
    /// How long RateLimit and Disable last before the provider is tried again.
    #[serde(default = "cooldown")]
    pub cooldown: DurationText,
}

/// What follows an anomaly.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
pub enum AnomalyAction {
    /// An event and a metric.
    #[default]
    Alert,
    /// Also fewer requests to the provider.
    RateLimit,
    /// Also no request to the provider for a time.
    Disable,
}

// === impl Anomaly ===

impl Default for Anomaly {
    fn default() -> Self {
        Self {
            failure_rate_percent: failure_rate_percent(),
            window: window(),
            min_requests: min_requests(),
            action: AnomalyAction::default(),
            cooldown: cooldown(),
        }
    }
}

fn failure_rate_percent() -> u8 {
    10
}

fn window() -> DurationText {
    DurationText::minutes(5)
}

fn min_requests() -> u32 {
    50
}

fn cooldown() -> DurationText {
    DurationText::minutes(1)
}
