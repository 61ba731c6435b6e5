//! A snapshot that a sidecar cannot put in force.

use serde_json::json;
use sidegate_testkit::upstream::Upstream;
use tokio::net::TcpListener;

use super::{STEADY, Stage, path};
use crate::support::obliging;

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_cannot_be_put_in_force_is_told_and_mended() {
    let stage = Stage::new().await;
    stage.until_ready().await;
    let load = stage.load();
    let second = Upstream::start(obliging).await;
    // Somebody else has the port on the pod's address.
    let taken = TcpListener::bind((stage.pod.address(), 0)).await.unwrap();
    let port = taken.local_addr().unwrap().port();
    stage
        .apply(|spec| {
            let mut server = spec["servers"][0].clone();
            server["name"] = json!("second");
            server["port"] = json!(second.port());
            server["exposure"] = json!("SeparatePort");
            server["listenPort"] = json!(port);
            server["resources"] = json!(["https://second.example/mcp"]);
            spec["servers"].as_array_mut().unwrap().push(server);
            spec["authorization"]["rules"][0]["tools"] = json!([STEADY, "new"]);
        })
        .await;
    let message = stage
        .until("Programmed", ("False", "DataPlaneRejected"))
        .await;
    assert!(message.contains("one"), "{message}");
    stage.until("Ready", ("False", "DataPlaneRejected")).await;
    let status = stage.plane.api.get(&path()).await["status"].clone();
    let failing = &status["failing"][0];
    assert_eq!(failing["pod"], "one", "{status:#}");
    assert!(
        failing.to_string().contains(&port.to_string()),
        "{status:#}"
    );
    // All of it or nothing: the rule of the first server did not change, either.
    assert_eq!(stage.status(STEADY).await, 200);
    assert_eq!(stage.status("new").await, 403);

    // The port comes free, and nobody has to do anything.
    drop(taken);
    stage.until_ready().await;
    assert_eq!(stage.status("new").await, 200);
    let seen = load.end();
    println!(
        "a snapshot rejected and mended: {} requests, none failed",
        seen.answered
    );
}
