//! TLS towards those who call: certificates, who may connect, and who did.
//!
//! [`server_config`] turns PEM texts into a [`ServerTls`] or says what is wrong
//! with them; nothing is filled in: without a client CA there is no mutual TLS,
//! never the trust of the system or no client authentication at all. One
//! [`TlsAcceptor`] serves a listener and takes new certificates while
//! connections come and go.
//!
//! The rule for client certificates does not depend on the server name that a
//! client asks for, on how its hello is cut into records, or on a session that
//! it had before.

mod accept_error;
mod acceptor;
mod certificate;
mod client_verifier;
mod identity;
mod material;
mod server;

pub use accept_error::AcceptError;
pub use acceptor::TlsAcceptor;
pub use certificate::PemFault;
pub use identity::InvalidIdentity;
pub use material::{PrivateKeyPem, ServerMaterial, TlsMode};
pub use server::{InvalidTls, ServerTls, server_config};

#[cfg(test)]
mod tests;
