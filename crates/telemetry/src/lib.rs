//! Sidegate telemetry.
