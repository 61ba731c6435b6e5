//! Who asks the operator for a configuration with what is not theirs.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use sidegate_testkit::plane::{PATIENCE, Patch, PodProcess, PodWish};
use tokio::time::{Instant, sleep};

use super::{NAMESPACE, Stage, path, until_certified, until_connected};

/// CFG-001, CFG-002: with every token but its own, a sidecar gets nothing; with
/// its own, it gets what its pod enforces.
#[tokio::test(flavor = "multi_thread")]
async fn cfg_001_and_002_a_configuration_is_given_to_its_pod_only() {
    let stage = Stage::new().await;
    stage.until_ready().await;
    until_certified(&stage.pod).await;
    until_shown(&stage).await;
    let load = stage.load();
    let plane = &stage.plane;
    let mut thief = plane.pod(&PodWish::new(NAMESPACE, "two", "other")).await;
    thief.mounts_trust(plane).await;
    let own = thief.token(plane, "sidegate.dev").await;
    let expired = plane.api.server().forge(&own, |claims| {
        let now = claims["iat"].as_i64().unwrap();
        claims["iat"] = json!(now - 7200);
        claims["nbf"] = json!(now - 7200);
        claims["exp"] = json!(now - 3600);
    });
    // What is forged is as good as what the API server signs, but for its time.
    let forged = plane.api.server().forge(&own, |_| {});
    let cases = [
        (
            "of another pod",
            stage.pod.token(plane, "sidegate.dev").await,
            "WrongCertificate",
        ),
        (
            "for another audience",
            thief.token(plane, "https://kubernetes.default.svc").await,
            "Unauthenticated",
        ),
        ("that ended", expired, "Unauthenticated"),
        ("of an impostor", impostor(&own), "Unauthenticated"),
    ];
    for (what, token, reason) in cases {
        thief.has_token(&token);
        thief.start_sidecar();
        let refused = |config: &Value| {
            let error = config["source"]["lastError"].as_str();
            error.is_some_and(|error| error.contains(reason))
        };
        let what = format!("a token {what} is refused as {reason}");
        let config = thief.until_config(&what, refused).await;
        println!("{what}: {}", config["source"]["lastError"]);
        assert_eq!(config["config"], Value::Null, "{what}");
        assert_eq!(config["ready"], false, "{what}");
        assert!(!thief.file("state/certificate.pem").exists(), "{what}");
        assert!(!thief.file("state/snapshot.json").exists(), "{what}");
        let log = thief.sidecar().process().stderr();
        assert!(!log.contains(&token), "{what}");
    }

    // The right one is taken without a restart, and gives this pod's own: there
    // is no gateway for it.
    thief.has_token(&forged);
    until_certified(&thief).await;
    let withdrawn = |config: &Value| config["source"]["connected"] == true;
    let config = thief.until_config("it is connected", withdrawn).await;
    assert_eq!(config["config"], Value::Null);
    assert!(!state(&thief).contains("steady"));

    // With a certificate of its own, another pod's token is no better.
    thief.has_token(&stage.pod.token(plane, "sidegate.dev").await);
    thief.start_sidecar();
    let refused = |config: &Value| {
        let error = config["source"]["lastError"].as_str();
        error.is_some_and(|error| error.contains("WrongCertificate"))
    };
    let config = thief.until_config("it is refused", refused).await;
    assert_eq!(config["config"], Value::Null);
    let status = plane.api.get(&path()).await["status"].clone();
    assert_eq!(status["dataPlane"]["summary"], "1/1", "{status:#}");
    stage.until_ready().await;
    load.end();
}

