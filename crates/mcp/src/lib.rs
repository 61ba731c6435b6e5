//! MCP on the wire, as far as it must be read to enforce policy.
//!
//! A gateway that reads a message in one way and passes it to a server that
//! reads it in another can be talked around (CWE-436). So [`receive`] accepts
//! only messages that every parser reads alike: strict JSON, no name twice, no
//! look-alike of a name that decides; whoever passes such a message on sends
//! the bytes as they came. Answers go through the same scanner: [`filter`]
//! cuts what a caller may not see out of lists, by span, and [`sse`] does so
//! inside event streams.

mod call;
pub mod codes;
mod envelope;
pub mod error;
pub mod filter;
mod headers;
mod item;
mod look_alike;
pub mod metadata;
mod params;
mod received;
mod registry;
mod rejection;
mod scan;
pub mod sse;
mod version;

pub use call::{Call, Era, ListKind, Reference};
pub use headers::{Field, McpHeaders};
pub use item::Item;
pub use received::{Received, ScanLimits, receive};
pub use rejection::{Rejection, RejectionKind};
pub use version::{VERSIONS, era_of_header};
