use std::collections::HashSet;
use std::time::Instant;

use super::*;

const ALLOWED: RequestLabels<'_> = RequestLabels {
    listener: "support",
    server: "support",
    method: "tools/call",
    tool: Some("get_customer"),
    decision: DecisionLabel::Allow,
    reason: "allowed",
    status: 200,
};

/// The samples of one name, as (labels, value).
fn samples(text: &str, name: &str) -> Vec<(String, f64)> {
    text.lines()
        .filter_map(|line| line.strip_prefix(name))
        .filter(|rest| rest.starts_with(['{', ' ']))
        .map(|rest| {
            let (labels, value) = rest.rsplit_once(' ').expect("a sample");
            (labels.to_owned(), value.parse().expect("a number"))
        })
        .collect()
}

fn series(metrics: &Metrics) -> usize {
    metrics
        .render()
        .lines()
        .filter(|line| !line.starts_with('#'))
        .count()
}

fn count(metrics: &Metrics, labels: RequestLabels<'_>) {
    metrics.request(&labels, Duration::from_millis(3));
}

#[test]
fn a_request_is_counted_once_with_all_labels_and_its_duration() {
    let metrics = Metrics::new();
    metrics.set_tools(&["get_customer".to_owned()]);
    count(&metrics, ALLOWED);
    count(&metrics, ALLOWED);
    let text = metrics.render();
    let expected = "{decision=\"allow\",listener=\"support\",method=\"tools/call\",reason=\"allowed\",\
        server=\"support\",status=\"200\",tool=\"get_customer\"}";
    assert_eq!(
        samples(&text, "sidegate_requests_total"),
        [(expected.to_owned(), 2.0)]
    );
    let labels = "{decision=\"allow\",listener=\"support\"}".to_owned();
    assert_eq!(
        samples(&text, "sidegate_request_duration_seconds_count"),
        [(labels, 2.0)]
    );
    let buckets = samples(&text, "sidegate_request_duration_seconds_bucket");
    let at = |bound: &str| {
        buckets
            .iter()
            .find(|(labels, _)| labels.contains(&format!("le=\"{bound}\"")))
            .map(|(_, n)| *n)
    };
    assert_eq!(
        (at("0.0025"), at("0.005"), at("+Inf")),
        (Some(0.0), Some(2.0), Some(2.0))
    );
}

#[test]
fn adm_001_tools_outside_the_configuration_are_one_series() {
    let metrics = Metrics::new();
    let tools: Vec<String> = (0..20).map(|n| format!("tool_{n}")).collect();
    metrics.set_tools(&tools);
    for n in 0..10_000 {
        count(
            &metrics,
            RequestLabels {
                tool: Some(&format!("tool_{n}")),
                ..ALLOWED
            },
        );
    }
    let requests = samples(&metrics.render(), "sidegate_requests_total");
    assert_eq!(requests.len(), tools.len() + 1);
    let other = requests
        .iter()
        .find(|(labels, _)| labels.contains("tool=\"other\""))
        .expect("other");
    assert_eq!(other.1, 9_980.0);
}

#[test]
fn only_calls_of_tools_have_a_tool() {
    let metrics = Metrics::new();
    count(
        &metrics,
        RequestLabels {
            tool: None,
            method: "tools/list",
            ..ALLOWED
        },
    );
    let requests = samples(&metrics.render(), "sidegate_requests_total");
    assert!(requests[0].0.contains("tool=\"\""), "{requests:?}");
}

#[test]
fn a_tool_gets_its_name_when_the_configuration_names_it() {
    let metrics = Metrics::new();
    count(&metrics, ALLOWED);
    metrics.set_tools(&["get_customer".to_owned()]);
    count(&metrics, ALLOWED);
    metrics.set_tools(&[]);
    count(&metrics, ALLOWED);
    let mut requests = samples(&metrics.render(), "sidegate_requests_total");
    requests.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(
        requests[0].0.contains("get_customer") && requests[0].1 == 1.0,
        "{requests:?}"
    );
    assert!(
        requests[1].0.contains("other") && requests[1].1 == 2.0,
        "{requests:?}"
    );
}

