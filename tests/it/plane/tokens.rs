//! Who asks the operator for a configuration with what is not theirs.

use std::fs;

use serde_json::{Value, json};
use sidegate_testkit::plane::{PodProcess, PodWish};

use super::{NAMESPACE, Stage, path, until_certified, until_connected};

/// CFG-001, CFG-002: with every token but its own, a sidecar gets nothing; with
/// its own, it gets what its pod enforces.
#[tokio::test(flavor = "multi_thread")]
async fn cfg_001_and_002_a_configuration_is_given_to_its_pod_only() {
    let mut stage = Stage::new().await;
    stage.until_ready().await;
    until_certified(&stage.pod).await;
    // It comes back and shows its certificate: from now on this replica knows
    // that it has one.
    stage.plane.streams.point(&[]);
    until_connected(&mut stage.pod, false).await;
    let streams = stage.operators[0].streams().await;
    stage.plane.streams.point(&[streams]);
    until_connected(&mut stage.pod, true).await;
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
