//! Everything that runs on a desk.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use sidegate_config::documents::Documents;
use sidegate_config::probes::RewrittenProbes;
use sidegate_config::sidecar_config::SidecarConfig;
use sidegate_policy::clock::Clock;
use sidegate_proxy::listener::ListenOptions;
use sidegate_proxy::run::{RunOptions, Sidecar};
use sidegate_proxy::runtime::BuildOptions;
use sidegate_telemetry::audit::AuditLog;
use sidegate_telemetry::metrics::Metrics;

use super::UpOptions;
use super::plan::{self, GatewayPlan, Plan};
use super::prepare::{Preparation, Prepared};
use crate::authority::{Authority, AuthorityConfig};
use crate::clients;
use crate::demo::DemoServer;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// How long keys may take before the commands are printed all the same.
const READY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long requests in progress may take when it stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// Service ports of further gateways are this far apart.
const PORT_STEP: u16 = 2;

/// What runs; it ends when it is dropped, and in order by [`Desk::stop`].
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) plan: Plan,
    pub(super) gateways: Vec<Gateway>,
    pub(super) own_certificates: bool,
    pub(super) audit: PathBuf,
    authority: Option<Authority>,
    demos: Vec<DemoServer>,
}

/// A gateway and its sidecar.
#[derive(Debug)]
pub(super) struct Gateway {
    pub(super) sidecar: Arc<Sidecar>,
    /// What was in force when it started.
    pub(super) config: SidecarConfig,
}

// === impl Desk ===

impl Desk {
    /// Starts the neighbours first: a sidecar asks for keys at once.
    pub(super) async fn start(
        options: &UpOptions,
        preparation: &Preparation,
        prepared: Prepared,
    ) -> anyhow::Result<Self> {
        let Prepared {
            plan,
            documents,
            configs,
            own_certificates,
        } = prepared;
        let clock = &preparation.clock;
        let authority = match &plan.issuer {
            None => None,
            Some(issuer) => {
                let config = AuthorityConfig {
                    issuer: Some(issuer.issuer.clone()),
                    port: issuer.port,
                    clients: clients::with_scopes(&plan::scopes(&documents)),
                    resources: plan::resources(&documents),
                };
                Some(Box::pin(Authority::start(config, Arc::clone(clock))).await?)
            }
        };
        let mut demos = Vec::new();
        for (port, path) in plan::demos(&plan) {
            demos.push(DemoServer::start(port, path).await?);
        }
        let audit = options.dir.join("audit.jsonl");
        let mut gateways = Vec::new();
        for (index, (gateway, config)) in plan.gateways.iter().zip(configs).enumerate() {
            let options = run_options(options, index, gateway, &audit, clock)?;
            gateways.push(Box::pin(Gateway::start(options, gateway, config)).await?);
        }
        Ok(Self {
            plan,
            gateways,
            own_certificates,
            audit,
            authority,
            demos,
        })
    }

    /// Waits a while until every sidecar has its keys; false: some have not.
    pub(super) async fn until_ready(&self) -> bool {
        let all = async {
            for gateway in &self.gateways {
                gateway.sidecar.until_ready().await;
            }
        };
        tokio::time::timeout(READY_TIMEOUT, all).await.is_ok()
    }

    /// Tells the authorization server what changed documents know.
    pub(super) fn know(&self, documents: &Documents) {
        if let Some(authority) = &self.authority {
            authority.know(
                clients::with_scopes(&plan::scopes(documents)),
                plan::resources(documents),
            );
        }
    }

    /// Answers what is in progress, then ends everything. Nobody on a desk
    /// waits for a stream that stays open.
    pub(super) async fn stop(self) {
        let drained = async {
            for gateway in &self.gateways {
                gateway.sidecar.stop().await;
            }
        };
        // What is left ends with the process.
        let _ = tokio::time::timeout(STOP_TIMEOUT, drained).await;
        drop((self.demos, self.authority));
    }
}

// === impl Gateway ===

impl Gateway {
    async fn start(
        options: RunOptions,
        plan: &GatewayPlan,
        config: SidecarConfig,
    ) -> anyhow::Result<Self> {
        let name = plan.full_name();
        let sidecar = Sidecar::start(options).await.with_context(|| {
            format!("McpGateway {name}: is another `sidegate-dev up` running? Stop it, or use --admin and --health")
        })?;
        sidecar
            .apply(config.clone())
            .await
            .with_context(|| format!("McpGateway {name} cannot be served"))?;
        Ok(Self {
            sidecar: Arc::new(sidecar),
            config,
        })
    }
}

fn run_options(
    options: &UpOptions,
    index: usize,
    gateway: &GatewayPlan,
    audit: &Path,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<RunOptions> {
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(audit);
    let file = file.with_context(|| format!("cannot write `{}`", audit.display()))?;
    let metrics = Metrics::new();
    let listen: BTreeMap<_, _> = gateway
        .servers
        .iter()
        .map(|server| {
            (
                server.name.clone(),
                SocketAddr::new(LOOPBACK, server.listen_port),
            )
        })
        .collect();
    Ok(RunOptions {
        // Never more than loopback, whatever a changed file asks for.
        listen: ListenOptions {
            bind: Some(LOOPBACK),
            listen,
            hold: None,
        },
        admin: stepped(options.admin, index),
        health: Some(stepped(options.health, index)),
        probes: RewrittenProbes::default(),
        build: BuildOptions {
            allow_loopback: true,
        },
        clock: Arc::clone(clock),
        audit: Arc::new(AuditLog::start(Box::new(file), Arc::clone(&metrics))),
        metrics,
        log: options.log.clone(),
    })
}

/// The service port of a gateway by its place in the file. Port 0, which lets
/// the system choose, stays.
fn stepped(first: SocketAddr, index: usize) -> SocketAddr {
    let step = u16::try_from(index)
        .unwrap_or(u16::MAX)
        .saturating_mul(PORT_STEP);
    match first.port() {
        0 => first,
        port => SocketAddr::new(first.ip(), port.saturating_add(step)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_gateways_have_service_ports_of_their_own() {
        let first: SocketAddr = "127.0.0.1:15020".parse().unwrap();
        assert_eq!(stepped(first, 0), first);
        assert_eq!(stepped(first, 2).to_string(), "127.0.0.1:15024");
        let any: SocketAddr = "[::1]:0".parse().unwrap();
        assert_eq!(stepped(any, 3), any);
        assert_eq!(
            stepped("127.0.0.1:65535".parse().unwrap(), 1).port(),
            u16::MAX
        );
    }
}
