//! TLS on both sides: certificates, who may connect, and who did.
//!
//! [`server_config`] turns PEM texts into a [`ServerTls`] or says what is wrong
//! with them; nothing is filled in: without a client CA there is no mutual TLS,
//! never the trust of the system or no client authentication at all. One
//! [`TlsAcceptor`] serves a listener and takes new certificates while
//! connections come and go. [`client_config`] is the other side: it trusts only
//! the authorities that it is given.
//!
//! The rule for client certificates does not depend on the server name that a
//! client asks for, on how its hello is cut into records, or on a session that
//! it had before.
//!
//! An [`Authority`] signs certificates: what they say comes from a [`Subject`],
//! and only the key from a [`CertificateRequest`], which [`new_key_and_request`]
//! makes.

mod accept_error;
mod acceptor;
mod authority;
mod certificate;
mod certificate_request;
mod client;
mod client_verifier;
mod identity;
mod invalid_tls;
mod material;
mod own_certificate;
mod provider;
mod request;
mod roots;
mod server;
mod subject;

pub use tokio_rustls::client::TlsStream as ClientStream;
pub use tokio_rustls::server::TlsStream as ServerStream;

pub use accept_error::AcceptError;
pub use acceptor::TlsAcceptor;
pub use authority::{Authority, AuthorityError};
pub use certificate::{PemFault, Validity};
pub use certificate_request::{CertificateRequest, InvalidRequest};
pub use client::{ClientTls, client_config};
pub use identity::{InvalidIdentity, PeerCertificate, key_ids};
pub use invalid_tls::InvalidTls;
pub use material::{PrivateKeyPem, ServerMaterial, TlsMode};
pub use own_certificate::validity;
pub use request::{KeyAndRequest, new_key_and_request};
pub use roots::InvalidRoots;
pub use server::{ServerTls, server_config, server_config_with};
pub use subject::{InvalidSubject, MAX_DNS_NAMES, Subject, Usages, is_dns_label, is_dns_name};

#[cfg(test)]
mod tests;
