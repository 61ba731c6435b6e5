//! A whole control plane as it is shipped, without nodes: a real API server,
//! the built `sidegate-operator` with its own service account and nothing but
//! the shipped roles, and the built `sidegate` in pods that a test acts as the
//! kubelet of.
//!
//! Sidecars dial one name, as they do the Service of a cluster; a [`Switch`]
//! decides which replica that is.

mod api;
mod clock;
mod lag;
mod load;
mod observer;
mod operator;
mod pod;
mod switch;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

pub use self::api::{Api, Patch};
pub use self::clock::FastClock;
pub use self::load::{Load, Seen};
pub use self::observer::Observer;
use self::observer::Sidecars;
use self::operator::Care;
pub use self::operator::OperatorProcess;
pub use self::pod::{PodProcess, PodWish};
pub use self::switch::Switch;
use crate::apiserver::ApiServer;
use crate::process::binary;

/// The operator's own namespace.
pub const HOME: &str = "sidegate-system";
/// The operator's service account.
pub const ACCOUNT: &str = "sidegate-operator";
/// The operator's service account, as the API server knows it.
pub const USER: &str = "system:serviceaccount:sidegate-system:sidegate-operator";
/// Where the gateways of the resource definitions are.
const GROUP: &str = "/apis/sidegate.dev/v1alpha1";

/// Several planes at once on a small machine, an election, and retries.
pub const PATIENCE: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_millis(10);

/// A cluster with the operator's roles, and a name for the operator.
#[derive(Debug)]
pub struct Plane {
    /// The API server.
    pub api: Api,
    /// Where sidecars dial the operator.
    pub streams: Switch,
    /// Where the API server calls the webhook, if it is asked to.
    pub webhooks: Switch,
    dir: TempDir,
    next_address: AtomicU8,
    sidecars: Sidecars,
    log_level: &'static str,
}

/// What a plane is started with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wishes {
    /// The API server notes what the operator asks for.
    pub audit: bool,
    /// Pods are injected by the operator's webhook, and the policy looks at
    /// them. Otherwise pods come with a sidecar.
    pub admission: bool,
    /// Programs log all that they can, and not only what people look at.
    pub trace: bool,
}

// === impl Plane ===

impl Plane {
    /// An API server with the resource definitions and the operator's roles.
    ///
    /// # Panics
    /// Something is missing or refused.
    pub async fn start() -> Self {
        Self::start_with(Wishes::default()).await
    }

