//! The resources that people write: `McpGateway` and `LlmProvider` of
//! `sidegate.dev/v1alpha1`, their status, and the words of that status.
//!
//! Types as written, and nothing else: no I/O, no decisions. What fields mean
//! together is checked by `sidegate-config`; what the API server can check by
//! itself is in the schema, so that `kubectl apply` refuses it at once. The
//! defaults are the same in both places.
//!
//! Without the feature `crd` this crate links serde only. With it, the root
//! types `gateway::McpGateway` and `provider::LlmProvider` exist, and `crds()`
//! returns both CustomResourceDefinitions.

#[cfg(feature = "crd")]
mod crd;
pub mod duration;
pub mod gateway;
pub mod names;
pub mod provider;
pub mod reference;
#[cfg(feature = "crd")]
mod schema;
pub mod selector;
pub mod status;

#[cfg(feature = "crd")]
pub use crd::crds;
pub use gateway::McpGatewaySpec;
pub use names::{API_VERSION, GROUP, VERSION};
pub use provider::LlmProviderSpec;

/// For `skip_serializing_if`: whether a value is what its absence means.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
