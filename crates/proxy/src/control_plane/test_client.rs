//! A client of an operator that is not there.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use sidegate_config::probes::RewrittenProbes;
use sidegate_policy::clock::{Clock as _, SystemClock};
use sidegate_telemetry::audit::AuditLog;
use sidegate_telemetry::metrics::Metrics;
use sidegate_tls::{Authority, PrivateKeyPem, Subject, Usages};
use tempfile::TempDir;

use super::client::Client;
use crate::control_plane::ControlPlaneSource;
use crate::identity::IssuedIdentity;
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

/// An authority whose certificates can be used now.
pub(super) fn authority() -> Authority {
    let day = Duration::from_secs(24 * 3600);
    Authority::create("test", SystemClock.unix_seconds(), day).expect("an authority")
}

/// A certificate of `authority` that begins then, and its key.
pub(super) fn pair(authority: &Authority, begins_at: i64) -> (String, PrivateKeyPem) {
    let subject = Subject {
        common_name: "pod".to_owned(),
        spiffe_id: None,
        dns_names: vec!["support".to_owned()],
        usages: Usages::Both,
    };
    let issued = authority.issue(&subject, begins_at, Duration::from_secs(7200));
    issued.expect("a certificate")
}

/// What `authority` gives a pod now.
pub(super) fn identity(authority: &Authority) -> IssuedIdentity {
    let (certificate, key) = pair(authority, SystemClock.unix_seconds());
    let authorities = authority.certificate_pem().to_owned();
    IssuedIdentity::new(certificate, key, authorities).expect("usable")
}
