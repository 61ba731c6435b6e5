//! Which request this is: an id of its own, and its place in a trace.

mod context;
mod random;
mod request_id;

pub use context::TraceContext;
pub use request_id::RequestId;
