//! What the operator's own objects are called in a cluster.

/// The namespace that the objects are made for.
pub const NAMESPACE: &str = "sidegate-system";
/// The name of the Deployment, the service account, the roles, the Service and
/// the Lease.
pub const NAME: &str = "sidegate-operator";
/// The name of the `MutatingWebhookConfiguration`.
pub const INJECTOR_CONFIGURATION: &str = "sidegate-injector";
/// The webhook's name in it. The operator adds its roots to it by this name.
pub(crate) const WEBHOOK: &str = "inject.sidegate.dev";
/// The name of the Secret that holds the certificate authority.
pub(crate) const AUTHORITY_SECRET: &str = "sidegate-authority";
/// The name of the ConfigMap that tells a namespace the roots.
pub(crate) const TRUST_CONFIG_MAP: &str = "sidegate-trust";
