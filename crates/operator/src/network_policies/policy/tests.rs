//! Tables and laws of the policy.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn gateway(name: &str, servers: &Value) -> McpGateway {
    serde_json::from_value(json!({
        "apiVersion": "sidegate.dev/v1alpha1",
        "kind": "McpGateway",
        "metadata": {"name": name, "namespace": "crm", "uid": "u-1"},
        "spec": {
            "selector": {
                "matchLabels": {"app": "support"},
                "matchExpressions": [
                    {"key": "tier", "operator": "NotIn", "values": ["test"]},
                    {"key": "legacy", "operator": "DoesNotExist"},
                ],
            },
            "servers": servers,
        },
    }))
    .expect("a gateway")
}

fn separate(port: u16, listen_port: u16) -> Value {
    json!({
        "name": format!("s{port}"), "port": port, "resources": ["https://a.example/mcp"],
        "exposure": "SeparatePort", "listenPort": listen_port,
    })
}

fn same(port: u16) -> Value {
    json!({"name": format!("s{port}"), "port": port, "resources": ["https://a.example/mcp"]})
}

fn policy_of_one(gateway: &McpGateway) -> Option<NetworkPolicy> {
    policy_of(gateway, &BTreeSet::new())
}

/// What is admitted of TCP, as pairs.
fn tcp(policy: &NetworkPolicy) -> Vec<(i32, i32)> {
    let spec = policy.spec.as_ref().unwrap();
    let ports = spec.ingress.as_ref().unwrap()[0].ports.as_ref().unwrap();
    let tcp = ports
        .iter()
        .filter(|it| it.protocol.as_deref() == Some("TCP"));
    tcp.map(|it| match it.port {
        Some(IntOrString::Int(from)) => (from, it.end_port.unwrap_or(from)),
        _ => panic!("no number: {it:?}"),
    })
    .collect()
}

proptest! {
    #[test]
    fn what_is_closed_is_found_in_a_policy(ports in prop::collection::btree_set(1_u16.., 1..6)) {
        let gateway = gateway("support", &json!([separate(8080, 9080)]));
        let policy = policy_of(&gateway, &ports).expect("a policy");
        for port in ports.iter().flat_map(|port| [port.saturating_sub(1), *port, port.saturating_add(1)]) {
            if port > 0 {
                let is_closed = port == 8080 || ports.contains(&port);
                prop_assert_eq!(is_closed_in(&policy, port), is_closed, "{}", port);
            }
        }
    }
}

#[test]
fn a_policy_that_somebody_changed_closes_what_it_does_not_admit() {
    let closed = |ingress: Value| {
        let policy = json!({"spec": {"podSelector": {}, "ingress": ingress}});
        let policy = serde_json::from_value(policy).expect("a policy");
        is_closed_in(&policy, 80)
    };
    assert!(closed(json!([])));
    assert!(!closed(json!([{}])));
    assert!(!closed(json!([{"ports": [{"port": 80}]}])));
    assert!(!closed(json!([{"ports": [{"protocol": "TCP"}]}])));
    assert!(!closed(
        json!([{"ports": [{"port": 81}]}, {"ports": [{"port": 79, "endPort": 80}]}])
    ));
    assert!(closed(
        json!([{"ports": [{"port": 80, "protocol": "UDP"}, {"port": "http"}]}])
    ));
}

#[test]
fn the_policy_as_it_is_applied() {
    let gateway = gateway("support", &json!([separate(8080, 9080), same(7000)]));
    let policy = policy_of_one(&gateway).expect("a policy");
    insta::assert_snapshot!(crate::to_yaml(&[serde_json::to_value(policy).unwrap()]).unwrap());
}

#[test]
fn ranges_leave_the_closed_ports_out() {
    type Row<'a> = (&'a [u16], &'a [(i32, i32)]);
    let table: [Row<'_>; 6] = [
        (&[8080], &[(1, 8079), (8081, 65535)]),
        (&[1], &[(2, 65535)]),
        (&[65535], &[(1, 65534)]),
        (&[2], &[(1, 1), (3, 65535)]),
        (&[80, 81], &[(1, 79), (82, 65535)]),
        (&[80, 82], &[(1, 79), (81, 81), (83, 65535)]),
    ];
    for (closed, wanted) in table {
        let servers: Vec<_> = closed.iter().map(|port| separate(*port, 9999)).collect();
        let policy = policy_of_one(&gateway("support", &json!(servers))).expect("a policy");
        assert_eq!(tcp(&policy), wanted, "{closed:?}");
    }
}

#[test]
fn what_others_close_is_closed_beside_the_own() {
    let one = gateway("support", &json!([separate(8080, 9080)]));
    let policy = policy_of(&one, &[8080, 8090].into()).expect("a policy");
    assert_eq!(tcp(&policy), [(1, 8079), (8081, 8089), (8091, 65535)]);
    let none = gateway("support", &json!([same(8080)]));
    assert!(policy_of(&none, &[8090].into()).is_none());
}

#[test]
fn no_policy_where_none_is_needed_or_wanted() {
    assert!(policy_of_one(&gateway("support", &json!([same(8080)]))).is_none());
    assert!(policy_of_one(&gateway("support", &json!([]))).is_none());
    let mut wanted = gateway("support", &json!([separate(8080, 9080)]));
    for (value, is_wanted) in [("false", false), ("true", true), ("False", true)] {
        let annotation = (ANNOTATION.to_owned(), value.to_owned());
        wanted.metadata.annotations = Some([annotation].into());
        assert_eq!(policy_of_one(&wanted).is_some(), is_wanted, "{value}");
    }
    // A sidecar listens there.
    let swapped = gateway(
        "support",
        &json!([separate(8080, 9080), separate(9080, 8080)]),
    );
    assert!(policy_of_one(&swapped).is_none());
    let shared = gateway("support", &json!([separate(8080, 9080), same(8080)]));
    assert!(policy_of_one(&shared).is_none());
}

#[test]
fn long_names_end_in_a_digest() {
    let name = |length: usize| name_of(&gateway(&"g".repeat(length), &json!([])));
    let longest = MAX_NAME - PREFIX.len();
    assert_eq!(name(longest), format!("{PREFIX}{}", "g".repeat(longest)));
    let cut = [name(longest + 1), name(longest + 2), name(MAX_NAME)];
    for (index, name) in cut.iter().enumerate() {
        assert!(
            name.len() <= MAX_NAME && name.starts_with("sidegate-g"),
            "{name}"
        );
        assert!(!cut[..index].contains(name));
    }
}

proptest! {
    /// Every port is admitted once, or it is closed.
    #[test]
    fn every_port_is_open_or_closed(closed in prop::collection::btree_set(1..=u16::MAX, 1..16)) {
        let ranges = open_ports(&closed);
        let policy = NetworkPolicy {
            spec: Some(NetworkPolicySpec {
                ingress: Some(vec![NetworkPolicyIngressRule {
                    ports: Some(ranges),
                    from: None,
                }]),
                ..NetworkPolicySpec::default()
            }),
            ..NetworkPolicy::default()
        };
        let ranges = tcp(&policy);
        for (from, to) in &ranges {
            prop_assert!(from <= to);
        }
        for pair in ranges.windows(2) {
            prop_assert!(pair[0].1 < pair[1].0);
        }
        let open: usize = ranges.iter().map(|(from, to)| usize::try_from(to - from + 1).unwrap()).sum();
        prop_assert_eq!(open + closed.len(), 65535);
        for port in closed {
            let port = i32::from(port);
            prop_assert!(!ranges.iter().any(|(from, to)| (*from..=*to).contains(&port)));
        }
    }
}