#[test]
fn adm_002_unknown_methods_are_one_series() {
    let metrics = Metrics::new();
    for n in 0..1_000 {
        count(
            &metrics,
            RequestLabels {
                method: &format!("x/{n}"),
                tool: None,
                ..ALLOWED
            },
        );
    }
    let requests = samples(&metrics.render(), "sidegate_requests_total");
    assert_eq!(requests.len(), 1);
    assert!(requests[0].0.contains("method=\"other\""));
}

#[test]
fn adm_002_adm_013_beyond_the_bound_requests_are_folded_and_none_is_lost() {
    let metrics = Metrics::new();
    let decisions = [
        DecisionLabel::Refused,
        DecisionLabel::Allow,
        DecisionLabel::AuditAllow,
        DecisionLabel::Deny,
    ];
    let mut sent = 0;
    for n in 0..2_000 {
        let (listener, reason) = (format!("listener-{}", n % 100), format!("reason-{n}"));
        for decision in decisions {
            let labels = RequestLabels {
                listener: &listener,
                reason: &reason,
                decision,
                tool: None,
                ..ALLOWED
            };
            count(&metrics, labels);
            sent += 1;
        }
    }
    let text = metrics.render();
    let requests = samples(&text, "sidegate_requests_total");
    assert_eq!(requests.len(), definition::REQUESTS.sets);
    let total: f64 = requests.iter().map(|(_, value)| value).sum();
    assert_eq!(total, f64::from(sent));
    for decision in decisions {
        let of_decision: f64 = requests
            .iter()
            .filter(|(labels, _)| labels.contains(&format!("decision=\"{}\"", decision.as_str())))
            .map(|(_, value)| value)
            .sum();
        assert_eq!(
            of_decision, 2_000.0,
            "the decision is told even in folded series"
        );
    }
    let durations = samples(&text, "sidegate_request_duration_seconds_count");
    assert!(durations.len() <= definition::REQUEST_DURATION.sets);
    assert_eq!(
        durations.iter().map(|(_, value)| value).sum::<f64>(),
        f64::from(sent)
    );
}

#[test]
fn adm_002_whatever_happens_there_are_at_most_2000_series() {
    let metrics = Metrics::new();
    for n in 0..3_000_i64 {
        let word: &'static str = Box::leak(format!("word-{n}").into_boxed_str());
        metrics.set_tools(&[word.to_owned()]);
        metrics.set_issuers(&[word.to_owned()]);
        let status = u16::try_from(n).expect("a status");
        for decision in [
            DecisionLabel::Allow,
            DecisionLabel::Deny,
            DecisionLabel::Refused,
        ] {
            count(
                &metrics,
                RequestLabels {
                    listener: word,
                    server: word,
                    method: word,
                    tool: Some(word),
                    decision,
                    reason: word,
                    status,
                },
            );
        }
        metrics.handshake_failure(word);
        metrics.connection_refused(word);
        metrics.token_refused(word);
        metrics.jwks_fetch(word, word);
        metrics.jwks_loaded_at(word, n);
        metrics.config_reload(word);
        metrics.config_info(word);
        metrics.config_loaded_at(n);
        metrics.certificate_expiry(n);
    }
    let series = series(&metrics);
    assert!(
        (1_500..=definition::MAX_SERIES).contains(&series),
        "{series}"
    );
}

#[test]
fn a_reason_within_and_beyond_its_bound() {
    let metrics = Metrics::new();
    let limit = definition::HANDSHAKE_FAILURES.sets;
    for n in 0..limit - 1 {
        metrics.handshake_failure(&format!("reason-{n}"));
    }
    let name = "sidegate_handshake_failures_total";
    let has_other = || {
        samples(&metrics.render(), name)
            .iter()
            .any(|(labels, _)| labels.contains("other"))
    };
    assert!(!has_other());
    metrics.handshake_failure("one-more");
    assert!(has_other());
    metrics.handshake_failure("two-more");
    assert_eq!(samples(&metrics.render(), name).len(), limit);
}

