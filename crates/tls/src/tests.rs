//! Real clients over loopback.

mod authority;
mod certificate_request;
mod client;
mod handshake;
mod identity;
mod material;
mod pki;
mod rotation;
mod subject;
