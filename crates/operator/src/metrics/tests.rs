//! What is noted is exported, and what is exported is documented.

use prometheus::proto::{MetricFamily, MetricType};
use sidegate_policy::clock::ManualClock;

use super::definition::Kind;
use super::*;
use crate::authority::purpose::Purpose;

/// Metrics of which everything was noted at least once.
fn noted() -> Metrics {
    let clock = Arc::new(ManualClock::new(1_000));
    let metrics = Metrics::new(Arc::clone(&clock) as Arc<dyn Clock>);
    let took = Duration::from_millis(3);
    metrics.reconciled("McpGateway", ReconcileResult::Written, took);
    metrics.built(BuildResult::Built);
    metrics.status_lag(took);
    metrics.conditions_waiting(3);
    metrics.queue_depth(2);
    metrics.leading(true);
    metrics.watch_told(Watch::Pods);
    metrics.watch_failed(Watch::Pods);
    metrics.authority.root_expires(Purpose::Workload, 2_000);
    metrics.authority.rotated(Purpose::Endpoints);
    metrics.authority.bundle(BundleResult::Foreign);
    metrics.streams.opened();
    metrics.streams.opened();
    metrics.streams.ended("replaced");
    metrics.streams.handshake_failed("timeout");
    metrics.streams.turned_away();
    metrics.streams.authenticated("accepted");
    metrics.streams.reviewed(ReviewResult::Positive, took);
    metrics.streams.review_saved(ReviewResult::Negative);
    metrics.streams.sent("snapshot");
    metrics.streams.confirmed(Some(took));
    metrics.streams.rejected("older");
    metrics.streams.certificate_signed();
    metrics.streams.certificate_refused();
    metrics.webhook.reviewed(AdmissionResult::Injected, took);
    metrics.webhook.certificate(Some(3_000));
    clock.advance(Duration::from_secs(7));
    metrics
}

#[test]
fn every_family_is_exported() {
    let text = noted().render();
    for line in [
        r#"sidegate_operator_reconciles_total{kind="McpGateway",result="written"} 1"#,
        r#"sidegate_operator_reconcile_duration_seconds_count{kind="McpGateway"} 1"#,
        r#"sidegate_operator_builds_total{result="built"} 1"#,
        r#"sidegate_operator_builds_total{result="invalid"} 0"#,
        "sidegate_operator_status_lag_seconds_count 1",
        "sidegate_operator_pod_conditions_waiting 3",
        r#"sidegate_operator_gateways{condition="Ready",status="True"} 0"#,
        "sidegate_operator_queue_depth 2",
        "sidegate_operator_leader 1",
        r#"sidegate_operator_watch_last_event_timestamp_seconds{resource="pods"} 1000"#,
        r#"sidegate_operator_watch_age_seconds{resource="pods"} 7"#,
        r#"sidegate_operator_watch_failures_total{resource="pods"} 1"#,
        r#"sidegate_operator_watch_failures_total{resource="namespaces"} 0"#,
        r#"sidegate_operator_webhook_reviews_total{result="injected"} 1"#,
        r#"sidegate_operator_webhook_reviews_total{result="busy"} 0"#,
        "sidegate_operator_webhook_review_duration_seconds_count 1",
        "sidegate_operator_webhook_certificate_expiry_timestamp_seconds 3000",
        "sidegate_operator_authority_usable 1",
        r#"sidegate_operator_authority_root_expiry_timestamp_seconds{set="workload"} 2000"#,
        r#"sidegate_operator_authority_rotations_total{set="endpoints"} 1"#,
        r#"sidegate_operator_trust_bundle_writes_total{result="foreign"} 1"#,
        r#"sidegate_operator_trust_bundle_writes_total{result="failed"} 0"#,
        "sidegate_operator_streams 1",
        "sidegate_operator_streams_opened_total 2",
        r#"sidegate_operator_streams_ended_total{reason="replaced"} 1"#,
        r#"sidegate_operator_stream_handshake_failures_total{reason="timeout"} 1"#,
        "sidegate_operator_stream_connections_refused_total 1",
        r#"sidegate_operator_stream_authentications_total{result="accepted"} 1"#,
        r#"sidegate_operator_token_reviews_total{result="positive"} 1"#,
        r#"sidegate_operator_token_reviews_total{result="negative"} 0"#,
        r#"sidegate_operator_token_review_duration_seconds_count{result="positive"} 1"#,
        r#"sidegate_operator_token_reviews_saved_total{result="negative"} 1"#,
        r#"sidegate_operator_snapshots_sent_total{kind="snapshot"} 1"#,
        "sidegate_operator_snapshots_confirmed_total 1",
        r#"sidegate_operator_snapshots_rejected_total{reason="older"} 1"#,
        "sidegate_operator_snapshot_lag_seconds_count 1",
        "sidegate_operator_certificates_signed_total 1",
        "sidegate_operator_certificates_refused_total 1",
    ] {
        assert!(text.lines().any(|it| it == line), "{line} in {text}");
    }
}

/// A family that is registered from elsewhere would be missing in the
/// documentation; one that is never registered would be there in vain.
#[test]
fn what_is_exported_is_what_is_defined() {
    let metrics = noted();
    let _text = metrics.render();
    let exported = metrics.registry.gather();
    let mut names: Vec<_> = exported.iter().map(|family| family.name()).collect();
    let mut defined: Vec<_> = definition::ALL.iter().map(|it| it.name).collect();
    names.sort_unstable();
    defined.sort_unstable();
    assert_eq!(names, defined);
    for definition in definition::ALL {
        let is_it = |family: &&MetricFamily| family.name() == definition.name;
        let family = exported.iter().find(is_it).expect("it is exported");
        assert_eq!(family.help(), definition.help);
        let kind = match definition.kind {
            Kind::Counter => MetricType::COUNTER,
            Kind::Gauge => MetricType::GAUGE,
            Kind::Histogram(_) => MetricType::HISTOGRAM,
        };
        assert_eq!(family.get_field_type(), kind, "{}", definition.name);
        let mut labels = definition.label_names();
        labels.sort_unstable();
        for series in family.get_metric() {
            let mut of_series: Vec<_> = series.get_label().iter().map(|it| it.name()).collect();
            of_series.sort_unstable();
            assert_eq!(of_series, labels, "{}", definition.name);
        }
    }
}
