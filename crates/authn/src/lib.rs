//! Sidegate authn.
