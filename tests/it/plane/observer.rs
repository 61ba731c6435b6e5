//! Who watches all these tests sees what is not true.

use serde_json::{Value, json};
use sidegate_testkit::plane::Patch;

use super::{Stage, path};

/// Nobody tells the sidecar of a change, and somebody says that it was told.
#[tokio::test(flavor = "multi_thread")]
#[should_panic(expected = "a status was not true")]
async fn a_status_that_is_not_true_fails_a_test() {
    let mut stage = Stage::new().await;
    stage.until_ready().await;
    for operator in &mut stage.operators {
        operator.kill().await;
    }
    let changed = stage.permit("new").await;
    // As long as it is said of what was before, it is true.
    assert!(stage.observer.untrue().is_empty());
    let status = json!({"status": says_the_same_of_now(&changed)});
    let path = format!("{}/status", path());
    stage.plane.api.patch(&path, Patch::Merge, &status).await;
    stage.observer.until_looked().await;
}

fn says_the_same_of_now(gateway: &Value) -> Value {
    let generation = &gateway["metadata"]["generation"];
    let mut status = gateway["status"].clone();
    status["observedGeneration"] = generation.clone();
    status["dataPlane"]["configVersion"] = json!("0123456789abcdef");
    for condition in status["conditions"].as_array_mut().unwrap() {
        condition["observedGeneration"] = generation.clone();
    }
    status
}
