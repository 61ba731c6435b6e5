//! Laws of the injector. What it makes of ordinary pods is in
//! `tests/golden/injector`.

use proptest::prelude::*;
use serde_json::{Value, json};
use sidegate_config::probes::{Check, PROBES_VARIABLE, RewrittenProbes, Target};

use super::*;

pub(super) fn settings() -> InjectorSettings {
    InjectorSettings::new(
        "registry.example/sidegate:1",
        "https://operator.example:8443",
    )
}

pub(super) fn gateway(servers: &Value) -> Gateway {
    let spec = json!({ "selector": { "matchLabels": { "app": "demo" } }, "servers": servers });
    Gateway {
        namespace: "crm".to_owned(),
        name: "demo".to_owned(),
        uid: "0c5c9d0e-0000-4000-8000-000000000001".to_owned(),
        spec: Arc::new(serde_json::from_value(spec).unwrap()),
    }
}

fn same_port() -> Gateway {
    let resources = ["https://demo.example.com/mcp"];
    gateway(&json!([{ "name": "demo", "port": 8080, "resources": resources }]))
}

/// A pod with something of everything that the injector looks at.
fn rich_pod() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "demo",
            "labels": { "app": "demo" },
            "annotations": { "a/b~c": "1", "sidegate.dev/cpu": "50m" },
        },
        "spec": {
            "terminationGracePeriodSeconds": 60,
            "fieldOfTomorrow": { "deep": [1, { "x": null }] },
            "volumes": [{ "name": "cache", "emptyDir": {} }],
            "initContainers": [
                { "name": "migrate", "image": "m" },
                {
                    "name": "logs", "image": "l", "restartPolicy": "Always",
                    "livenessProbe": { "tcpSocket": { "port": 8080 } },
                },
            ],
            "containers": [
                {
                    "name": "app", "image": "a", "fieldOfTomorrow": 18_446_744_073_709_551_615_u64,
                    "ports": [{ "name": "mcp", "containerPort": 8080 }],
                    "env": [{ "name": "A", "value": "$(B)" }],
                    "livenessProbe": {
                        "httpGet": { "path": "/l?a=$(X)", "port": "mcp" }, "periodSeconds": 7,
                    },
                    "readinessProbe": { "grpc": { "port": 8080 }, "fieldOfTomorrow": 1 },
                    "startupProbe": { "exec": { "command": ["true"] } },
                    "lifecycle": { "postStart": { "httpGet": { "port": 8080 } } },
                    "volumeMounts": [{ "name": "cache", "mountPath": "/cache" }],
                },
                { "name": "other", "image": "o" },
            ],
        },
    })
}

pub(super) fn apply(pod: &Value, injection: &Injection) -> Value {
    let mut patched = pod.clone();
    let patch = serde_json::to_value(&injection.patch).unwrap();
    json_patch::patch(
        &mut patched,
        &serde_json::from_value::<json_patch::Patch>(patch).unwrap(),
    )
    .unwrap();
    patched
}

fn injected(pod: &Value) -> Value {
    apply(pod, &inject(pod, &same_port(), &settings()).unwrap())
}

fn refusal(pod: &Value) -> String {
    let refused = inject(pod, &same_port(), &settings());
    refused.expect_err("a refusal").to_string()
}

fn init<'a>(pod: &'a mut Value, name: &str) -> &'a mut Value {
    let containers = pod["spec"]["initContainers"].as_array_mut().unwrap();
    containers.iter_mut().find(|it| it["name"] == name).unwrap()
}

fn probes_of(pod: &mut Value) -> RewrittenProbes {
    let variables = init(pod, SIDECAR)["env"].as_array().unwrap();
    let variable = variables.iter().find(|it| it["name"] == PROBES_VARIABLE);
    let text = variable.unwrap()["value"].as_str().unwrap();
    RewrittenProbes::from_json(&render::unescaped(text)).unwrap()
}

/// WHK-002.
#[test]
fn a_second_injection_changes_nothing() {
    let pod = injected(&rich_pod());
    let second = inject(&pod, &same_port(), &settings()).unwrap();
    assert_eq!(second.patch, []);
}

#[test]
fn fields_that_nobody_knows_survive() {
    let pod = injected(&rich_pod());
    let original = rich_pod();
    for place in [
        "/spec/fieldOfTomorrow",
        "/spec/containers/0/fieldOfTomorrow",
        "/spec/containers/0/readinessProbe/fieldOfTomorrow",
        "/metadata/annotations/a~1b~0c",
    ] {
        assert!(original.pointer(place).is_some(), "{place}");
        assert_eq!(pod.pointer(place), original.pointer(place), "{place}");
    }
}

