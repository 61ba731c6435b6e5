//! What a gateway needs around it on the desk: an authorization server, an MCP
//! server, certificates. Everything listens on loopback only, and nothing of it
//! is part of the sidecar.

pub mod authority;
pub mod certificates;
pub mod clients;
pub mod demo;
pub mod fetch;
pub mod loopback;
pub mod signing;
pub mod token;
pub mod up;
