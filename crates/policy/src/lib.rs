//! Sidegate policy.
