//! A real API server takes what is injected, leaves it as it is, and refuses by
//! the policy what is not.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sidegate_operator::injector::policy::AdmissionPolicy;
use sidegate_operator::injector::{Gateway, inject};
use sidegate_testkit::apiserver::{Answer, ApiServer};

use super::{apply, gateway, good_cases, settings};

const PATIENCE: Duration = Duration::from_secs(30);

/// Before a cluster asks its webhooks it names the service account. This server
/// runs without the plugin that does.
fn admitted(mut pod: Value) -> Value {
    pod["spec"]["serviceAccountName"] = json!("default");
    pod
}

fn create(server: &ApiServer, namespace: &str, pod: &Value) -> Answer {
    let arguments = [
        "create",
        "--dry-run=server",
        "-o",
        "json",
        "-n",
        namespace,
        "-f",
        "-",
    ];
    server.kubectl(&arguments, &pod.to_string())
}

fn label(server: &ApiServer, namespace: &str, label: &str) {
    server.namespace(namespace);
    let _ = server
        .kubectl(&["label", "namespace", namespace, label], "")
        .succeeded();
}

/// The API server fills in defaults before it asks a webhook again: they are
/// no alteration. And Pod Security has nothing against our containers.
#[test]
fn an_api_server_accepts_every_injected_pod() {
    let server = ApiServer::shared();
    label(
        server,
        "golden",
        "pod-security.kubernetes.io/warn=restricted",
    );
    for case in good_cases() {
        let (name, pod) = (&case.name, admitted(case.pod.clone()));
        let injection = case.inject(&pod).expect("injected");
        let created = create(server, "golden", &apply(&pod, &injection));
        assert!(created.success, "{name}: {}", created.stderr);
        let ours = created.stderr.contains("\"sidegate");
        assert!(!ours, "{name}: {}", created.stderr);
        let stored: Value = serde_json::from_str(&created.stdout).expect("a pod");
        let again = case.inject(&stored);
        let again = again.unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
        assert_eq!(again.patch, [], "{name}");
    }
}

#[test]
fn pod_security_restricted_accepts_an_injected_pod() {
    let server = ApiServer::shared();
    label(
        server,
        "restricted",
        "pod-security.kubernetes.io/enforce=restricted",
    );
    let case = good_cases().find(|it| it.name == "good-restricted");
    let case = case.expect("the file");
    let mut plain = admitted(case.pod.clone());
    let injection = case.inject(&plain).expect("injected");
    let _ = create(server, "restricted", &apply(&plain, &injection)).succeeded();
    plain["spec"]["containers"][0]["securityContext"] = Value::Null;
    let refused = create(server, "restricted", &plain).failed();
    assert!(refused.contains("PodSecurity"), "{refused}");
}

// === the policy ===

const SPEC: &str = r#"{
    "selector": {
        "matchLabels": { "app": "demo" },
        "matchExpressions": [
            { "key": "tier", "operator": "In", "values": ["gold", "lead"] },
            { "key": "canary", "operator": "DoesNotExist" },
            { "key": "zone", "operator": "NotIn", "values": ["x"] },
            { "key": "track", "operator": "Exists" }
        ]
    },
    "servers": [
        { "name": "demo", "port": 8080, "resources": ["https://demo.example.com/mcp"] }
    ],
    "authentication": { "jwt": [
        { "issuer": "https://idp.example.com/", "jwks": { "uri": "https://idp.example.com/jwks" } }
    ] },
    "authorization": { "rules": [{ "name": "all", "tools": ["*"], "requiredScopes": ["a"] }] }
}"#;

/// A namespace that opted in, with the policy and a gateway.
struct Guarded {
    server: &'static ApiServer,
    gateway: Gateway,
}

// === impl Guarded ===

impl Guarded {
    const NAMESPACE: &str = "guarded";

    fn prepare() -> Self {
        let server = ApiServer::shared();
        let apply = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
        for definition in sidegate_api::crds().expect("definitions") {
            let _ = server.kubectl(&apply, &definition.to_string()).succeeded();
        }
        label(server, Self::NAMESPACE, "sidegate.dev/injection=enabled");
        server.namespace("free");
        let policy = AdmissionPolicy {
            image: Some(settings().image),
            ..AdmissionPolicy::default()
        };
        for manifest in policy.manifests() {
            let _ = server.kubectl(&apply, &manifest.to_string()).succeeded();
        }
        let spec: Value = serde_json::from_str(SPEC).expect("JSON");
        let written = json!({
            "apiVersion": "sidegate.dev/v1alpha1",
            "kind": "McpGateway",
            "metadata": { "name": "demo", "namespace": Self::NAMESPACE },
            "spec": spec,
        });
        until("the gateway is taken", || {
            server.kubectl(&apply, &written.to_string()).success
        });
        let uid = ["get", "mcpgateway", "demo", "-n", Self::NAMESPACE, "-o"];
        let uid = [&uid[..], &["jsonpath={.metadata.uid}"]].concat();
        let mut gateway = gateway(serde_json::from_value(spec).expect("a gateway"));
        gateway.uid = server.kubectl(&uid, "").succeeded();
        let guarded = Self { server, gateway };
        // The API server learns of policies and their parameters from a watch.
        until("the policy is in force", || {
            !guarded.create(&plain_pod()).success
        });
        guarded
    }

