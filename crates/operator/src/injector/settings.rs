use std::str::FromStr;
use std::time::Duration;

use super::{Cpu, Memory};

/// The user that sidecars run as unless told otherwise.
pub(super) const USER_ID: u32 = 64_020;

/// What every sidecar of this operator has in common. Nothing of it can be
/// chosen by a pod but CPU, memory, log level and drain time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InjectorSettings {
    /// The image of the sidecar.
    pub image: String,
    /// When it is pulled.
    pub image_pull_policy: ImagePullPolicy,
    /// Where sidecars reach the operator: an `https://` URL.
    pub control_plane: String,
    /// The trust domain of identities.
    pub trust_domain: String,
    /// The ConfigMap in each namespace that holds the operator's roots.
    pub trust_bundle: String,
    /// What a sidecar gets unless its pod says otherwise.
    pub resources: SidecarResources,
    /// The log level unless the pod says otherwise.
    pub log_level: LogLevel,
    /// How long a sidecar drains unless the pod says otherwise. A pod with a
    /// shorter grace period drains shorter.
    pub drain_time: Duration,
    /// The user and group that sidecars run as. No container of the pod may be
    /// the same: listening sockets are told apart by it.
    pub user_id: u32,
    /// How long a token is valid. The kubelet renews it before.
    pub token_lifetime: Duration,
}

/// Requests and limits of a sidecar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SidecarResources {
    /// CPU that is set aside.
    pub cpu_request: Cpu,
    /// CPU that it cannot exceed. None lets it use what is idle.
    pub cpu_limit: Option<Cpu>,
    /// Memory that is set aside.
    pub memory_request: Memory,
    /// Memory that it cannot exceed.
    pub memory_limit: Memory,
}

/// When the kubelet pulls the image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ImagePullPolicy {
    /// At every start.
    Always,
    /// When the node does not have it.
    #[default]
    IfNotPresent,
    /// Not at all.
    Never,
}

/// How much a sidecar logs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// What is broken.
    Error,
    /// And what is odd.
    Warn,
    /// And what happens.
    #[default]
    Info,
    /// And why.
    Debug,
    /// And everything else.
    Trace,
}

// === impl InjectorSettings ===

impl InjectorSettings {
    /// Shortest token lifetime that Kubernetes grants.
    pub const MIN_TOKEN_LIFETIME: Duration = Duration::from_secs(600);

    /// Settings with the usual values for everything but the image and the
    /// operator's address.
    #[must_use]
    pub fn new(image: impl Into<String>, control_plane: impl Into<String>) -> Self {
        Self {
            image: image.into(),
            image_pull_policy: ImagePullPolicy::default(),
            control_plane: control_plane.into(),
            trust_domain: "cluster.local".to_owned(),
            trust_bundle: "sidegate-trust".to_owned(),
            resources: SidecarResources::default(),
            log_level: LogLevel::default(),
            drain_time: Duration::from_secs(20),
            user_id: USER_ID,
            token_lifetime: Duration::from_secs(3600),
        }
    }
}

impl Default for SidecarResources {
    fn default() -> Self {
        Self {
            cpu_request: Cpu::millicores(10),
            cpu_limit: None,
            memory_request: Memory::mebibytes(32),
            memory_limit: Memory::mebibytes(256),
        }
    }
}

// === impl ImagePullPolicy ===

impl ImagePullPolicy {
    /// The word that Kubernetes has for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

impl FromStr for ImagePullPolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Always, Self::IfNotPresent, Self::Never]
            .into_iter()
            .find(|it| it.as_str() == text)
            .ok_or_else(|| "must be Always, IfNotPresent or Never".to_owned())
    }
}

// === impl LogLevel ===

impl LogLevel {
    /// The word that the sidecar's arguments have for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl FromStr for LogLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [
            Self::Error,
            Self::Warn,
            Self::Info,
            Self::Debug,
            Self::Trace,
        ]
        .into_iter()
        .find(|it| it.as_str() == text)
        .ok_or_else(|| "must be error, warn, info, debug or trace".to_owned())
    }
}
