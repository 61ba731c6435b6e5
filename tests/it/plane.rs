//! The whole control plane as real processes: a real API server, two replicas
//! of the operator with the shipped permissions, and sidecars with tokens that
//! are bound to pods. While anything happens to it, requests go through a
//! sidecar, and none may fail.

mod change;
mod observer;
mod old_values;
mod outages;
mod rbac;
mod references;
mod removal;
mod replicas;
mod rotation;
mod secrets;
mod server_tls;
mod snapshots;
mod ten_minutes;
mod tokens;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sidegate_policy::clock::{Clock as _, SystemClock};
use sidegate_testkit::client::{Answer, Client};
use sidegate_testkit::issuer::TestIssuer;
use sidegate_testkit::mcp;
use sidegate_testkit::plane::{
    Load, Observer, OperatorProcess, PATIENCE, Patch, Plane, PodProcess, PodWish, Wishes,
};
use sidegate_testkit::process::free_ports;
use sidegate_testkit::upstream::Upstream;
use tokio::time::{Instant, sleep};

use crate::support::{RESOURCE, gateway, obliging};

/// Requests in a second while something happens.
const RATE: u32 = 50;
/// The tool that is permitted whatever a test changes.
const STEADY: &str = "steady";
const NAMESPACE: &str = "crm";
const GATEWAY: &str = "support";

/// A plane with a gateway, a server behind it, and a pod in front of it.
struct Stage {
    /// It ends first, and fails the test if a status was not true.
    observer: Observer,
    plane: Plane,
    operators: [OperatorProcess; 2],
    issuer: TestIssuer,
    upstream: Upstream,
    pod: PodProcess,
    /// Where the sidecar of the pod listens.
    address: SocketAddr,
    token: String,
}

// === impl Stage ===

impl Stage {
    /// A pod that enforces a gateway whose tool [`STEADY`] is permitted.
    async fn new() -> Self {
        Self::with(Wishes::default(), |_| {}).await
    }

    /// The same with another gateway.
    async fn with(wishes: Wishes, change: impl FnOnce(&mut Value)) -> Self {
        let plane = Plane::start_with(wishes).await;
        plane.namespace(NAMESPACE).await;
        let operators = plane.operators().await;
        let (issuer, upstream) = (TestIssuer::start().await, Upstream::start(obliging).await);
        let gateway = document(&issuer, &upstream, change);
        let observer = plane.observe();
        let _ = plane.api.apply(&path(), &gateway).await;
        let wish = PodWish {
            port: Some(upstream.port()),
            injected: !wishes.admission,
            ..PodWish::new(NAMESPACE, "one", GATEWAY)
        };
        let mut pod = plane.pod(&wish).await;
        let [port] = free_ports();
        let address = pod.listens(GATEWAY, port);
        pod.becomes_ready(&plane).await;
        let token = token(&issuer);
        Self {
            observer,
            plane,
            operators,
            issuer,
            upstream,
            pod,
            address,
            token,
        }
    }

    /// The gateway, changed.
    fn gateway(&self, change: impl FnOnce(&mut Value)) -> Value {
        document(&self.issuer, &self.upstream, change)
    }

    /// Writes the gateway, changed, and returns what it became.
    async fn apply(&self, change: impl FnOnce(&mut Value)) -> Value {
        self.plane.api.apply(&path(), &self.gateway(change)).await
    }

    /// Permits [`STEADY`] and one more tool.
    async fn permit(&self, tool: &str) -> Value {
        let rules = rules(tool);
        let patch = json!({"spec": {"authorization": {"rules": rules}}});
        self.plane.api.patch(&path(), Patch::Merge, &patch).await
    }

    fn client(&self) -> Client {
        Client::plaintext(self.address).host("localhost")
    }

    /// Calls a tool through the sidecar of the first pod.
    async fn call(&self, tool: &str) -> anyhow::Result<Answer> {
        let call = mcp::call(tool, json!({})).token(&self.token);
        self.client().send(call).await
    }

    /// How a call is answered.
    async fn status(&self, tool: &str) -> u16 {
        self.call(tool).await.unwrap().status.as_u16()
    }

    /// Waits until a call is answered with this status.
    async fn until_status(&self, tool: &str, status: u16) {
        let end = Instant::now() + PATIENCE;
        loop {
            let answered = self.call(tool).await.map(|answer| answer.status.as_u16());
            if matches!(answered, Ok(answered) if answered == status) {
                return;
            }
            assert!(
                Instant::now() < end,
                "{tool} is still answered {answered:?}"
            );
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Calls of [`STEADY`] all the time, each over a connection of its own.
    fn load(&self) -> Load {
        let (client, token) = (self.client(), Arc::new(self.token.clone()));
        Load::start(RATE, move || {
            let (client, token) = (client.clone(), Arc::clone(&token));
            async move {
                let call = mcp::call(STEADY, json!({})).token(&token);
                client.send(call).await
            }
        })
    }

    /// Waits until the gateway is `Ready` as it is now, and somebody looked
    /// whether that is true.
    async fn until_ready(&self) {
        self.until("Ready", ("True", "Ready")).await;
        self.observer.until_looked().await;
    }

    async fn until(&self, condition: &str, words: (&str, &str)) -> String {
        self.plane.until_condition(&path(), condition, words).await
    }
}

/// A gateway that permits [`STEADY`], changed.
fn document(issuer: &TestIssuer, upstream: &Upstream, change: impl FnOnce(&mut Value)) -> Value {
    let mut gateway = gateway(issuer, upstream);
    // In a cluster nobody fetches keys from loopback.
    let jwt = json!([{
        "issuer": "https://idp.example.com/",
        "jwks": {"inline": issuer.jwks().to_string()},
    }]);
    gateway["spec"]["authentication"]["jwt"] = jwt;
    let rules = json!({"rules": [{"name": "steady", "tools": [STEADY]}]});
    gateway["spec"]["authorization"] = rules;
    change(&mut gateway["spec"]);
    gateway
}

fn path() -> String {
    Plane::gateway_path(NAMESPACE, GATEWAY)
}

/// Rules that permit [`STEADY`] and one more tool.
fn rules(tool: &str) -> Value {
    json!([
        {"name": "steady", "tools": [STEADY]},
        {"name": "changing", "tools": [tool]},
    ])
}

/// A token of a caller that outlives any test.
fn token(issuer: &TestIssuer) -> String {
    let token = issuer
        .token(RESOURCE)
        .claim("iss", "https://idp.example.com/");
    let later = SystemClock.unix_seconds() + 3600;
    token.claim("exp", later).scope("customer:read").sign()
}

/// Waits until the sidecar has a stream, or has none.
async fn until_connected(pod: &mut PodProcess, connected: bool) {
    let what = format!("it is connected: {connected}");
    let wanted = |config: &Value| config["source"]["connected"] == connected;
    pod.until_config(&what, wanted).await;
}

/// Waits until the operator gave the pod a certificate.
async fn until_certified(pod: &PodProcess) {
    sidegate_testkit::poll::until("the pod has a certificate", || {
        let has = pod.file("state/certificate.pem").exists();
        has.then_some(())
    })
    .await;
}