    fn injected(&self, pod: &Value) -> Value {
        apply(
            pod,
            &inject(pod, &self.gateway, &settings()).expect("injected"),
        )
    }

    fn create(&self, pod: &Value) -> Answer {
        create(self.server, Self::NAMESPACE, pod)
    }

    fn kubectl(&self, arguments: &[&str], input: &Value) -> Answer {
        let arguments = [arguments, &["-n", Self::NAMESPACE]].concat();
        self.server.kubectl(&arguments, &input.to_string())
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn plain_pod() -> Value {
    admitted(json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "demo",
            "labels": { "app": "demo", "tier": "gold", "track": "stable" },
        },
        "spec": { "containers": [
            { "name": "app", "image": "demo", "ports": [{ "containerPort": 8080 }] },
        ] },
    }))
}

fn sidecar(pod: &mut Value, index: usize) -> &mut Value {
    &mut pod["spec"]["initContainers"][index]
}

#[test]
fn the_policy_refuses_selected_pods_without_their_sidecar() {
    let guarded = Guarded::prepare();
    let pod = plain_pod();
    let injected = guarded.injected(&pod);
    let _ = guarded.create(&injected).succeeded();
    let refused = guarded.create(&pod).failed();
    assert!(
        refused.contains("McpGateway demo selects this pod"),
        "{refused}"
    );
    assert!(refused.contains("no sidecar"), "{refused}");
    let _ = create(guarded.server, "free", &pod).succeeded();

    selectors_are_read_as_kubernetes_reads_them(&guarded);
    alterations_are_refused(&guarded, &injected);
    changes_are_judged_by_what_they_touch(&guarded, &injected);
}

fn selectors_are_read_as_kubernetes_reads_them(guarded: &Guarded) {
    for (labels, selected) in [
        (
            json!({ "app": "demo", "tier": "lead", "track": "x", "zone": "y" }),
            true,
        ),
        (
            json!({ "app": "other", "tier": "gold", "track": "x" }),
            false,
        ),
        (json!({ "tier": "gold", "track": "x" }), false),
        (json!({ "app": "demo", "tier": "tin", "track": "x" }), false),
        (json!({ "app": "demo", "track": "x" }), false),
        (json!({ "app": "demo", "tier": "gold" }), false),
        (
            json!({ "app": "demo", "tier": "gold", "track": "x", "canary": "" }),
            false,
        ),
        (
            json!({ "app": "demo", "tier": "gold", "track": "x", "zone": "x" }),
            false,
        ),
        (json!({ "app": "demo", "tier": "gold", "track": "" }), true),
        (Value::Null, false),
    ] {
        let mut pod = plain_pod();
        pod["metadata"]["labels"] = labels.clone();
        let answer = guarded.create(&pod);
        assert_eq!(answer.success, !selected, "{labels}: {}", answer.stderr);
    }
}

