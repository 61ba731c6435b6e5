//! The metrics of a sidecar, in a registry of their own.
//!
//! What there is stands in one table, from which the families are registered,
//! bounded and documented ([`reference()`]). Labels come from the configuration
//! or from closed sets of words, never from what a caller sent.

mod definition;
pub mod documented;
mod family;
mod process;
mod quick_hash;
mod reference;
mod request;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};
use tracing::error;

use self::definition::Definition;
use self::family::{Family, OTHER, registered};
use self::process::ProcessMetrics;
pub use self::reference::reference;
use self::request::RequestMetrics;

/// Most issuers that are named in labels.
const MAX_ISSUERS: usize = 8;

/// The metrics of one sidecar.
pub struct Metrics {
    registry: Registry,
    requests: RequestMetrics,
    audited_requests: IntCounter,
    token_cache_hits: Option<IntCounter>,
    token_cache_misses: Option<IntCounter>,
    tokens_refused: Family<IntCounterVec>,
    jwks_fetches: Family<IntCounterVec>,
    jwks_loaded: Family<IntGaugeVec>,
    sessions: IntGauge,
    connections: IntCounter,
    connections_open: IntGauge,
    connections_refused: Family<IntCounterVec>,
    handshake_failures: Family<IntCounterVec>,
    certificate_expiry: Family<IntGaugeVec>,
    config_reloads: Family<IntCounterVec>,
    config_info: Family<IntGaugeVec>,
    config_loaded: Family<IntGaugeVec>,
    config_source: Family<IntGaugeVec>,
    config_revision: Family<IntGaugeVec>,
    control_plane_connected: Family<IntGaugeVec>,
    control_plane_heard: Family<IntGaugeVec>,
    snapshots: Family<IntCounterVec>,
    audit_dropped: IntCounter,
    audit_suppressed: IntCounter,
    panics: IntCounter,
    issuers: RwLock<Vec<Box<str>>>,
    /// Held while they are brought up to date.
    process: Mutex<ProcessMetrics>,
}

/// What a request is counted under.
#[derive(Debug, Clone, Copy)]
pub struct RequestLabels<'a> {
    /// Name of the listener.
    pub listener: &'a str,
    /// Name of the MCP server.
    pub server: &'a str,
    /// The method, or a word for what stands in its place.
    pub method: &'a str,
    /// The tool that was called; any name.
    pub tool: Option<&'a str>,
    /// What was decided.
    pub decision: DecisionLabel,
    /// Why, in one word that the code chose.
    pub reason: &'a str,
    /// HTTP status of the answer.
    pub status: u16,
}

/// What was decided about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DecisionLabel {
    /// It was refused before a decision.
    Refused,
    /// The policies allowed it.
    Allow,
    /// Only the mode `Audit` let it through.
    AuditAllow,
    /// The policies denied it.
    Deny,
}

/// A connection that is counted as open until this is dropped.
#[derive(Debug)]
#[must_use = "the connection counts as closed once this is dropped"]
pub struct OpenConnection(IntGauge);

// === impl Metrics ===

