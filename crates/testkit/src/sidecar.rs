//! A real sidecar in this process, on loopback, from documents.

mod audit;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use sidegate_config::documents;
use sidegate_config::probes::RewrittenProbes;
use sidegate_policy::clock::{Clock, SystemClock};
use sidegate_proxy::listener::ListenOptions;
use sidegate_proxy::run::files::FollowingSidecar;
use sidegate_proxy::run::{Drained, FileSource, RunError, RunOptions, Sidecar, run_from_files};
use sidegate_proxy::runtime::BuildOptions;
use sidegate_telemetry::audit::AuditLog;
use sidegate_telemetry::metrics::Metrics;
use tempfile::TempDir;

use self::audit::Captured;
use crate::client::{Answer, Client};
use crate::poll::until;

const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// The file in the directory that it follows.
const FILE: &str = "gateway.yaml";

/// A sidecar that follows a directory until it is dropped.
pub struct TestSidecar {
    following: FollowingSidecar,
    dir: TempDir,
    metrics: Arc<Metrics>,
    audit: Arc<AuditLog>,
    captured: Captured,
}

impl TestSidecar {
    /// Starts a sidecar with these documents, each of its listeners on a port
    /// of 127.0.0.1, and waits until it is ready.
    ///
    /// # Panics
    /// The documents cannot be put in force.
    pub async fn start(documents: &str) -> Self {
        let sidecar = Self::try_start(documents, Arc::new(SystemClock)).await;
        let sidecar = sidecar.unwrap_or_else(|error| panic!("{error}\n{documents}"));
        sidecar.until_ready().await;
        sidecar
    }

    /// Starts a sidecar with another clock, ready or not.
    ///
    /// # Errors
    /// The documents cannot be put in force.
    ///
    /// # Panics
    /// They cannot be written to a file.
    pub async fn try_start(documents: &str, clock: Arc<dyn Clock>) -> Result<Self, RunError> {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join(FILE), documents).expect("a file");
        let metrics = Metrics::new();
        let captured = Captured::default();
        let audit = AuditLog::start(Box::new(captured.clone()), Arc::clone(&metrics));
        let audit = Arc::new(audit);
        let options = RunOptions {
            listen: ListenOptions {
                bind: Some(ANY_PORT.ip()),
                listen: listen(documents),
                hold: None,
            },
            admin: ANY_PORT,
            health: Some(ANY_PORT),
            probes: RewrittenProbes::default(),
            build: BuildOptions {
                allow_loopback: true,
            },
            clock,
            metrics: Arc::clone(&metrics),
            audit: Arc::clone(&audit),
            log: None,
        };
        let source = FileSource {
            dir: dir.path().to_owned(),
            gateway: None,
            trust_domain: "cluster.local".to_owned(),
        };
        let following = Box::pin(run_from_files(options, source)).await?;
        Ok(Self {
            following,
            dir,
            metrics,
            audit,
            captured,
        })
    }

    /// The sidecar itself.
    #[must_use]
    pub fn sidecar(&self) -> &Arc<Sidecar> {
        self.following.sidecar()
    }

    /// Where it listens for a server.
    ///
    /// # Panics
    /// There is no such server.
    #[must_use]
    pub fn address(&self, server: &str) -> SocketAddr {
        self.sidecar()
            .listener(server)
            .unwrap_or_else(|| panic!("no listener `{server}`"))
    }

    /// Waits until it is ready.
    ///
    /// # Panics
    /// It does not become ready.
    pub async fn until_ready(&self) {
        until("the sidecar is ready", || {
            self.sidecar().ready().then_some(())
        })
        .await;
    }

    /// Asks its health port.
    ///
    /// # Panics
    /// It does not answer.
    pub async fn health(&self, path: &str) -> Answer {
        let address = self
            .sidecar()
            .health_addresses()
            .first()
            .copied()
            .expect("a health port");
        Client::plaintext(address)
            .get(path)
            .await
            .expect("an answer")
    }

    /// What its admin port says about the configuration.
    ///
    /// # Panics
    /// It does not answer.
    pub async fn config(&self) -> Value {
        let client = Client::plaintext(self.sidecar().admin_address());
        client.get("/config").await.expect("an answer").json()
    }

    /// The directory that it follows.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Writes other documents. They are taken soon after, or refused.
    ///
    /// # Panics
    /// The file cannot be written.
    pub fn write(&self, documents: &str) {
        // Renamed into place, so that nobody reads half of it.
        let (file, next) = (self.dir().join(FILE), self.dir().join(".next"));
        std::fs::write(&next, documents).expect("a file");
        std::fs::rename(&next, &file).expect("a file");
    }

    /// Writes other documents and waits until they are in force.
    ///
    /// # Panics
    /// They are refused, or nothing happens.
    pub async fn change(&self, documents: &str) {
        let before = self.reloads();
        self.write(documents);
        let after = until("the change is taken", || {
            let now = self.reloads();
            (now != before).then_some(now)
        });
        let after = after.await;
        assert!(after.0 > before.0, "refused:\n{documents}");
    }

    /// Writes documents that must not be taken, and waits until they are
    /// refused.
    ///
    /// # Panics
    /// They are in force, or nothing happens.
    pub async fn change_refused(&self, documents: &str) {
        let before = self.reloads();
        self.write(documents);
        let after = until("the change is refused", || {
            let now = self.reloads();
            (now != before).then_some(now)
        });
        let after = after.await;
        assert!(after.1 > before.1, "in force:\n{documents}");
    }

    /// Configurations that were accepted and refused.
    fn reloads(&self) -> (u64, u64) {
        let count = |result: &str| {
            self.metric(&format!(
                "sidegate_config_reloads_total{{result=\"{result}\"}}"
            ))
        };
        (count("accepted"), count("refused"))
    }

    /// The metrics as text.
    #[must_use]
    pub fn metrics(&self) -> String {
        self.metrics.render()
    }

    /// The value of one time series, as it is written; 0 when it is not there.
    #[must_use]
    pub fn metric(&self, series: &str) -> u64 {
        let text = self.metrics();
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.and_then(|value| value.parse().ok()).unwrap_or(0)
    }

    /// Every audit line so far.
    ///
    /// # Panics
    /// One is not JSON.
    #[must_use]
    pub fn audit(&self) -> Vec<Value> {
        self.audit.flush();
        self.captured.lines()
    }

    /// Waits for this many audit lines: one is written when its answer has
    /// ended, which a client may see first.
    ///
    /// # Panics
    /// They do not come.
    pub async fn audit_lines(&self, count: usize) -> Vec<Value> {
        until(&format!("there are {count} audit lines"), || {
            let lines = self.audit();
            (lines.len() >= count).then_some(lines)
        })
        .await
    }

    /// Every audit line as text.
    #[must_use]
    pub fn audit_text(&self) -> String {
        self.audit.flush();
        self.captured.text()
    }

    /// Drains it.
    pub async fn stop(&self) -> Drained {
        self.sidecar().stop().await
    }
}

impl fmt::Debug for TestSidecar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestSidecar")
            .field("sidecar", self.sidecar())
            .finish_non_exhaustive()
    }
}

/// A port for every server that is named. Documents with mistakes have none:
/// the sidecar says what is wrong with them.
fn listen(documents: &str) -> BTreeMap<String, SocketAddr> {
    let Ok(documents) = documents::parse(FILE, documents) else {
        return BTreeMap::new();
    };
    let servers = documents
        .gateways
        .iter()
        .flat_map(|gateway| &gateway.spec.servers);
    servers
        .map(|server| (server.name.clone(), ANY_PORT))
        .collect()
}

#[cfg(test)]
mod tests;
