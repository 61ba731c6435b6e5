//! The one table of the operator's metrics: they are registered and documented
//! from it.

pub(super) use sidegate_telemetry::metrics::documented::Kind;
use sidegate_telemetry::metrics::documented::{Documented, LabelMeaning};

/// What a family of series is.
#[derive(Debug)]
pub(super) struct Definition {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) labels: &'static [LabelMeaning],
    pub(super) help: &'static str,
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
        self.labels.to_vec()
    }
}

impl Definition {
    pub(super) fn label_names(&self) -> Vec<&'static str> {
        self.labels.iter().map(|label| label.name).collect()
    }

    /// In what it is measured, as its name says.
    pub(super) fn unit(&self) -> &'static str {
        if self.name.ends_with("_timestamp_seconds") {
            "seconds since 1970"
        } else if self.name.ends_with("_seconds") {
            "seconds"
        } else {
            "number"
        }
    }
}

const fn counter(
    name: &'static str,
    labels: &'static [LabelMeaning],
    help: &'static str,
) -> Definition {
    Definition {
        name,
        kind: Kind::Counter,
        labels,
        help,
    }
}

const fn gauge(
    name: &'static str,
    labels: &'static [LabelMeaning],
    help: &'static str,
) -> Definition {
    Definition {
        name,
        kind: Kind::Gauge,
        labels,
        help,
    }
}

const fn histogram(
    name: &'static str,
    buckets: &'static [f64],
    labels: &'static [LabelMeaning],
    help: &'static str,
) -> Definition {
    Definition {
        name,
        kind: Kind::Histogram(buckets),
        labels,
        help,
    }
}

const fn label(name: &'static str, meaning: &'static str) -> LabelMeaning {
    LabelMeaning { name, meaning }
}

const KIND: LabelMeaning = label("kind", "kind of the object, or of what was sent");
const RESULT: LabelMeaning = label("result", "what came of it, in one word");
const REASON: LabelMeaning = label("reason", "why, in one word");
const RESOURCE: LabelMeaning = label("resource", "what is watched");
const SET: LabelMeaning = label("set", "`workload` (sidecars) or `endpoints` (the operator)");
const CONDITION: LabelMeaning = label("condition", "type of the condition");
const STATUS: LabelMeaning = label("status", "`True`, `False` or `Unknown`");
const STATE: LabelMeaning = label("state", "`matched`, `injected` or `programmed`");

/// A status may lag up to ten seconds.
const STATUS_LAGS: &[f64] = &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0];
const SNAPSHOT_LAGS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0,
];
/// Two milliseconds are usual; after five seconds nobody waits any more.
const REVIEWS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
];
const DURATIONS: &[f64] = prometheus::DEFAULT_BUCKETS;

/// All definitions, in the order of the documentation.
pub(super) static ALL: [&Definition; 34] = [
    &RECONCILES,
    &RECONCILE_DURATION,
    &QUEUE,
    &LEADER,
    &WATCH_TOLD,
    &WATCH_AGE,
    &WATCH_FAILURES,
    &BUILDS,
    &STATUS_LAG,
    &GATEWAYS,
    &PODS,
    &CONDITIONS_WAITING,
    &STREAMS,
    &STREAMS_OPENED,
    &STREAMS_ENDED,
    &HANDSHAKE_FAILURES,
    &CONNECTIONS_REFUSED,
    &AUTHENTICATIONS,
    &TOKEN_REVIEWS,
    &TOKEN_REVIEW_DURATION,
    &TOKEN_REVIEWS_SAVED,
    &SNAPSHOTS_SENT,
    &SNAPSHOTS_CONFIRMED,
    &SNAPSHOTS_REJECTED,
    &SNAPSHOT_LAG,
    &CERTIFICATES_SIGNED,
    &CERTIFICATES_REFUSED,
    &AUTHORITY_USABLE,
    &ROOT_EXPIRY,
    &ROTATIONS,
    &BUNDLES,
    &WEBHOOK_REVIEWS,
    &WEBHOOK_DURATION,
    &WEBHOOK_CERTIFICATE,
];

