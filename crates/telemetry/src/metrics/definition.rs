//! The one table of metrics: they are registered from it, bounded by it and
//! documented from it.

pub(super) use super::documented::Kind;
use super::documented::{Documented, LabelMeaning};

/// Most series that one sidecar exports, over all families.
#[cfg(test)]
pub(super) const MAX_SERIES: usize = 2_000;

/// What a family of series is.
#[derive(Debug)]
pub(super) struct Definition {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) labels: &'static [Label],
    /// Most combinations of label values; beyond it they become `other`.
    pub(super) sets: usize,
    pub(super) help: &'static str,
}

#[derive(Debug)]
pub(super) struct Label {
    pub(super) name: &'static str,
    pub(super) meaning: &'static str,
    /// How many values there are when the label keeps its value in a
    /// combination that is folded to `other`; 0 when it does not.
    pub(super) kept: usize,
}

// === impl Definition ===

impl Documented for Definition {
    fn name(&self) -> &'static str {
        self.name
    }

    fn kind(&self) -> Kind {
        self.kind
    }

    fn labels(&self) -> Vec<LabelMeaning> {
        let labels = self.labels.iter();
        let meaning = |&Label { name, meaning, .. }: &Label| LabelMeaning { name, meaning };
        labels.map(meaning).collect()
    }
}

impl Definition {
    /// How many combinations of label values can stand for the folded ones.
    pub(super) fn folded_sets(&self) -> usize {
        self.labels.iter().map(|label| label.kept.max(1)).product()
    }

    pub(super) fn label_names(&self) -> Vec<&'static str> {
        self.labels.iter().map(|label| label.name).collect()
    }

    /// Most series of this family.
    #[cfg(test)]
    fn series(&self) -> usize {
        let of_one = match self.kind {
            Kind::Counter | Kind::Gauge => 1,
            // Each bucket, +Inf, sum and count.
            Kind::Histogram(buckets) => buckets.len() + 3,
        };
        self.sets * of_one
    }
}

const fn label(name: &'static str, meaning: &'static str) -> Label {
    Label {
        name,
        meaning,
        kept: 0,
    }
}

const LISTENER: Label = label("listener", "name of the listener");
const SERVER: Label = label("server", "name of the MCP server in the gateway");
const METHOD: Label = label(
    "method",
    "method of the protocol, `none` when it was not read, `notification`, `response` or `other`",
);
const TOOL: Label = label(
    "tool",
    "tool that the gateway's rules name, `other`, or empty when none was called",
);
const DECISION: Label = Label {
    name: "decision",
    meaning: "`allow`, `audit_allow`, `deny`, or `refused` when it came to no decision",
    kept: 4,
};
const REASON: Label = label("reason", "why, in one word; the audit line has the same");
const STATUS: Label = label(
    "status",
    "HTTP status of the answer; 499 when the client had gone",
);
const RESULT: Label = label("result", "what came of it, in one word");
const ISSUER: Label = label("issuer", "issuer in the gateway, or `other`");
const SOURCE: Label = label("source", "`files` or `control_plane`");
const VERSION: Label = label("version", "the version");

/// From well under what the sidecar itself takes to its request timeout.
const DURATIONS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0, 30.0,
];

const fn counter(
    name: &'static str,
    labels: &'static [Label],
    sets: usize,
    help: &'static str,
) -> Definition {
    Definition {
        name,
        kind: Kind::Counter,
        labels,
        sets,
        help,
    }
}

const fn gauge(
    name: &'static str,
    labels: &'static [Label],
    sets: usize,
    help: &'static str,
) -> Definition {
    Definition {
        name,
        kind: Kind::Gauge,
        labels,
        sets,
        help,
    }
}

