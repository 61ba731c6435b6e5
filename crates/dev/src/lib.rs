//! Sidegate dev.
