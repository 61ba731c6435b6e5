//! Real clients over loopback.

mod handshake;
mod identity;
mod material;
mod pki;
mod rotation;
