//! The webhook and the policy behind it, as a real API server asks them.
//!
//! What the shipped manifests say is applied as it is; only the address of the
//! webhook is that of an operator beside the test, and each test's webhook is
//! for its own namespace.

mod memory;
mod odd_pods;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use kube::Client;
use kube::api::{Api, DynamicObject, PostParams};
use serde_json::{Value, json};
use sidegate_operator::authority::Lifetimes;
use sidegate_operator::manifests::{self, Images};
use sidegate_operator::run::Operator;
use sidegate_testkit::apiserver::ApiServer;

use crate::authority::{authority, operator_with, until};
use crate::cluster::{Cluster, config, install_crds, metric, spec};

const WEBHOOK: &str = "MutatingWebhookConfiguration";
const POLICIES: [&str; 2] = [
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
];

// === preparing ===

/// An API server with the definitions and the shipped policy. It is not the one
/// that other tests share: they create pods that a webhook would refuse.
fn server() -> &'static ApiServer {
    static SERVER: OnceLock<ApiServer> = OnceLock::new();
    SERVER.get_or_init(|| {
        let server = ApiServer::start();
        install_crds(&server);
        for policy in shipped(&POLICIES) {
            let apply = ["apply", "--server-side", "-f", "-"];
            let _ = server.kubectl(&apply, &policy.to_string()).succeeded();
        }
        server
    })
}

pub(crate) fn shipped(kinds: &[&str]) -> Vec<Value> {
    let images = Images {
        operator: "operator:1".to_owned(),
        sidecar: "sidegate:1".to_owned(),
    };
    let objects = manifests::objects(&images).into_iter();
    objects
        .filter(|it| kinds.iter().any(|kind| it["kind"] == *kind))
        .collect()
}

pub(crate) async fn cluster(namespace: &str) -> Cluster {
    let server = tokio::task::spawn_blocking(server).await.expect("a server");
    let client = Client::try_from(config(server.kubeconfig()).await).expect("a client");
    let cluster = Cluster {
        server,
        client,
        namespace: namespace.to_owned(),
    };
    cluster.label_namespace("enabled").await;
    cluster
}

/// An operator whose webhook the API server asks about the namespace.
pub(crate) async fn guard(cluster: &Cluster) -> Operator {
    guard_with(cluster, |_| {}).await
}

async fn guard_with(
    cluster: &Cluster,
    change: impl FnOnce(&mut sidegate_operator::authority::AuthoritySettings),
) -> Operator {
    let mut authority = authority(cluster);
    authority.endpoint_names.push("localhost".to_owned());
    change(&mut authority);
    let name = authority.webhook_configuration.clone();
    let operator = operator_with(cluster, authority).await;
    register(cluster, &name, operator.webhook().port());
    let mut probe = pod("probe");
    probe["metadata"]["labels"] = json!({"app": "nobody"});
    until("the webhook is asked", || async {
        let before = reviews(&operator, "untouched").await;
        let _refused_at_first = create(cluster, &probe).await;
        (reviews(&operator, "untouched").await > before).then_some(())
    })
    .await;
    operator
}

/// Registers the shipped webhook under another address.
fn register(cluster: &Cluster, name: &str, port: u16) {
    let mut webhook = shipped(&[WEBHOOK]).remove(0);
    webhook["metadata"]["name"] = json!(name);
    let hook = &mut webhook["webhooks"][0];
    hook["clientConfig"] = json!({"url": format!("https://localhost:{port}/inject")});
    let required = hook["namespaceSelector"]["matchExpressions"].as_array_mut();
    required.expect("requirements").push(json!({
        "key": "kubernetes.io/metadata.name", "operator": "In", "values": [cluster.namespace],
    }));
    let apply = ["apply", "--server-side", "-f", "-"];
    let _ = cluster
        .server
        .kubectl(&apply, &webhook.to_string())
        .succeeded();
}

pub(crate) async fn reviews(operator: &Operator, result: &str) -> u64 {
    let sample = format!("sidegate_operator_webhook_reviews_total{{result=\"{result}\"}}");
    metric(operator, &sample).await
}

/// A pod that Pod Security `restricted` accepts. The service account is what an
/// admission plugin would set that needs controllers.
pub(crate) fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "support"}},
        "spec": {
            "serviceAccountName": "default",
            "securityContext": {
                "runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [{
                "name": "app",
                "image": "app",
                "ports": [{"containerPort": 8080}],
                "securityContext": {
                    "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
                },
            }],
        },
    })
}

/// What would become of a pod.
pub(crate) async fn create(cluster: &Cluster, pod: &Value) -> Result<Value, String> {
    create_in(cluster, &cluster.namespace, pod).await
}

async fn create_in(cluster: &Cluster, namespace: &str, pod: &Value) -> Result<Value, String> {
    let core = kube::core::GroupVersionKind::gvk("", "v1", "Pod");
    let resource = kube::core::ApiResource::from_gvk(&core);
    let api: Api<DynamicObject> =
        Api::namespaced_with(cluster.client.clone(), namespace, &resource);
    let request = api_request(&api, pod)?;
    let created = cluster.client.request::<Value>(request).await;
    created.map_err(|error| error.to_string())
}

