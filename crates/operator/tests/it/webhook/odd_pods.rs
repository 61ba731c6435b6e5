//! A thousand odd pods. Whatever the API server takes without us, it takes with
//! us, or we say why not.

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use super::{cluster, create, create_in, guard, names, pod, reviews};
use crate::cluster::spec;

const PODS: usize = 1000;

/// Where something is changed, and to what.
type Change = (&'static str, Value);

/// What real pods have, and what they should not.
fn changes() -> impl Strategy<Value = Change> {
    let app = prop::sample::select(vec![
        ("ports", json!([{"name": "mcp", "containerPort": 8080}])),
        (
            "ports",
            json!([{"containerPort": 8080}, {"containerPort": 8080, "protocol": "UDP"}]),
        ),
        ("ports", json!([{"containerPort": 15021}])),
        ("ports", json!([])),
        ("ports", Value::Null),
        (
            "env",
            json!([{"name": "HOST", "value": "0.0.0.0"}, {"name": "A", "value": "$(HOST)$$"}]),
        ),
        ("env", json!([{"name": "SIDEGATE_PROBES", "value": "{}"}])),
        (
            "env",
            json!([{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]),
        ),
        ("envFrom", json!([{"configMapRef": {"name": "x"}}])),
        (
            "livenessProbe",
            json!({"httpGet": {"port": "mcp", "path": "l?a=$(B)"}}),
        ),
        (
            "livenessProbe",
            json!({"httpGet": {"port": 8080, "scheme": "HTTPS"}, "periodSeconds": 3}),
        ),
        (
            "livenessProbe",
            json!({"tcpSocket": {"port": 8080, "host": "192.0.2.1"}}),
        ),
        (
            "livenessProbe",
            json!({"httpGet": {"port": 15021, "path": "/app-health/app/livez"}}),
        ),
        (
            "readinessProbe",
            json!({"grpc": {"port": 8080, "service": "x"}}),
        ),
        ("readinessProbe", json!({"tcpSocket": {"port": 15020}})),
        ("readinessProbe", json!({"exec": {"command": ["true"]}})),
        (
            "startupProbe",
            json!({"tcpSocket": {"port": "8080"}, "failureThreshold": 30}),
        ),
        (
            "startupProbe",
            json!({"httpGet": {"port": 8080}, "terminationGracePeriodSeconds": 1}),
        ),
        ("lifecycle", json!({"preStop": {"sleep": {"seconds": 1}}})),
        (
            "lifecycle",
            json!({"preStop": {"httpGet": {"port": 8080, "path": "/stop"}}}),
        ),
        (
            "lifecycle",
            json!({"postStart": {"httpGet": {"port": 8080}}}),
        ),
        ("lifecycle", json!({})),
        (
            "volumeMounts",
            json!([{"name": "sidegate-state", "mountPath": "/x"}]),
        ),
        (
            "volumeMounts",
            json!([{"name": "sidegate-identity", "mountPath": "/x"}]),
        ),
        ("securityContext", json!({"runAsUser": 64020})),
        ("securityContext", json!({"privileged": true})),
        ("stdin", json!(true)),
        (
            "name",
            json!("a-name-of-the-greatest-length-that-a-container-could-possibly-have"),
        ),
        ("name", json!("sidegate")),
        ("name", json!("a/livez")),
        ("restartPolicy", json!("Always")),
    ]);
    let whole = prop::sample::select(vec![
        ("/spec/hostNetwork", json!(true)),
        ("/spec/hostPID", json!(true)),
        ("/spec/shareProcessNamespace", json!(true)),
        ("/spec/os", json!({"name": "linux"})),
        ("/spec/os", json!({"name": "windows"})),
        ("/spec/restartPolicy", json!("Never")),
        ("/spec/terminationGracePeriodSeconds", json!(0)),
        ("/spec/terminationGracePeriodSeconds", json!(3)),
        ("/spec/terminationGracePeriodSeconds", json!(3600)),
        (
            "/spec/securityContext",
            json!({"fsGroup": 1000, "runAsUser": 1000}),
        ),
        ("/spec/securityContext", json!({"runAsUser": 64020})),
        (
            "/spec/volumes",
            json!([{"name": "sidegate-state", "emptyDir": {}}]),
        ),
        (
            "/spec/volumes",
            json!([{"name": "sidegate-identity", "emptyDir": {}}]),
        ),
        (
            "/spec/volumes",
            json!([{"name": "v", "configMap": {"name": "x"}}]),
        ),
        (
            "/spec/initContainers",
            json!([{"name": "first", "image": "x"}]),
        ),
        (
            "/spec/initContainers",
            json!([{
                "name": "mesh", "image": "x", "restartPolicy": "Always",
                "ports": [{"containerPort": 8080}],
                "readinessProbe": {"httpGet": {"port": 8080}},
            }]),
        ),
        (
            "/spec/initContainers",
            json!([{"name": "sidegate", "image": "evil"}]),
        ),
        (
            "/spec/initContainers",
            json!([{"name": "sidegate-hold", "image": "evil", "restartPolicy": "Always"}]),
        ),
        ("/spec/containers", json!([])),
        ("/spec/priority", json!(0)),
        ("/metadata/labels", json!({"app": "nobody"})),
        ("/metadata/labels", json!({"app": "support", "x/y": ""})),
        ("/metadata/annotations", json!({"sidegate.dev/cpu": "100m"})),
        (
            "/metadata/annotations",
            json!({"sidegate.dev/image": "evil"}),
        ),
        (
            "/metadata/annotations",
            json!({"sidegate.dev/injected": "evil"}),
        ),
        (
            "/metadata/annotations",
            json!({"sidegate.dev/identity": "Files"}),
        ),
        (
            "/metadata/annotations",
            json!({"sidegate.dev/drain-time": "2s"}),
        ),
        (
            "/metadata/annotations",
            json!({"kubernetes.io/config.mirror": "x"}),
        ),
        ("/metadata/name", Value::Null),
        ("/metadata/generateName", json!("odd-")),
        ("/metadata/finalizers", json!(["example.com/f"])),
        ("/spec", json!(7)),
        ("/spec/containers/0/ports", json!({"a": 1})),
    ]);
    prop_oneof![app, whole]
}

fn changed(mut pod: Value, changes: Vec<Change>, second: bool) -> Value {
    if second {
        let more = json!({"name": "other", "image": "x"});
        pod["spec"]["containers"]
            .as_array_mut()
            .expect("a list")
            .push(more);
    }
    for (place, value) in changes {
        let (parent, key) = match place.strip_prefix('/') {
            Some(_) => place.rsplit_once('/').expect("a pointer"),
            None => ("/spec/containers/0", place),
        };
        // What an earlier change took away has no members.
        if let Some(Value::Object(parent)) = pod.pointer_mut(parent) {
            parent.insert(key.to_owned(), value);
        }
    }
    pod
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_odd_pods_are_guarded_or_refused_with_a_reason() {
    let cluster = cluster("webhook-odd-pods").await;
    let operator = guard(&cluster).await;
    cluster.gateway("support", &spec("support")).await;
    cluster.server.namespace("webhook-odd-control");
    let mut runner = TestRunner::deterministic();
    let odd = (prop::collection::vec(changes(), 1..5), any::<bool>());
    let (mut guarded, mut refused, mut nobodys) = (0, 0, 0);
    let (mut invalid, mut mended) = (0, 0);
    for number in 0..PODS {
        let (changes, second) = odd.new_tree(&mut runner).expect("a value").current();
        let pod = changed(pod(&format!("odd-{number}")), changes, second);
        let without_us = create_in(&cluster, "webhook-odd-control", &pod).await;
        let with_us = create(&cluster, &pod).await;
        let asks = pod["metadata"]["annotations"]["sidegate.dev/identity"] == "Files";
        let ours = pod["metadata"]["labels"]["app"] == "support";
        match (without_us, with_us) {
            (Err(_), Err(_)) => invalid += 1,
            (Ok(_), Ok(created)) if ours => {
                guarded += 1;
                let inits = names(&created["spec"]["initContainers"]);
                assert_eq!(inits[..2], ["sidegate-hold", "sidegate"], "{pod}");
            }
            (Ok(plain), Ok(created)) if !asks => {
                nobodys += 1;
                assert_eq!(created["spec"], plain["spec"], "{pod}");
            }
            (Ok(_), Ok(created)) => {
                nobodys += 1;
                let inits = names(&created["spec"]["initContainers"]);
                assert_eq!(inits[..1], ["sidegate-identity"], "{pod}");
            }
            (Ok(_), Err(reason)) => {
                refused += 1;
                let by_webhook =
                    reason.contains("admission webhook \"inject.sidegate.dev\" denied");
                assert!(by_webhook, "{pod}\n{reason}");
            }
            // What was wrong is not there any more: a probe that the sidecar
            // runs now, a mount of a volume that we add.
            (Err(reason), Ok(created)) => {
                mended += 1;
                let what = if asks { "volumeMounts" } else { "Probe" };
                assert!(reason.contains(what), "{pod}\n{reason}");
                let inits = names(&created["spec"]["initContainers"]);
                assert!(inits[0].starts_with("sidegate-"), "{pod}");
            }
        }
    }
    println!(
        "guarded {guarded}, refused {refused}, not ours {nobodys}, invalid {invalid}, mended \
         {mended}"
    );
    for (what, count) in [
        ("guarded", guarded),
        ("refused", refused),
        ("invalid", invalid),
    ] {
        assert!(count > PODS / 20, "{what}: {count}");
    }
    assert_eq!(reviews(&operator, "unreadable").await, 0);
    operator.stop().await.expect("it stops");
}
