//! The config stream against a real API server: real tokens, real reviews.

mod certificates;
mod configuration;
mod floods;
mod sidecar;
mod tokens;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::Api;
use serde_json::{Value, json};
use sidegate_operator::run::Operator;
use tokio::time::{Instant, sleep};

use self::sidecar::Place;
use crate::cluster::{Cluster, PATIENCE};

/// A namespace with a service account, an operator, and where it serves.
struct Stage {
    cluster: Cluster,
    operator: Operator,
    place: Place,
}

const ACCOUNT: &str = "support";

// === impl Stage ===

impl Stage {
    async fn new(namespace: &str) -> Self {
        let cluster = Cluster::new(namespace).await;
        cluster
            .apply(json!({
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {"name": ACCOUNT},
            }))
            .await;
        let operator = cluster.operator().await;
        let place = Place {
            address: operator.control_plane(),
            name: format!("sidegate-operator.{namespace}.svc"),
            roots_pem: roots(&cluster).await,
        };
        Self {
            cluster,
            operator,
            place,
        }
    }

    /// A pod with a sidecar; returns its uid.
    async fn pod(&self, name: &str) -> String {
        let pod = self
            .cluster
            .apply(json!({
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "labels": {"app": "support"}},
                "spec": {
                    "serviceAccountName": ACCOUNT,
                    "containers": [{"name": "app", "image": "app"}],
                    "initContainers": [
                        {"name": "sidegate", "image": "sidegate", "restartPolicy": "Always"}
                    ],
                },
            }))
            .await;
        pod.metadata.uid.expect("a uid")
    }

    /// A token as the kubelet would get it for a pod.
    async fn token(&self, pod: &str, uid: &str) -> String {
        self.token_with(json!({
            "audiences": ["sidegate.dev"],
            "expirationSeconds": 3600,
            "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": pod, "uid": uid},
        }))
        .await
    }

    async fn token_with(&self, spec: Value) -> String {
        let path = format!(
            "/api/v1/namespaces/{}/serviceaccounts/{ACCOUNT}/token",
            self.cluster.namespace
        );
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": spec,
        });
        let request = http::Request::post(path)
            .header("content-type", "application/json")
            .body(request.to_string().into_bytes())
            .expect("a request");
        let answer = self.cluster.client.request::<Value>(request).await;
        let answer = answer.expect("a token");
        answer["status"]["token"]
            .as_str()
            .expect("a token")
            .to_owned()
    }

    /// A pod and its token.
    async fn pod_with_token(&self, name: &str) -> String {
        let uid = self.pod(name).await;
        self.token(name, &uid).await
    }
}

/// The roots that sidecars of the namespace get.
async fn roots(cluster: &Cluster) -> String {
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let end = Instant::now() + PATIENCE;
    loop {
        let map = maps.get_opt("sidegate-trust").await.expect("an answer");
        if let Some(roots) = map.and_then(|map| map.data?.remove("endpoints.crt")) {
            return roots;
        }
        assert!(Instant::now() < end, "the trust bundle is not written");
        sleep(crate::cluster::STEP).await;
    }
}
