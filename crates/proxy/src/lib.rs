//! Sidegate proxy.
