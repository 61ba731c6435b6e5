//! What a pod is told, and what becomes of its answer.

use serde_json::{Value, json};
use sidegate_config::control::{
    FromOperator, FromSidecar, RejectReason, Rejected, SnapshotVersion,
};
use tokio::time::{Instant, sleep};

use super::Stage;
use super::sidecar::hello;
use crate::cluster::{PATIENCE, STEP, condition_of, metric, spec};

/// Waits until the condition of a pod is as it should be.
async fn until_programmed(stage: &Stage, pod: &str, look: impl Fn(&Value) -> bool) {
    let end = Instant::now() + PATIENCE;
    loop {
        let object = stage.cluster.get("Pod", pod).await;
        let condition = condition_of(&object, "sidegate.dev/Programmed");
        if look(&condition) {
            return;
        }
        assert!(Instant::now() < end, "{pod}: {condition}");
        sleep(STEP).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_gets_what_its_gateway_says_and_confirms_it() {
    let stage = Stage::new("stream-config").await;
    stage.cluster.gateway("support", &spec("support")).await;
    let token = stage.pod_with_token("support-0").await;
    let mut stream = stage.place.stream(&token).await;
    let first = stream.snapshot().await;
    let config: Value = serde_json::from_str(first.config.get()).expect("JSON");
    assert_eq!(config["version"], json!(first.version.hash));
    assert_eq!(config["servers"][0]["name"], json!("support"), "{config}");
    stream.confirm(first.version.clone()).await;
    until_programmed(&stage, "support-0", |it| {
        it["status"] == "True" && it["message"] == json!(first.version.hash)
    })
    .await;

    // A change is pushed, and a rejection is told.
    let mut changed = spec("support");
    changed["authorization"]["rules"][0]["tools"] = json!(["list_*"]);
    stage.cluster.gateway("support", &changed).await;
    let second = stream.snapshot().await;
    assert_ne!(second.version.hash, first.version.hash);
    assert!(second.version.revision > first.version.revision);
    stream
        .say(&FromSidecar::Rejected(Rejected {
            version: second.version.clone(),
            reason: RejectReason::NotApplicable,
            message: "port 8080 is taken".to_owned(),
            in_force: Some(first.version.clone()),
        }))
        .await;
    until_programmed(&stage, "support-0", |it| {
        let message = it["message"].as_str().unwrap_or_default();
        it["status"] == "False"
            && it["reason"] == "DataPlaneRejected"
            && message.contains("port 8080 is taken")
    })
    .await;

    // The gateway goes, and with it what there is to enforce.
    stage.cluster.delete("McpGateway", "support").await;
    let withdrawn = loop {
        if let FromOperator::Withdrawn(withdrawn) = stream.next().await {
            break withdrawn;
        }
    };
    assert_eq!(withdrawn.version.hash, "");
    let lag = "sidegate_operator_snapshot_lag_seconds_count";
    assert_eq!(
        metric(&stage.operator, lag).await,
        0,
        "the change was rejected"
    );
    assert_eq!(
        metric(&stage.operator, "sidegate_operator_streams").await,
        1
    );
    stage.operator.stop().await.expect("it stops");
}

/// CFG-005, from this side: what the sidecar has is newer than what this
/// replica knows, so it is not sent until the replica has seen as much.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_older_is_sent_and_a_replica_catches_up() {
    let stage = Stage::new("stream-older").await;
    let made = stage.cluster.gateway("support", &spec("support")).await;
    let revision: u64 = made
        .metadata
        .resource_version
        .expect("a version")
        .parse()
        .expect("a number");
    let token = stage.pod_with_token("support-0").await;
    let _known = stage.place.stream(&token).await;
    let mut hello = hello(&token);
    // Gateways of later revisions will be seen: those that follow here.
    hello.in_force = Some(SnapshotVersion {
        epoch: 1,
        revision: revision + 8,
        hash: "0123456789abcdef".to_owned(),
        references: Default::default(),
    });
    let mut stream = stage.place.connect().await;
    stream.say(&FromSidecar::Hello(hello)).await;
    assert!(matches!(stream.next().await, FromOperator::Welcome(_)));
    let changes = async {
        for step in 0..40 {
            let mut other = spec("other");
            other["authorization"]["rules"][0]["name"] = json!(format!("rule-{step}"));
            stage.cluster.gateway("other", &other).await;
            sleep(STEP).await;
        }
    };
    let (snapshot, ()) = tokio::join!(stream.snapshot(), changes);
    assert!(
        snapshot.version.revision >= revision + 8,
        "{}",
        snapshot.version
    );
    stage.operator.stop().await.expect("it stops");
}

/// CFG-006, from this side.
#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_that_is_too_old_keeps_what_it_has() {
    let stage = Stage::new("stream-outdated").await;
    stage.cluster.gateway("support", &spec("support")).await;
    let token = stage.pod_with_token("support-0").await;
    let _known = stage.place.stream(&token).await;
    let mut hello = hello(&token);
    hello.schema_versions = vec![0];
    let mut stream = stage.place.connect().await;
    stream.say(&FromSidecar::Hello(hello)).await;
    let outdated = loop {
        let next = stream.next().await;
        assert!(!matches!(next, FromOperator::Snapshot(_)));
        if let FromOperator::Outdated(outdated) = next {
            break outdated;
        }
    };
    assert_eq!(
        outdated.schema_version,
        sidegate_config::sidecar_config::SCHEMA_VERSION
    );
    until_programmed(&stage, "support-0", |it| it["reason"] == "SidecarOutdated").await;
    stage.operator.stop().await.expect("it stops");
}