pub(super) static RECONCILES: Definition = counter(
    "sidegate_operator_reconciles_total",
    &[KIND, RESULT],
    "Reconciles by kind and by how they ended (`written`, `unchanged`, `outdated`, \
     `waiting`, `gone` or `failed`).",
);
pub(super) static RECONCILE_DURATION: Definition = histogram(
    "sidegate_operator_reconcile_duration_seconds",
    DURATIONS,
    &[KIND],
    "Time that a reconcile takes, by kind.",
);
pub(super) static QUEUE: Definition = gauge(
    "sidegate_operator_queue_depth",
    &[],
    "Objects that wait for a reconcile.",
);
pub(super) static LEADER: Definition = gauge(
    "sidegate_operator_leader",
    &[],
    "1 while this replica leads and writes statuses, else 0.",
);
pub(super) static WATCH_TOLD: Definition = gauge(
    "sidegate_operator_watch_last_event_timestamp_seconds",
    &[RESOURCE],
    "When a watch last told something, in seconds since 1970.",
);
pub(super) static WATCH_AGE: Definition = gauge(
    "sidegate_operator_watch_age_seconds",
    &[RESOURCE],
    "Time since a watch last told something; it grows while nothing changes.",
);
pub(super) static WATCH_FAILURES: Definition = counter(
    "sidegate_operator_watch_failures_total",
    &[RESOURCE],
    "Failures of watches; each goes on where it was.",
);
pub(super) static BUILDS: Definition = counter(
    "sidegate_operator_builds_total",
    &[RESULT],
    "Builds of gateways' configurations by how they ended (`built`, `invalid`, `waiting`, \
     `unchanged` or `gone`).",
);
pub(super) static STATUS_LAG: Definition = histogram(
    "sidegate_operator_status_lag_seconds",
    STATUS_LAGS,
    &[],
    "Time from a change to the status that tells it.",
);
pub(super) static GATEWAYS: Definition = gauge(
    "sidegate_operator_gateways",
    &[CONDITION, STATUS],
    "Gateways by condition and its status, while this replica leads.",
);
pub(super) static PODS: Definition = gauge(
    "sidegate_operator_pods",
    &[STATE],
    "Pods of gateways: matched, injected, and programmed with the current configuration, \
     while this replica leads.",
);
pub(super) static CONDITIONS_WAITING: Definition = gauge(
    "sidegate_operator_pod_conditions_waiting",
    &[],
    "Conditions of pods that wait to be written.",
);
pub(super) static STREAMS: Definition =
    gauge("sidegate_operator_streams", &[], "Streams that stand now.");
