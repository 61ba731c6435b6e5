//! The operator against a real API server.
//!
//! Each test has a namespace and an operator of its own. There are no nodes
//! and no controllers, so a pod is what a test writes.

mod binary;
mod cluster;
mod conflicts;
mod faults;
mod gateways;
mod leadership;
mod permissions;
mod references;
