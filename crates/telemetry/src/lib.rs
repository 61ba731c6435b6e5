//! What the sidecar says about itself: [`metrics`], [`audit`] lines, [`logging`]
//! and [`trace`] context. And [`places`], for the ports where it is read.
//!
//! Everything here is bounded, because callers choose what happens and how
//! often: the number of metric series, the bytes of audit lines that wait for a
//! slow reader, the lines that one noisy peer causes, the length of every text.
//! Texts of callers are escaped so that no reader can be led astray by them:
//! one event is one line, whatever is in it.

pub mod audit;
mod escape;
pub mod logging;
pub mod metrics;
pub mod places;
pub mod trace;
