//! The config stream: what the operator and a sidecar say to each other.
//!
//! One TLS connection, with [`PROTOCOL`] agreed on by ALPN, carries one stream.
//! Both sides send [frames](frame): a length and a JSON text. The sidecar
//! begins with a [`Hello`]; the operator answers with a [`Welcome`] or a
//! [`Refusal`], then sends whole snapshots, each of which the sidecar confirms
//! or rejects.
//!
//! The envelope is lenient, so that programs of different age understand each
//! other: fields and messages that one does not know are skipped. What a
//! snapshot carries is not: a sidecar takes a [`SidecarConfig`] whole or
//! rejects it.
//!
//! [`SidecarConfig`]: crate::sidecar_config::SidecarConfig

mod envelope;
pub mod frame;
mod reference_versions;
mod version;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::sidecar_config::SecretText;

pub use self::reference_versions::{MAX_REFERENCE_NAME, MAX_REFERENCES, ReferenceVersions};
pub use self::version::SnapshotVersion;

/// The protocol of this module, for ALPN (RFC 7301).
pub const PROTOCOL: &[u8] = b"sidegate-control/1";
/// How often each side says something, at least. One that hears nothing for
/// three times as long hangs up.
pub const HEARTBEAT_SECONDS: u64 = 10;
/// Largest frame to a sidecar, in bytes: the largest gateway with all that it
/// refers to fits.
pub const MAX_TO_SIDECAR: usize = 8 * 1024 * 1024;
/// Largest frame to the operator, in bytes.
pub const MAX_TO_OPERATOR: usize = 64 * 1024;
/// Largest first frame to the operator, which is a [`Hello`]: nobody knows yet
/// whose it is.
pub const MAX_HELLO: usize = 24 * 1024;
/// Most listeners that a sidecar reports.
pub const MAX_LISTENERS: usize = 64;

/// What a sidecar says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(
    tag = "type",
    content = "body",
    rename_all = "camelCase",
    try_from = "envelope::Envelope"
)]
pub enum FromSidecar {
    /// The first message, and only that.
    Hello(Hello),
    /// A newer token of the same pod, before the last one ends.
    Token(Token),
    /// A snapshot is in force, with all its listeners.
    Confirmed(Confirmed),
    /// A snapshot is not; what was in force before still is.
    Rejected(Rejected),
    /// A certificate is wanted.
    CertificateRequest(CertificateRequest),
    /// What listens in the pod changed.
    Listeners(Listeners),
    /// Nothing new.
    Heartbeat,
    /// Something that only a newer operator understands.
    Unknown,
}

/// What the operator says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(
    tag = "type",
    content = "body",
    rename_all = "camelCase",
    try_from = "envelope::Envelope"
)]
pub enum FromOperator {
    /// The stream stands.
    Welcome(Welcome),
    /// The stream ends, or never began.
    Refused(Refusal),
    /// What to enforce.
    Snapshot(Snapshot),
    /// There is nothing to enforce any more: no gateway has this pod.
    Withdrawn(Withdrawn),
    /// There is something to enforce that this sidecar is too old for. What is
    /// in force stays.
    Outdated(Outdated),
    /// The answer to a request.
    Certificate(Certificate),
    /// The names of the pod changed: another request is welcome now.
    Renew,
    /// The authorities of the cluster changed.
    Authorities(Authorities),
    /// Nothing new.
    Heartbeat,
    /// Something that only a newer sidecar understands.
    Unknown,
}

/// Who connects and what it can take.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    /// The projected service account token of the pod.
    pub token: SecretText,
    /// What the connection is for.
    pub purpose: Purpose,
    /// Every version of the configuration format that it can take.
    pub schema_versions: Vec<u32>,
    /// The version of the program, for people.
    pub program: String,
    /// What it enforces already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_force: Option<SnapshotVersion>,
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Purpose {
    /// To enforce the gateway of the pod.
    Enforce,
    /// To get the pod a certificate, and nothing else.
    Identity,
}

