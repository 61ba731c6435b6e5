//! Reading messages by their type, so that one that is newer is skipped.
//!
//! The body stands beside the type, not among its fields: that way a raw
//! configuration passes as it is.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::{FromOperator, FromSidecar};

/// A message that was not looked into yet.
#[derive(Deserialize)]
pub(super) struct Envelope {
    #[serde(rename = "type")]
    kind: String,
    body: Option<Box<RawValue>>,
}

// === impl Envelope ===

impl Envelope {
    fn body<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        let body = self.body.as_deref().unwrap_or(RawValue::NULL);
        serde_json::from_str(body.get())
    }
}

// === impl FromSidecar ===

impl TryFrom<Envelope> for FromSidecar {
    type Error = serde_json::Error;

    fn try_from(envelope: Envelope) -> Result<Self, Self::Error> {
        Ok(match envelope.kind.as_str() {
            "hello" => Self::Hello(envelope.body()?),
            "token" => Self::Token(envelope.body()?),
            "confirmed" => Self::Confirmed(envelope.body()?),
            "rejected" => Self::Rejected(envelope.body()?),
            "certificateRequest" => Self::CertificateRequest(envelope.body()?),
            "listeners" => Self::Listeners(envelope.body()?),
            "heartbeat" => Self::Heartbeat,
            _ => Self::Unknown,
        })
    }
}

// === impl FromOperator ===

impl TryFrom<Envelope> for FromOperator {
    type Error = serde_json::Error;

    fn try_from(envelope: Envelope) -> Result<Self, Self::Error> {
        Ok(match envelope.kind.as_str() {
            "welcome" => Self::Welcome(envelope.body()?),
            "refused" => Self::Refused(envelope.body()?),
            "snapshot" => Self::Snapshot(envelope.body()?),
            "withdrawn" => Self::Withdrawn(envelope.body()?),
            "outdated" => Self::Outdated(envelope.body()?),
            "certificate" => Self::Certificate(envelope.body()?),
            "renew" => Self::Renew,
            "authorities" => Self::Authorities(envelope.body()?),
            "heartbeat" => Self::Heartbeat,
            _ => Self::Unknown,
        })
    }
}
