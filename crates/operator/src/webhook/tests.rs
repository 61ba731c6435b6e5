//! The webhook over real connections, with an API server that answers as it is
//! told and notes what it is asked.

use std::time::Instant;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use hyper::Request;
use serde_json::{Value, json};
use sidegate_policy::clock::SystemClock;
use sidegate_testkit::client::{Answer, Client as HttpClient};
use sidegate_testkit::poll::until;
use sidegate_testkit::upstream::{Gate, Reply, SeenRequest, Upstream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::http::BODY_TIMEOUT;
use super::*;
use crate::authority::{Clients, Trust, tests as authority};
use crate::injector::admission::MAX_REVIEW_BYTES;
use crate::metrics::Metrics;

/// A webhook, and the API server that it asks.
struct Rig {
    api: Upstream,
    address: SocketAddr,
    trust: watch::Sender<Option<Arc<Trust>>>,
    stopping: watch::Sender<bool>,
    metrics: Arc<Metrics>,
    task: tokio::task::JoinHandle<()>,
}

// === impl Rig ===

impl Rig {
    async fn new(answer: impl Fn(&SeenRequest) -> Reply + Send + Sync + 'static) -> Self {
        let _there = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let api = Upstream::start(answer).await;
        let url = format!("http://{}", api.address()).parse().unwrap();
        let client = Client::try_from(kube::Config::new(url)).unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (trust, receiver) = watch::channel(Some(authority::trust()));
        let (stopping, stop) = watch::channel(false);
        let clock = Arc::new(SystemClock);
        let metrics = Arc::new(Metrics::new(clock.clone()));
        let endpoint = Endpoint::new("webhook", receiver, clock, Clients::Nobody, ALPN);
        let settings = InjectorSettings::new("sidegate:1", "https://op.example:9443");
        let webhook = metrics.webhook.clone();
        let task = tokio::spawn(serve(listener, endpoint, client, settings, webhook, stop));
        Self {
            api,
            address,
            trust,
            stopping,
            metrics,
            task,
        }
    }

    /// One whose API server has these gateways.
    async fn with(gateways: Value) -> Self {
        Self::new(move |_| list(&gateways, "")).await
    }

    fn client(&self) -> HttpClient {
        let trust = self.trust.borrow().clone().unwrap();
        HttpClient::tls(self.address, trust.endpoint_roots_pem())
    }

    async fn ask(&self, question: &Value) -> Value {
        let answer = self.client().send(inject(question.to_string())).await;
        let answer = answer.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["response"].take()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(super) fn list(gateways: &Value, more: &str) -> Reply {
    Reply::json(
        200,
        &json!({
            "apiVersion": "sidegate.dev/v1alpha1",
            "kind": "McpGatewayList",
            "metadata": { "resourceVersion": "7", "continue": more },
            "items": gateways,
        }),
    )
}

pub(super) fn gateway(name: &str, app: &str) -> Value {
    json!({
        "apiVersion": "sidegate.dev/v1alpha1",
        "kind": "McpGateway",
        "metadata": {
            "name": name, "namespace": "crm", "uid": "0c5c9d0e-0000-4000-8000-000000000001",
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {
            "selector": { "matchLabels": { "app": app } },
            "servers": [{ "name": "s", "port": 8080, "resources": ["https://x.example/mcp"] }],
        },
    })
}

fn question(uid: &str, app: &str) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": uid,
            "kind": { "group": "", "version": "v1", "kind": "Pod" },
            "resource": { "group": "", "version": "v1", "resource": "pods" },
            "namespace": "crm",
            "operation": "CREATE",
            "object": {
                "metadata": { "generateName": "demo-", "labels": { "app": app } },
                "spec": { "containers": [
                    { "name": "app", "image": "x", "ports": [{ "containerPort": 8080 }] },
                ] },
            },
        },
    })
}

fn inject(body: impl Into<Bytes>) -> Request<Bytes> {
    Request::post("/inject?timeout=5s")
        .header("content-type", "application/json")
        .body(body.into())
        .unwrap()
}

fn patch_of(response: &Value) -> Vec<Value> {
    assert_eq!(response["patchType"], "JSONPatch", "{response}");
    let patch = BASE64_STANDARD.decode(response["patch"].as_str().unwrap());
    serde_json::from_slice(&patch.unwrap()).unwrap()
}

