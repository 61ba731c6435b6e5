//! The control plane: what runs once in a cluster.
//!
//! [`run::Operator`] watches `McpGateway` and `LlmProvider` objects, the pods
//! of the gateways, and by name the Secrets and ConfigMaps that they refer to,
//! and writes into statuses what it found. Validation and building are those
//! of `sidegate-config`, so a cluster says of a document what
//! `sidegate check` says of the file.
//!
//! It never writes a spec, never reads a Secret that no gateway refers to, and
//! never says that something is enforced which no sidecar has confirmed.
//!
//! [`injector`] decides what a pod gets; it is pure, and no webhook serves it
//! yet. Nor is there a certificate authority or a stream of configurations.

mod chain;
mod events;
mod health;
pub mod injector;
mod key;
pub mod leader;
pub mod manifests;
mod metrics;
mod permission;
mod queue;
mod reconcile;
mod references;
pub mod run;
mod watching;
mod world;
mod yaml;

pub use health::HEALTH_PORT;
pub use yaml::to_yaml;
