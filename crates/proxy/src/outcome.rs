//! What became of one request: the facts are gathered on the way, and metric,
//! audit line and log are made from them in one place.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use sidegate_config::sidecar_config::AuditArguments as ArgumentsSetting;
use sidegate_policy::decision::{Denial, Permit};
use sidegate_policy::principal::Principal;
use sidegate_policy::scope::ScopeSet;
use sidegate_telemetry::audit::{AuditArguments, AuditEvent, AuditPrincipal, AuditTarget};
use sidegate_telemetry::metrics::{DecisionLabel, RequestLabels};
use sidegate_telemetry::trace::{RequestId, TraceContext};

use crate::connection_info::ConnectionInfo;
use crate::decide::Subject;
use crate::runtime::Runtime;
use crate::shared::Shared;

/// Status in metrics and audit lines when the client went away first; nothing
/// was sent.
const CLIENT_CLOSED: u16 = 499;

/// One request on its way, and what is known of it.
#[derive(Debug)]
pub(crate) struct Exchange {
    shared: Arc<Shared>,
    connection: Arc<ConnectionInfo>,
    started: Duration,
    pub(crate) request_id: RequestId,
    pub(crate) trace: TraceContext,
    pub(crate) runtime: Option<Arc<Runtime>>,
    pub(crate) principal: Option<Arc<Principal>>,
    /// The JSON-RPC id as it was written, once the body was read.
    pub(crate) rpc_id: Option<Box<str>>,
    method: Option<Box<str>>,
    subject: Option<Subject>,
    arguments: Option<Box<str>>,
    decision: DecisionLabel,
    rule: Option<Box<str>>,
    missing_scopes: ScopeSet,
    finished: bool,
}

impl Exchange {
    /// Begins the record of a request that was just received.
    pub(crate) fn begin(
        shared: &Arc<Shared>,
        connection: &Arc<ConnectionInfo>,
        trace: TraceContext,
    ) -> Self {
        Self {
            started: shared.clock.monotonic(),
            runtime: shared.runtime.load_full(),
            shared: Arc::clone(shared),
            connection: Arc::clone(connection),
            request_id: RequestId::next(),
            trace,
            principal: None,
            rpc_id: None,
            method: None,
            subject: None,
            arguments: None,
            decision: DecisionLabel::Refused,
            rule: None,
            missing_scopes: ScopeSet::default(),
            finished: false,
        }
    }

    /// Notes which method was asked for, by its label.
    pub(crate) fn asked(&mut self, method: &str) {
        self.method = Some(method.into());
    }

    /// Notes what was asked for, and with which arguments where the gateway
    /// wants them in the audit line.
    pub(crate) fn about(&mut self, subject: &Subject, arguments: Option<&str>) {
        self.subject = Some(subject.clone());
        let wanted = self
            .runtime
            .as_ref()
            .is_some_and(|runtime| runtime.config.audit_arguments != ArgumentsSetting::Omit);
        if wanted {
            self.arguments = arguments.map(Into::into);
        }
    }

    /// Notes that the policies allowed it.
    pub(crate) fn allowed(&mut self, permit: &Permit) {
        self.rule = permit.rule().map(Into::into);
        self.decision = if permit.audited() {
            self.shared.metrics.audited_request();
            DecisionLabel::AuditAllow
        } else {
            DecisionLabel::Allow
        };
    }

    /// Notes that the policies denied it.
    pub(crate) fn denied(&mut self, denial: &Denial) {
        self.decision = DecisionLabel::Deny;
        self.rule = denial.rule.as_deref().map(Into::into);
        self.missing_scopes = denial.missing_scopes.clone();
    }

    /// Whether the policies let the request through.
    pub(crate) fn was_allowed(&self) -> bool {
        match self.decision {
            DecisionLabel::Refused | DecisionLabel::Deny => false,
            DecisionLabel::Allow | DecisionLabel::AuditAllow => true,
        }
    }

    /// What lives as long as the sidecar.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Ends a request that needs no decision (metadata, preflight): counted,
    /// not audited.
    pub(crate) fn finish_uncounted(mut self) {
        self.finished = true;
    }

    /// Ends the record: metric, audit line, log.
    pub(crate) fn finish(mut self, status: u16, reason: &'static str, outcome: &'static str) {
        self.finished = true;
        self.write(status, reason, outcome);
    }

    fn write(&self, status: u16, reason: &'static str, outcome: &'static str) {
        let duration = self.shared.clock.monotonic().saturating_sub(self.started);
        let method = self.method.as_deref().unwrap_or("none");
        let target = self.subject.as_ref().and_then(Subject::name);
        let listener = &*self.connection.listener;
        self.shared.metrics.request(
            &RequestLabels {
                listener,
                server: listener,
                method,
                tool: target
                    .filter(|(kind, _)| *kind == "tool")
                    .map(|(_, name)| name),
                decision: self.decision,
                reason,
                status,
            },
            duration,
        );
        self.write_audit(status, reason, outcome, duration);
    }

    fn write_audit(&self, status: u16, reason: &str, outcome: &'static str, duration: Duration) {
        let config = self.runtime.as_deref().map(|runtime| &*runtime.config);
        let peer = self.connection.remote_text();
        let missing = self.missing_scopes.to_string();
        let listener = &*self.connection.listener;
        let hash = self.hashed_arguments();
        self.shared.audit.record(&AuditEvent {
            time_ms: self.shared.clock.unix_millis(),
            gateway: config.map_or("", |config| &config.gateway),
            listener,
            server: listener,
            peer,
            principal: self.principal.as_deref().map(audit_principal),
            method: self.method.as_deref().unwrap_or("none"),
            target: self
                .subject
                .as_ref()
                .and_then(Subject::name)
                .map(|(kind, name)| AuditTarget { kind, name }),
            decision: self.decision,
            reason,
            rule: self.rule.as_deref(),
            missing_scopes: &missing,
            status,
            outcome,
            duration_us: u64::try_from(duration.as_micros()).unwrap_or(u64::MAX),
            request_id: self.request_id.as_str(),
            trace_id: self.trace.trace_id(),
            config_version: config.map_or("", |config| &config.version),
            arguments: match (&hash, &self.arguments) {
                (Some(hash), _) => Some(AuditArguments::Hash(hash)),
                (None, Some(arguments)) => Some(AuditArguments::Include(arguments)),
                (None, None) => None,
            },
        });
    }

    /// SHA-256 of the arguments as they were sent, where the gateway says
    /// `arguments: Hash`.
    fn hashed_arguments(&self) -> Option<String> {
        let setting = self.runtime.as_ref()?.config.audit_arguments;
        let arguments = self
            .arguments
            .as_ref()
            .filter(|_| setting == ArgumentsSetting::Hash)?;
        let hash = digest::digest(&digest::SHA256, arguments.as_bytes());
        Some(
            hash.as_ref()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
        )
    }
}

impl Drop for Exchange {
    /// A client that goes away drops the request's future: that is an outcome
    /// too, and the only one that is not written by [`Exchange::finish`].
    fn drop(&mut self) {
        if !self.finished {
            self.write(CLIENT_CLOSED, "client_closed", "aborted");
        }
    }
}

fn audit_principal(principal: &Principal) -> AuditPrincipal<'_> {
    let claims = principal.claims();
    let spiffe_id = principal.peer().and_then(|peer| peer.spiffe_id());
    AuditPrincipal {
        issuer: claims.map(|claims| &*claims.issuer),
        subject: claims.map(|claims| &*claims.subject),
        client: claims.and_then(|claims| claims.client_id.as_deref()),
        spiffe_id: spiffe_id.map(|id| id.as_str()),
    }
}