impl Metrics {
    /// A registry with all families.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let registry = Registry::new();
        let token_cache = counters(&registry, &definition::TOKEN_CACHE_LOOKUPS);
        let metrics = Self {
            requests: RequestMetrics::register(&registry),
            audited_requests: counter(&registry, &definition::AUDITED_REQUESTS),
            token_cache_hits: token_cache.with(&["hit"]),
            token_cache_misses: token_cache.with(&["miss"]),
            tokens_refused: counters(&registry, &definition::TOKENS_REFUSED),
            jwks_fetches: counters(&registry, &definition::JWKS_FETCHES),
            jwks_loaded: gauges(&registry, &definition::JWKS_LOADED),
            sessions: gauge(&registry, &definition::SESSIONS),
            connections: counter(&registry, &definition::CONNECTIONS),
            connections_open: gauge(&registry, &definition::CONNECTIONS_OPEN),
            connections_refused: counters(&registry, &definition::CONNECTIONS_REFUSED),
            handshake_failures: counters(&registry, &definition::HANDSHAKE_FAILURES),
            certificate_expiry: gauges(&registry, &definition::CERTIFICATE_EXPIRY),
            config_reloads: counters(&registry, &definition::CONFIG_RELOADS),
            config_info: gauges(&registry, &definition::CONFIG_INFO),
            config_loaded: gauges(&registry, &definition::CONFIG_LOADED),
            config_source: gauges(&registry, &definition::CONFIG_SOURCE),
            config_revision: gauges(&registry, &definition::CONFIG_REVISION),
            control_plane_connected: gauges(&registry, &definition::CONTROL_PLANE_CONNECTED),
            control_plane_heard: gauges(&registry, &definition::CONTROL_PLANE_HEARD),
            snapshots: counters(&registry, &definition::SNAPSHOTS),
            audit_dropped: counter(&registry, &definition::AUDIT_DROPPED),
            audit_suppressed: counter(&registry, &definition::AUDIT_SUPPRESSED),
            panics: counter(&registry, &definition::PANICS),
            issuers: RwLock::default(),
            process: Mutex::new(ProcessMetrics::register(&registry)),
            registry,
        };
        // Known values begin at 0, so that the first event is an increase.
        for result in ["accepted", "refused"] {
            let _made = metrics.config_reloads.with(&[result]);
        }
        set(
            &gauges(&metrics.registry, &definition::BUILD_INFO),
            &[env!("CARGO_PKG_VERSION")],
            1,
        );
        Arc::new(metrics)
    }

    /// Counts a request that was answered or given up.
    pub fn request(&self, labels: &RequestLabels<'_>, duration: Duration) {
        self.requests.count(labels, duration);
    }

    /// Counts a request that only the mode `Audit` let through.
    pub fn audited_request(&self) {
        self.audited_requests.inc();
    }

    /// Sets which tools are named in labels; others are `other`.
    pub fn set_tools(&self, tools: &[String]) {
        self.requests.set_tools(tools);
    }

    /// Counts a look-up among the tokens that were verified before.
    pub fn token_cache(&self, hit: bool) {
        let counter = if hit {
            &self.token_cache_hits
        } else {
            &self.token_cache_misses
        };
        if let Some(counter) = counter {
            counter.inc();
        }
    }

    /// Counts credentials that were refused.
    pub fn token_refused(&self, reason: &'static str) {
        count(&self.tokens_refused, &[reason]);
    }

    /// Counts a fetch of an issuer's keys.
    pub fn jwks_fetch(&self, issuer: &str, result: &'static str) {
        self.with_issuer_label(issuer, |issuer| {
            count(&self.jwks_fetches, &[issuer, result]);
        });
    }

    /// Notes when the keys in use of an issuer were loaded, in Unix time.
    pub fn jwks_loaded_at(&self, issuer: &str, unix_seconds: i64) {
        self.with_issuer_label(issuer, |issuer| {
            set(&self.jwks_loaded, &[issuer], unix_seconds);
        });
    }

    /// Sets which issuers are named in labels. The series of others end: the
    /// age of keys that nobody uses any more would only raise alarms.
    pub fn set_issuers(&self, issuers: &[String]) {
        let named: Vec<Box<str>> = issuers
            .iter()
            .take(MAX_ISSUERS)
            .map(|issuer| issuer.as_str().into())
            .collect();
        let mut current = self.issuers.write().unwrap_or_else(PoisonError::into_inner);
        let is_wanted = |values: &[Box<str>]| {
            values
                .first()
                .is_some_and(|issuer| &**issuer == OTHER || named.contains(issuer))
        };
        self.jwks_fetches.retain(is_wanted);
        self.jwks_loaded.retain(is_wanted);
        *current = named;
    }

    /// Notes how many legacy sessions there are.
    pub fn sessions(&self, sessions: usize) {
        self.sessions
            .set(i64::try_from(sessions).unwrap_or(i64::MAX));
    }

    /// Counts a connection that was accepted, and as open until the returned
    /// value is dropped.
    pub fn connection_accepted(&self) -> OpenConnection {
        self.connections.inc();
        self.connections_open.inc();
        OpenConnection(self.connections_open.clone())
    }

    /// Counts a connection that was closed at once.
    pub fn connection_refused(&self, reason: &'static str) {
        count(&self.connections_refused, &[reason]);
    }

    /// Counts a TLS handshake that failed.
    pub fn handshake_failure(&self, reason: &str) {
        count(&self.handshake_failures, &[reason]);
    }

    /// Notes when the serving certificate expires, in Unix time.
    pub fn certificate_expiry(&self, unix_seconds: i64) {
        set(&self.certificate_expiry, &[], unix_seconds);
    }

    /// Counts a configuration that was `accepted` or `refused`.
    pub fn config_reload(&self, result: &'static str) {
        count(&self.config_reloads, &[result]);
    }

    /// Names the configuration in force.
    pub fn config_info(&self, version: &str) {
        self.config_info
            .retain(|values| values.iter().any(|value| &**value == version));
        set(&self.config_info, &[version], 1);
    }

    /// Notes when the configuration in force was accepted, in Unix time.
    pub fn config_loaded_at(&self, unix_seconds: i64) {
        set(&self.config_loaded, &[], unix_seconds);
    }

    /// Notes that no configuration is in force any more.
    pub fn no_config(&self) {
        self.config_info.retain(|_| false);
    }

    /// Says where configurations come from: `files` or `control_plane`.
    pub fn config_source(&self, source: &'static str) {
        set(&self.config_source, &[source], 1);
    }

    /// Notes how new the configuration in force is.
    pub fn config_revision(&self, revision: u64) {
        let revision = i64::try_from(revision).unwrap_or(i64::MAX);
        set(&self.config_revision, &[], revision);
    }

    /// Notes whether the stream to the operator stands.
    pub fn control_plane_connected(&self, connected: bool) {
        set(&self.control_plane_connected, &[], connected.into());
    }

    /// Notes when the operator said something, in Unix time.
    pub fn control_plane_heard_at(&self, unix_seconds: i64) {
        set(&self.control_plane_heard, &[], unix_seconds);
    }

    /// Counts what the operator sent to be enforced, by what came of it.
    pub fn snapshot(&self, result: &'static str) {
        count(&self.snapshots, &[result]);
    }

    /// Counts audit lines that were lost.
    pub fn audit_dropped(&self, lines: u64) {
        self.audit_dropped.inc_by(lines);
    }

    /// Counts audit lines that one counted line stands for.
    pub fn audit_suppressed(&self, lines: u64) {
        self.audit_suppressed.inc_by(lines);
    }

    /// Counts a request that ended in a defect of the sidecar.
    pub fn panic(&self) {
        self.panics.inc();
    }

    /// All series in the text format of Prometheus.
    #[must_use]
    pub fn render(&self) -> String {
        let process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        process.update();
        let mut text = String::new();
        if let Err(error) = TextEncoder::new().encode_utf8(&self.registry.gather(), &mut text) {
            error!(%error, "metrics cannot be written");
        }
        text
    }

    /// The lock is held meanwhile, so that an issuer that is just taken away
    /// does not come back.
    fn with_issuer_label(&self, issuer: &str, then: impl FnOnce(&str)) {
        let issuers = self.issuers.read().unwrap_or_else(PoisonError::into_inner);
        let is_named = issuers.iter().any(|named| &**named == issuer);
        then(if is_named { issuer } else { OTHER });
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Metrics").finish_non_exhaustive()
    }
}

