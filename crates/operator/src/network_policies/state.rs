//! What became of a gateway's policy, and what a person should know of it.

use std::collections::BTreeSet;
use std::fmt;

use crate::key::Key;

/// What became of a gateway's policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PolicyState {
    /// It was created, changed or deleted.
    Written,
    /// It is as it should be, or not wanted.
    Unchanged,
    /// Somebody else's has its name.
    Foreign(Key),
    /// Somebody else's decides already who reaches the gateway's pods, which
    /// must not reach these ports.
    Decided(Key, BTreeSet<u16>),
    /// On pods that an older gateway may select, too, its policy would have to
    /// close a port on which sidecars listen.
    Overlaps(Overlap),
}

/// Where two gateways want opposite things of one port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Overlap {
    /// The older gateway.
    pub(super) older: String,
    /// The port.
    pub(super) port: u16,
    /// Who listens there.
    pub(super) listening: Listening,
}

/// Whose sidecars listen on a port that the other one's policy closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listening {
    /// Those of the older gateway.
    Older,
    /// Those of the gateway that gives way.
    Younger,
}

// === impl PolicyState ===

impl fmt::Display for PolicyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Written => f.write_str("the network policy was written"),
            Self::Unchanged => f.write_str("the network policy is as it should be"),
            Self::Foreign(key) => write!(
                f,
                "NetworkPolicy {key} is not the operator's and is left as it is, so nothing \
                 closes the servers' own ports: give it another name"
            ),
            Self::Decided(key, ports) => {
                let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
                write!(
                    f,
                    "NetworkPolicy {key} already decides who reaches these pods, so the operator \
                     writes none: make sure that it does not admit port {}",
                    ports.join(", ")
                )
            }
            Self::Overlaps(Overlap {
                older,
                port,
                listening,
            }) => {
                let conflict = match listening {
                    Listening::Younger => {
                        format!("closes port {port}, on which sidecars of this one listen")
                    }
                    Listening::Older => format!(
                        "has sidecars that listen on port {port}, which a NetworkPolicy of this \
                         one would close"
                    ),
                };
                write!(
                    f,
                    "McpGateway {older} is older, may select the same pods and {conflict}, so the \
                     operator writes no NetworkPolicy and nothing closes the servers' own ports: \
                     name a label in both selectors that keeps the pods apart, or use another port"
                )
            }
        }
    }
}