/// CFG-001: a token that was copied out of a pod that has a certificate is worth
/// nothing, also for replicas to which that was never shown.
#[tokio::test(flavor = "multi_thread")]
async fn cfg_001_a_token_alone_is_not_enough_for_any_replica() {
    let mut stage = Stage::new().await;
    stage.until_ready().await;
    until_certified(&stage.pod).await;
    until_shown(&stage).await;
    stage.pod.sidecar().process().signal("KILL");
    for operator in &mut stage.operators {
        operator.kill().await;
    }
    // Only the token is left.
    fs::remove_dir_all(stage.pod.file("state")).unwrap();
    fs::create_dir(stage.pod.file("state")).unwrap();
    for name in ["three", "four"] {
        let mut operator = stage.plane.operator(name).await;
        operator.until_ready().await;
        stage.plane.point(&mut [&mut operator]).await;
        stage.pod.start_sidecar();
        let refused = |config: &Value| {
            let error = config["source"]["lastError"].as_str();
            error.is_some_and(|error| error.contains("WrongCertificate"))
        };
        let config = stage.pod.until_config("it is refused", refused).await;
        println!("{name}: {}", config["source"]["lastError"]);
        assert_eq!(config["config"], Value::Null);
        assert!(!stage.pod.file("state/snapshot.json").exists());
        operator.kill().await;
    }

    // The node was started again, which emptied the volume: so the kubelet says.
    let mut five = stage.plane.operator("five").await;
    five.until_ready().await;
    stage.plane.point(&mut [&mut five]).await;
    let new_sandbox = json!({"status": {"conditions": [{
        "type": "PodReadyToStartContainers",
        "status": "True",
        "lastTransitionTime": "2026-11-30T12:00:00Z",
    }]}});
    let status = format!("{}/status", stage.pod.path());
    let patched = stage
        .plane
        .api
        .patch(&status, Patch::Strategic, &new_sandbox);
    let _ = patched.await;
    until_connected(&mut stage.pod, true).await;
    until_certified(&stage.pod).await;
    let shown = until_shown_in(&stage, "sandbox of 2026-11-30T12:00:00Z").await;
    println!("{shown}");
    stage.until_ready().await;
    stage.until_status("steady", 200).await;
}

/// A sidecar leaves its first stream to show its certificate, and comes to the
/// other replica with it: that is content with what it sees.
#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_do_not_have_a_certificate_renewed_in_turn() {
    // Several times as long as a stream without a certificate goes on.
    const LONG: Duration = Duration::from_secs(8);
    let mut stage = Stage::new().await;
    stage.until_ready().await;
    until_certified(&stage.pod).await;
    until_shown(&stage).await;
    until_connected(&mut stage.pod, true).await;
    let (streams, certificate) = (stage.plane.streams.accepted(), stage.pod.identity());
    sleep(LONG).await;
    assert_eq!(
        stage.plane.streams.accepted(),
        streams,
        "it connected again"
    );
    let now = stage.pod.identity();
    assert_eq!(now.certificate_pem, certificate.certificate_pem);
    let mut signed = 0.0;
    for operator in &mut stage.operators {
        signed += operator
            .metric("sidegate_operator_certificates_signed_total")
            .await;
    }
    assert!(signed <= 2.0, "{signed} certificates for one pod");
    println!("{signed} certificates, {streams} connections");
}

/// Waits until every replica can know that the pod has a certificate.
async fn until_shown(stage: &Stage) -> String {
    until_shown_in(stage, "sandbox of unknown").await
}

async fn until_shown_in(stage: &Stage, sandbox: &str) -> String {
    let end = Instant::now() + PATIENCE;
    loop {
        let pod = stage.plane.api.get(&stage.pod.path()).await;
        let conditions = pod["status"]["conditions"].as_array().unwrap();
        let of_type = |it: &&Value| it["type"] == "sidegate.dev/Certificate";
        let message = conditions.iter().find(of_type).map(|it| &it["message"]);
        match message.and_then(Value::as_str) {
            Some(message) if message.ends_with(sandbox) => return message.to_owned(),
            found => assert!(Instant::now() < end, "{sandbox}: {found:?}"),
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// The same claims with a signature that nobody made.
fn impostor(token: &str) -> String {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (first, rest) = signature.split_at(1);
    let other = if first == "A" { "B" } else { "A" };
    format!("{signed}.{other}{rest}")
}

fn state(pod: &PodProcess) -> String {
    fs::read_to_string(pod.file("state/snapshot.json")).unwrap_or_default()
}