#[test]
fn adm_003_odd_values_are_escaped_and_stay_one_series() {
    let metrics = Metrics::new();
    let odd = "a\"b\\c\nd{e}=\u{202e}\u{1b}[2J, sidegate_panics_total 7";
    metrics.set_tools(&[odd.to_owned()]);
    for _ in 0..3 {
        count(
            &metrics,
            RequestLabels {
                tool: Some(odd),
                ..ALLOWED
            },
        );
    }
    let text = metrics.render();
    let requests = samples(&text, "sidegate_requests_total");
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].1, 3.0);
    assert!(
        requests[0].0.contains("a\\\"b\\\\c\\nd{e}="),
        "{requests:?}"
    );
    assert_eq!(
        samples(&text, "sidegate_panics_total"),
        [(String::new(), 0.0)]
    );
}

#[test]
fn a_long_name_is_no_label() {
    let metrics = Metrics::new();
    let (longest, longer) = ("t".repeat(128), "t".repeat(129));
    metrics.set_tools(&[longest.clone(), longer.clone()]);
    count(
        &metrics,
        RequestLabels {
            tool: Some(&longest),
            ..ALLOWED
        },
    );
    count(
        &metrics,
        RequestLabels {
            tool: Some(&longer),
            ..ALLOWED
        },
    );
    let text = metrics.render();
    assert!(text.contains(&format!("tool=\"{longest}\"")));
    assert!(!text.contains(&longer));
}

#[test]
fn a_status_is_three_digits_or_other() {
    let metrics = Metrics::new();
    for status in [0, 99, 100, 499, 999, 1000, u16::MAX] {
        count(&metrics, RequestLabels { status, ..ALLOWED });
    }
    let requests = samples(&metrics.render(), "sidegate_requests_total");
    let statuses: HashSet<_> = requests
        .iter()
        .filter_map(|(labels, _)| labels.split_once("status=\"")?.1.split_once('"'))
        .map(|(status, _)| status.to_owned())
        .collect();
    assert_eq!(
        statuses,
        HashSet::from(["100", "499", "999", "other"].map(str::to_owned))
    );
}

#[test]
fn every_event_moves_its_metric() {
    let metrics = Metrics::new();
    metrics.set_issuers(&["https://idp.example/".to_owned()]);
    metrics.audited_request();
    metrics.token_cache(true);
    metrics.token_cache(false);
    metrics.token_refused("expired");
    metrics.jwks_fetch("https://idp.example/", "ok");
    metrics.jwks_loaded_at("https://idp.example/", 17);
    metrics.sessions(4);
    metrics.connection_refused("max_connections");
    metrics.handshake_failure("timeout");
    metrics.certificate_expiry(99);
    metrics.config_reload("accepted");
    metrics.config_info("9f2c");
    metrics.config_loaded_at(5);
    metrics.audit_dropped(3);
    metrics.audit_suppressed(2);
    metrics.panic();
    let text = metrics.render();
    for line in [
        "sidegate_audited_requests_total 1",
        "sidegate_token_cache_lookups_total{result=\"hit\"} 1",
        "sidegate_token_cache_lookups_total{result=\"miss\"} 1",
        "sidegate_tokens_refused_total{reason=\"expired\"} 1",
        "sidegate_jwks_fetches_total{issuer=\"https://idp.example/\",result=\"ok\"} 1",
        "sidegate_jwks_loaded_timestamp_seconds{issuer=\"https://idp.example/\"} 17",
        "sidegate_sessions 4",
        "sidegate_connections_refused_total{reason=\"max_connections\"} 1",
        "sidegate_handshake_failures_total{reason=\"timeout\"} 1",
        "sidegate_certificate_expiry_timestamp_seconds 99",
        "sidegate_config_reloads_total{result=\"accepted\"} 1",
        "sidegate_config_reloads_total{result=\"refused\"} 0",
        "sidegate_config_info{version=\"9f2c\"} 1",
        "sidegate_config_loaded_timestamp_seconds 5",
        "sidegate_audit_lines_dropped_total 3",
        "sidegate_audit_lines_suppressed_total 2",
        "sidegate_panics_total 1",
    ] {
        assert!(
            text.lines().any(|written| written == line),
            "{line}\n{text}"
        );
    }
}

#[test]
fn what_is_not_known_yet_is_absent() {
    let text = Metrics::new().render();
    for name in [
        "sidegate_certificate_expiry",
        "sidegate_config_loaded",
        "sidegate_config_revision",
        "sidegate_control_plane",
        "sidegate_jwks_loaded",
    ] {
        assert!(!text.contains(name), "{name}");
    }
}

