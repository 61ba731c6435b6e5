//! One probe: when the kubelet asks, and what.

use std::fmt;

use serde::{Deserialize, Serialize};

/// When the kubelet asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Check {
    /// `livenessProbe`.
    Livez,
    /// `readinessProbe`.
    Readyz,
    /// `startupProbe`.
    Startupz,
    /// `lifecycle.postStart`.
    Poststart,
    /// `lifecycle.preStop`.
    Prestop,
}

/// A probe or hook as its author wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RewrittenProbe {
    /// What to ask, on loopback.
    pub target: Target,
    /// How long an answer may take; for a hook, as long as the kubelet waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u32>,
    /// How often the kubelet asks; for a hook there is no such thing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period_seconds: Option<u32>,
}

/// What a probe asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Target {
    /// A GET; good are the statuses from 200 to 399.
    Http {
        /// The port of the server.
        port: u16,
        /// Path and query.
        path: String,
        /// Whether TLS is spoken. The certificate is not verified, as the
        /// kubelet would not.
        #[serde(default, skip_serializing_if = "is_http")]
        scheme: Scheme,
        /// Headers beside the usual ones.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        headers: Vec<HttpHeader>,
    },
    /// A connection.
    Tcp {
        /// The port of the server.
        port: u16,
    },
    /// `grpc.health.v1.Health/Check`.
    Grpc {
        /// The port of the server.
        port: u16,
        /// The service that is asked about.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<String>,
    },
}

/// What is spoken to the server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Scheme {
    /// Plain HTTP.
    #[default]
    Http,
    /// HTTP over TLS.
    Https,
}

/// A header of a probe.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpHeader {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

// === impl Check ===

impl Check {
    /// Its word in the path.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Livez => "livez",
            Self::Readyz => "readyz",
            Self::Startupz => "startupz",
            Self::Poststart => "poststart",
            Self::Prestop => "prestop",
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl HttpHeader ===

/// The name only: a server may ask its probes for a password.
impl fmt::Debug for HttpHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpHeader")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

// === impl Target ===

impl Target {
    /// The port of the server.
    #[must_use]
    pub fn port(&self) -> u16 {
        match self {
            Self::Http { port, .. } | Self::Tcp { port } | Self::Grpc { port, .. } => *port,
        }
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_http(scheme: &Scheme) -> bool {
    *scheme == Scheme::Http
}