/// WHK-001.
#[tokio::test(flavor = "multi_thread")]
async fn a_selected_pod_gets_its_sidecar_and_only_the_api_server_is_asked() {
    let rig = Rig::with(json!([gateway("other", "other"), gateway("demo", "demo")])).await;
    for client in [rig.client(), rig.client().http2()] {
        rig.api.forget();
        let answer = client
            .send(inject(question("u-1", "demo").to_string()))
            .await;
        let answer: Answer = answer.unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), "application/json");
        let response = answer.json()["response"].take();
        assert_eq!(response["uid"], "u-1");
        assert_eq!(response["allowed"], true);
        let patch = patch_of(&response).last().unwrap().to_string();
        assert!(
            patch.contains("0c5c9d0e-0000-4000-8000-000000000001/"),
            "{patch}"
        );
        let asked = rig.api.request();
        assert_eq!(asked.method(), "GET");
        assert_eq!(
            asked.path(),
            "/apis/sidegate.dev/v1alpha1/namespaces/crm/mcpgateways?&limit=100"
        );
    }
    let response = rig.ask(&question("u-2", "nobody")).await;
    assert_eq!(response, json!({ "uid": "u-2", "allowed": true }));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_reviews_is_answered() {
    let rig = Rig::with(json!([])).await;
    let body = question("u", "demo").to_string();
    let request = |method: &str, path: &str, media_type: &str| {
        Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", media_type)
            .body(Bytes::from(body.clone()))
            .unwrap()
    };
    for (method, path, media_type, status) in [
        ("POST", "/", "application/json", 404),
        ("POST", "/inject/", "application/json", 404),
        ("GET", "/metrics", "application/json", 404),
        ("GET", "/inject", "application/json", 405),
        ("PUT", "/inject", "application/json", 405),
        ("POST", "/inject", "text/plain", 415),
        ("POST", "/inject", "", 415),
        ("POST", "/inject", "application/json; charset=utf-8", 200),
    ] {
        let answer = rig.client().send(request(method, path, media_type)).await;
        assert_eq!(
            answer.unwrap().status,
            status,
            "{method} {path} {media_type}"
        );
    }
    let refused = rig.client().get("/inject").await.unwrap();
    assert_eq!(refused.header("allow"), "POST");
}

/// WHK-005.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_review_is_refused_without_a_question() {
    let rig = Rig::with(json!([])).await;
    let valid = question("u", "demo").to_string();
    let twice = valid.replace("\"uid\":\"u\"", "\"uid\":\"u\",\"uid\":\"v\"");
    let deep = valid.replace(
        "\"demo-\"",
        &format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)),
    );
    for body in [
        String::new(),
        "null".to_owned(),
        valid.replace(",\"uid\":\"u\"", ""),
        valid.replace("\"uid\":\"u\"", "\"uid\":\"\""),
        valid.replace("AdmissionReview", "ConversionReview"),
        valid.replace("admission.k8s.io/v1", "admission.k8s.io/v1beta1"),
        valid.replace("\"crm\"", "\"../../secrets\""),
        twice,
        deep,
    ] {
        let answer = rig.client().send(inject(body.clone())).await.unwrap();
        assert_eq!(answer.status, 400, "{body:.300}");
        assert_eq!(answer.json()["response"]["allowed"], false, "{body:.300}");
    }
    assert_eq!(rig.ask(&question("u", "demo")).await["allowed"], true);
    assert_eq!(rig.api.requests().len(), 1);
}

