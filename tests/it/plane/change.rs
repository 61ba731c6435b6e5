//! A change is enforced soon, and what the status says is true.

use std::time::Duration;

use serde_json::json;
use sidegate_testkit::mcp;
use tokio::time::Instant;

use super::{Stage, rules};

const CHANGES: usize = 20;

/// The promise is 100 ms for programs as they are released. These are not,
/// and share two processors with an API server and other tests.
const BOUND: Duration = if cfg!(debug_assertions) {
    Duration::from_secs(1)
} else {
    Duration::from_millis(100)
};

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_change_is_enforced_at_once() {
    let stage = Stage::new().await;
    stage.until_ready().await;
    let load = stage.load();
    let mut times = Vec::new();
    for round in 0..CHANGES {
        let tool = format!("tool_{round}");
        let mut connection = stage.client().connect().await.unwrap();
        let call = || mcp::call(&tool, json!({})).token(&stage.token);
        assert_eq!(connection.send(call()).await.unwrap().status, 403);
        let began = Instant::now();
        let change = stage.permit(&tool);
        let enforced = async {
            while connection.send(call()).await.unwrap().status != 200 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            began.elapsed()
        };
        let (_, took) = tokio::join!(change, enforced);
        times.push(took);
    }
    let seen = load.end();
    times.sort();
    let [median, longest] = [times[CHANGES / 2], times[CHANGES - 1]];
    println!(
        "{CHANGES} changes, from the request to the API server until it is enforced: median \
         {median:?}, longest {longest:?}, all {times:?}; beside {} requests, the slowest {:?}",
        seen.answered, seen.slowest
    );
    assert!(median < BOUND, "{times:?}");
}

/// `kubectl wait` is what people wait with. Right after it, a request is
/// decided by the new rule, every time; also when the rule went there and back
/// before anybody waited.
#[tokio::test(flavor = "multi_thread")]
async fn what_ready_says_is_enforced() {
    let stage = Stage::new().await;
    stage.until_ready().await;
    let load = stage.load();
    let rounds: [&[&str]; 8] = [
        &["a"],
        &["b"],
        &["a"],
        &["a", "b", "a"],
        &["b"],
        &["a", "b"],
        &["a", "b", "a"],
        &["b"],
    ];
    for (round, tools) in rounds.into_iter().enumerate() {
        for tool in tools {
            kubectl_permits(&stage, tool).await;
        }
        kubectl_waits(&stage).await;
        let permitted = tools.last().unwrap();
        let denied = if *permitted == "a" { "b" } else { "a" };
        let answered = [stage.status(permitted).await, stage.status(denied).await];
        assert_eq!(answered, [200, 403], "round {round}");
    }
    load.end();
}

async fn kubectl_permits(stage: &Stage, tool: &str) {
    let patch = json!({"spec": {"authorization": {"rules": rules(tool)}}});
    let patch = patch.to_string();
    let command = "patch mcpgw support -n crm --type=merge -p";
    let command: Vec<_> = command.split(' ').chain([patch.as_str()]).collect();
    let _ = stage.plane.api.kubectl(&command, "").await.succeeded();
}

async fn kubectl_waits(stage: &Stage) {
    let command = "wait mcpgw/support -n crm --for=condition=Ready --timeout=60s";
    let command: Vec<_> = command.split(' ').collect();
    let _ = stage.plane.api.kubectl(&command, "").await.succeeded();
}
