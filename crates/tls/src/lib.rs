//! Sidegate tls.
