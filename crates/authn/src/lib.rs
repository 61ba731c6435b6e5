//! Who asks: bearer tokens, the keys of their issuers, and the cache of
//! verified tokens.
//!
//! The main entry point is [`Authenticator::authenticate`]. A token is a signed
//! JWT (RFC 7519, RFC 9068) from an issuer of the configuration; it is parsed
//! strictly before its signature is looked at, so that no two parsers can read
//! it differently. What an issuer's keys say about a token is believed for that
//! issuer only. Without keys nothing is believed: the answer is
//! [`AuthnError::KeysUnavailable`], never a default.
//!
//! This crate never decides what somebody may do, never forwards a token, and
//! opens no connection but to the key set URLs of the configuration: nothing in
//! a token can name another.

mod address;
mod algorithm;
mod authenticator;
mod cache;
mod claims;
mod credentials;
mod fault;
mod fetch;
mod json;
mod jwks;
mod keys;
mod settings;
mod token;

#[cfg(test)]
mod testing;

pub use algorithm::{Algorithm, UnknownAlgorithm};
pub use authenticator::Authenticator;
pub use cache::TokenMemo;
pub use fault::AuthnError;
pub use settings::{AuthnSettings, InvalidAuthn, IssuerSettings, JwksSettings, KeySource};
