//! The API server, and an operator beside a test.

use std::sync::OnceLock;
use std::time::Duration;

use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, ResourceExt as _};
use serde_json::{Value, json};
use sidegate_operator::authority::AuthoritySettings;
use sidegate_operator::injector::InjectorSettings;
use sidegate_operator::run::{Operator, Settings};
use sidegate_testkit::apiserver::ApiServer;
use tokio::time::{Instant, sleep};

/// Several tests at once on a small machine, and retries of the operator.
pub(crate) const PATIENCE: Duration = Duration::from_secs(45);
pub(crate) const STEP: Duration = Duration::from_millis(25);

/// The API server as one test sees it, with a namespace of its own.
pub(crate) struct Cluster {
    pub(crate) server: &'static ApiServer,
    pub(crate) client: Client,
    pub(crate) namespace: String,
}

/// A condition, for comparison: status and reason.
pub(crate) type Words<'a> = (&'a str, &'a str);

// === impl Cluster ===

impl Cluster {
    /// A namespace for one test, in the server that tests share. It allows
    /// injection.
    pub(crate) async fn new(namespace: &str) -> Self {
        static READY: OnceLock<()> = OnceLock::new();
        let server = ApiServer::shared();
        READY.get_or_init(|| install_crds(server));
        let client = Client::try_from(config(server.kubeconfig()).await).expect("a client");
        let cluster = Self {
            server,
            client,
            namespace: namespace.to_owned(),
        };
        cluster.label_namespace("enabled").await;
        cluster
    }

    /// A namespace in a server of its own, without definitions. The server's
    /// programs end with the process.
    pub(crate) async fn alone(namespace: &str) -> Self {
        let server: &'static ApiServer = Box::leak(Box::new(ApiServer::start()));
        let client = Client::try_from(config(server.kubeconfig()).await).expect("a client");
        let cluster = Self {
            server,
            client,
            namespace: namespace.to_owned(),
        };
        cluster.label_namespace("enabled").await;
        cluster
    }

    /// Another namespace of the same server.
    pub(crate) fn beside(&self, namespace: &str) -> Self {
        Self {
            server: self.server,
            client: self.client.clone(),
            namespace: namespace.to_owned(),
        }
    }

    pub(crate) async fn label_namespace(&self, injection: &str) {
        let labels = json!({"sidegate.dev/injection": injection});
        apply(
            &self.client,
            &json!({
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {"name": self.namespace, "labels": labels},
            }),
        )
        .await;
    }

    /// Starts an operator for the namespace.
    pub(crate) async fn operator(&self) -> Operator {
        self.operator_as(self.client.clone()).await
    }

    pub(crate) async fn operator_as(&self, client: Client) -> Operator {
        let settings = settings(&self.namespace);
        Operator::start(client, settings).await.expect("it starts")
    }

    /// Applies an object of the namespace and returns what it became.
    pub(crate) async fn apply(&self, mut object: Value) -> DynamicObject {
        object["metadata"]["namespace"] = json!(self.namespace);
        apply(&self.client, &object).await
    }

    pub(crate) async fn delete(&self, kind: &str, name: &str) {
        let api = self.api(kind);
        let now = DeleteParams::default().grace_period(0);
        api.delete(name, &now).await.expect("it is deleted");
    }

    pub(crate) async fn get(&self, kind: &str, name: &str) -> DynamicObject {
        self.api(kind).get(name).await.expect("it is there")
    }

    pub(crate) fn api(&self, kind: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource(kind))
    }

    pub(crate) async fn gateway(&self, name: &str, spec: &Value) -> DynamicObject {
        self.apply(gateway(name, spec)).await
    }

    /// A pod of the namespace, and what its kubelet would say of it.
    pub(crate) async fn pod(&self, name: &str, app: &str, injected: bool, ready: bool) {
        let mut spec = json!({"containers": [{"name": "app", "image": "app"}]});
        if injected {
            spec["initContainers"] =
                json!([{"name": "sidegate", "image": "sidegate", "restartPolicy": "Always"}]);
        }
        self.apply(json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": app}},
            "spec": spec,
        }))
        .await;
        let ready = if ready { "True" } else { "False" };
        let conditions = json!([{"type": "Ready", "status": ready}]);
        let status = json!({"status": {"phase": "Running", "conditions": conditions}});
        self.api("Pod")
            .patch_status(name, &PatchParams::default(), &Patch::Merge(status))
            .await
            .expect("its status is written");
    }

    /// Waits until a condition of the gateway's current generation is as it
    /// should be, and returns its message.
    pub(crate) async fn until(&self, name: &str, condition: &str, words: Words<'_>) -> String {
        self.until_of("McpGateway", name, condition, words).await
    }

    pub(crate) async fn until_of(
        &self,
        kind: &str,
        name: &str,
        condition: &str,
        (status, reason): Words<'_>,
    ) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let object = self.get(kind, name).await;
            let found = condition_of(&object, condition);
            let is_current = found["observedGeneration"] == json!(object.metadata.generation);
            if is_current && found["status"] == status && found["reason"] == reason {
                return found["message"].as_str().expect("a message").to_owned();
            }
            assert!(
                Instant::now() < end,
                "{name}: {condition} did not become {status}/{reason}: {}",
                object.data["status"]
            );
            sleep(STEP).await;
        }
    }

    /// Waits until the status of the gateway is as `look` wants it.
    pub(crate) async fn until_status(&self, name: &str, look: impl Fn(&Value) -> bool) {
        let end = Instant::now() + PATIENCE;
        loop {
            let object = self.get("McpGateway", name).await;
            if look(&object.data["status"]) {
                return;
            }
            assert!(Instant::now() < end, "{name}: {}", object.data["status"]);
            sleep(STEP).await;
        }
    }

    /// Reasons and notes of the events about an object.
    pub(crate) async fn events(&self, name: &str) -> Vec<(String, String)> {
        let events = self.api("Event").list(&Default::default()).await;
        events
            .expect("events")
            .items
            .into_iter()
            .filter(|event| event.data["regarding"]["name"] == name)
            .map(|event| {
                let text = |field: &str| event.data[field].as_str().unwrap_or_default().to_owned();
                (text("reason"), text("note"))
            })
            .collect()
    }
}

