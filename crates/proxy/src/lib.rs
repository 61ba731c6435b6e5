//! The data plane: listeners, the phases of a request, upstreams, the service
//! ports and drain.
//!
//! It never reads YAML, never talks to Kubernetes and never parses JSON-RPC
//! itself (`sidegate-mcp` does). The main entry point is [`run`]; the function
//! that answers one request is [`request::serve`].

pub mod admin;
mod admitted;
mod answer;
mod authority;
pub mod body;
mod collect;
pub mod connection;
mod connection_info;
pub mod control_plane;
mod decide;
pub mod drain;
pub mod foreign_listeners;
pub mod framing;
mod head;
pub mod health;
pub mod held;
pub mod hold;
pub mod identity;
pub mod listener;
mod names;
mod outcome;
mod reply;
pub mod request;
mod respond;
pub mod run;
pub mod runtime;
mod session;
pub mod shared;
mod sockets;
mod stream;
mod task;
mod upstream;
