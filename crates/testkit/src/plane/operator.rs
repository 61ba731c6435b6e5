//! The built operator as a replica of its Deployment.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::lag::Lag;
use super::{ACCOUNT, HOME, PATIENCE, Plane, STEP, Switch};
use crate::client::Client;
use crate::process::{Process, binary};

/// A `sidegate-operator run` that may do what its service account may.
#[derive(Debug)]
pub struct OperatorProcess {
    /// What it says to the API server passes here.
    pub api: Switch,
    api_server: SocketAddr,
    lag: Option<Lag>,
    process: Process,
}

/// What a replica is started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Care {
    /// It can be cut off from the API server, and says all that it does.
    Tested,
    /// The same, and what it asks for can be seen and held back.
    Lagging,
    /// It runs as it is shipped, and nothing stands between.
    Measured,
}

// === impl OperatorProcess ===

impl OperatorProcess {
    pub(super) async fn start(plane: &Plane, name: &str, care: Care) -> Self {
        let api = Switch::new().await;
        let server = plane.api.server();
        let api_server: SocketAddr = server
            .url()
            .trim_start_matches("https://")
            .parse()
            .expect("an address");
        api.point(&[api_server]);
        let token = plane
            .api
            .token(HOME, ACCOUNT, &json!({"expirationSeconds": 7200}))
            .await;
        let dir = plane.subdirectory(&format!("operator-{name}"));
        let kubeconfig = dir.join("kubeconfig");
        let lag = match care {
            Care::Lagging => Some(Lag::new(server, api.address()).await),
            Care::Tested | Care::Measured => None,
        };
        let (api_url, log_level) = match (&lag, care) {
            (Some(lag), _) => (format!("http://{}", lag.address()), plane.log_level),
            (None, Care::Measured) => (format!("https://{api_server}"), "info"),
            (None, Care::Tested | Care::Lagging) => {
                (format!("https://{}", api.address()), plane.log_level)
            }
        };
        let text = kubeconfig_text(&api_url, &server.ca_file().display().to_string(), &token);
        fs::write(&kubeconfig, text).expect("a file");
        let url = format!("https://localhost:{}", plane.streams.port());
        let any = "127.0.0.1:0";
        let mut command = Command::new(binary("sidegate-operator"));
        command
            .args(["run", "--leader-elect", "--identity", name])
            .args(["--health", any, "--control-plane", any, "--webhook", any])
            .args(["--control-plane-url", &url])
            .args(["--certificate-host", "localhost"])
            .args(["--log-level", log_level])
            .env("KUBECONFIG", &kubeconfig)
            .env("HOME", &dir)
            .current_dir(&dir);
        Self {
            api,
            api_server,
            lag,
            process: Process::spawn(&mut command),
        }
    }

    /// The process.
    #[must_use]
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Cuts it off from the API server, or lets it through again.
    pub fn reaches_api(&self, reaches: bool) {
        let targets = [self.api_server];
        let targets = if reaches { &targets[..] } else { &[] };
        self.api.point(targets);
    }

    /// Holds back what the API server tells it of the Secret or ConfigMap of
    /// this name, or of none any more.
    ///
    /// # Panics
    /// It was not started as one that lags.
    pub fn lags_about(&self, name: Option<&str>) {
        let lag = self.lag.as_ref().expect("a lagging operator");
        lag.hold(name);
    }

    /// Its port for streams.
    ///
    /// # Panics
    /// It ends before it opens it.
    pub async fn streams(&mut self) -> SocketAddr {
        self.port("streams").await
    }

    /// Its port for the webhook.
    ///
    /// # Panics
    /// It ends before it opens it.
    pub async fn webhook(&mut self) -> SocketAddr {
        self.port("webhook").await
    }

    /// Its health port.
    ///
    /// # Panics
    /// It ends before it opens it.
    pub async fn health(&mut self) -> SocketAddr {
        self.port("health").await
    }

    async fn port(&mut self, name: &str) -> SocketAddr {
        self.until(&format!("it opens its port `{name}`"), |log| {
            lines(log)
                .filter(|line| line["message"] == "service port open" && line["port"] == name)
                .find_map(|line| line["address"].as_str()?.parse().ok())
        })
        .await
    }

    /// Waits until its log holds something.
    ///
    /// # Panics
    /// It ends, or it does not.
    pub async fn until<T>(&mut self, what: &str, look: impl Fn(&str) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            let log = self.process.stderr();
            if let Some(found) = look(&log) {
                return found;
            }
            if let Some(ended) = self.process.ended() {
                panic!("the operator ended ({ended}): {log}");
            }
            assert!(
                Instant::now() < end,
                "waited in vain until {what}:\n{}",
                last_lines(&log)
            );
            sleep(STEP).await;
        }
    }

    /// Waits until its watches know everything.
    ///
    /// # Panics
    /// It does not become ready.
    pub async fn until_ready(&mut self) {
        let client = Client::plaintext(self.health().await);
        self.until_asked("it is ready", async || {
            let answer = client.get("/readyz").await;
            answer.is_ok_and(|answer| answer.status == 200)
        })
        .await;
    }

    /// Waits until it is ready and leads.
    ///
    /// # Panics
    /// It does not.
    pub async fn until_leading(&mut self) {
        self.until_ready().await;
        let client = Client::plaintext(self.health().await);
        self.until_asked("it leads", async || {
            let answer = client.get("/metrics").await;
            answer.is_ok_and(|answer| {
                let text = answer.text();
                text.lines()
                    .any(|line| line == "sidegate_operator_leader 1")
            })
        })
        .await;
    }

    async fn until_asked(&mut self, what: &str, ask: impl AsyncFn() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !ask().await {
            if let Some(ended) = self.process.ended() {
                panic!("the operator ended ({ended}): {}", self.process.stderr());
            }
            assert!(
                Instant::now() < end,
                "waited in vain until {what}:\n{}",
                last_lines(&self.process.stderr())
            );
            sleep(STEP).await;
        }
    }

    /// A sample of its metrics; 0 when it is not there.
    ///
    /// # Panics
    /// It does not answer.
    pub async fn metric(&mut self, sample: &str) -> f64 {
        let client = Client::plaintext(self.health().await);
        let text = client.get("/metrics").await.expect("an answer").text();
        text.lines()
            .find_map(|line| line.strip_prefix(sample)?.trim().parse().ok())
            .unwrap_or_default()
    }

    /// Ends it as a crash does.
    ///
    /// # Panics
    /// It ended before.
    pub async fn kill(&mut self) {
        self.process.signal("KILL");
        let _ = self.process.until_ended().await;
    }
}

fn kubeconfig_text(api_url: &str, authority: &str, token: &str) -> String {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {
            "server": api_url,
            "certificate-authority": authority,
        }}],
        "users": [{"name": ACCOUNT, "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {
            "cluster": "test",
            "user": ACCOUNT,
            "namespace": HOME,
        }}],
        "current-context": "test",
    })
    .to_string()
}

fn lines(log: &str) -> impl Iterator<Item = Value> {
    log.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
}

fn last_lines(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
