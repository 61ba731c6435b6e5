//! One binary for all integration tests: a real sidecar on loopback between
//! the neighbours of `sidegate-testkit`.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by a panic, also in its helpers"
)]

mod attacks;
mod clients;
mod crds;
mod heads;
mod limits;
mod lists;
mod matrix;
mod process;
mod reload;
mod sessions;
mod streams;
mod support;
mod tls;
mod unread;