/// All definitions, in the order of the documentation.
pub(super) static ALL: [&Definition; 31] = [
    &REQUESTS,
    &REQUEST_DURATION,
    &AUDITED_REQUESTS,
    &TOKEN_CACHE_LOOKUPS,
    &TOKENS_REFUSED,
    &JWKS_FETCHES,
    &JWKS_LOADED,
    &SESSIONS,
    &CONNECTIONS,
    &CONNECTIONS_OPEN,
    &CONNECTIONS_REFUSED,
    &HANDSHAKE_FAILURES,
    &CERTIFICATE_EXPIRY,
    &CONFIG_RELOADS,
    &CONFIG_INFO,
    &CONFIG_LOADED,
    &CONFIG_SOURCE,
    &CONFIG_REVISION,
    &CONTROL_PLANE_CONNECTED,
    &CONTROL_PLANE_HEARD,
    &SNAPSHOTS,
    &AUDIT_DROPPED,
    &AUDIT_SUPPRESSED,
    &PANICS,
    &BUILD_INFO,
    &PROCESS_START,
    &PROCESS_CPU,
    &PROCESS_RESIDENT,
    &PROCESS_VIRTUAL,
    &PROCESS_OPEN_FDS,
    &PROCESS_MAX_FDS,
];

pub(super) static REQUESTS: Definition = counter(
    "sidegate_requests_total",
    &[LISTENER, SERVER, METHOD, TOOL, DECISION, REASON, STATUS],
    800,
    "Requests that were answered or given up, each counted once.",
);
pub(super) static REQUEST_DURATION: Definition = Definition {
    name: "sidegate_request_duration_seconds",
    kind: Kind::Histogram(DURATIONS),
    labels: &[LISTENER, DECISION],
    sets: 72,
    help: "Time from the head of a request to the end of its answer.",
};
pub(super) static AUDITED_REQUESTS: Definition = counter(
    "sidegate_audited_requests_total",
    &[],
    1,
    "Requests that only the policy mode Audit let through.",
);
pub(super) static TOKEN_CACHE_LOOKUPS: Definition = counter(
    "sidegate_token_cache_lookups_total",
    &[RESULT],
    3,
    "Tokens looked up among those verified before (`hit` or `miss`).",
);
pub(super) static TOKENS_REFUSED: Definition = counter(
    "sidegate_tokens_refused_total",
    &[REASON],
    64,
    "Credentials that were refused.",
);
pub(super) static JWKS_FETCHES: Definition = counter(
    "sidegate_jwks_fetches_total",
    &[ISSUER, RESULT],
    64,
    "Fetches of an issuer's keys.",
);
pub(super) static JWKS_LOADED: Definition = gauge(
    "sidegate_jwks_loaded_timestamp_seconds",
    &[ISSUER],
    18,
    "When the keys in use of an issuer were loaded, in Unix time.",
);
pub(super) static SESSIONS: Definition = gauge(
    "sidegate_sessions",
    &[],
    1,
    "Legacy MCP sessions that are remembered.",
);
pub(super) static CONNECTIONS: Definition = counter(
    "sidegate_connections_total",
    &[],
    1,
    "Connections that were accepted.",
);
pub(super) static CONNECTIONS_OPEN: Definition = gauge(
    "sidegate_connections_open",
    &[],
    1,
    "Connections that are open.",
);
pub(super) static CONNECTIONS_REFUSED: Definition = counter(
    "sidegate_connections_refused_total",
    &[REASON],
    16,
    "Connections that were closed at once.",
);
pub(super) static HANDSHAKE_FAILURES: Definition = counter(
    "sidegate_handshake_failures_total",
    &[REASON],
    24,
    "TLS handshakes that failed.",
);
pub(super) static CERTIFICATE_EXPIRY: Definition = gauge(
    "sidegate_certificate_expiry_timestamp_seconds",
    &[],
    1,
    "When the serving certificate expires, in Unix time; absent without TLS.",
);
pub(super) static CONFIG_RELOADS: Definition = counter(
    "sidegate_config_reloads_total",
    &[RESULT],
    3,
    "Configurations that came, the first one included (`accepted` or `refused`).",
);
pub(super) static CONFIG_INFO: Definition = gauge(
    "sidegate_config_info",
    &[VERSION],
    2,
    "Always 1; its label is the version of the configuration in force.",
);
pub(super) static CONFIG_LOADED: Definition = gauge(
    "sidegate_config_loaded_timestamp_seconds",
    &[],
    1,
    "When the configuration in force was accepted, in Unix time; absent before the first.",
);
pub(super) static CONFIG_SOURCE: Definition = gauge(
    "sidegate_config_source_info",
    &[SOURCE],
    2,
    "Always 1; its label says where configurations come from.",
);
pub(super) static CONFIG_REVISION: Definition = gauge(
    "sidegate_config_revision",
    &[],
    1,
    "How much of the cluster the operator had seen when it made the configuration in force; \
     absent without a control plane.",
);
pub(super) static CONTROL_PLANE_CONNECTED: Definition = gauge(
    "sidegate_control_plane_connected",
    &[],
    1,
    "Whether the stream to the operator stands (1) or not (0); absent without a control plane.",
);
pub(super) static CONTROL_PLANE_HEARD: Definition = gauge(
    "sidegate_control_plane_last_heard_timestamp_seconds",
    &[],
    1,
    "When the operator last said anything, in Unix time; absent before the first word.",
);
pub(super) static SNAPSHOTS: Definition = counter(
    "sidegate_snapshots_total",
    &[RESULT],
    10,
    "What the operator sent to be enforced (`accepted`, `unchanged`, `withdrawn`, `waiting` for \
     the certificate, or refused as `older`, `unreadable`, `not_applicable` or `outdated`).",
);
pub(super) static AUDIT_DROPPED: Definition = counter(
    "sidegate_audit_lines_dropped_total",
    &[],
    1,
    "Audit lines that were lost because they were not read or could not be written.",
);
pub(super) static AUDIT_SUPPRESSED: Definition = counter(
    "sidegate_audit_lines_suppressed_total",
    &[],
    1,
    "Audit lines of like refusals that one counted line stands for.",
);
pub(super) static PANICS: Definition = counter(
    "sidegate_panics_total",
    &[],
    1,
    "Requests that ended in a defect of the sidecar.",
);
pub(super) static BUILD_INFO: Definition = gauge(
    "sidegate_build_info",
    &[VERSION],
    2,
    "Always 1; its label is the program's version.",
);
pub(super) static PROCESS_START: Definition = gauge(
    "process_start_time_seconds",
    &[],
    1,
    "When the process began, in Unix time.",
);
pub(super) static PROCESS_CPU: Definition = counter(
    "process_cpu_seconds_total",
    &[],
    1,
    "Processor time of the process, in user and system mode.",
);
pub(super) static PROCESS_RESIDENT: Definition =
    gauge("process_resident_memory_bytes", &[], 1, "Resident memory.");
