//! The bounds on everything that a stranger can make large, slow or frequent.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::duration_text;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Bounds that the sidecar keeps. What is over one is refused, never cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// Bytes of a request body.
    pub max_body_bytes: usize,
    /// Bytes of a response that must be read whole.
    pub max_response_bytes: usize,
    /// Bytes of one event of a stream.
    pub max_event_bytes: usize,
    /// Levels of nesting in JSON.
    pub max_json_depth: usize,
    /// Header fields of a request.
    pub max_headers: usize,
    /// Bytes of all header fields together.
    pub max_header_bytes: usize,
    /// Bytes of one header value.
    pub max_header_value_bytes: usize,
    /// Bytes of a request target.
    pub max_uri_bytes: usize,
    /// Bytes of a token.
    pub max_token_bytes: usize,
    /// Bytes of the name of a tool or prompt.
    pub max_name_bytes: usize,
    /// Time for a request head to arrive.
    #[serde(with = "duration_text")]
    pub header_timeout: Duration,
    /// Time for a TLS handshake.
    #[serde(with = "duration_text")]
    pub handshake_timeout: Duration,
    /// Time between two parts of a request body.
    #[serde(with = "duration_text")]
    pub body_idle_timeout: Duration,
    /// Time between two requests of a connection.
    #[serde(with = "duration_text")]
    pub idle_timeout: Duration,
    /// Time until an answer begins.
    #[serde(with = "duration_text")]
    pub request_timeout: Duration,
    /// Time to connect to the server.
    #[serde(with = "duration_text")]
    pub connect_timeout: Duration,
    /// Time without an event after which a stream ends.
    #[serde(with = "duration_text")]
    pub stream_idle_timeout: Duration,
    /// Time between two comments that keep a stream alive.
    #[serde(with = "duration_text")]
    pub stream_keep_alive: Duration,
    /// Time without use after which a session is forgotten.
    #[serde(with = "duration_text")]
    pub session_idle_timeout: Duration,
    /// Time for requests in progress to end when the sidecar stops.
    #[serde(with = "duration_text")]
    pub drain_timeout: Duration,
    /// Connections at a time.
    pub max_connections: usize,
    /// Requests in progress of one principal.
    pub max_requests_per_principal: u32,
    /// Bytes of bodies held at a time.
    pub max_buffered_bytes: usize,
    /// Legacy sessions at a time.
    pub max_sessions: usize,
    /// Legacy sessions of one principal.
    pub max_sessions_per_principal: usize,
    /// Time to fetch a key set.
    #[serde(with = "duration_text")]
    pub jwks_timeout: Duration,
    /// Time between two fetches of a key set.
    #[serde(with = "duration_text")]
    pub jwks_refresh_interval: Duration,
    /// Time in which an unknown key causes at most two fetches.
    #[serde(with = "duration_text")]
    pub jwks_cooldown: Duration,
    /// Age at which keys are not believed any more.
    #[serde(with = "duration_text")]
    pub jwks_stale_after: Duration,
    /// Bytes of a key set.
    pub jwks_max_bytes: usize,
    /// Keys in a key set.
    pub jwks_max_keys: usize,
    /// How far clocks may differ.
    #[serde(with = "duration_text")]
    pub token_leeway: Duration,
    /// Longest lifetime of a token.
    #[serde(with = "duration_text")]
    pub max_token_lifetime: Duration,
    /// Verified tokens that are remembered.
    pub token_cache_entries: usize,
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_body_bytes: 4 * MIB,
            max_response_bytes: 16 * MIB,
            max_event_bytes: 4 * MIB,
            max_json_depth: 64,
            max_headers: 64,
            max_header_bytes: 32 * KIB,
            max_header_value_bytes: 8 * KIB,
            max_uri_bytes: 8 * KIB,
            max_token_bytes: 8 * KIB,
            max_name_bytes: 128,
            header_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(10),
            body_idle_timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(75),
            request_timeout: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(5),
            stream_idle_timeout: Duration::from_mins(5),
            stream_keep_alive: Duration::from_secs(15),
            session_idle_timeout: Duration::from_mins(30),
            drain_timeout: Duration::from_secs(30),
            max_connections: 10_000,
            max_requests_per_principal: 512,
            max_buffered_bytes: 64 * MIB,
            max_sessions: 10_000,
            max_sessions_per_principal: 256,
            jwks_timeout: Duration::from_secs(5),
            jwks_refresh_interval: Duration::from_mins(5),
            jwks_cooldown: Duration::from_secs(30),
            jwks_stale_after: Duration::from_hours(1),
            jwks_max_bytes: MIB,
            jwks_max_keys: 100,
            token_leeway: Duration::from_secs(30),
            max_token_lifetime: Duration::from_hours(24),
            token_cache_entries: 10_000,
        }
    }
}
