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
//! [`injector`] decides what a pod gets; it is pure, and the webhook serves it.
//! [`authority`] signs the certificates of sidecars and of the operator's own
//! endpoints, and the config stream brings sidecars what they enforce.

pub mod authority;
mod board;
mod bypass;
mod ca_bundle;
mod catch_up;
mod chain;
mod events;
mod health;
pub mod injector;
mod key;
pub mod leader;
pub mod manifests;
mod metrics;
mod names;
mod network_policies;
mod one_line;
mod one_object;
mod ours;
mod outage;
mod permission;
mod pod_condition;
mod queue;
mod rank;
mod reconcile;
mod references;
pub mod run;
#[cfg(test)]
mod silent_api_server;
mod streams;
mod tally;
mod trust_bundles;
mod watching;
mod webhook;
mod world;
mod yaml;

pub use health::HEALTH_PORT;
pub use metrics::reference as metrics_reference;
pub use yaml::to_yaml;
