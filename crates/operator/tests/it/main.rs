//! The operator against a real API server.
//!
//! Each test has a namespace and an operator of its own. There are no nodes
//! and no controllers, so a pod is what a test writes.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a broken assumption shall end a test"
)]

mod attacks;
mod authority;
mod binary;
mod cluster;
mod conflicts;
mod faults;
mod gateways;
mod leadership;
mod network_policies;
mod permissions;
mod providers;
mod references;
mod streams;
mod trust_bundles;
mod truth;
mod webhook;