#[test]
fn a_connection_is_open_until_its_value_is_dropped() {
    let metrics = Metrics::new();
    let open = || samples(&metrics.render(), "sidegate_connections_open")[0].1;
    let (a, b) = (metrics.connection_accepted(), metrics.connection_accepted());
    assert_eq!(open(), 2.0);
    drop(a);
    assert_eq!(open(), 1.0);
    drop(b);
    assert_eq!(open(), 0.0);
    assert_eq!(
        samples(&metrics.render(), "sidegate_connections_total")[0].1,
        2.0
    );
}

#[test]
fn only_configured_issuers_are_named_and_others_end() {
    let metrics = Metrics::new();
    metrics.set_issuers(&["https://a/".to_owned(), "https://b/".to_owned()]);
    metrics.jwks_loaded_at("https://a/", 1);
    metrics.jwks_loaded_at("https://b/", 2);
    metrics.jwks_fetch("https://evil/", "failed");
    metrics.set_issuers(&["https://b/".to_owned()]);
    metrics.jwks_loaded_at("https://a/", 3);
    let text = metrics.render();
    assert!(
        !text.contains("https://a/") && !text.contains("evil"),
        "{text}"
    );
    assert_eq!(
        samples(&text, "sidegate_jwks_loaded_timestamp_seconds").len(),
        2
    );
    assert_eq!(samples(&text, "sidegate_jwks_fetches_total").len(), 1);
}

#[test]
fn one_version_of_the_configuration_is_in_force() {
    let metrics = Metrics::new();
    metrics.config_info("1");
    metrics.config_info("2");
    assert_eq!(
        samples(&metrics.render(), "sidegate_config_info"),
        [("{version=\"2\"}".to_owned(), 1.0)]
    );
    metrics.no_config();
    assert!(samples(&metrics.render(), "sidegate_config_info").is_empty());
}

#[test]
fn what_is_exported_is_what_is_defined() {
    let metrics = Metrics::new();
    metrics.set_issuers(&["i".to_owned()]);
    count(&metrics, ALLOWED);
    metrics.token_refused("x");
    metrics.jwks_fetch("i", "x");
    metrics.jwks_loaded_at("i", 1);
    metrics.connection_refused("x");
    metrics.handshake_failure("x");
    metrics.certificate_expiry(1);
    metrics.config_info("x");
    metrics.config_loaded_at(1);
    metrics.config_source("files");
    metrics.config_revision(1);
    metrics.control_plane_connected(true);
    metrics.control_plane_heard_at(1);
    metrics.snapshot("accepted");
    let text = metrics.render();
    let exported: HashSet<(&str, &str)> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .collect();
    let defined: HashSet<(&str, &str)> = definition::ALL
        .iter()
        .map(|definition| {
            let kind = match definition.kind {
                definition::Kind::Counter => "counter",
                definition::Kind::Gauge => "gauge",
                definition::Kind::Histogram(_) => "histogram",
            };
            (definition.name, kind)
        })
        .collect();
    assert_eq!(exported, defined);
}

#[test]
fn threads_count_together() {
    let metrics = Metrics::new();
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let metrics = Arc::clone(&metrics);
            std::thread::spawn(move || {
                for n in 0..500 {
                    let reason = format!("reason-{}", (n + thread) % 300);
                    count(
                        &metrics,
                        RequestLabels {
                            reason: &reason,
                            ..ALLOWED
                        },
                    );
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("counts");
    }
    let requests = samples(&metrics.render(), "sidegate_requests_total");
    assert_eq!(requests.len(), 300);
    assert_eq!(
        requests.iter().map(|(_, value)| value).sum::<f64>(),
        2_000.0
    );
}

/// A figure, for `cargo test --release -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn measure_request() {
    let metrics = Metrics::new();
    metrics.set_tools(&["get_customer".to_owned()]);
    count(&metrics, ALLOWED);
    let rounds = 2_000_000_u32;
    let started = Instant::now();
    for _ in 0..rounds {
        metrics.request(std::hint::black_box(&ALLOWED), Duration::from_micros(180));
    }
    println!("{:?} per request", started.elapsed() / rounds);
}
