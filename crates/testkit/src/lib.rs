//! Neighbours of a sidecar, for tests: clients, an issuer, an MCP server that
//! answers as it is told, certificates, and the sidecar itself.
//!
//! Every neighbour keeps a ledger. That a refused request leaves the ledger of
//! the server behind empty is the first thing to test. This crate is never
//! shipped, so its helpers end a test with a panic where that reads better.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "only tests use this crate; a broken assumption shall end them"
)]

pub mod apiserver;
pub mod certificates;
pub mod client;
pub mod control;
pub mod issuer;
pub mod mcp;
pub mod plane;
pub mod poll;
pub mod process;
pub mod sidecar;
pub mod upstream;
