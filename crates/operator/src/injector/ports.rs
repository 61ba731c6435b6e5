//! The ports of a gateway: which the servers have, which the sidecar.

use std::collections::BTreeSet;

use sidegate_api::McpGatewaySpec;
use sidegate_api::gateway::Exposure;
use sidegate_api::names::RESERVED_PORTS;

use super::error::InjectError;
use super::pod::Pod;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GatewayPorts {
    /// Ports of the MCP servers. Only the sidecar talks to them.
    pub(super) guarded: BTreeSet<u16>,
    /// Those of them that the sidecar opens too, on the pod's addresses.
    pub(super) held: BTreeSet<u16>,
    /// Ports that the sidecar alone opens.
    pub(super) own: BTreeSet<u16>,
}

// === impl GatewayPorts ===

impl GatewayPorts {
    pub(super) fn of(spec: &McpGatewaySpec) -> Self {
        let same_port = |exposure| exposure == Exposure::SamePort;
        let llm = spec.llm.iter().map(|it| it.port);
        let remote = spec.remote_servers.iter().map(|it| it.listen_port);
        let separate = spec.servers.iter().filter(|it| !same_port(it.exposure));
        Self {
            guarded: spec.servers.iter().map(|it| it.port).collect(),
            held: spec
                .servers
                .iter()
                .filter(|it| same_port(it.exposure))
                .map(|it| it.port)
                .collect(),
            own: RESERVED_PORTS
                .into_iter()
                .chain(llm)
                .chain(remote)
                .chain(separate.filter_map(|it| it.listen_port))
                .collect(),
        }
    }

    /// Refuses a pod whose containers want a port that the sidecar opens. It
    /// would fail all the same, but later and less clearly.
    pub(super) fn refuse_taken(&self, pod: &Pod<'_>) -> Result<(), InjectError> {
        for container in pod.others() {
            let taken = container.ports().find(|it| self.own.contains(&it.number));
            if let Some(port) = taken {
                return Err(InjectError::PortTaken {
                    container: container.name.to_owned(),
                    port: port.number,
                });
            }
        }
        Ok(())
    }
}