type Alteration = (&'static str, fn(&mut Value));

/// Index 0 is the port holder, 1 the sidecar.
const ALTERATIONS: [Alteration; 34] = [
    ("hostNetwork", |pod| {
        pod["spec"]["hostNetwork"] = json!(true);
    }),
    ("no sidecar", |pod| {
        pod["spec"]["initContainers"].as_array_mut().unwrap().pop();
    }),
    ("no init containers", |pod| {
        pod["spec"]["initContainers"] = json!([]);
    }),
    ("as the injector", |pod| {
        let members = sidecar(pod, 1).as_object_mut().unwrap();
        // The API server itself knows that others have no such things.
        for member in [
            "restartPolicy",
            "lifecycle",
            "readinessProbe",
            "startupProbe",
        ] {
            members.remove(member);
        }
    }),
    ("as the injector", |pod| {
        sidecar(pod, 1)["command"] = json!(["sh"]);
    }),
    ("as the injector", |pod| {
        sidecar(pod, 1)["args"] = json!(["version"]);
    }),
    ("as the injector", |pod| {
        sidecar(pod, 1)["args"] = json!(["run", "--config", "/x"]);
    }),
    ("as the injector", |pod| {
        sidecar(pod, 1)["image"] = json!("evil");
    }),
    ("as the injector", |pod| {
        sidecar(pod, 1)["envFrom"] = json!([{ "configMapRef": { "name": "x" } }]);
    }),
    ("as the injector", |pod| {
        sidecar(pod, 1)["securityContext"] = Value::Null;
    }),
    ("as the injector", |pod| {
        sidecar(pod, 1)["securityContext"]["readOnlyRootFilesystem"] = json!(false);
    }),
    ("as the injector", |pod| {
        sidecar(pod, 1)["securityContext"]["capabilities"]["add"] = json!(["NET_ADMIN"]);
    }),
    ("as the injector", |pod| {
        sidecar(pod, 1)["startupProbe"] = Value::Null;
    }),
    ("as the injector", |pod| {
        more(pod, 1, &["--trust-dir", "/x"]);
    }),
    ("as the injector", |pod| more(pod, 1, &["--state-dir=/x"])),
    ("as the injector", |pod| {
        more(pod, 1, &["--token-file", "/x"]);
    }),
    ("as the injector", |pod| {
        more(pod, 1, &["--bind", "demo=127.0.0.1:1"]);
    }),
    ("as the injector", |pod| {
        more(pod, 1, &["--control-plane", "https://evil.example:9443"]);
    }),
    ("as the injector", |pod| {
        more(pod, 1, &["--control-plane=https://evil.example:9443"]);
    }),
    ("as the injector", |pod| {
        sidecar(pod, 1)["securityContext"]["runAsUser"] = json!(1000);
    }),
    ("as the injector", |pod| {
        mount_evil(pod, "/run/sidegate/trust/endpoints.crt");
    }),
    ("as the injector", |pod| mount_evil(pod, "/run/")),
    ("as the injector", |pod| mount_evil(pod, "/sidegate")),
    ("as the injector", |pod| {
        mount_evil(pod, "/etc/../run/sidegate/trust");
    }),
    ("holds the sidecar's ports", |pod| more(pod, 0, &["--help"])),
    ("a volume of the sidecar", |pod| {
        *volume(pod, "sidegate-trust") =
            json!({ "name": "sidegate-trust", "configMap": { "name": "mine" } });
    }),
    ("a volume of the sidecar", |pod| {
        *volume(pod, "sidegate-token") =
            json!({ "name": "sidegate-token", "secret": { "secretName": "x" } });
    }),
    ("a volume of the sidecar", |pod| {
        *volume(pod, "sidegate-state") = json!({ "name": "sidegate-state", "emptyDir": {} });
    }),
    ("holds the sidecar's ports", |pod| {
        pod["spec"]["initContainers"]
            .as_array_mut()
            .unwrap()
            .remove(0);
    }),
    ("holds the sidecar's ports", |pod| {
        sidecar(pod, 0)["args"][3] = json!("8081");
    }),
    ("holds the sidecar's ports", |pod| {
        sidecar(pod, 0)["image"] = json!("evil");
    }),
    ("holds the sidecar's ports", |pod| {
        sidecar(pod, 0)["command"] = json!(["sh"]);
    }),
    ("only the sidecar may mount", |pod| {
        pod["spec"]["containers"][0]["volumeMounts"] =
            json!([{ "name": "sidegate-state", "mountPath": "/x" }]);
    }),
    ("only the sidecar may mount", |pod| {
        let peek = json!({
            "name": "peek", "image": "x",
            "volumeMounts": [{ "name": "sidegate-token", "mountPath": "/x" }],
        });
        pod["spec"]["initContainers"]
            .as_array_mut()
            .unwrap()
            .push(peek);
    }),
];

fn more(pod: &mut Value, index: usize, arguments: &[&str]) {
    let args = sidecar(pod, index)["args"].as_array_mut().unwrap();
    args.extend(arguments.iter().map(|it| json!(it)));
}

fn mount_evil(pod: &mut Value, path: &str) {
    let spec = &mut pod["spec"];
    let volumes = spec["volumes"].as_array_mut().unwrap();
    volumes.push(json!({ "name": "evil", "configMap": { "name": "mine" } }));
    let mounts = spec["initContainers"][1]["volumeMounts"].as_array_mut();
    mounts
        .unwrap()
        .push(json!({ "name": "evil", "mountPath": path }));
}

fn volume<'a>(pod: &'a mut Value, name: &str) -> &'a mut Value {
    let volumes = pod["spec"]["volumes"].as_array_mut().unwrap();
    volumes.iter_mut().find(|it| it["name"] == name).unwrap()
}

fn alterations_are_refused(guarded: &Guarded, injected: &Value) {
    for (index, (reason, alter)) in ALTERATIONS.iter().enumerate() {
        let mut pod = injected.clone();
        alter(&mut pod);
        let refused = guarded.create(&pod).failed();
        let reason = match *reason {
            "no init containers" => "no sidecar",
            reason => reason,
        };
        assert!(refused.contains(reason), "alteration {index}: {refused}");
    }
    // What other webhooks add to every container.
    let mut pod = injected.clone();
    mount_evil(
        &mut pod,
        "/var/run/secrets/eks.amazonaws.com/serviceaccount",
    );
    let _ = guarded.create(&pod).succeeded();
}