pub(super) static PROCESS_VIRTUAL: Definition =
    gauge("process_virtual_memory_bytes", &[], 1, "Virtual memory.");
pub(super) static PROCESS_OPEN_FDS: Definition =
    gauge("process_open_fds", &[], 1, "Open file descriptors.");
pub(super) static PROCESS_MAX_FDS: Definition = gauge(
    "process_max_fds",
    &[],
    1,
    "Most file descriptors that may be open.",
);

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn adm_002_all_families_together_stay_within_the_bound() {
        let series: usize = ALL.iter().map(|definition| definition.series()).sum();
        assert!(series <= MAX_SERIES, "{series}");
    }

    #[test]
    fn every_family_has_room_beside_the_folded_sets() {
        for definition in ALL {
            assert!(
                definition.labels.is_empty() || definition.sets > definition.folded_sets(),
                "{}",
                definition.name
            );
        }
    }

    #[test]
    fn names_follow_the_conventions() {
        let mut names = HashSet::new();
        for Definition {
            name, kind, help, ..
        } in ALL
        {
            assert!(names.insert(*name), "{name} twice");
            assert!(
                name.starts_with("sidegate_") || name.starts_with("process_"),
                "{name}"
            );
            assert!(
                name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'_')),
                "{name}"
            );
            assert_eq!(
                matches!(kind, Kind::Counter),
                name.ends_with("_total"),
                "{name}"
            );
            if let Kind::Histogram(buckets) = kind {
                assert!(
                    name.ends_with("_seconds") || name.ends_with("_bytes"),
                    "{name}"
                );
                assert!(buckets.is_sorted(), "{name}");
            }
            assert!(help.ends_with('.'), "{name}");
        }
    }
}
