use proptest::prelude::*;

use super::*;

fn target() -> impl Strategy<Value = Target> {
    let header =
        (any::<String>(), any::<String>()).prop_map(|(name, value)| HttpHeader { name, value });
    let http = (
        any::<u16>(),
        any::<String>(),
        any::<bool>(),
        prop::collection::vec(header, 0..3),
    )
        .prop_map(|(port, path, tls, headers)| Target::Http {
            port,
            path,
            scheme: if tls { Scheme::Https } else { Scheme::Http },
            headers,
        });
    let grpc = (any::<u16>(), any::<Option<String>>())
        .prop_map(|(port, service)| Target::Grpc { port, service });
    prop_oneof![
        http,
        any::<u16>().prop_map(|port| Target::Tcp { port }),
        grpc
    ]
}

fn checks() -> impl Strategy<Value = Check> {
    use Check::{Livez, Poststart, Prestop, Readyz, Startupz};
    prop::sample::select(vec![Livez, Readyz, Startupz, Poststart, Prestop])
}

fn probes() -> impl Strategy<Value = RewrittenProbes> {
    let times = any::<(Option<u32>, Option<u32>)>();
    let probe = (target(), times).prop_map(|(target, times)| RewrittenProbe {
        target,
        timeout_seconds: times.0,
        period_seconds: times.1,
    });
    prop::collection::vec(("[a-z]{1,8}", checks(), probe), 0..6).prop_map(|all| {
        let mut probes = RewrittenProbes::default();
        for (container, check, probe) in all {
            probes.insert(&container, check, probe);
        }
        probes
    })
}

proptest! {
    #[test]
    fn probes_survive_the_variable(probes in probes()) {
        prop_assert_eq!(RewrittenProbes::from_json(&probes.to_json().unwrap()), Ok(probes));
    }

    #[test]
    fn every_probe_is_found_by_its_path_and_no_other(probes in probes(), other in any::<String>()) {
        for (container, check, probe) in probes.iter() {
            let path = RewrittenProbes::path(container, check);
            prop_assert_eq!(probes.find(&path), Some((container, check, probe)));
            prop_assert_eq!(probes.find(&format!("{path}/")), None);
            prop_assert_eq!(probes.find(&format!("/{path}")), None);
        }
        prop_assert_eq!(probes.find(&other), None);
    }

    #[test]
    fn any_text_is_answered(text in any::<String>()) {
        let _ = RewrittenProbes::from_json(&text);
    }
}

#[test]
fn the_text_has_a_fixed_form() {
    let mut probes = RewrittenProbes::default();
    probes.insert(
        "app",
        Check::Readyz,
        RewrittenProbe {
            target: Target::Http {
                port: 8080,
                path: "/ready?full=1".to_owned(),
                scheme: Scheme::Https,
                headers: vec![HttpHeader {
                    name: "X-Probe".to_owned(),
                    value: "1".to_owned(),
                }],
            },
            timeout_seconds: Some(2),
            period_seconds: Some(10),
        },
    );
    assert_eq!(
        probes.to_json().unwrap(),
        r#"{"app":{"readyz":{"target":{"http":{"port":8080,"path":"/ready?full=1","scheme":"HTTPS","headers":[{"name":"X-Probe","value":"1"}]}},"timeoutSeconds":2,"periodSeconds":10}}}"#
    );
    assert_eq!(RewrittenProbes::default().to_json().unwrap(), "{}");
}

#[test]
fn the_value_of_a_header_is_not_shown() {
    let header = HttpHeader {
        name: "X-Probe".to_owned(),
        value: "canary".to_owned(),
    };
    let shown = format!("{header:?}");
    assert!(
        shown.contains("X-Probe") && !shown.contains("canary"),
        "{shown}"
    );
}

#[test]
fn what_a_newer_injector_wrote_is_refused_and_not_half_read() {
    for text in [
        r#"{"app":{"livez":{"target":{"tcp":{"port":1}},"retries":3}}}"#,
        r#"{"app":{"livez":{"target":{"tcp":{"port":1,"host":"x"}}}}}"#,
        r#"{"app":{"livez":{"target":{"exec":{"command":["x"]}}}}}"#,
        r#"{"app":{"deadz":{"target":{"tcp":{"port":1}}}}}"#,
    ] {
        let error = RewrittenProbes::from_json(text).unwrap_err();
        assert!(matches!(error, InvalidProbes::Unreadable(_)), "{text}");
    }
}

#[test]
fn an_error_says_where_and_not_what() {
    let http =
        |members: &str| format!(r#"{{"app":{{"livez":{{"target":{{"http":{{{members}}}}}}}}}}}"#);
    for (text, place) in [
        (http(r#""port":"canary","path":"/""#), "target.http.port"),
        (http(r#""port":1,"path":"/","headers":"canary""#), "headers"),
        (http(r#""port":1,"path":"/"},"canary":{"#), "target`"),
        (http(r#""port":1,"path":"/""#) + "canary", "`.`"),
    ] {
        let error = RewrittenProbes::from_json(&text).unwrap_err().to_string();
        assert!(
            error.contains(place) && !error.contains("canary"),
            "{error}"
        );
    }
}

#[test]
fn what_no_variable_holds_is_refused_on_both_sides() {
    let with_path = |length: usize| {
        let mut probes = RewrittenProbes::default();
        let target = Target::Http {
            port: 1,
            path: "x".repeat(length),
            scheme: Scheme::Http,
            headers: Vec::new(),
        };
        probes.insert(
            "a",
            Check::Livez,
            RewrittenProbe {
                target,
                timeout_seconds: None,
                period_seconds: None,
            },
        );
        probes
    };
    let frame = with_path(0).to_json().unwrap().len();
    let text = with_path(MAX_BYTES - frame).to_json().unwrap();
    assert!(RewrittenProbes::from_json(&text).is_ok());
    let bytes = MAX_BYTES + 1;
    let error = with_path(MAX_BYTES - frame + 1).to_json().unwrap_err();
    assert_eq!(error, InvalidProbes::TooLarge { bytes });
    let error = RewrittenProbes::from_json(&format!("{text} ")).unwrap_err();
    assert_eq!(error, InvalidProbes::TooLarge { bytes });
}
