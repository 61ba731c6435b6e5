//! New roots, under load over mTLS: callers and sidecars are pods, both with
//! certificates of the built-in authority.
//!
//! A rotation takes days. Its times are in the Secret, so a test turns them
//! back instead of waiting.

use std::sync::Arc;

use serde_json::{Value, json};
use sidegate_dev::certificates::{Facts, Issued};
use sidegate_testkit::client::Client;
use sidegate_testkit::mcp;
use sidegate_testkit::plane::{Load, PATIENCE, Patch, PodProcess, PodWish, Wishes};
use sidegate_tls::{PrivateKeyPem, client_config};
use tokio::time::{Duration, Instant, sleep};

use super::{NAMESPACE, RATE, STEADY, Stage, until_certified, until_connected};

const SECRET: &str = "/api/v1/namespaces/sidegate-system/secrets/sidegate-authority";
/// Longer than a root spreads and what it signed lives.
const LONG: i64 = 100 * 24 * 3600;
const SETS: [&str; 2] = ["workload", "endpoints"];

#[tokio::test(flavor = "multi_thread")]
async fn roots_are_replaced_under_load() {
    let mut stage = Stage::with(Wishes::default(), |spec| {
        spec["tls"] = json!({"mode": "Mutual"});
    })
    .await;
    stage.until_ready().await;
    let mut caller = stage
        .plane
        .pod(&PodWish::new(NAMESPACE, "caller", "caller"))
        .await;
    caller.mounts(&stage.plane).await;
    caller.start_sidecar();
    until_certified(&caller).await;
    let files = Arc::new(CallerFiles::of(&caller));
    let load = load(&stage, &files);
    let began = Instant::now();
    let old = certificates(&stage, &caller);

    // New roots are trusted by everybody before they sign.
    let rotate = json!({"metadata": {"annotations": {"sidegate.dev/rotate": SETS.join(",")}}});
    stage.plane.api.patch(SECRET, Patch::Merge, &rotate).await;
    until_roots(&stage, 2).await;
    for pod in [&stage.pod, &caller] {
        until_authorities(pod, 2).await;
        until_mounted(&stage, pod, 2).await;
    }
    turn_back(&stage, "trustedSince", |root| root["signsSince"].is_null()).await;
    until_signing(&stage).await;

    // The names of the pods change, and with them their certificates: those of
    // the new root meet those of the old one meanwhile.
    service(&stage, "support").await;
    until_renewed(&stage.pod, &old[0]).await;
    service(&stage, "caller").await;
    until_renewed(&caller, &old[1]).await;
    // A sidecar that dials again meets the new endpoint certificate.
    dial_again(&mut stage, &mut caller).await;

    // Nothing that the old ones signed is in use: they go.
    turn_back(&stage, "retiredSince", |root| {
        !root["retiredSince"].is_null()
    })
    .await;
    until_roots(&stage, 1).await;
    for pod in [&stage.pod, &caller] {
        until_authorities(pod, 1).await;
        until_mounted(&stage, pod, 1).await;
    }
    dial_again(&mut stage, &mut caller).await;
    stage.permit("after").await;
    stage.until_ready().await;
    load.until_answered(20).await;
    // Whoever still has a certificate of the old root is nobody.
    let stale = files.client_with(&stage, &old[1]);
    assert!(stale.handshake().await.is_err());
    let seen = load.end();
    println!(
        "both roots replaced in {:?}: {} requests over mTLS, none failed, the slowest {:?}",
        began.elapsed(),
        seen.answered,
        seen.slowest
    );
}

/// Where the caller has its certificate, as its app would read it.
struct CallerFiles {
    state: std::path::PathBuf,
}

// === impl CallerFiles ===

impl CallerFiles {
    fn of(pod: &PodProcess) -> Self {
        Self {
            state: pod.file("state"),
        }
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.state.join(name)).unwrap()
    }

    /// A certificate and its key: for a moment only one of them is new.
    fn identity(&self) -> Issued {
        loop {
            let certificate_pem = self.read("certificate.pem");
            let key = self.read("key.pem");
            let pair = (
                certificate_pem.as_bytes(),
                &PrivateKeyPem::from(key.clone().into_bytes()),
            );
            let roots = self.read("authorities.pem");
            if client_config(roots.as_bytes(), Some(pair), &[b"http/1.1"]).is_ok() {
                return Issued {
                    certificate_pem,
                    key_pem: key.into(),
                };
            }
        }
    }

    fn client_with(&self, stage: &Stage, identity: &Issued) -> Client {
        let client = Client::tls(stage.address, &self.read("authorities.pem"));
        client.identity(identity).host("localhost")
    }
}

