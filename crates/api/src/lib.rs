//! Sidegate api.