fn changes_are_judged_by_what_they_touch(guarded: &Guarded, injected: &Value) {
    // Older than its gateway, as far as the policy can tell.
    let mut unguarded = plain_pod();
    unguarded["metadata"]["name"] = json!("older");
    unguarded["metadata"]["labels"] = json!({ "app": "other" });
    unguarded["metadata"]["finalizers"] = json!(["example.com/f"]);
    let _ = guarded
        .kubectl(&["create", "-f", "-"], &unguarded)
        .succeeded();
    let nothing = Value::Null;
    let label = [
        "label",
        "--overwrite",
        "pod",
        "older",
        "app=demo",
        "tier=gold",
        "track=x",
    ];
    let refused = guarded.kubectl(&label, &nothing).failed();
    assert!(refused.contains("no sidecar"), "{refused}");
    let annotate = ["annotate", "pod", "older", "a=b"];
    let _ = guarded.kubectl(&annotate, &nothing).succeeded();

    let _ = guarded
        .kubectl(&["create", "-f", "-"], injected)
        .succeeded();
    let image = ["set", "image", "pod/demo", "sidegate=evil"];
    let refused = guarded.kubectl(&image, &nothing).failed();
    assert!(refused.contains("image of the sidecar"), "{refused}");
    let image = ["set", "image", "pod/demo", "app=demo2"];
    let _ = guarded.kubectl(&image, &nothing).succeeded();
    let label = ["label", "pod", "demo", "note=x"];
    let _ = guarded.kubectl(&label, &nothing).succeeded();

    let debug = |container: Value| {
        let patch = json!({ "spec": { "ephemeralContainers": [container] } }).to_string();
        let arguments = [
            "patch",
            "pod",
            "demo",
            "--subresource=ephemeralcontainers",
            "-p",
            &patch,
        ];
        guarded.kubectl(&arguments, &nothing)
    };
    let mounting = |name: &str, mount: &str| {
        let mounts = json!([{ "name": mount, "mountPath": "/x" }]);
        json!({ "name": name, "image": "x", "volumeMounts": mounts })
    };
    let refused = debug(mounting("debug", "sidegate-state")).failed();
    assert!(refused.contains("only the sidecar may mount"), "{refused}");
    let as_user = |user: u64| json!({ "name": "user", "image": "x", "securityContext": { "runAsUser": user } });
    let aimed =
        |target: &str| json!({ "name": "aimed", "image": "x", "targetContainerName": target });
    for container in [as_user(64_020), aimed("sidegate"), aimed("sidegate-hold")] {
        let refused = debug(container).failed();
        let said = "an ephemeral container must not be user 64020";
        assert!(refused.contains(said), "{refused}");
    }
    let _ = debug(mounting("debug", "sidegate-trust")).succeeded();
    let _ = debug(as_user(64_021)).succeeded();
    let _ = debug(aimed("app")).succeeded();
    let note = ["label", "--overwrite", "pod", "demo", "note=y"];
    let _ = guarded.kubectl(&note, &nothing).succeeded();

    an_unguarded_pod_can_go(guarded);
}

/// A gateway that came after its pods must not keep them from going.
fn an_unguarded_pod_can_go(guarded: &Guarded) {
    let second = json!({
        "apiVersion": "sidegate.dev/v1alpha1",
        "kind": "McpGateway",
        "metadata": { "name": "later" },
        "spec": {
            "selector": { "matchLabels": { "app": "other" } },
            "servers": [{ "name": "x", "port": 8080, "resources": ["https://x.example.com/mcp"] }],
            "authentication": { "jwt": [{
                "issuer": "https://idp.example.com/",
                "jwks": { "uri": "https://idp.example.com/jwks" },
            }] },
            "authorization": { "rules": [{ "name": "a", "tools": ["*"] }] },
        },
    });
    let _ = guarded.kubectl(&["create", "-f", "-"], &second).succeeded();
    let mut new = plain_pod();
    new["metadata"]["labels"] = json!({ "app": "other" });
    until("the second gateway is known", || {
        !guarded.create(&new).success
    });

    let nothing = Value::Null;
    let _ = guarded
        .kubectl(
            &["delete", "pod", "older", "--wait=false", "--grace-period=0"],
            &nothing,
        )
        .succeeded();
    let finalizers = r#"{"metadata":{"finalizers":null}}"#;
    let _ = guarded
        .kubectl(&["patch", "pod", "older", "-p", finalizers], &nothing)
        .succeeded();
    until("the pod is gone", || {
        !guarded.kubectl(&["get", "pod", "older"], &nothing).success
    });
}
