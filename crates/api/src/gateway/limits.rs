use serde::{Deserialize, Serialize};

use crate::duration::DurationText;

/// Bounds on sizes (in bytes), numbers and times.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "crd", schemars(extend("x-kubernetes-validations" = crate::schema::limits_rules())))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// Bytes of a request body. 4 MiB.
    #[cfg_attr(feature = "crd", schemars(range(min = 1_024, max = 1_073_741_824)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_body_bytes: Option<u64>,
    /// Bytes of a response body that is not a stream. 16 MiB.
    #[cfg_attr(feature = "crd", schemars(range(min = 1_024, max = 1_073_741_824)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_response_bytes: Option<u64>,
    /// Bytes of one event of a stream. 4 MiB.
    #[cfg_attr(feature = "crd", schemars(range(min = 1_024, max = 1_073_741_824)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_event_bytes: Option<u64>,
    /// Levels of nesting in a JSON body. 64.
    #[cfg_attr(feature = "crd", schemars(range(min = 1, max = 128)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_json_depth: Option<u64>,
    /// Number of headers of a request. 64.
    #[cfg_attr(feature = "crd", schemars(range(min = 8, max = 1_024)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_headers: Option<u64>,
    /// Bytes of all headers of a request. 32 KiB.
    #[cfg_attr(feature = "crd", schemars(range(min = 256, max = 1_048_576)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_header_bytes: Option<u64>,
    /// Bytes of one header value. 8 KiB.
    #[cfg_attr(feature = "crd", schemars(range(min = 256, max = 1_048_576)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_header_value_bytes: Option<u64>,
    /// Bytes of a request target. 8 KiB.
    #[cfg_attr(feature = "crd", schemars(range(min = 256, max = 1_048_576)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_uri_bytes: Option<u64>,
    /// Bytes of a token. 8 KiB.
    #[cfg_attr(feature = "crd", schemars(range(min = 256, max = 1_048_576)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_token_bytes: Option<u64>,
    /// Bytes of the name of a tool or prompt. 128.
    #[cfg_attr(feature = "crd", schemars(range(min = 1, max = 4_096)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_name_bytes: Option<u64>,
    /// Time in which the headers of a request must arrive. 10s.
    #[cfg_attr(
        feature = "crd",
        schemars(extend("x-kubernetes-validations" = crate::schema::time_rules(Some("100ms"), "10m")))
    )]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header_timeout: Option<DurationText>,
    /// Time in which a TLS handshake must finish. 10s.
    #[cfg_attr(
        feature = "crd",
        schemars(extend("x-kubernetes-validations" = crate::schema::time_rules(Some("100ms"), "10m")))
    )]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handshake_timeout: Option<DurationText>,
    /// Longest pause between two parts of a request body. 15s.
    #[cfg_attr(
        feature = "crd",
        schemars(extend("x-kubernetes-validations" = crate::schema::time_rules(Some("100ms"), "10m")))
    )]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_idle_timeout: Option<DurationText>,
    /// Time after which a connection without requests is closed. 75s.
    #[cfg_attr(
        feature = "crd",
        schemars(extend("x-kubernetes-validations" = crate::schema::time_rules(Some("1s"), "24h")))
    )]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<DurationText>,
    /// Time in which a server must answer. 60s.
    #[cfg_attr(
        feature = "crd",
        schemars(extend("x-kubernetes-validations" = crate::schema::time_rules(Some("1s"), "1h")))
    )]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_timeout: Option<DurationText>,
    /// Time in which a connection to a server must be made. 5s.
    #[cfg_attr(
        feature = "crd",
        schemars(extend("x-kubernetes-validations" = crate::schema::time_rules(Some("100ms"), "10m")))
    )]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_timeout: Option<DurationText>,
    /// Time after which a stream without events is closed. 5m.
    #[cfg_attr(
        feature = "crd",
        schemars(extend("x-kubernetes-validations" = crate::schema::time_rules(Some("1s"), "24h")))
    )]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_idle_timeout: Option<DurationText>,
    /// Pause after which an idle stream gets a comment. 15s.
    #[cfg_attr(
        feature = "crd",
        schemars(extend("x-kubernetes-validations" = crate::schema::time_rules(Some("1s"), "1h")))
    )]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_keep_alive: Option<DurationText>,
    /// Time after which a session without requests is forgotten. 30m.
    #[cfg_attr(
        feature = "crd",
        schemars(extend("x-kubernetes-validations" = crate::schema::time_rules(Some("1s"), "168h")))
    )]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_idle_timeout: Option<DurationText>,
    /// Time that running requests have when the pod stops. 30s.
    #[cfg_attr(
        feature = "crd",
        schemars(extend("x-kubernetes-validations" = crate::schema::time_rules(None, "1h")))
    )]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_timeout: Option<DurationText>,
    /// Connections at a time. 10000.
    #[cfg_attr(feature = "crd", schemars(range(min = 1, max = 1_000_000)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u64>,
    /// Requests in progress of one caller. 512.
    #[cfg_attr(feature = "crd", schemars(range(min = 1, max = 1_000_000)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_requests_per_principal: Option<u32>,
    /// Bytes that all requests together may hold in memory. 64 MiB.
    #[cfg_attr(
        feature = "crd",
        schemars(range(min = 1_048_576, max = 68_719_476_736_u64))
    )]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_buffered_bytes: Option<u64>,
    /// Sessions at a time, of the protocol versions that have them. 10000.
    #[cfg_attr(feature = "crd", schemars(range(min = 1, max = 1_000_000)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_sessions: Option<u64>,
    /// Sessions of one caller at a time. 256.
    #[cfg_attr(feature = "crd", schemars(range(min = 1, max = 1_000_000)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_sessions_per_principal: Option<u64>,
    /// Time in which a key set must arrive. 5s.
    #[cfg_attr(
        feature = "crd",
        schemars(extend("x-kubernetes-validations" = crate::schema::time_rules(Some("100ms"), "1m")))
    )]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_timeout: Option<DurationText>,
    /// Time after which a key set is fetched again. 5m.
    #[cfg_attr(
        feature = "crd",
        schemars(extend("x-kubernetes-validations" = crate::schema::time_rules(Some("1s"), "24h")))
    )]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_refresh_interval: Option<DurationText>,
    /// Shortest time between fetches that unknown keys cause. 30s.
    #[cfg_attr(
        feature = "crd",
        schemars(extend("x-kubernetes-validations" = crate::schema::time_rules(Some("1s"), "1h")))
    )]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_cooldown: Option<DurationText>,
    /// Time after which keys that cannot be refreshed are no longer used. 1h.
    #[cfg_attr(
        feature = "crd",
        schemars(extend("x-kubernetes-validations" = crate::schema::time_rules(Some("1s"), "168h")))
    )]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_stale_after: Option<DurationText>,
    /// Bytes of a key set. 1 MiB.
    #[cfg_attr(feature = "crd", schemars(range(min = 1_024, max = 16_777_216)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_max_bytes: Option<u64>,
    /// Keys in a key set. 100.
    #[cfg_attr(feature = "crd", schemars(range(min = 1, max = 1_000)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_max_keys: Option<u64>,
    /// Tolerance for clocks that differ. 30s.
    #[cfg_attr(
        feature = "crd",
        schemars(extend("x-kubernetes-validations" = crate::schema::time_rules(None, "5m")))
    )]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_leeway: Option<DurationText>,
    /// Longest time from issue to expiry that a token may have. 24h.
    #[cfg_attr(
        feature = "crd",
        schemars(extend("x-kubernetes-validations" = crate::schema::time_rules(Some("1m"), "720h")))
    )]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_token_lifetime: Option<DurationText>,
    /// Verified tokens to remember. 10000.
    #[cfg_attr(feature = "crd", schemars(range(min = 0, max = 1_000_000)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_cache_entries: Option<u64>,
}