fn load(stage: &Stage, files: &Arc<CallerFiles>) -> Load {
    let (address, token) = (stage.address, Arc::new(stage.token.clone()));
    let files = Arc::clone(files);
    Load::start(RATE, move || {
        let client = Client::tls(address, &files.read("authorities.pem"));
        let client = client.identity(&files.identity()).host("localhost");
        let token = Arc::clone(&token);
        async move {
            let call = mcp::call(STEADY, json!({})).token(&token);
            client.send(call).await
        }
    })
}

fn certificates(stage: &Stage, caller: &PodProcess) -> [Issued; 2] {
    [stage.pod.identity(), caller.identity()]
}

/// A Service of the pods of an app, which gives them names.
async fn service(stage: &Stage, app: &str) {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/services/{app}");
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": app},
        "spec": {"selector": {"app": app}, "ports": [{"port": 80}]},
    });
    stage.plane.api.apply(&path, &service).await;
}

/// Waits until the pod has a certificate of another root.
async fn until_renewed(pod: &PodProcess, old: &Issued) {
    let end = Instant::now() + PATIENCE;
    loop {
        let now = pod.identity().certificate_pem;
        let roots = pod.authorities();
        let by = |pem: &str, root: &str| Facts::read(pem).unwrap().is_signed_by(root);
        let roots = split(&roots);
        let signed = |pem: &str| roots.iter().position(|root| by(pem, root));
        if now != old.certificate_pem && signed(&now) != signed(&old.certificate_pem) {
            return;
        }
        assert!(Instant::now() < end, "the certificate is not renewed");
        sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until the sidecar knows this many roots.
async fn until_authorities(pod: &PodProcess, count: usize) {
    let end = Instant::now() + PATIENCE;
    while split(&pod.authorities()).len() != count {
        assert!(Instant::now() < end, "it does not know {count} roots");
        sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until its volume holds this many roots of endpoints.
async fn until_mounted(stage: &Stage, pod: &PodProcess, count: usize) {
    let end = Instant::now() + PATIENCE;
    loop {
        pod.mounts_trust(&stage.plane).await;
        let mounted = std::fs::read_to_string(pod.file("trust/endpoints.crt"));
        if split(&mounted.unwrap()).len() == count {
            return;
        }
        assert!(
            Instant::now() < end,
            "its volume does not hold {count} roots"
        );
        sleep(Duration::from_millis(10)).await;
    }
}

/// Both sidecars lose their streams and come back.
async fn dial_again(stage: &mut Stage, caller: &mut PodProcess) {
    let [one, two] = &mut stage.operators;
    let streams = [one.streams().await, two.streams().await];
    stage.plane.streams.point(&[]);
    until_connected(&mut stage.pod, false).await;
    until_connected(caller, false).await;
    stage.plane.streams.point(&streams);
    until_connected(&mut stage.pod, true).await;
    until_connected(caller, true).await;
}

fn split(pem: &str) -> Vec<String> {
    const END: &str = "-----END CERTIFICATE-----\n";
    pem.split_inclusive(END).map(str::to_owned).collect()
}

async fn roots(stage: &Stage, set: &str) -> Value {
    let text = stage.plane.api.secret_text(SECRET, set).await;
    serde_json::from_str(&text).unwrap()
}

/// Waits until each set holds this many roots.
async fn until_roots(stage: &Stage, count: usize) {
    until_sets(stage, "has so many roots", |set| {
        set["roots"].as_array().unwrap().len() == count
    })
    .await;
}

/// Waits until the new root of each set signs.
async fn until_signing(stage: &Stage) {
    until_sets(stage, "signs with its new root", |set| {
        let roots = set["roots"].as_array().unwrap();
        roots.iter().all(|root| !root["signsSince"].is_null())
    })
    .await;
}

async fn until_sets(stage: &Stage, what: &str, wanted: impl Fn(&Value) -> bool) {
    let end = Instant::now() + PATIENCE;
    for set in SETS {
        while !wanted(&roots(stage, set).await) {
            assert!(Instant::now() < end, "`{set}` never {what}");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Turns back a time of some roots of both sets.
async fn turn_back(stage: &Stage, time: &str, of: impl Fn(&Value) -> bool) {
    let mut texts = json!({});
    for set in SETS {
        let mut written = roots(stage, set).await;
        for root in written["roots"].as_array_mut().unwrap() {
            if of(root) {
                root[time] = json!(root[time].as_i64().unwrap() - LONG);
            }
        }
        texts[set] = json!(written.to_string());
    }
    let patch = json!({"stringData": texts});
    stage.plane.api.patch(SECRET, Patch::Merge, &patch).await;
}
