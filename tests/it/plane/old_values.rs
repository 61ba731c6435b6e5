//! An old value of what a gateway refers to does not come back.

use std::time::Duration;

use serde_json::{Value, json};
use sidegate_policy::clock::{Clock as _, SystemClock};
use sidegate_testkit::issuer::{Key, TestIssuer};
use sidegate_testkit::mcp;
use sidegate_testkit::plane::PATIENCE;
use tokio::time::{Instant, sleep};

use super::{NAMESPACE, STEADY, Stage, until_connected};
use crate::support::RESOURCE;

const KEYS: &str = "keys";
const PATH: &str = "/api/v1/namespaces/crm/configmaps/keys";

/// CFG-005. A key has leaked, and is taken out of the ConfigMap that has an
/// issuer's keys. The replica that the sidecar comes to knows its gateway as it
/// is, and has not heard of the ConfigMap since.
#[tokio::test(flavor = "multi_thread")]
async fn cfg_005_a_key_that_was_removed_is_not_trusted_again() {
    let mut stage = Stage::new().await;
    let leaked = leaked(&stage.issuer);
    refer_to_keys(&stage).await;
    until_answered(&stage, &leaked, 200).await;
    stage.until_ready().await;
    let load = stage.load();

    let laggard = stage.plane.lagging_operator("laggard").await;
    stage.operators[1].kill().await;
    stage.operators[1] = laggard;
    stage.operators[1].until_ready().await;
    let [leader, laggard] = &mut stage.operators;
    let [leading, lagging] = [leader.streams().await, laggard.streams().await];
    // It is told of its certificate, and of the keys as they are.
    stage.plane.streams.point(&[lagging]);
    until_told_by_laggard(&mut stage, 1).await;
    stage.plane.streams.point(&[leading]);
    until_connected(&mut stage.pod, true).await;

    stage.operators[1].lags_about(Some(KEYS));
    write(&stage, &published(&stage.issuer, false)).await;
    until_answered(&stage, &leaked, 401).await;
    stage.until_ready().await;

    // However new the rules are that would come with it.
    stage.plane.streams.point(&[lagging]);
    until_connected(&mut stage.pod, true).await;
    stage.permit("new").await;
    let message = tokio::select! {
        message = stage.until("Ready", ("False", "OperatorBehind")) => message,
        () = until_answered(&stage, &leaked, 200) => panic!("the key is trusted again"),
    };
    println!("while a watch lags: {message}");
    assert_eq!(answer(&stage, &leaked).await, 401);
    assert_eq!(stage.status("new").await, 403);

    let released = Instant::now();
    stage.operators[1].lags_about(None);
    stage.until_status("new", 200).await;
    let caught_up = released.elapsed();
    assert_eq!(answer(&stage, &leaked).await, 401);
    stage.until_ready().await;
    let seen = load.end();
    println!(
        "the watch goes on: served after {caught_up:?}; {} requests, none failed",
        seen.answered
    );
}

/// The gateway takes its issuer's keys from a ConfigMap.
async fn refer_to_keys(stage: &Stage) {
    write(stage, &published(&stage.issuer, true)).await;
    let keys = json!({"configMapKeyRef": {"name": KEYS, "key": "jwks.json"}});
    stage
        .apply(|spec| spec["authentication"]["jwt"][0]["jwks"] = keys)
        .await;
    stage.until("ResolvedRefs", ("True", "ResolvedRefs")).await;
}

/// The keys that an issuer publishes, with the one that leaked or without.
fn published(issuer: &TestIssuer, with_leaked: bool) -> Value {
    let mut keys = issuer.jwks();
    let all = keys["keys"].as_array_mut().unwrap();
    all.retain(|key| with_leaked || key["kid"] != "p256");
    keys
}

async fn write(stage: &Stage, keys: &Value) {
    let object = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": KEYS, "namespace": NAMESPACE},
        "data": {"jwks.json": keys.to_string()},
    });
    let _ = stage.plane.api.apply(PATH, &object).await;
}

/// A token that whoever has the leaked key signed.
fn leaked(issuer: &TestIssuer) -> String {
    let token = issuer
        .token(RESOURCE)
        .signed_by(Key::P256)
        .claim("iss", "https://idp.example.com/");
    let later = SystemClock.unix_seconds() + 3600;
    token.claim("exp", later).scope("customer:read").sign()
}

async fn answer(stage: &Stage, token: &str) -> u16 {
    let call = mcp::call(STEADY, json!({})).token(token);
    stage.client().send(call).await.unwrap().status.as_u16()
}

async fn until_answered(stage: &Stage, token: &str, status: u16) {
    let end = Instant::now() + PATIENCE;
    while answer(stage, token).await != status {
        assert!(Instant::now() < end, "it is not answered {status}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until the replica that will lag has sent the sidecar so much.
async fn until_told_by_laggard(stage: &mut Stage, times: usize) {
    let what = format!("{times} configurations are sent");
    let sent = |log: &str| {
        let lines = log.lines().filter(|line| {
            line.contains("sent for a sidecar to enforce") && line.contains("snapshot")
        });
        (lines.count() >= times).then_some(())
    };
    stage.operators[1].until(&what, sent).await;
    until_connected(&mut stage.pod, true).await;
}
