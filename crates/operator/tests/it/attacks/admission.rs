//! Attempts by way of the webhook.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use serde_json::{Value, json};
use sidegate_testkit::client::Client;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::authority::until;
use crate::cluster::{gateway, spec};
use crate::webhook::{cluster, create, guard, names, pod, reviews};

/// A port that counts who connects, as an attacker would.
struct Trap {
    port: u16,
    caught: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

// === impl Trap ===

impl Trap {
    async fn set() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let caught = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&caught);
        let task = tokio::spawn(async move {
            while listener.accept().await.is_ok() {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { port, caught, task }
    }

    fn url(&self, path: &str) -> String {
        format!("https://localhost:{}/{path}", self.port)
    }

    fn caught(&self) -> usize {
        self.caught.load(Ordering::SeqCst)
    }
}

impl Drop for Trap {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// WHK-001: addresses in gateways and pods are texts. Nobody is connected to:
/// neither while a pod is reviewed, nor when the gateway is assessed.
#[tokio::test(flavor = "multi_thread")]
async fn addresses_in_objects_are_not_connected_to() {
    let cluster = cluster("attack-urls").await;
    let operator = guard(&cluster).await;
    let trap = Trap::set().await;
    let mut evil = spec("support");
    evil["servers"][0]["resources"] = json!([trap.url("mcp")]);
    evil["servers"][0]["allowedOrigins"] = json!([format!("https://localhost:{}", trap.port)]);
    evil["authentication"]["jwt"][0] = json!({
        "issuer": trap.url("issuer"),
        "jwks": {"uri": trap.url("jwks")},
    });
    evil["remoteServers"] = json!([
        {"name": "far", "url": trap.url("far"), "listenPort": 15081},
    ]);
    cluster.gateway("support", &evil).await;
    let mut victim = pod("victim");
    victim["metadata"]["annotations"] = json!({"example.com/url": trap.url("annotation")});
    let container = &mut victim["spec"]["containers"][0];
    container["image"] = json!(format!("localhost:{}/image", trap.port));
    container["livenessProbe"] = json!({
        "httpGet": {"port": 8080, "path": trap.url("probe")},
    });
    container["env"] = json!([{"name": "A", "value": trap.url("env")}]);
    for _ in 0..20 {
        let created = create(&cluster, &victim).await.expect("it is accepted");
        assert_eq!(names(&created["spec"]["initContainers"])[1], "sidegate");
    }
    // What the leader thinks of the gateway is told by then, too.
    cluster
        .until_status("support", |status| status["conditions"].is_array())
        .await;
    assert_eq!(trap.caught(), 0);
    // The trap works.
    let _connected = tokio::net::TcpStream::connect(("127.0.0.1", trap.port)).await;
    until("the trap", || async { (trap.caught() == 1).then_some(()) }).await;
    operator.stop().await.expect("it stops");
}

/// WHK-003: who is not the API server gets an answer, which changes nothing
/// and says nothing of what a gateway is for.
#[tokio::test(flavor = "multi_thread")]
async fn a_review_by_anybody_changes_and_reveals_nothing() {
    let cluster = cluster("attack-anybody").await;
    let operator = guard(&cluster).await;
    let mut secretive = spec("support");
    secretive["servers"][0]["resources"] = json!(["https://canary-resource.example/mcp"]);
    secretive["authentication"]["jwt"][0] = json!({
        "issuer": "https://canary-issuer.example/",
        "audiences": ["canary-audience"],
        "jwks": {"uri": "https://canary-keys.example/jwks"},
    });
    secretive["authorization"]["rules"] = json!([{
        "name": "canary-rule", "tools": ["canary_tool"], "requiredScopes": ["canary:scope"],
    }]);
    secretive["tls"] = json!({"mode": "Mutual", "certificateRef": {"name": "canary-secret"}});
    let before = cluster.gateway("support", &secretive).await;
    let roots = cluster.get("ConfigMap", "sidegate-trust").await;
    let roots = roots.data["data"]["endpoints.crt"].as_str().expect("roots");
    let stranger = Client::tls(operator.webhook(), roots);
    let mut reviewed = pod("forged");
    let question = |pod: &Value, namespace: &str| {
        json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
                "kind": {"group": "", "version": "v1", "kind": "Pod"},
                "resource": {"group": "", "version": "v1", "resource": "pods"},
                "namespace": namespace,
                "operation": "CREATE",
                "userInfo": {"username": "system:admin", "groups": ["system:masters"]},
                "object": pod,
            },
        })
    };
    for (namespace, app) in [
        ("attack-anybody", "support"),
        ("attack-anybody", "nobody"),
        ("kube-system", "support"),
        ("no-such-namespace", "support"),
    ] {
        reviewed["metadata"]["labels"]["app"] = json!(app);
        let request = http::Request::post("/inject")
            .header("content-type", "application/json")
            .body(Bytes::from(question(&reviewed, namespace).to_string()));
        let answer = stranger.send(request.expect("a request")).await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());
        let response = answer.json()["response"].take();
        let patch = response["patch"].as_str().unwrap_or_default();
        let patch = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, patch);
        let patch = String::from_utf8(patch.expect("base64")).expect("a text");
        assert!(!patch.contains("canary"), "{patch}");
        assert!(!response.to_string().contains("canary"), "{response}");
    }
    let pods = cluster.api("Pod").list(&Default::default()).await;
    assert_eq!(pods.expect("a list").items.len(), 0);
    let after = cluster.get("McpGateway", "support").await;
    assert_eq!(after.data["spec"], before.data["spec"]);
    operator.stop().await.expect("it stops");
}

