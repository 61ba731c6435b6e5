use sidegate_config::probes::InvalidProbes;

use super::InvalidOverride;
use super::names::SIDECAR;

/// Why a pod cannot get a sidecar. The text says what to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InjectError {
    /// The pod is not of the form that every pod has.
    #[error("the pod's `{path}` must be {wanted}")]
    Malformed {
        /// JSON pointer to the fault.
        path: String,
        /// What should be there.
        wanted: &'static str,
    },
    /// A list is longer than anything that a person writes.
    #[error("the pod has {found} entries in `{path}`, {most} at most: make several pods of it")]
    TooMany {
        /// JSON pointer to the list.
        path: String,
        /// How many there are.
        found: usize,
        /// How many there may be.
        most: usize,
    },
    /// A sidecar cannot guard this kind of pod.
    #[error("{0}")]
    Unguardable(Unguardable),
    /// A pod of this kind cannot have an identity of its own.
    #[error("the pod cannot get an identity: {}", .0.without_identity())]
    NoIdentity(Unguardable),
    /// A container or volume has the name of one of ours and is not ours.
    #[error(
        "the pod has a {kind} `{name}`, which is a name of the sidecar's: give it another name"
    )]
    NameTaken {
        /// `container` or `volume`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The pod has its sidecar already, but not as it should be.
    #[error(
        "the pod's `{container}` is not as the injector makes it ({difference}): leave the \
         containers `{SIDECAR}` and `sidegate-…` and the volumes `sidegate-…` out of the pod, they \
         are added; other webhooks must not change them"
    )]
    Altered {
        /// The container or volume that was altered.
        container: String,
        /// How it differs.
        difference: String,
    },
    /// A container declares a port that the sidecar listens on.
    #[error(
        "container `{container}` declares port {port}, which the sidecar needs: use another port"
    )]
    PortTaken {
        /// The container.
        container: String,
        /// The port.
        port: u16,
    },
    /// A container mounts what belongs to the sidecar alone.
    #[error(
        "container `{container}` mounts volume `{volume}`, which is for the sidecar alone: remove \
         the mount"
    )]
    ForeignMount {
        /// The container.
        container: String,
        /// The volume.
        volume: String,
    },
    /// An annotation of ours has a value, or a name, that is not accepted.
    #[error(transparent)]
    Override(#[from] InvalidOverride),
    /// The probes cannot be given to the sidecar.
    #[error(transparent)]
    Probes(#[from] InvalidProbes),
}

/// Kinds of pods that no sidecar can guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unguardable {
    /// The pod has no addresses of its own.
    #[error(
        "a pod with `hostNetwork: true` cannot be guarded, its ports are those of the node: set \
         `hostNetwork: false`, or change its labels so that no McpGateway selects it"
    )]
    HostNetwork,
    /// The sidecar is a Linux program.
    #[error("the sidecar runs on Linux only, and this pod is for Windows")]
    Windows,
    /// The kubelet runs static pods from files, whatever the API server says.
    #[error("a static pod cannot get a sidecar: make it a Deployment or a DaemonSet")]
    StaticPod,
    /// The user id by which the sidecar is told from others, and kept from them.
    #[error(
        "the pod runs containers as user {0}, which is the sidecar's own: choose another \
         `runAsUser`"
    )]
    SameUser(u32),
}

// === impl Unguardable ===

impl Unguardable {
    fn without_identity(self) -> &'static str {
        match self {
            Self::HostNetwork => "with `hostNetwork: true` its ports are those of the node",
            Self::Windows => "the sidecar runs on Linux only, and this pod is for Windows",
            Self::StaticPod => "a static pod cannot have a sidecar",
            Self::SameUser(_) => "it runs containers as the sidecar's own user",
        }
    }
}