/// WHK-013.
#[test]
fn the_sidecar_starts_before_everything_and_after_its_port_holder() {
    let pod = injected(&rich_pod());
    let containers = pod["spec"]["initContainers"].as_array().unwrap().iter();
    let names: Vec<_> = containers.map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names, [HOLD, SIDECAR, "migrate", "logs"]);
}

#[test]
fn originals_of_probes_arrive_at_the_sidecar() {
    let mut pod = injected(&rich_pod());
    let probes = probes_of(&mut pod);
    let all: Vec<_> = probes
        .iter()
        .map(|(name, check, _)| (name, check))
        .collect();
    assert_eq!(
        all,
        [
            ("app", Check::Livez),
            ("app", Check::Readyz),
            ("app", Check::Poststart),
            ("logs", Check::Livez)
        ]
    );
    let (_, _, probe) = probes.find("/app-health/app/livez").unwrap();
    assert_eq!(probe.period_seconds, Some(7));
    assert!(matches!(&probe.target, Target::Http { path, .. } if path == "/l?a=$(X)"));
    assert_eq!(
        pod["spec"]["containers"][0]["livenessProbe"]["periodSeconds"],
        7
    );
}

#[test]
fn containers_that_come_later_are_prepared_as_well() {
    let mut pod = injected(&rich_pod());
    let late = json!({
        "name": "late", "image": "x",
        "readinessProbe": { "httpGet": { "path": "/r", "port": 8080 } },
    });
    let env = json!({ "name": "HTTP_PROXY", "value": "http://proxy" });
    let mount = json!({ "name": "kube-api-access-x", "mountPath": "/var/run/secrets/k8s" });
    pod["spec"]["containers"]
        .as_array_mut()
        .unwrap()
        .insert(0, late);
    for container in [SIDECAR, HOLD] {
        let container = init(&mut pod, container);
        container["imagePullPolicy"] = json!("Always");
        container["terminationMessagePath"] = json!("/dev/termination-log");
        container["volumeMounts"]
            .as_array_mut()
            .unwrap()
            .push(mount.clone());
    }
    init(&mut pod, SIDECAR)["env"]
        .as_array_mut()
        .unwrap()
        .insert(0, env);

    let mut again = injected(&pod);
    assert!(
        probes_of(&mut again)
            .find("/app-health/late/readyz")
            .is_some()
    );
    assert!(
        probes_of(&mut again)
            .find("/app-health/app/livez")
            .is_some()
    );
    assert_eq!(
        again["spec"]["containers"][0]["readinessProbe"]["httpGet"]["port"],
        15021
    );
    assert_ne!(
        again["metadata"]["annotations"][INJECTED_ANNOTATION],
        pod["metadata"]["annotations"][INJECTED_ANNOTATION]
    );
    assert_eq!(inject(&again, &same_port(), &settings()).unwrap().patch, []);
}