/// As the text says it, however odd: a typed pod would not.
fn api_request(api: &Api<DynamicObject>, pod: &Value) -> Result<http::Request<Vec<u8>>, String> {
    let params = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let request = kube::core::Request::new(api.resource_url());
    request
        .create(&params, pod.to_string().into_bytes())
        .map_err(|error| error.to_string())
}

/// A reason of the policy, and what gives it.
type Alteration = (&'static str, fn(&mut Value));

pub(crate) fn names(containers: &Value) -> Vec<&str> {
    let containers = containers.as_array().into_iter().flatten();
    containers.filter_map(|it| it["name"].as_str()).collect()
}

// === tests ===

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_is_created_gets_its_sidecar_or_is_refused() {
    let cluster = cluster("webhook-pods").await;
    let restricted = ["label", "namespace", "webhook-pods"];
    let restricted = [
        &restricted[..],
        &["pod-security.kubernetes.io/enforce=restricted"],
    ]
    .concat();
    let _ = cluster.server.kubectl(&restricted, "").succeeded();
    let operator = guard(&cluster).await;
    cluster.gateway("support", &spec("support")).await;

    // At once: the webhook reads gateways live, whatever watches know. The
    // policy learns of them from a watch, and has nothing against such a pod.
    let kubectl = ["create", "-n", "webhook-pods", "-o", "json", "-f", "-"];
    let created = cluster.server.kubectl(&kubectl, &pod("first").to_string());
    let created: Value = serde_json::from_str(&created.succeeded()).expect("a pod");
    let inits = &created["spec"]["initContainers"];
    assert_eq!(names(inits), ["sidegate-hold", "sidegate"]);
    assert_eq!(inits[1]["image"], "sidegate:1");
    assert_eq!(inits[1]["restartPolicy"], "Always");

    // A second time, as after other webhooks or from a copy: nothing changes.
    let mut copy = created.clone();
    copy["metadata"] = json!({
        "name": "copy",
        "labels": created["metadata"]["labels"],
        "annotations": created["metadata"]["annotations"],
    });
    copy["status"] = Value::Null;
    let before = reviews(&operator, "present").await;
    let again = create(&cluster, &copy).await.expect("it is accepted");
    assert_eq!(again["spec"], created["spec"]);
    assert_eq!(reviews(&operator, "present").await, before + 1);

    let mut host = pod("host");
    host["spec"]["hostNetwork"] = json!(true);
    let mut other = pod("other");
    other["metadata"]["labels"] = json!({"app": "other"});
    let mut caller = other.clone();
    caller["metadata"]["annotations"] = json!({"sidegate.dev/identity": "Files"});
    let refused = create(&cluster, &host).await.expect_err("it is refused");
    assert!(refused.contains("hostNetwork"), "{refused}");
    let untouched = create(&cluster, &other).await.expect("it is accepted");
    assert_eq!(names(&untouched["spec"]["initContainers"]), [""; 0]);
    let identified = create(&cluster, &caller).await.expect("it is accepted");
    let inits = &identified["spec"]["initContainers"];
    assert_eq!(names(inits), ["sidegate-identity"]);
    operator.stop().await.expect("it stops");
}

/// A webhook that runs after ours may do anything; the policy sees it.
#[tokio::test(flavor = "multi_thread")]
async fn the_policy_refuses_what_the_webhook_did_not_make() {
    let cluster = cluster("webhook-policy").await;
    let operator = guard(&cluster).await;
    cluster.gateway("support", &spec("support")).await;
    let injected = create(&cluster, &pod("demo")).await.expect("a sidecar");
    operator.stop().await.expect("it stops");
    let name = "sidegate-injector-webhook-policy";
    let delete = ["delete", "mutatingwebhookconfigurations", name];
    let _ = cluster.server.kubectl(&delete, "").succeeded();

    let mut whole = pod("demo");
    whole["metadata"]["annotations"] = injected["metadata"]["annotations"].clone();
    whole["spec"] = injected["spec"].clone();
    until("the policy alone decides", || async {
        let refused = create(&cluster, &pod("demo")).await.err()?;
        refused.contains("no sidecar").then_some(())
    })
    .await;
    let _ = create(&cluster, &whole).await.expect("it is accepted");
    let alterations: [Alteration; 5] = [
        ("no sidecar", |pod| {
            pod["spec"]["initContainers"]
                .as_array_mut()
                .expect("a list")
                .pop();
        }),
        ("as the injector", |pod| {
            pod["spec"]["initContainers"][1]["args"] = json!(["run", "--config", "/x"]);
        }),
        ("as the injector", |pod| {
            pod["spec"]["initContainers"][1]["command"] = json!(["sleep"]);
        }),
        ("holds the sidecar's ports", |pod| {
            pod["spec"]["initContainers"]
                .as_array_mut()
                .expect("a list")
                .remove(0);
        }),
        ("only the sidecar may mount", |pod| {
            pod["spec"]["containers"][0]["volumeMounts"] =
                json!([{"name": "sidegate-state", "mountPath": "/x"}]);
        }),
    ];
    for (reason, alter) in alterations {
        let mut altered = whole.clone();
        alter(&mut altered);
        let refused = create(&cluster, &altered).await.expect_err("it is refused");
        assert!(refused.contains(reason), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_webhook_only_namespaces_that_opted_in_are_blocked() {
    let cluster = cluster("webhook-down").await;
    let operator = guard(&cluster).await;
    cluster.server.namespace("webhook-free");
    let _ = create(&cluster, &pod("before"))
        .await
        .expect("it is accepted");
    operator.stop().await.expect("it stops");
    let refused = create(&cluster, &pod("after")).await;
    let refused = refused.expect_err("nobody could guard it");
    assert!(refused.contains("inject.sidegate.dev"), "{refused}");
    let _ = create_in(&cluster, "webhook-free", &pod("after"))
        .await
        .expect("nobody is asked about it");
}

/// Certificates of three seconds: each is renewed after two. Roots change, too.
#[tokio::test(flavor = "multi_thread")]
async fn pods_are_created_while_certificates_and_roots_change() {
    const EXPIRY: &str = "sidegate_operator_webhook_certificate_expiry_timestamp_seconds";
    let cluster = cluster("webhook-rotation").await;
    let operator = guard_with(&cluster, |authority| {
        authority.endpoints = Lifetimes {
            root: Duration::from_secs(24 * 3600),
            leaf: Duration::from_secs(3),
            spread: Duration::from_secs(3),
        };
    })
    .await;
    cluster.gateway("support", &spec("support")).await;
    let rotate = [
        "annotate",
        "secret",
        "sidegate-authority",
        "-n",
        "webhook-rotation",
    ];
    let rotate = [&rotate[..], &["sidegate.dev/rotate=endpoints"]].concat();
    let _ = cluster.server.kubectl(&rotate, "").succeeded();

    let (created, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    let creating = async {
        while !done.load(Ordering::SeqCst) {
            let number = created.fetch_add(1, Ordering::SeqCst);
            let pod = create(&cluster, &pod(&format!("pod-{number}"))).await;
            let pod = pod.unwrap_or_else(|error| panic!("pod {number}: {error}"));
            assert_eq!(names(&pod["spec"]["initContainers"])[1], "sidegate");
        }
    };
    let changing = async {
        let first = metric(&operator, EXPIRY).await;
        let rotations = "sidegate_operator_authority_rotations_total{set=\"endpoints\"}";
        until("another root and other certificates", || async {
            // A connection that stays shows nothing new; this one is new.
            let _ = tokio::net::TcpStream::connect(operator.webhook()).await;
            let renewed = metric(&operator, EXPIRY).await > first + 6;
            (renewed && metric(&operator, rotations).await > 0).then_some(())
        })
        .await;
        done.store(true, Ordering::SeqCst);
    };
    let ((), ()) = tokio::join!(creating, changing);
    let created = created.load(Ordering::SeqCst);
    println!("{created} pods were created meanwhile");
    assert!(created > 20, "{created}");
    operator.stop().await.expect("it stops");
}

/// WHK-010.
/// What was stored before its definition had rules, or by a newer version.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_cannot_be_read_lets_none_of_its_pods_through() {
    // It is about the definition, so nothing else may be there.
    let cluster = Cluster::alone("webhook-odd-gateway").await;
    install_crds(cluster.server);
    let operator = guard(&cluster).await;
    let _ = lenient_definition(cluster.server).succeeded();
    let mut odd = spec("support");
    odd["servers"][0]["port"] = json!("eighty");
    until("the definition allows anything", || async {
        let object = json!({
            "apiVersion": "sidegate.dev/v1alpha1", "kind": "McpGateway",
            "metadata": {"name": "odd", "namespace": "webhook-odd-gateway"}, "spec": odd,
        });
        let apply = ["apply", "--server-side", "-f", "-"];
        let applied = cluster.server.kubectl(&apply, &object.to_string());
        applied.success.then_some(())
    })
    .await;
    let refused = create(&cluster, &pod("demo")).await;
    let refused = refused.expect_err("no guard for it");
    assert!(refused.contains("McpGateway odd"), "{refused}");
    let mut other = pod("other");
    other["metadata"]["labels"] = json!({"app": "other"});
    let _ = create(&cluster, &other).await.expect("another one's pod");
    operator.stop().await.expect("it stops");
}

/// The definition of gateways without what it asks of them.
fn lenient_definition(server: &ApiServer) -> sidegate_testkit::apiserver::Answer {
    let read = ["get", "crd", "mcpgateways.sidegate.dev", "-o", "json"];
    let read = server.kubectl(&read, "").succeeded();
    let mut definition: Value = serde_json::from_str(&read).expect("JSON");
    let version = &mut definition["spec"]["versions"][0];
    version["schema"]["openAPIV3Schema"] =
        json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let arguments = ["replace", "-f", "-"];
    server.kubectl(&arguments, &definition.to_string())
}
