//! Names inside an injected pod. The sidecar reads the same paths and
//! variables.

use sidegate_api::GROUP;

/// The sidecar's container.
pub const SIDECAR: &str = "sidegate";
/// The container that holds the ports while the sidecar restarts.
pub const HOLD: &str = "sidegate-hold";
/// The container that keeps a certificate for a pod without a gateway.
pub const IDENTITY: &str = "sidegate-identity";
/// Every container that is ours.
pub(super) const CONTAINERS: [&str; 3] = [SIDECAR, HOLD, IDENTITY];
/// The program in the image, for hooks that run it beside the entry point.
pub const BINARY: &str = "/sidegate";

/// Volume with the token that proves to the operator which pod this is.
pub(super) const TOKEN_VOLUME: &str = "sidegate-token";
/// Volume with the roots that the operator is verified with.
pub(super) const TRUST_VOLUME: &str = "sidegate-trust";
/// Volume in memory with key, certificate and the last good configuration.
pub(super) const STATE_VOLUME: &str = "sidegate-state";
/// Volume in memory with the socket over which ports are handed.
pub(super) const HOLD_VOLUME: &str = "sidegate-hold";
/// Volume in memory with certificate, key and CA, for the whole pod.
pub(super) const IDENTITY_VOLUME: &str = "sidegate-identity";
/// Every volume that a sidecar has.
pub(super) const VOLUMES: [&str; 4] = [TOKEN_VOLUME, TRUST_VOLUME, STATE_VOLUME, HOLD_VOLUME];
/// Those that no other container may mount: they hold what makes the sidecar
/// the sidecar. The trust bundle is public.
pub(super) const PRIVATE_VOLUMES: [&str; 3] = [TOKEN_VOLUME, STATE_VOLUME, HOLD_VOLUME];

/// Everything that the sidecar mounts is below this.
pub(super) const RUN_DIR: &str = "/run/sidegate";
pub(super) const TOKEN_DIR: &str = "/run/sidegate/token";
/// The projected token.
pub const TOKEN_FILE: &str = "/run/sidegate/token/token";
/// The directory with the trust bundle.
pub const TRUST_DIR: &str = "/run/sidegate/trust";
/// The directory for key, certificate and snapshot.
pub const STATE_DIR: &str = "/run/sidegate/state";
pub(super) const HOLD_DIR: &str = "/run/sidegate/hold";
/// The socket over which the sidecar gets its listening sockets.
pub const HOLD_SOCKET: &str = "/run/sidegate/hold/hold.sock";

/// The directory with `tls.crt`, `tls.key` and `ca.crt`, in every container of
/// a pod that asks for them.
pub const IDENTITY_DIR: &str = "/var/run/sidegate/identity";

/// Variables of the sidecar begin with this.
pub(super) const VARIABLE_PREFIX: &str = "SIDEGATE_";
/// Variables with facts about the pod, and where Kubernetes has them.
pub(super) const POD_VARIABLES: [(&str, &str); 4] = [
    ("SIDEGATE_POD_NAME", "metadata.name"),
    ("SIDEGATE_POD_NAMESPACE", "metadata.namespace"),
    ("SIDEGATE_POD_UID", "metadata.uid"),
    ("SIDEGATE_POD_IPS", "status.podIPs"),
];

/// Annotation that says which gateway's sidecar a pod has, and in which form:
/// `<uid of the gateway>/<hash of what was injected>`.
pub const INJECTED_ANNOTATION: &str = "sidegate.dev/injected";
/// Annotation by which a pod chooses the sidecar's CPU request.
pub const CPU_ANNOTATION: &str = "sidegate.dev/cpu";
/// Annotation by which a pod chooses the sidecar's memory.
pub const MEMORY_ANNOTATION: &str = "sidegate.dev/memory";
/// Annotation by which a pod chooses the sidecar's log level.
pub const LOG_LEVEL_ANNOTATION: &str = "sidegate.dev/log-level";
/// Annotation by which a pod chooses how long its sidecar drains.
pub const DRAIN_TIME_ANNOTATION: &str = "sidegate.dev/drain-time";

/// kubectl's annotation for the container that `logs` and `exec` mean.
pub(super) const DEFAULT_CONTAINER_ANNOTATION: &str = "kubectl.kubernetes.io/default-container";
/// The kubelet's annotation on the image of a static pod.
pub(super) const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";

/// Whether an annotation is in the product's own group.
pub(super) fn is_own_annotation(name: &str) -> bool {
    name.split_once('/')
        .is_some_and(|(prefix, _)| prefix == GROUP)
}