type Alteration = (&'static str, fn(&mut Value));

#[test]
fn an_altered_sidecar_is_refused() {
    let alterations: [Alteration; 17] = [
        ("image", |it| it["image"] = json!("evil")),
        ("args", |it| it["args"][2] = json!("https://evil")),
        ("command", |it| it["command"] = json!(["sh"])),
        ("restartPolicy", |it| it["restartPolicy"] = Value::Null),
        ("envFrom", |it| {
            it["envFrom"] = json!([{ "secretRef": { "name": "x" } }]);
        }),
        ("privileged", |it| {
            it["securityContext"]["privileged"] = json!(true);
        }),
        ("runAsUser", |it| {
            it["securityContext"]["runAsUser"] = json!(0);
        }),
        ("runAsNonRoot", |it| {
            it["securityContext"]
                .as_object_mut()
                .unwrap()
                .remove("runAsNonRoot");
        }),
        ("add", |it| {
            it["securityContext"]["capabilities"]["add"] = json!(["NET_ADMIN"]);
        }),
        ("drop", |it| {
            it["securityContext"]["capabilities"]["drop"] = json!([]);
        }),
        ("mount lost", |it| {
            it["volumeMounts"].as_array_mut().unwrap().remove(0);
        }),
        ("mount over", |it| {
            let mount = json!({ "name": "cache", "mountPath": "/run/" });
            it["volumeMounts"].as_array_mut().unwrap().push(mount);
        }),
        ("mount climbs", |it| {
            let mount = json!({ "name": "cache", "mountPath": "/x/../run/sidegate" });
            it["volumeMounts"].as_array_mut().unwrap().push(mount);
        }),
        ("variable", |it| {
            let variable = json!({ "name": "SIDEGATE_CONFIG", "value": "/cache" });
            it["env"].as_array_mut().unwrap().push(variable);
        }),
        ("variable twice", |it| {
            let first = it["env"][0].clone();
            it["env"].as_array_mut().unwrap().push(first);
        }),
        ("probe", |it| {
            it["startupProbe"]["httpGet"]["path"] = json!("/healthz");
        }),
        ("hook", |it| {
            it["lifecycle"]["postStart"] = json!({ "exec": { "command": ["x"] } });
        }),
    ];
    for (name, alter) in alterations {
        let mut pod = injected(&rich_pod());
        alter(init(&mut pod, SIDECAR));
        let refusal = refusal(&pod);
        assert!(
            refusal.contains("`sidegate` is not as the injector makes it"),
            "{name}: {refusal}"
        );
    }
}

#[test]
fn an_altered_volume_or_port_holder_is_refused() {
    let alterations: [fn(&mut Value); 5] = [
        |pod| init(pod, HOLD)["args"][3] = json!("8081"),
        |pod| {
            pod["spec"]["initContainers"]
                .as_array_mut()
                .unwrap()
                .remove(0);
        },
        |pod| {
            pod["spec"]["volumes"].as_array_mut().unwrap().pop();
        },
        |pod| pod["spec"]["volumes"][1]["projected"]["sources"][0]["x"] = json!({ "y": 1 }),
        |pod| pod["spec"]["volumes"][3]["emptyDir"]["medium"] = json!(""),
    ];
    for alter in alterations {
        let mut pod = injected(&rich_pod());
        alter(&mut pod);
        let refusal = refusal(&pod);
        assert!(
            refusal.contains("is not as the injector makes it"),
            "{refusal}"
        );
    }
}

#[test]
fn a_sidecar_probes_no_port_that_is_no_servers() {
    let mut pod = injected(&rich_pod());
    let variables = init(&mut pod, SIDECAR)["env"].as_array_mut().unwrap();
    let variable = variables
        .iter_mut()
        .find(|it| it["name"] == PROBES_VARIABLE);
    variable.unwrap()["value"] = json!(r#"{"app":{"livez":{"target":{"tcp":{"port":22}}}}}"#);
    assert!(refusal(&pod).contains("port 22"));
}

#[test]
fn private_volumes_are_mounted_by_the_sidecar_alone() {
    for volume in names::PRIVATE_VOLUMES {
        for (list, index) in [("containers", 1), ("initContainers", 0)] {
            let mut pod = rich_pod();
            pod["spec"][list][index]["volumeMounts"] =
                json!([{ "name": volume, "mountPath": "/x" }]);
            assert!(refusal(&pod).contains(volume), "{list}");
        }
    }
}

#[test]
fn an_identity_is_altered_by_nobody_and_reaches_containers_that_come_later() {
    let injection = inject_identity(&caller(), &settings()).unwrap();
    let pod = apply(&caller(), &injection);
    assert_eq!(pod["spec"]["initContainers"][0]["name"], IDENTITY);
    let mut grown = pod.clone();
    let late = json!({ "name": "late", "image": "x" });
    grown["spec"]["containers"]
        .as_array_mut()
        .unwrap()
        .push(late);
    let again = inject_identity(&grown, &settings()).unwrap();
    let grown = apply(&grown, &again);
    let mount = json!({ "name": IDENTITY, "mountPath": IDENTITY_DIR, "readOnly": true });
    for container in [
        "/spec/initContainers/1",
        "/spec/containers/0",
        "/spec/containers/2",
    ] {
        let mounts = grown.pointer(&format!("{container}/volumeMounts"));
        let mounts = mounts.and_then(Value::as_array).unwrap();
        assert!(mounts.contains(&mount), "{container}");
    }
    assert_eq!(inject_identity(&grown, &settings()).unwrap().patch, []);

    let alterations: [fn(&mut Value); 4] = [
        |pod| init(pod, IDENTITY)["image"] = json!("evil"),
        |pod| init(pod, IDENTITY)["args"][4] = json!("/tmp"),
        |pod| {
            let mount = json!({ "name": "cache", "mountPath": "/var/run" });
            let mounts = init(pod, IDENTITY)["volumeMounts"].as_array_mut().unwrap();
            mounts.push(mount);
        },
        |pod| pod["spec"]["volumes"][3]["emptyDir"]["medium"] = json!(""),
    ];
    for alter in alterations {
        let mut pod = pod.clone();
        alter(&mut pod);
        let refusal = inject_identity(&pod, &settings()).unwrap_err().to_string();
        assert!(
            refusal.contains("is not as the injector makes it"),
            "{refusal}"
        );
    }
}

#[test]
fn a_server_has_no_second_sidecar() {
    let mut pod = rich_pod();
    init(&mut pod, "logs")["name"] = json!(IDENTITY);
    assert!(refusal(&pod).contains("`sidegate-identity`"));
}

#[test]
fn odd_forms_are_refused_with_their_place() {
    for (place, value, wanted) in [
        ("/spec/containers", json!([]), "/spec/containers"),
        ("/spec/containers", json!({}), "/spec/containers"),
        ("/spec/containers/0", json!("x"), "/spec/containers/0"),
        ("/spec/containers/1/name", json!(7), "/spec/containers/1"),
        (
            "/spec/containers/1/name",
            json!("/"),
            "/spec/containers/1/name",
        ),
        (
            "/spec/initContainers/1/name",
            json!("a/../b"),
            "/spec/initContainers/1/name",
        ),
        ("/spec/initContainers", json!("x"), "/spec/initContainers"),
        ("/spec/volumes/0", json!({}), "/spec/volumes/0"),
        (
            "/spec/containers/0/env",
            json!({}),
            "/spec/containers/0/env",
        ),
        ("/metadata/annotations", json!([]), "/metadata/annotations"),
        (
            "/metadata/annotations/a~1b~0c",
            json!(1),
            "/metadata/annotations/a~1b~0c",
        ),
        ("/metadata", json!(null), "/metadata"),
        ("/spec", json!([]), "/spec"),
    ] {
        let mut pod = rich_pod();
        *pod.pointer_mut(place).unwrap() = value;
        let refusal = refusal(&pod);
        assert!(
            refusal.contains(&format!("`{wanted}`")),
            "{place}: {refusal}"
        );
    }
}

#[test]
fn container_names_are_dns_labels_on_both_sides() {
    let named = |name: &str| {
        let mut pod = rich_pod();
        pod["spec"]["containers"][1]["name"] = json!(name);
        inject(&pod, &same_port(), &settings()).is_ok()
    };
    for name in ["a", "0", "a-b", &"a".repeat(63)] {
        assert!(named(name), "{name}");
    }
    for name in [
        "A",
        "a.b",
        "a/b",
        "a_b",
        "-a",
        "a-",
        "ä",
        " ",
        &"a".repeat(64),
    ] {
        assert!(!named(name), "{name}");
    }
}

/// Makes one item of a list.
type Item<'a> = &'a dyn Fn(usize) -> Value;

#[test]
fn numbers_are_bounded_on_both_sides() {
    let with = |place: &str, count: usize, item: Item<'_>| {
        let mut pod = rich_pod();
        *pod.pointer_mut(place).unwrap() = (0..count).map(item).collect();
        pod
    };
    let container = |index| json!({ "name": format!("c{index}"), "image": "x" });
    let variable = |index| json!({ "name": format!("V{index}"), "value": "x" });
    let volume = |index| json!({ "name": format!("v{index}"), "emptyDir": {} });
    let cases: [(&str, usize, Item<'_>); 4] = [
        ("/spec/containers", 128, &container),
        ("/spec/initContainers", 128, &container),
        ("/spec/volumes", 1024, &volume),
        ("/spec/containers/0/env", 4096, &variable),
    ];
    for (place, most, item) in cases {
        let pod = injected(&with(place, most, item));
        let again = inject(&pod, &same_port(), &settings()).map(|it| it.patch);
        assert_eq!(again, Ok(Vec::new()), "{place}");
        let refusal = refusal(&with(place, most + 1, item));
        assert!(
            refusal.contains(&format!("{most} at most")),
            "{place}: {refusal}"
        );
    }
    let mut pod = rich_pod();
    let many = |count| (0..count).map(|it| (format!("x/a{it}"), json!("")));
    pod["metadata"]["annotations"] = Value::Object(many(4096).collect());
    let again = inject(&injected(&pod), &same_port(), &settings()).map(|it| it.patch);
    assert_eq!(again, Ok(Vec::new()));
    pod["metadata"]["annotations"] = Value::Object(many(4097).collect());
    assert!(refusal(&pod).contains("4096 at most"));
}

#[test]
fn the_hash_tells_forms_apart_and_nothing_else() {
    let hash = |settings: &InjectorSettings, gateway: &Gateway| {
        let injection = inject(&rich_pod(), gateway, settings).unwrap();
        let pod = apply(&rich_pod(), &injection);
        pod["metadata"]["annotations"][INJECTED_ANNOTATION].clone()
    };
    let first = hash(&settings(), &same_port());
    assert_eq!(hash(&settings(), &same_port()), first);
    let mut newer = settings();
    newer.image = "registry.example/sidegate:2".to_owned();
    assert_ne!(hash(&newer, &same_port()), first);
    let text = first.as_str().unwrap();
    let (uid, hash) = text.split_once('/').unwrap();
    assert_eq!(uid, same_port().uid);
    assert_eq!(hash.len(), 16);
}

// === odd pods ===

fn json_values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        prop::sample::select(vec![
            "sidegate",
            "sidegate-hold",
            "sidegate-state",
            "Always",
            "mcp",
            "app",
            "/",
            "a/livez",
            "/app-health/app/livez",
            "/app-health/",
            "8080",
            "$(X)",
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let keys = prop_oneof![
            any::<String>(),
            prop::sample::select(vec![
                "name",
                "metadata",
                "spec",
                "containers",
                "ports",
                "httpGet",
                "port",
                "path",
                "value",
                "initContainers",
                "restartPolicy",
                "livenessProbe",
                "tcpSocket",
                "lifecycle",
                "annotations",
                "volumes",
                "env",
            ])
            .prop_map(str::to_owned),
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((keys, inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn places(value: &Value, at: &Pointer, found: &mut Vec<String>) {
    found.push(at.to_string());
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                places(member, &at.key(key), found);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                places(item, &at.index(index), found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Puts values in the place of parts of a pod, wherever they are.
fn damage(mut pod: Value, damages: Vec<(prop::sample::Index, Value)>) -> Value {
    for (index, value) in damages {
        let mut found = Vec::new();
        places(&pod, &Pointer::default(), &mut found);
        *pod.pointer_mut(index.get(found.as_slice()).as_str())
            .unwrap() = value;
    }
    pod
}

/// The same pod, as one that no gateway selects.
fn caller() -> Value {
    let mut pod = rich_pod();
    pod["metadata"]["annotations"]["sidegate.dev/identity"] = json!("Files");
    pod
}

fn gateways() -> impl Strategy<Value = Gateway> {
    let exposures = prop::sample::select(vec![
        json!({ "exposure": "SamePort", "bindEnv": ["BIND", "HOST"] }),
        json!({ "exposure": "SeparatePort", "listenPort": 9090 }),
    ]);
    exposures.prop_map(|exposure| {
        let mut server = json!({ "name": "demo", "port": 8080, "resources": ["https://x/mcp"] });
        server
            .as_object_mut()
            .unwrap()
            .extend(exposure.as_object().unwrap().clone());
        gateway(&json!([server]))
    })
}

/// More than usual; `PROPTEST_CASES` asks for more still.
fn many_cases() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig {
        cases: usual.cases.max(1000),
        ..usual
    }
}

proptest! {
    #![proptest_config(many_cases())]

    #[test]
    fn odd_pods_are_answered_and_what_is_injected_stays_so(
        damages in prop::collection::vec((any::<prop::sample::Index>(), json_values()), 0..4),
        twice in any::<bool>(),
        gateway in gateways(),
    ) {
        let first = inject(&rich_pod(), &gateway, &settings()).unwrap();
        let base = if twice { apply(&rich_pod(), &first) } else { rich_pod() };
        let pod = damage(base, damages);
        if let Ok(injection) = inject(&pod, &gateway, &settings()) {
            let patched = apply(&pod, &injection);
            let second = inject(&patched, &gateway, &settings());
            prop_assert_eq!(second.map(|it| it.patch), Ok(Vec::new()));
        }
    }

    #[test]
    fn odd_callers_are_answered_and_what_is_injected_stays_so(
        damages in prop::collection::vec((any::<prop::sample::Index>(), json_values()), 0..4),
        twice in any::<bool>(),
    ) {
        let first = inject_identity(&caller(), &settings()).unwrap();
        let base = if twice { apply(&caller(), &first) } else { caller() };
        let pod = damage(base, damages);
        if let Ok(injection) = inject_identity(&pod, &settings()) {
            let patched = apply(&pod, &injection);
            let second = inject_identity(&patched, &settings());
            prop_assert_eq!(second.map(|it| it.patch), Ok(Vec::new()));
        }
    }

    #[test]
    fn any_json_is_answered(value in json_values()) {
        let _ = inject(&value, &same_port(), &settings());
        let _ = inject_identity(&value, &settings());
    }
}
