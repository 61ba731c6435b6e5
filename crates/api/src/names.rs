//! Names that objects of the cluster carry, and the words of conditions.

/// The API group.
pub const GROUP: &str = "sidegate.dev";
/// The one version that is served.
pub const VERSION: &str = "v1alpha1";
/// `apiVersion` of both kinds.
pub const API_VERSION: &str = "sidegate.dev/v1alpha1";
/// The kind of a gateway.
pub const GATEWAY_KIND: &str = "McpGateway";
/// The kind of a model provider.
pub const PROVIDER_KIND: &str = "LlmProvider";

/// Label of a namespace whose pods may get sidecars.
pub const INJECTION_LABEL: &str = "sidegate.dev/injection";
/// The value of [`INJECTION_LABEL`] that turns injection on.
pub const INJECTION_ENABLED: &str = "enabled";
/// Annotation by which a Secret names the hosts that it may be sent to,
/// separated by commas.
pub const ALLOWED_HOSTS_ANNOTATION: &str = "sidegate.dev/allowed-hosts";
/// Annotation of a pod without a gateway that wants an identity of its own.
pub const IDENTITY_ANNOTATION: &str = "sidegate.dev/identity";
/// The value of [`IDENTITY_ANNOTATION`]: certificate, key and CA as files.
pub const IDENTITY_FILES: &str = "Files";
/// The condition that the operator writes on each pod with a sidecar.
pub const POD_PROGRAMMED_CONDITION: &str = "sidegate.dev/Programmed";
/// The condition of a pod that says whether other processes listen on the ports
/// of its servers.
pub const POD_LISTENERS_CONDITION: &str = "sidegate.dev/Listeners";
/// The condition of a pod that says which certificate its sidecar has shown:
/// while it lasts, the pod's token alone is not enough for the config stream.
pub const POD_CERTIFICATE_CONDITION: &str = "sidegate.dev/Certificate";
/// Audience of the projected tokens with which sidecars identify themselves.
pub const TOKEN_AUDIENCE: &str = "sidegate.dev";

/// The sidecar's port for people in the pod: configuration dump, log level.
pub const ADMIN_PORT: u16 = 15020;
/// The sidecar's port for the kubelet and Prometheus.
pub const HEALTH_PORT: u16 = 15021;
/// Ports of a pod that the sidecar needs for itself.
pub const RESERVED_PORTS: [u16; 2] = [ADMIN_PORT, HEALTH_PORT];

/// Headers that the sidecar, HTTP or MCP already give a meaning, in small letters:
/// none of them can carry an identity to a server.
pub const TAKEN_HEADERS: [&str; 30] = [
    "age",
    "allow",
    "authorization",
    "cache-control",
    "connection",
    "cookie",
    "date",
    "expect",
    "forwarded",
    "from",
    "host",
    "http2-settings",
    "keep-alive",
    "last-event-id",
    "link",
    "location",
    "max-forwards",
    "origin",
    "range",
    "referer",
    "server",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
    "x-real-ip",
];
/// What such headers begin with, in small letters.
pub const TAKEN_HEADER_PREFIXES: [&str; 9] = [
    "accept",
    "access-control-",
    "content-",
    "if-",
    "mcp-",
    "proxy-",
    "sec-",
    "set-cookie",
    "x-forwarded-",
];

/// Types of the conditions in the status of a resource.
pub mod condition {
    /// The resource is valid and its pods are its own.
    pub const ACCEPTED: &str = "Accepted";
    /// Everything that it refers to exists and may be used.
    pub const RESOLVED_REFS: &str = "ResolvedRefs";
    /// The sidecars have this configuration.
    pub const PROGRAMMED: &str = "Programmed";
    /// Every ready pod's sidecar enforces this very configuration.
    pub const READY: &str = "Ready";
    /// A server can be reached without passing its sidecar.
    pub const BYPASS_POSSIBLE: &str = "BypassPossible";
}

