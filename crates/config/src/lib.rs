//! Sidegate config.
