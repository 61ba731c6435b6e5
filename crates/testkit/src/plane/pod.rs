//! A pod whose sidecar is a process here. The test is its kubelet: it gets the
//! pod a token and the trust bundle, and says whether it is ready.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sidegate_dev::certificates::Issued;
use tokio::time::{Instant, sleep};

use super::{PATIENCE, Patch, Plane, STEP};
use crate::client::Client;
use crate::process::SidegateProcess;

/// What a pod is called.
#[derive(Debug, Clone, Copy)]
pub struct PodWish<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name, and that of its service account.
    pub name: &'a str,
    /// Its label `app`.
    pub app: &'a str,
    /// The port that its container declares.
    pub port: Option<u16>,
    /// Whether it already has a sidecar when it is created.
    pub injected: bool,
}

/// A pod and, once it is started, its sidecar.
#[derive(Debug)]
pub struct PodProcess {
    namespace: String,
    name: String,
    uid: String,
    address: IpAddr,
    dir: PathBuf,
    url: String,
    listen: Option<String>,
    sidecar: Option<SidegateProcess>,
}

// === impl PodWish ===

impl<'a> PodWish<'a> {
    /// A pod with a sidecar.
    #[must_use]
    pub fn new(namespace: &'a str, name: &'a str, app: &'a str) -> Self {
        Self {
            namespace,
            name,
            app,
            port: None,
            injected: true,
        }
    }
}

// === impl PodProcess ===