/// Reasons of conditions: one word that says why.
pub mod reason {
    /// `Accepted`: nothing is wrong.
    pub const ACCEPTED: &str = "Accepted";
    /// `Accepted`: the resource contradicts itself; the message says where.
    pub const INVALID: &str = "Invalid";
    /// `Accepted`: an older gateway has these pods.
    pub const CONFLICTED: &str = "Conflicted";
    /// `Accepted`: a field asks for something that this version cannot do.
    pub const UNSUPPORTED_VALUE: &str = "UnsupportedValue";
    /// `ResolvedRefs`: all references are good.
    pub const RESOLVED_REFS: &str = "ResolvedRefs";
    /// `ResolvedRefs`: a Secret, or a key of it, is missing.
    pub const SECRET_NOT_FOUND: &str = "SecretNotFound";
    /// `ResolvedRefs`: a ConfigMap, or a key of it, is missing.
    pub const CONFIG_MAP_NOT_FOUND: &str = "ConfigMapNotFound";
    /// `ResolvedRefs`: a provider is missing.
    pub const PROVIDER_NOT_FOUND: &str = "ProviderNotFound";
    /// `ResolvedRefs`: a provider's owner has not let this namespace use it.
    pub const REF_NOT_PERMITTED: &str = "RefNotPermitted";
    /// `ResolvedRefs`: a Secret has not consented to the host it would go to.
    pub const SECRET_NOT_OPTED_IN: &str = "SecretNotOptedIn";
    /// `ResolvedRefs`: a key set cannot be used.
    pub const INVALID_JWKS: &str = "InvalidJwks";
    /// `ResolvedRefs`: a certificate, key or CA cannot be used.
    pub const INVALID_CERTIFICATE: &str = "InvalidCertificate";
    /// `ResolvedRefs`: the operator may not read a Secret.
    pub const FORBIDDEN: &str = "Forbidden";
    /// `Programmed`: every sidecar has confirmed it.
    pub const PROGRAMMED: &str = "Programmed";
    /// `Programmed`: no sidecar has confirmed it yet.
    pub const PENDING: &str = "Pending";
    /// `Programmed`: some sidecars have confirmed it.
    pub const PARTIALLY_PROGRAMMED: &str = "PartiallyProgrammed";
    /// `Programmed`: a sidecar refused it; the message says why.
    pub const DATA_PLANE_REJECTED: &str = "DataPlaneRejected";
    /// `Programmed`: the selector matches no pod.
    pub const NO_MATCHING_PODS: &str = "NoMatchingPods";
    /// `Programmed`: pods match that have no sidecar.
    pub const PODS_NOT_INJECTED: &str = "PodsNotInjected";
    /// `Programmed`: a sidecar is too old for this configuration.
    pub const SIDECAR_OUTDATED: &str = "SidecarOutdated";
    /// `Programmed`: a sidecar enforces something newer than the operator knows;
    /// the message says what to do after a restore.
    pub const OPERATOR_BEHIND: &str = "OperatorBehind";
    /// Of a failing pod: its server does not stay up beside the sidecar.
    pub const SERVER_NOT_STARTING: &str = "ServerNotStarting";
    /// Of a pod: it enforces nothing, because no gateway has it.
    pub const WITHDRAWN: &str = "Withdrawn";
    /// Of a pod: no other process listens on the ports of its servers.
    pub const NO_LISTENER_FOUND: &str = "NoListenerFound";
    /// Of a pod: its sidecar has a certificate.
    pub const CERTIFICATE_SHOWN: &str = "Shown";
    /// `Ready`: every ready pod enforces this configuration.
    pub const READY: &str = "Ready";
    /// `Ready`: no pod is ready.
    pub const NO_READY_PODS: &str = "NoReadyPods";
    /// `Ready`: the namespace lacks the label that allows injection.
    pub const NAMESPACE_NOT_ENABLED: &str = "NamespaceNotEnabled";
    /// `BypassPossible`: a server listens on an address of the pod.
    pub const LISTENER_FOUND: &str = "ListenerFound";
    /// `BypassPossible`: a server answers on an address of the pod.
    pub const SERVER_ANSWERED: &str = "ServerAnswered";
    /// `BypassPossible`: nothing proves or refutes it.
    pub const UNKNOWN: &str = "Unknown";
}
