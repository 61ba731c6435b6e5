//! Two gateways for the same pods.

use sidegate_policy::clock::{Clock as _, SystemClock};

use crate::cluster::{Cluster, spec};

/// OPR-010.
#[tokio::test(flavor = "multi_thread")]
async fn the_older_of_two_gateways_has_the_pods_until_it_is_gone() {
    let cluster = Cluster::new("conflicts").await;
    let operator = cluster.operator().await;
    // By its name it would come last.
    cluster.gateway("z-first", &spec("support")).await;
    until_another_second(&cluster, "z-first").await;
    cluster.gateway("a-second", &spec("support")).await;
    let message = cluster
        .until("a-second", "Accepted", ("False", "Conflicted"))
        .await;
    assert!(message.contains("McpGateway z-first is older"), "{message}");
    cluster
        .until("a-second", "Ready", ("False", "Conflicted"))
        .await;
    cluster
        .until("z-first", "Accepted", ("True", "Accepted"))
        .await;
    cluster.delete("McpGateway", "z-first").await;
    cluster
        .until("a-second", "Accepted", ("True", "Accepted"))
        .await;
    operator.stop().await.expect("it stops");
}

/// OPR-010.
#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_two_select_makes_a_conflict_and_its_label_ends_it() {
    let cluster = Cluster::new("shared-pod").await;
    let operator = cluster.operator().await;
    cluster.gateway("z-old", &spec("support")).await;
    until_another_second(&cluster, "z-old").await;
    let mut wide = spec("support");
    wide["selector"] = serde_json::json!({
        "matchExpressions": [{"key": "app", "operator": "In", "values": ["support", "sales"]}],
    });
    cluster.gateway("a-wide", &wide).await;
    cluster
        .until("a-wide", "Accepted", ("True", "Accepted"))
        .await;
    cluster.pod("p", "support", true, true).await;
    let message = cluster
        .until("a-wide", "Accepted", ("False", "Conflicted"))
        .await;
    assert!(
        message.contains("McpGateway z-old is older ")
            && message.contains("selects one of its pods"),
        "{message}"
    );
    cluster
        .until("z-old", "Accepted", ("True", "Accepted"))
        .await;
    let _ = cluster
        .server
        .kubectl(
            &[
                "label",
                "pod",
                "p",
                "-n",
                "shared-pod",
                "app=sales",
                "--overwrite",
            ],
            "",
        )
        .succeeded();
    cluster
        .until("a-wide", "Accepted", ("True", "Accepted"))
        .await;
    cluster
        .until_status("z-old", |status| status["dataPlane"]["matched"] == 0)
        .await;
    operator.stop().await.expect("it stops");
}

/// Times of creation are whole seconds: what is created next is younger.
async fn until_another_second(cluster: &Cluster, name: &str) {
    let object = cluster.get("McpGateway", name).await;
    let created = object.metadata.creation_timestamp.expect("a time").0;
    let clock = SystemClock;
    let passed = || (clock.unix_seconds() > created.as_second()).then_some(());
    sidegate_testkit::poll::until("the second is over", passed).await;
}