impl PodProcess {
    pub(super) async fn create(plane: &Plane, wish: &PodWish<'_>) -> Self {
        let PodWish {
            namespace,
            name,
            app,
            port,
            injected,
        } = *wish;
        let account = json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": name},
        });
        let accounts = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}");
        let _ = plane.api.apply(&accounts, &account).await;
        let ports: Vec<_> = port
            .iter()
            .map(|port| json!({"containerPort": port}))
            .collect();
        let mut spec = json!({
            "serviceAccountName": name,
            "containers": [{"name": "app", "image": "app", "ports": ports}],
        });
        if injected {
            spec["initContainers"] =
                json!([{"name": "sidegate", "image": "sidegate", "restartPolicy": "Always"}]);
        }
        let object = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": app}},
            "spec": spec,
        });
        let created = create(plane, namespace, &object).await;
        let uid = created["metadata"]["uid"].as_str().expect("a uid");
        let dir = plane.subdirectory(&format!("pod-{namespace}-{name}-{uid}"));
        let pod = Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: uid.to_owned(),
            address: plane.pod_address().ip(),
            dir,
            url: format!("https://localhost:{}", plane.streams.port()),
            listen: None,
            sidecar: None,
        };
        pod.says_of_itself(plane, false).await;
        pod
    }

    /// Its sidecar listens for a server on another port than the server does:
    /// both addresses are of loopback, and then it must.
    pub fn listens(&mut self, server: &str, port: u16) -> SocketAddr {
        let address = SocketAddr::new(self.address, port);
        self.listen = Some(format!("{server}={address}"));
        address
    }

    /// The path of the object.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/api/v1/namespaces/{}/pods/{}", self.namespace, self.name)
    }

    /// What no other pod has.
    #[must_use]
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// Its address, of loopback.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Its files.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Writes its status as a kubelet does, and leaves what others wrote there.
    ///
    /// # Panics
    /// It is refused.
    pub async fn says_of_itself(&self, plane: &Plane, ready: bool) {
        let ready = if ready { "True" } else { "False" };
        let status = json!({"status": {
            "phase": "Running",
            "podIP": self.address,
            "podIPs": [{"ip": self.address}],
            "conditions": [{"type": "Ready", "status": ready}],
        }});
        let path = format!("{}/status", self.path());
        let _ = plane.api.patch(&path, Patch::Strategic, &status).await;
    }

    /// A token that is bound to it, for an audience.
    ///
    /// # Panics
    /// It is refused.
    pub async fn token(&self, plane: &Plane, audience: &str) -> String {
        let spec = json!({
            "audiences": [audience],
            "expirationSeconds": 3600,
            "boundObjectRef": {
                "kind": "Pod",
                "apiVersion": "v1",
                "name": self.name,
                "uid": self.uid,
            },
        });
        plane.api.token(&self.namespace, &self.name, &spec).await
    }

    /// Puts a token where the sidecar looks for it.
    ///
    /// # Panics
    /// It cannot be written.
    pub fn has_token(&self, token: &str) {
        replace(&self.file("token"), token);
    }

    /// Waits for the trust bundle of its namespace and puts it where the
    /// sidecar looks for it.
    ///
    /// # Panics
    /// The operator does not write it.
    pub async fn mounts_trust(&self, plane: &Plane) {
        let path = format!(
            "/api/v1/namespaces/{}/configmaps/sidegate-trust",
            self.namespace
        );
        let end = Instant::now() + PATIENCE;
        let data = loop {
            if let Some(mut bundle) = plane.api.find(&path).await {
                break bundle["data"].take();
            }
            assert!(Instant::now() < end, "there is no trust bundle");
            sleep(STEP).await;
        };
        let dir = self.file("trust");
        fs::create_dir_all(&dir).expect("a directory");
        for (name, text) in data.as_object().expect("files") {
            replace(&dir.join(name), text.as_str().expect("text"));
        }
    }

    /// Everything that a kubelet does before it starts a sidecar.
    ///
    /// # Panics
    /// Something is refused or missing.
    pub async fn mounts(&self, plane: &Plane) {
        let token = self.token(plane, AUDIENCE).await;
        self.has_token(&token);
        self.mounts_trust(plane).await;
    }

    /// Starts its sidecar with what is mounted; kills the one that runs.
    ///
    /// # Panics
    /// It is not built.
    pub fn start_sidecar(&mut self) {
        drop(self.sidecar.take());
        let [token, trust, state] =
            ["token", "trust", "state"].map(|name| self.file(name).display().to_string());
        let bind = self.address.to_string();
        let health = SocketAddr::new(self.address, 0).to_string();
        let mut arguments = vec![
            "--control-plane",
            &self.url,
            "--token-file",
            &token,
            "--trust-dir",
            &trust,
            "--state-dir",
            &state,
            "--bind",
            &bind,
            "--health",
            &health,
            "--log-level",
            "debug",
        ];
        if let Some(listen) = &self.listen {
            arguments.extend(["--listen", listen]);
        }
        let sidecar = SidegateProcess::run(&self.dir, &arguments);
        self.sidecar = Some(sidecar);
    }

    /// Starts its sidecar, waits until it is ready and says so.
    ///
    /// # Panics
    /// It does not become ready.
    pub async fn becomes_ready(&mut self, plane: &Plane) {
        self.mounts(plane).await;
        self.start_sidecar();
        self.until_ready().await;
        self.says_of_itself(plane, true).await;
    }

    /// Waits until its sidecar is ready, longer than an operator needs to
    /// become leader.
    ///
    /// # Panics
    /// It does not.
    pub async fn until_ready(&mut self) {
        self.until_asked("/readyz", |status, _| status == 200).await;
    }

    /// Waits until its sidecar is not ready any more.
    ///
    /// # Panics
    /// It stays ready.
    pub async fn until_unready(&mut self) {
        self.until_asked("/readyz", |status, _| status == 503).await;
    }

    async fn until_asked(&mut self, path: &str, wanted: impl Fn(u16, &str) -> bool) {
        let client = Client::plaintext(self.sidecar().health().await);
        let end = Instant::now() + PATIENCE;
        loop {
            let answer = client.get(path).await;
            if answer.is_ok_and(|answer| wanted(answer.status.as_u16(), &answer.text())) {
                return;
            }
            let process = self.sidecar().process();
            if let Some(ended) = process.ended() {
                panic!("the sidecar ended ({ended}): {}", process.stderr());
            }
            assert!(
                Instant::now() < end,
                "{path} is not as it should be: {}",
                process.stderr()
            );
            sleep(STEP).await;
        }
    }

    /// Its sidecar.
    ///
    /// # Panics
    /// It was not started.
    #[must_use]
    pub fn sidecar(&mut self) -> &mut SidegateProcess {
        self.sidecar.as_mut().expect("a sidecar")
    }

    /// What `/config` says.
    ///
    /// # Panics
    /// The sidecar does not answer.
    pub async fn config(&mut self) -> Value {
        let client = Client::plaintext(self.sidecar().admin().await);
        client.get("/config").await.expect("an answer").json()
    }

    /// Waits until `/config` is as wished.
    ///
    /// # Panics
    /// It does not become so.
    pub async fn until_config(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let client = Client::plaintext(self.sidecar().admin().await);
        let end = Instant::now() + PATIENCE;
        loop {
            let config = client.get("/config").await.expect("an answer").json();
            if wanted(&config) {
                return config;
            }
            assert!(
                Instant::now() < end,
                "waited in vain until {what}: {config:#}\n{}",
                self.sidecar().process().stderr()
            );
            sleep(STEP).await;
        }
    }

    /// What its health port says of metrics.
    ///
    /// # Panics
    /// The sidecar does not answer.
    pub async fn metrics(&mut self) -> String {
        let client = Client::plaintext(self.sidecar().health().await);
        client.get("/metrics").await.expect("an answer").text()
    }

    /// The certificate that the operator gave it, and its key.
    ///
    /// # Panics
    /// It has none.
    #[must_use]
    pub fn identity(&self) -> Issued {
        let read = |name: &str| fs::read_to_string(self.file("state").join(name));
        Issued {
            certificate_pem: read("certificate.pem").expect("a certificate"),
            key_pem: read("key.pem").expect("a key").into(),
        }
    }

    /// The authorities of workloads that it knows.
    ///
    /// # Panics
    /// It knows none.
    #[must_use]
    pub fn authorities(&self) -> String {
        fs::read_to_string(self.file("state").join("authorities.pem")).expect("authorities")
    }
}

/// Creates a pod. The API server may not know yet by what it recognizes the
/// webhook.
async fn create(plane: &Plane, namespace: &str, pod: &Value) -> Value {
    let path = format!("/api/v1/namespaces/{namespace}/pods");
    let end = Instant::now() + PATIENCE;
    loop {
        let answer = plane.api.send("POST", &path, "application/json", pod).await;
        let answer = answer.expect("an answer");
        if answer.status.is_success() {
            return answer.json();
        }
        let text = answer.text();
        let is_early = text.contains("failed calling webhook") && Instant::now() < end;
        assert!(is_early, "the pod is refused: {text}");
        sleep(STEP).await;
    }
}

/// The receiver of tokens for the operator.
pub(super) const AUDIENCE: &str = "sidegate.dev";

/// Writes a file in place of another, so that nobody reads half of it.
fn replace(path: &Path, text: &str) {
    let next = path.with_extension("next");
    fs::write(&next, text).expect("a file");
    fs::rename(&next, path).expect("a file");
}