/// A condition of an object; null when it is not there.
pub(crate) fn condition_of(object: &DynamicObject, condition: &str) -> Value {
    let conditions = object.data["status"]["conditions"].as_array();
    let found = conditions
        .into_iter()
        .flatten()
        .find(|it| it["type"] == condition);
    found.cloned().unwrap_or(Value::Null)
}

pub(crate) fn settings(namespace: &str) -> Settings {
    Settings {
        namespace: Some(namespace.to_owned()),
        lease: None,
        identity: "test".to_owned(),
        health: Some(([127, 0, 0, 1], 0).into()),
        trust_domain: "cluster.local".to_owned(),
        own_namespace: namespace.to_owned(),
        authority: AuthoritySettings::new(namespace, "cluster.local"),
        cluster_domain: "cluster.local".to_owned(),
        certificate_hosts: Vec::new(),
        control_plane: Some(([127, 0, 0, 1], 0).into()),
        webhook: Some(([127, 0, 0, 1], 0).into()),
        injector: InjectorSettings::new("sidegate:1", "https://sidegate-operator.test.svc:9443"),
    }
}

pub(crate) fn install_crds(server: &ApiServer) {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../manifests/crds");
    let apply = ["apply", "--server-side", "-f", dir];
    let _ = server.kubectl(&apply, "").succeeded();
    server.until_established();
}

pub(crate) async fn config(kubeconfig: &str) -> Config {
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig).expect("a kubeconfig");
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    config.expect("a configuration")
}

pub(crate) fn gateway(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "sidegate.dev/v1alpha1",
        "kind": "McpGateway",
        "metadata": {"name": name},
        "spec": spec,
    })
}

/// A spec in which nothing is wrong and that refers to nothing.
pub(crate) fn spec(app: &str) -> Value {
    json!({
        "selector": {"matchLabels": {"app": app}},
        "servers": [{
            "name": "support",
            "port": 8080,
            "resources": ["https://support.crm.svc.cluster.local/mcp"],
        }],
        "authentication": {"jwt": [{
            "issuer": "https://idp.example.com/",
            "jwks": {"uri": "https://idp.example.com/jwks"},
        }]},
        "authorization": {"rules": [{"name": "read", "tools": ["get_*"]}]},
    })
}

pub(crate) async fn apply(client: &Client, object: &Value) -> DynamicObject {
    let kind = object["kind"].as_str().expect("a kind");
    let resource = resource(kind);
    let api: Api<DynamicObject> = match object["metadata"]["namespace"].as_str() {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let name = object["metadata"]["name"].as_str().expect("a name");
    let params = PatchParams::apply("test").force();
    let applied = api.patch(name, &params, &Patch::Apply(object)).await;
    applied.unwrap_or_else(|error| panic!("{object} is refused: {error}"))
}

fn resource(kind: &str) -> ApiResource {
    let (group, version) = match kind {
        "McpGateway" | "LlmProvider" => ("sidegate.dev", "v1alpha1"),
        "Lease" => ("coordination.k8s.io", "v1"),
        "Event" => ("events.k8s.io", "v1"),
        "NetworkPolicy" => ("networking.k8s.io", "v1"),
        "MutatingWebhookConfiguration" => ("admissionregistration.k8s.io", "v1"),
        _ => ("", "v1"),
    };
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}

/// A sample of the operator's metrics; 0 when it is not there.
pub(crate) async fn metric(operator: &Operator, sample: &str) -> u64 {
    let answer = get(operator, "/metrics").await.1;
    answer
        .lines()
        .find_map(|line| line.strip_prefix(sample)?.trim().parse().ok())
        .unwrap_or_default()
}

pub(crate) async fn get(operator: &Operator, path: &str) -> (u16, String) {
    let client = sidegate_testkit::client::Client::plaintext(operator.health());
    let answer = client.get(path).await.expect("an answer");
    (answer.status.as_u16(), answer.text())
}

/// Waits until a sample of the metrics is larger than it was.
pub(crate) async fn until_metric_above(operator: &Operator, sample: &str, before: u64) {
    let end = Instant::now() + PATIENCE;
    while metric(operator, sample).await <= before {
        assert!(Instant::now() < end, "`{sample}` stays at {before}");
        sleep(STEP).await;
    }
}

/// Changes an object's metadata, so that it is reconciled, and nothing else.
/// Returns the version that it has then.
pub(crate) async fn touch(api: &Api<DynamicObject>, name: &str, value: &str) -> String {
    let patch = json!({"metadata": {"annotations": {"test": value}}});
    let patched = api
        .patch(name, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .expect("it is patched");
    patched.resource_version().expect("a version")
}
