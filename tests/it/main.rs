//! One binary for all integration tests: a real sidecar on loopback between
//! the neighbours of `sidegate-testkit`.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by a panic, also in its helpers"
)]

mod attacks;
mod clients;
mod control;
mod crds;
mod heads;
mod hold;
mod identity;
mod limits;
mod lists;
mod matrix;
mod plane;
mod probes;
mod process;
mod reload;
mod sessions;
mod streams;
mod support;
mod tls;
mod unread;