/// WHK-004.
#[tokio::test(flavor = "multi_thread")]
async fn the_length_of_a_body_is_bounded_on_both_sides() {
    let rig = Rig::with(json!([])).await;
    let mut longest = question("u", "demo");
    longest["padding"] = json!("");
    longest["padding"] = json!("x".repeat(MAX_REVIEW_BYTES - longest.to_string().len()));
    let longest = longest.to_string();
    assert_eq!(longest.len(), MAX_REVIEW_BYTES);
    for client in [rig.client(), rig.client().http2()] {
        let taken = client.send(inject(longest.clone())).await.unwrap();
        assert_eq!(taken.status, 200);
        // HTTP/1 may close before the body was sent, and then the client may
        // not see the answer.
        if let Ok(refused) = client.send(inject(format!("{longest} "))).await {
            assert_eq!(refused.status, 413);
        }
    }
    until("both were counted", || {
        let text = rig.metrics.render();
        let line = r#"sidegate_operator_webhook_reviews_total{result="unreadable"} 2"#;
        text.contains(line).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_on_a_later_page_is_found() {
    let rig = Rig::new(|request| {
        if request.path().contains("continue=more") {
            list(&json!([gateway("demo", "demo")]), "")
        } else {
            list(&json!([gateway("other", "other")]), "more")
        }
    })
    .await;
    let response = rig.ask(&question("u", "demo")).await;
    assert!(!patch_of(&response).is_empty());
    assert_eq!(rig.api.requests().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_is_refused_while_its_gateways_cannot_be_read() {
    let silent = Rig::new(|_| Reply::hang()).await;
    let started = Instant::now();
    let response = silent.ask(&question("u", "demo")).await;
    assert_eq!(response["allowed"], false);
    let message = response["status"]["message"].as_str().unwrap();
    assert!(message.contains("try again"), "{message}");
    // The API server gives up after five seconds.
    assert!(started.elapsed() < Duration::from_secs(5));

    let forbidden = Rig::new(|_| {
        let status = json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden",
            "code": 403, "message": "no, says 192.0.2.7",
        });
        Reply::json(403, &status)
    })
    .await;
    let response = forbidden.ask(&question("u", "demo")).await;
    assert_eq!(response["allowed"], false);
    let message = response["status"]["message"].as_str().unwrap();
    assert!(message.contains("ClusterRole"), "{message}");
    assert!(!message.contains("192.0.2.7"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn new_roots_are_shown_to_new_connections_and_old_ones_stay() {
    let rig = Rig::with(json!([])).await;
    let review = || inject(question("u", "demo").to_string());
    let before = rig.client();
    let mut old = before.connect().await.unwrap();
    assert_eq!(old.send(review()).await.unwrap().status, 200);
    rig.trust.send_replace(Some(authority::trust()));
    assert_eq!(rig.client().send(review()).await.unwrap().status, 200);
    assert_eq!(old.send(review()).await.unwrap().status, 200);
    assert!(before.send(review()).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_review_in_progress_is_answered_before_it_stops() {
    let gate = Arc::new(Gate::default());
    let waits = Arc::clone(&gate);
    let mut rig = Rig::new(move |_| list(&json!([]), "").gated_after(0, &waits)).await;
    let client = rig.client();
    let pending = client.clone();
    let pending = tokio::spawn(async move {
        pending
            .send(inject(question("u", "demo").to_string()))
            .await
    });
    rig.api.until_requests(1).await;
    rig.stopping.send_replace(true);
    until("it accepts no more", || {
        std::net::TcpStream::connect(client.address())
            .is_err()
            .then_some(())
    })
    .await;
    gate.open();
    assert_eq!(pending.await.unwrap().unwrap().status, 200);
    let ended = timeout(GRACE, &mut rig.task).await;
    ended.expect("it ends").expect("without a panic");
}

/// What is heard on a connection that sends this and then nothing more.
async fn heard(rig: &Rig, bytes: &[u8]) -> String {
    let trust = rig.trust.borrow().clone().unwrap();
    let roots = trust.endpoint_roots_pem().as_bytes();
    let tls = sidegate_tls::client_config(roots, None, &[b"http/1.1"]).unwrap();
    let stream = TcpStream::connect(rig.address).await.unwrap();
    let mut stream = tls.connect(stream, "localhost").await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // It may end without a goodbye.
    let _ = timeout(BODY_TIMEOUT * 3, stream.read_to_end(&mut answer))
        .await
        .expect("it ends");
    String::from_utf8(answer).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_slowly_is_not_waited_for() {
    let rig = Rig::with(json!([])).await;
    let head = "POST /inject HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    let body = format!("{head}Content-Length: 9\r\n\r\n{{\"a\":");
    let started = Instant::now();
    let (slow_body, slow_head) =
        tokio::join!(heard(&rig, body.as_bytes()), heard(&rig, head.as_bytes()));
    assert!(slow_body.starts_with("HTTP/1.1 408 "), "{slow_body}");
    assert!(!slow_head.starts_with("HTTP/1.1 200 "), "{slow_head}");
    assert!(started.elapsed() >= BODY_TIMEOUT);
    assert_eq!(rig.ask(&question("u", "demo")).await["allowed"], true);
}

/// WHK-006.
/// A measurement: on an idle machine, a review takes a few milliseconds.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_reviews_are_answered_in_time_and_with_their_uids() {
    const REVIEWS: usize = 1000;
    let rig = Rig::with(json!([gateway("demo", "demo")])).await;
    let mut connection = rig.client().http2().connect().await.unwrap();
    let mut took = Vec::with_capacity(REVIEWS);
    for index in 0..REVIEWS {
        let uid = format!("705ab4f5-6393-11e8-b7cc-{index:012}");
        let started = Instant::now();
        let answer = connection
            .send(inject(question(&uid, "demo").to_string()))
            .await;
        took.push(started.elapsed());
        let response = answer.unwrap().json()["response"].take();
        assert_eq!(response["uid"], uid.as_str());
        assert_eq!(response["allowed"], true);
    }
    took.sort();
    let (half, p99, max) = (
        took[REVIEWS / 2],
        took[REVIEWS * 99 / 100],
        took[REVIEWS - 1],
    );
    println!("{REVIEWS} reviews: p50 {half:?}, p99 {p99:?}, max {max:?}");
    assert!(max < Duration::from_secs(3), "{max:?}");
    let text = rig.metrics.render();
    let injected = r#"sidegate_operator_webhook_reviews_total{result="injected"} 1000"#;
    assert!(text.contains(injected), "{text}");
    assert!(text.contains("sidegate_operator_webhook_review_duration_seconds_count 1000"));
}
