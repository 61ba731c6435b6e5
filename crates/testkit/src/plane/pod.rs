//! A pod whose sidecar is a process here. The test is its kubelet: it gets the
//! pod a token and the trust bundle, and says whether it is ready.

mod kubelet;

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde_json::{Value, json};
use sidegate_dev::certificates::Issued;
use tokio::time::{Instant, sleep};

pub(super) use self::kubelet::replace;
use super::{FastClock, PATIENCE, Plane, STEP, Sidecars};
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
    clock: Option<FastClock>,
    sidecar: Option<SidegateProcess>,
    sidecars: Sidecars,
    log_level: &'static str,
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
            clock: None,
            sidecar: None,
            sidecars: plane.sidecars.clone(),
            log_level: plane.log_level,
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
            self.log_level,
        ];
        if let Some(listen) = &self.listen {
            arguments.extend(["--listen", listen]);
        }
        let environment = self.clock.as_mut().map(FastClock::starts);
        let environment = environment.unwrap_or_default();
        let mut sidecar = SidegateProcess::run_with(&self.dir, &arguments, environment);
        self.sidecars.started(&self.uid, sidecar.process().log());
        self.sidecar = Some(sidecar);
    }

    /// What is started in it from now on has a clock that runs `pace` times as
    /// fast as others.
    ///
    /// # Panics
    /// The library that does it is missing.
    pub fn has_fast_clock(&mut self, pace: u32) {
        self.clock = Some(FastClock::new(&self.dir, pace));
    }

    /// The clock that it was given.
    ///
    /// # Panics
    /// It was given none.
    #[must_use]
    pub fn clock(&mut self) -> &mut FastClock {
        self.clock.as_mut().expect("a clock")
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
