//! Two gateways for the same pods.

use crate::cluster::{Cluster, spec};

/// OPR-010.
#[tokio::test(flavor = "multi_thread")]
async fn the_older_of_two_gateways_has_the_pods_until_it_is_gone() {
    let cluster = Cluster::new("conflicts").await;
    let operator = cluster.operator().await;
    // Their times of creation may be equal: then the name decides.
    cluster.gateway("a-first", &spec("support")).await;
    cluster.gateway("b-second", &spec("support")).await;
    let message = cluster
        .until("b-second", "Accepted", ("False", "Conflicted"))
        .await;
    assert!(message.contains("McpGateway a-first is older"), "{message}");
    cluster
        .until("b-second", "Ready", ("False", "Conflicted"))
        .await;
    cluster
        .until("a-first", "Accepted", ("True", "Accepted"))
        .await;
    cluster.delete("McpGateway", "a-first").await;
    cluster
        .until("b-second", "Accepted", ("True", "Accepted"))
        .await;
    operator.stop().await.expect("it stops");
}

/// OPR-010.
#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_two_select_makes_a_conflict_and_its_label_ends_it() {
    let cluster = Cluster::new("shared-pod").await;
    let operator = cluster.operator().await;
    cluster.gateway("a-old", &spec("support")).await;
    let mut wide = spec("support");
    wide["selector"] = serde_json::json!({
        "matchExpressions": [{"key": "app", "operator": "In", "values": ["support", "sales"]}],
    });
    cluster.gateway("b-wide", &wide).await;
    cluster
        .until("b-wide", "Accepted", ("True", "Accepted"))
        .await;
    cluster.pod("p", "support", true, true).await;
    let message = cluster
        .until("b-wide", "Accepted", ("False", "Conflicted"))
        .await;
    assert!(
        message.contains("a-old is older and selects one of its pods"),
        "{message}"
    );
    cluster
        .until("a-old", "Accepted", ("True", "Accepted"))
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
        .until("b-wide", "Accepted", ("True", "Accepted"))
        .await;
    cluster
        .until_status("a-old", |status| status["dataPlane"]["matched"] == 0)
        .await;
    operator.stop().await.expect("it stops");
}