    /// The same, with wishes.
    ///
    /// # Panics
    /// Something is missing or refused.
    pub async fn start_with(wishes: Wishes) -> Self {
        let starting = tokio::task::spawn_blocking(move || match wishes.audit {
            true => ApiServer::start_auditing(USER),
            false => ApiServer::start(),
        });
        let server = match starting.await {
            Ok(server) => Arc::new(server),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        let plane = Self {
            api: Api::new(server),
            streams: Switch::new().await,
            webhooks: Switch::new().await,
            dir: tempfile::tempdir().expect("a directory"),
            next_address: AtomicU8::new(2),
            sidecars: Sidecars::default(),
            log_level: if wishes.trace { "trace" } else { "debug" },
        };
        plane.install(wishes).await;
        plane
    }

    async fn install(&self, wishes: Wishes) {
        let crds = printed(&["crd"]);
        let _ = self.api.kubectl(&APPLY, &crds).await.succeeded();
        self.api.beside(ApiServer::until_established).await;
        let to_json = ["create", "--dry-run=client", "-o", "json", "-f", "-"];
        let manifests = printed(&["manifests"]);
        let objects = self.api.kubectl(&to_json, &manifests).await.succeeded();
        // One object after the other.
        let read = serde_json::Deserializer::from_str(&objects).into_iter::<Value>();
        let read = read.map(|object| object.expect("JSON"));
        let mut items: Vec<_> = read
            .filter(|object| self.is_wished(object, wishes))
            .collect();
        for object in &mut items {
            self.adapt(object);
        }
        let objects = json!({"apiVersion": "v1", "kind": "List", "items": items});
        let objects = objects.to_string();
        let _ = self.api.kubectl(&APPLY, &objects).await.succeeded();
    }

    /// Nothing would run the Deployment.
    fn is_wished(&self, object: &Value, wishes: Wishes) -> bool {
        let kind = object["kind"].as_str().expect("a kind");
        let admits = matches!(
            kind,
            "MutatingWebhookConfiguration"
                | "ValidatingAdmissionPolicy"
                | "ValidatingAdmissionPolicyBinding"
        );
        kind != "Deployment" && (wishes.admission || !admits)
    }

    /// The API server reaches no Service, but it does reach loopback.
    fn adapt(&self, object: &mut Value) {
        if object["kind"] != "MutatingWebhookConfiguration" {
            return;
        }
        for webhook in object["webhooks"].as_array_mut().expect("webhooks") {
            let path = webhook["clientConfig"]["service"]["path"].as_str();
            let path = path.unwrap_or("/");
            let url = format!("https://localhost:{}{path}", self.webhooks.port());
            webhook["clientConfig"] = json!({"url": url});
        }
    }

    /// Starts a replica of the operator, whose requests go through a switch.
    ///
    /// # Panics
    /// It is not built.
    pub async fn operator(&self, name: &str) -> OperatorProcess {
        OperatorProcess::start(self, name, Care::Tested).await
    }

    /// Starts a replica whose watch of a single object can be held back.
    ///
    /// # Panics
    /// It is not built.
    pub async fn lagging_operator(&self, name: &str) -> OperatorProcess {
        OperatorProcess::start(self, name, Care::Lagging).await
    }

    /// Starts a replica as it is shipped, to be measured. It cannot be cut off
    /// from the API server.
    ///
    /// # Panics
    /// It is not built.
    pub async fn measured_operator(&self, name: &str) -> OperatorProcess {
        OperatorProcess::start(self, name, Care::Measured).await
    }

    /// Two replicas that are ready. The first one leads.
    ///
    /// # Panics
    /// They do not become ready.
    pub async fn operators(&self) -> [OperatorProcess; 2] {
        let mut one = self.operator("one").await;
        one.until_leading().await;
        let mut two = self.operator("two").await;
        two.until_ready().await;
        self.point(&mut [&mut one, &mut two]).await;
        [one, two]
    }

    /// Sidecars and the API server reach these replicas only.
    ///
    /// # Panics
    /// One of them does not run.
    pub async fn point(&self, operators: &mut [&mut OperatorProcess]) {
        let (mut streams, mut webhooks) = (Vec::new(), Vec::new());
        for operator in operators {
            streams.push(operator.streams().await);
            webhooks.push(operator.webhook().await);
        }
        self.streams.point(&streams);
        self.webhooks.point(&webhooks);
    }

    /// A namespace that allows injection.
    ///
    /// # Panics
    /// It is refused.
    pub async fn namespace(&self, name: &str) {
        let namespace = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "labels": {"sidegate.dev/injection": "enabled"}},
        });
        let path = format!("/api/v1/namespaces/{name}");
        let _ = self.api.apply(&path, &namespace).await;
    }

    /// A pod, as a test's first step: it exists, but nothing runs.
    ///
    /// # Panics
    /// It is refused.
    pub async fn pod(&self, wish: &PodWish<'_>) -> PodProcess {
        PodProcess::create(self, wish).await
    }

    /// Watches from now on that no gateway is `Ready` while a ready pod enforces
    /// something else.
    #[must_use]
    pub fn observe(&self) -> Observer {
        Observer::start(&self.api, &self.sidecars)
    }

    /// The path of a gateway.
    #[must_use]
    pub fn gateway_path(namespace: &str, name: &str) -> String {
        format!("{GROUP}/namespaces/{namespace}/mcpgateways/{name}")
    }

    /// Waits until a condition of the gateway's current generation has this
    /// status and reason, and returns its message.
    ///
    /// # Panics
    /// It does not.
    pub async fn until_condition(
        &self,
        path: &str,
        condition: &str,
        words: (&str, &str),
    ) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let object = self.api.get(path).await;
            if let Some(message) = condition_message(&object, condition, words) {
                return message;
            }
            assert!(
                Instant::now() < end,
                "{path}: {condition} did not become {words:?}: {:#}",
                object["status"]
            );
            sleep(STEP).await;
        }
    }

    /// Where processes of this plane have their files.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn subdirectory(&self, name: &str) -> PathBuf {
        let dir = self.dir().join(name);
        std::fs::create_dir_all(&dir).expect("a directory");
        dir
    }

    /// An address of loopback that no other pod of this plane has.
    fn pod_address(&self) -> SocketAddr {
        let last = self.next_address.fetch_add(1, Ordering::SeqCst);
        // Planes of other processes use the same ones with other ports.
        SocketAddr::from(([127, 0, 0, last], 0))
    }
}

const APPLY: [&str; 5] = ["apply", "--server-side", "--force-conflicts", "-f", "-"];

/// What the built operator prints.
fn printed(arguments: &[&str]) -> String {
    let program = binary("sidegate-operator");
    let output = Command::new(program).args(arguments).output();
    let output = output.expect("it runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// The message of a condition of an object's current generation, if it has
/// this status and reason.
#[must_use]
pub fn condition_message(
    object: &Value,
    condition: &str,
    (status, reason): (&str, &str),
) -> Option<String> {
    let conditions = object["status"]["conditions"].as_array()?;
    let found = conditions.iter().find(|it| it["type"] == condition)?;
    let is_current = found["observedGeneration"] == object["metadata"]["generation"];
    let is_so = found["status"] == status && found["reason"] == reason;
    (is_current && is_so).then(|| found["message"].as_str().unwrap_or_default().to_owned())
}
