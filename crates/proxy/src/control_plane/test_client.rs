//! A client of an operator that is not there.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use sidegate_config::probes::RewrittenProbes;
use sidegate_policy::clock::SystemClock;
use sidegate_telemetry::audit::AuditLog;
use sidegate_telemetry::metrics::Metrics;
use tempfile::TempDir;

use super::client::Client;
use crate::control_plane::ControlPlaneSource;
use crate::listener::ListenOptions;
use crate::run::{RunOptions, Sidecar};
use crate::runtime::BuildOptions;

const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// One with the token "one", whose state is in `dir`.
pub(super) async fn client(dir: &TempDir) -> Client {
    let metrics = Metrics::new();
    let audit = AuditLog::start(Box::new(std::io::sink()), Arc::clone(&metrics));
    let options = RunOptions {
        listen: ListenOptions::default(),
        admin: ANY_PORT,
        health: Some(ANY_PORT),
        probes: RewrittenProbes::default(),
        build: BuildOptions::default(),
        clock: Arc::new(SystemClock),
        metrics,
        audit: Arc::new(audit),
        log: None,
    };
    let sidecar = Arc::new(Sidecar::start(options).await.expect("starts"));
    let path = |name: &str| dir.path().join(name);
    std::fs::write(path("token"), "one").expect("written");
    let source = ControlPlaneSource {
        url: "https://localhost:1".parse().expect("a URL"),
        token_file: path("token"),
        trust_dir: path("trust"),
        state_dir: path("state"),
    };
    Client::restore(source, sidecar, Arc::new(SystemClock)).await
}
