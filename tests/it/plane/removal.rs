//! A gateway that is deleted, and pods that come and go.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::{NAMESPACE, STEADY, Stage, path};

/// What is promised.
const SOON: Duration = Duration::from_secs(10);

/// OPR-023.
#[tokio::test(flavor = "multi_thread")]
async fn opr_023_a_gateway_that_is_deleted_leaves_nothing_and_nobody_in() {
    let mut stage = Stage::new().await;
    stage.until_ready().await;
    let before = stage.pod.config().await;
    assert!(!before["config"].is_null());
    assert_eq!(stage.status(STEADY).await, 200);

    stage.plane.api.delete(&path()).await;
    let deleted = Instant::now();
    stage.until_status(STEADY, 503).await;
    let refused = deleted.elapsed();
    stage.upstream.forget();
    stage.pod.until_unready().await;
    let unready = deleted.elapsed();
    let gone = |config: &Value| config["withdrawn"] == true && config["config"].is_null();
    let after = stage
        .pod
        .until_config("the configuration is gone", gone)
        .await;
    assert!(unready < SOON, "{unready:?}");
    let text = after.to_string();
    assert!(!text.contains("idp.example.com"), "{text}");
    println!("a gateway deleted: 503 after {refused:?}, not ready after {unready:?}");

    // Nor after a restart, with nobody to ask.
    stage.plane.streams.point(&[]);
    stage.pod.start_sidecar();
    stage.pod.until_unready().await;
    stage.until_status(STEADY, 503).await;
    assert!(stage.pod.config().await["config"].is_null());
    stage.upstream.assert_untouched();

    // Written again, it is enforced again.
    let [one, two] = &mut stage.operators;
    stage.plane.point(&mut [one, two]).await;
    stage.apply(|_| {}).await;
    stage.pod.until_ready().await;
    stage.until_status(STEADY, 200).await;
    stage.until_ready().await;
}

/// CFG-002 as it happens: a pod's successor of the same name is another pod.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_pod_confirmed_is_not_its_successors() {
    let stage = Stage::new().await;
    stage.until_ready().await;
    stage.plane.api.delete(&stage.pod.path()).await;
    stage.until("Ready", ("False", "NoReadyPods")).await;
    let wish = sidegate_testkit::plane::PodWish::new(NAMESPACE, "one", "support");
    let mut successor = stage.plane.pod(&wish).await;
    assert_ne!(successor.uid(), stage.pod.uid());
    let [port] = sidegate_testkit::process::free_ports();
    let _ = successor.listens("support", port);
    successor.says_of_itself(&stage.plane, true).await;
    stage.until("Ready", ("False", "Pending")).await;
    // The first one is still there, as a process whose pod was deleted by
    // force: its token is worth nothing any more.
    successor.becomes_ready(&stage.plane).await;
    stage.until_ready().await;
}