/// A projected service account token.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Token {
    /// The token.
    pub token: SecretText,
}

/// A snapshot is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Confirmed {
    /// Which one.
    pub version: SnapshotVersion,
}

/// A snapshot is not in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rejected {
    /// Which one.
    pub version: SnapshotVersion,
    /// Why.
    pub reason: RejectReason,
    /// Why, in a sentence for people. No secrets.
    pub message: String,
    /// What is in force instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_force: Option<SnapshotVersion>,
}

/// Why a sidecar rejects a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RejectReason {
    /// It is older than what is in force.
    Older,
    /// It cannot be understood.
    Unreadable,
    /// It cannot be put in force, as when a port is taken.
    NotApplicable,
    /// A reason of a newer sidecar.
    #[serde(other)]
    Other,
}

/// A certificate is wanted for the key that signed this request (PKCS #10).
/// Everything else in the certificate is the operator's business.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateRequest {
    /// The request in PEM.
    pub request_pem: String,
}

/// Sockets that other processes of the pod listen on, loopback left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listeners {
    /// Sorted, at most [`MAX_LISTENERS`].
    pub foreign: Vec<ForeignListener>,
}

/// A socket that is not the sidecar's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ForeignListener {
    /// Where it listens; the unspecified address is every address.
    pub address: SocketAddr,
    /// The user that opened it.
    pub user_id: u32,
}

/// The stream stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Welcome {
    /// `namespace/name` of the pod that the operator recognized.
    pub pod: String,
}

/// The stream ends, or never began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// Why.
    pub reason: RefusalReason,
    /// Why, in a sentence for people.
    pub message: String,
    /// How long to wait before the next attempt, in milliseconds.
    pub retry_after_ms: u64,
}

/// Why the operator refuses a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RefusalReason {
    /// The token proves nothing, or not this pod.
    Unauthenticated,
    /// The certificate is missing, or another pod's.
    WrongCertificate,
    /// The operator does not know the pod yet.
    UnknownPod,
    /// The token has ended.
    TokenEnded,
    /// The pod is gone.
    PodGone,
    /// Another connection of the same pod took its place.
    Replaced,
    /// Too many attempts, or too many streams.
    Busy,
    /// The operator is stopping, or has not read the cluster yet.
    Unavailable,
    /// What was sent cannot be understood.
    Protocol,
    /// A reason of a newer operator.
    #[serde(other)]
    Other,
}

/// What to enforce.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// Its place in the order of snapshots.
    pub version: SnapshotVersion,
    /// A [`SidecarConfig`](crate::sidecar_config::SidecarConfig), not yet read:
    /// one that cannot be is rejected, and does not end the stream.
    pub config: Arc<RawValue>,
    /// Names of the Services of this pod, in small letters: further `Host`
    /// values for servers that leave theirs to default.
    #[serde(default)]
    pub service_hosts: Vec<String>,
}

/// Without the configuration, which holds secrets.
impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("version", &self.version)
            .field("service_hosts", &self.service_hosts)
            .finish_non_exhaustive()
    }
}

/// There is nothing to enforce any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Withdrawn {
    /// Its place in the order of snapshots; the hash is empty.
    pub version: SnapshotVersion,
}

/// The sidecar is too old for what there is to enforce.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outdated {
    /// What it would have to take.
    pub version: SnapshotVersion,
    /// The format that it would have to know.
    pub schema_version: u32,
}

/// A certificate for the key of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Certificate {
    /// The certificate and those that lead to its root, in PEM.
    pub certificate_pem: String,
    /// The authorities whose certificates are to be trusted, in PEM.
    pub authorities_pem: String,
}

/// The authorities whose certificates are to be trusted from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Authorities {
    /// In PEM.
    pub authorities_pem: String,
}

#[cfg(test)]
mod tests;