fn counter(registry: &Registry, definition: &Definition) -> IntCounter {
    registered(registry, IntCounter::new(definition.name, definition.help))
}

fn gauge(registry: &Registry, definition: &Definition) -> IntGauge {
    registered(registry, IntGauge::new(definition.name, definition.help))
}

fn counters(registry: &Registry, definition: &'static Definition) -> Family<IntCounterVec> {
    let opts = Opts::new(definition.name, definition.help);
    Family::register(
        registry,
        definition,
        IntCounterVec::new(opts, &definition.label_names()),
    )
}

/// Gauges of which each is absent until it is set, even the one of a family
/// without labels: no value is not the value 0.
fn gauges(registry: &Registry, definition: &'static Definition) -> Family<IntGaugeVec> {
    let opts = Opts::new(definition.name, definition.help);
    Family::register(
        registry,
        definition,
        IntGaugeVec::new(opts, &definition.label_names()),
    )
}

fn count(family: &Family<IntCounterVec>, values: &[&str]) {
    if let Some(counter) = family.with(values) {
        counter.inc();
    }
}

fn set(family: &Family<IntGaugeVec>, values: &[&str], value: i64) {
    if let Some(gauge) = family.with(values) {
        gauge.set(value);
    }
}

// === impl DecisionLabel ===

impl DecisionLabel {
    /// The word in labels and audit lines.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Allow => "allow",
            Self::AuditAllow => "audit_allow",
            Self::Deny => "deny",
        }
    }
}

// === impl OpenConnection ===

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests;