pub(super) static STREAMS_OPENED: Definition = counter(
    "sidegate_operator_streams_opened_total",
    &[],
    "Streams that began.",
);
pub(super) static STREAMS_ENDED: Definition = counter(
    "sidegate_operator_streams_ended_total",
    &[REASON],
    "Streams that ended, by reason.",
);
pub(super) static HANDSHAKE_FAILURES: Definition = counter(
    "sidegate_operator_stream_handshake_failures_total",
    &[REASON],
    "Connections without a TLS handshake, by reason.",
);
pub(super) static CONNECTIONS_REFUSED: Definition = counter(
    "sidegate_operator_stream_connections_refused_total",
    &[],
    "Connections that were closed at once, because there were too many.",
);
pub(super) static AUTHENTICATIONS: Definition = counter(
    "sidegate_operator_stream_authentications_total",
    &[RESULT],
    "Attempts to begin a stream, by result.",
);
pub(super) static TOKEN_REVIEWS: Definition = counter(
    "sidegate_operator_token_reviews_total",
    &[RESULT],
    "TokenReviews, by result (`positive`, `negative` or `failed`).",
);
pub(super) static TOKEN_REVIEW_DURATION: Definition = histogram(
    "sidegate_operator_token_review_duration_seconds",
    DURATIONS,
    &[RESULT],
    "Time that the API server takes for a TokenReview, by result.",
);
pub(super) static TOKEN_REVIEWS_SAVED: Definition = counter(
    "sidegate_operator_token_reviews_saved_total",
    &[RESULT],
    "TokenReviews whose result was known from a moment before, by result.",
);
pub(super) static SNAPSHOTS_SENT: Definition = counter(
    "sidegate_operator_snapshots_sent_total",
    &[KIND],
    "What was sent for sidecars to enforce, by kind (`snapshot`, `withdrawn` or `outdated`).",
);
pub(super) static SNAPSHOTS_CONFIRMED: Definition = counter(
    "sidegate_operator_snapshots_confirmed_total",
    &[],
    "Snapshots that sidecars confirmed.",
);
pub(super) static SNAPSHOTS_REJECTED: Definition = counter(
    "sidegate_operator_snapshots_rejected_total",
    &[REASON],
    "Snapshots that sidecars rejected, by reason.",
);
pub(super) static SNAPSHOT_LAG: Definition = histogram(
    "sidegate_operator_snapshot_lag_seconds",
    SNAPSHOT_LAGS,
    &[],
    "Time from when a watch told a change to its confirmation by a sidecar.",
);
pub(super) static CERTIFICATES_SIGNED: Definition = counter(
    "sidegate_operator_certificates_signed_total",
    &[],
    "Certificates that were signed for sidecars.",
);
pub(super) static CERTIFICATES_REFUSED: Definition = counter(
    "sidegate_operator_certificates_refused_total",
    &[],
    "Certificate requests that could not be signed.",
);
pub(super) static AUTHORITY_USABLE: Definition = gauge(
    "sidegate_operator_authority_usable",
    &[],
    "1 unless the Secret of the certificate authority cannot be used, then 0.",
);
pub(super) static ROOT_EXPIRY: Definition = gauge(
    "sidegate_operator_authority_root_expiry_timestamp_seconds",
    &[SET],
    "When the root that signs expires, in seconds since 1970, by set.",
);
pub(super) static ROTATIONS: Definition = counter(
    "sidegate_operator_authority_rotations_total",
    &[SET],
    "New roots that began to sign in place of another, by set.",
);
pub(super) static BUNDLES: Definition = counter(
    "sidegate_operator_trust_bundle_writes_total",
    &[RESULT],
    "Writes of ConfigMaps with roots, by how they ended (`written`, `failed` or \
     `foreign`).",
);
pub(super) static WEBHOOK_REVIEWS: Definition = counter(
    "sidegate_operator_webhook_reviews_total",
    &[RESULT],
    "Requests to the webhook, by how they ended (`untouched`, `present`, `injected`, \
     `refused`, `unavailable`, `unreadable` or `busy`).",
);
pub(super) static WEBHOOK_DURATION: Definition = histogram(
    "sidegate_operator_webhook_review_duration_seconds",
    REVIEWS,
    &[],
    "Time from the head of a request to the webhook to its answer.",
);
pub(super) static WEBHOOK_CERTIFICATE: Definition = gauge(
    "sidegate_operator_webhook_certificate_expiry_timestamp_seconds",
    &[],
    "When the certificate of the webhook expires, in seconds since 1970.",
);

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_follow_the_conventions() {
        let mut names = HashSet::new();
        for definition in ALL {
            let Definition {
                name, kind, help, ..
            } = definition;
            assert!(names.insert(*name), "{name} twice");
            assert!(name.starts_with("sidegate_operator_"), "{name}");
            let is_counter = matches!(kind, Kind::Counter);
            assert_eq!(is_counter, name.ends_with("_total"), "{name}");
            if let Kind::Histogram(buckets) = kind {
                assert_eq!(definition.unit(), "seconds", "{name}");
                assert!(buckets.is_sorted(), "{name}");
            }
            assert!(help.ends_with('.') && !help.contains('|'), "{name}");
        }
    }
}
