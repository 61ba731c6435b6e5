//! Sidegate testkit.