/// WHK-011: what a sidecar is, only the operator's administrator says.
#[tokio::test(flavor = "multi_thread")]
async fn a_pod_cannot_choose_its_sidecar() {
    let cluster = cluster("attack-annotations").await;
    let operator = guard(&cluster).await;
    cluster.gateway("support", &spec("support")).await;
    let with = |annotation: &str, value: &str| {
        let mut pod = pod("chooser");
        pod["metadata"]["annotations"] = json!({annotation: value});
        pod
    };
    // Ours: an annotation that does nothing would deceive its author.
    for name in [
        "sidegate.dev/image",
        "sidegate.dev/command",
        "sidegate.dev/args",
        "sidegate.dev/privileged",
        "sidegate.dev/run-as-user",
        "sidegate.dev/control-plane-url",
        "sidegate.dev/inject",
    ] {
        let refused = create(&cluster, &with(name, "evil")).await;
        let refused = refused.expect_err("it is refused");
        assert!(refused.contains(name), "{refused}");
        assert!(!refused.contains("evil"), "{refused}");
    }
    let plain = create(&cluster, &pod("chooser")).await.expect("a sidecar");
    let sidecars = &plain["spec"]["initContainers"];
    for (name, value) in [
        ("sidecar.istio.io/proxyImage", "evil"),
        ("example.com/sidegate-image", "evil"),
        ("sidegate.dev.example.com/image", "evil"),
        ("sidegate.dev/injected", "evil"),
    ] {
        let created = create(&cluster, &with(name, value)).await;
        let created = created.expect("it is accepted");
        assert_eq!(&created["spec"]["initContainers"], sidecars, "{name}");
    }
    assert_eq!(sidecars[1]["image"], "sidegate:1");
    assert_eq!(sidecars[1].get("command"), None);
    // What may be chosen is bounded, and changes nothing else.
    let created = create(&cluster, &with("sidegate.dev/memory", "96Mi")).await;
    let mut chosen = created.expect("it is accepted")["spec"]["initContainers"].take();
    assert_eq!(chosen[1]["resources"]["limits"]["memory"], "96Mi");
    chosen[1]["resources"] = sidecars[1]["resources"].clone();
    assert_eq!(&chosen, sidecars);
    assert!(reviews(&operator, "refused").await >= 7);
    operator.stop().await.expect("it stops");
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        let is_test = path.file_stem().is_some_and(|name| name == "tests");
        if path.is_dir() && !is_test {
            sources(&path, found);
        } else if path.extension().is_some_and(|it| it == "rs") && !is_test {
            found.push(path);
        }
    }
}

/// WHK-002: what a review leads to is computed, and nothing else happens: the
/// code of it starts no program, touches no file and renders no template. (That
/// the same review has the same answer is a law of the injector's tests.)
#[test]
fn reviews_start_no_program_and_touch_no_file() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = vec![src.join("injector.rs"), src.join("webhook.rs")];
    for dir in ["injector", "webhook"] {
        sources(&src.join(dir), &mut found);
    }
    assert!(found.len() > 15, "{found:?}");
    for file in found {
        let text = fs::read_to_string(&file).expect("a text");
        for forbidden in [
            "std::process",
            "tokio::process",
            "std::fs",
            "tokio::fs",
            "std::env",
            "Command::new",
            "include_str!",
        ] {
            let place = file.display();
            assert!(!text.contains(forbidden), "{place} uses {forbidden}");
        }
    }
}

/// WHK-010, for the webhook: what stands in the store is not believed because
/// it is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_with_nothing_to_enforce_guards_its_pods_all_the_same() {
    let cluster = cluster("attack-empty").await;
    let operator = guard(&cluster).await;
    let mut broken = spec("support");
    broken["authorization"]["rules"][0]["when"] = json!("args.a ==");
    let _stored = cluster.apply(gateway("support", &broken)).await;
    let created = create(&cluster, &pod("guarded")).await.expect("a sidecar");
    assert_eq!(names(&created["spec"]["initContainers"])[1], "sidegate");
    cluster
        .until("support", "Accepted", ("False", "Invalid"))
        .await;
    operator.stop().await.expect("it stops");
}
