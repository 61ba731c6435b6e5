//! Gateways come, change, break, are mended and go.

use serde_json::json;

use crate::authority::until;
use crate::cluster::{Cluster, condition_of, get, metric, spec, touch, until_metric_above};

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_is_created_broken_mended_and_deleted() {
    let cluster = Cluster::new("life").await;
    let operator = cluster.operator().await;
    cluster.gateway("support", &spec("support")).await;
    cluster
        .until("support", "Accepted", ("True", "Accepted"))
        .await;
    cluster
        .until("support", "ResolvedRefs", ("True", "ResolvedRefs"))
        .await;
    cluster
        .until("support", "Programmed", ("False", "NoMatchingPods"))
        .await;
    cluster
        .until("support", "Ready", ("False", "NoReadyPods"))
        .await;
    let accepted = condition_of(&cluster.get("McpGateway", "support").await, "Accepted");

    let mut broken = spec("support");
    broken["authorization"]["rules"][0]["when"] = json!("args.priority ==");
    cluster.gateway("support", &broken).await;
    let message = cluster
        .until("support", "Accepted", ("False", "Invalid"))
        .await;
    assert!(
        message.contains("spec.authorization.rules[0].when"),
        "{message}"
    );
    cluster
        .until("support", "Ready", ("False", "Invalid"))
        .await;
    let invalid = condition_of(&cluster.get("McpGateway", "support").await, "Accepted");
    assert!(invalid["lastTransitionTime"].as_str() >= accepted["lastTransitionTime"].as_str());

    cluster.gateway("support", &spec("support")).await;
    cluster
        .until("support", "Accepted", ("True", "Accepted"))
        .await;
    cluster.delete("McpGateway", "support").await;
    cluster.gateway("support", &spec("support")).await;
    cluster
        .until("support", "Accepted", ("True", "Accepted"))
        .await;
    operator.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_counted_as_they_come_and_go() {
    let cluster = Cluster::new("pods").await;
    let operator = cluster.operator().await;
    cluster.gateway("support", &spec("support")).await;
    cluster
        .until("support", "Ready", ("False", "NoReadyPods"))
        .await;
    cluster.pod("bare", "support", false, true).await;
    cluster.pod("other", "other", true, true).await;
    cluster
        .until("support", "Programmed", ("False", "PodsNotInjected"))
        .await;
    cluster
        .until_status("support", |status| {
            status["dataPlane"]["matched"] == 1
                && status["dataPlane"]["injected"] == 0
                && status["failing"][0]["pod"] == "bare"
        })
        .await;
    cluster.pod("guarded", "support", true, false).await;
    cluster
        .until_status("support", |status| status["dataPlane"]["summary"] == "0/2")
        .await;
    cluster.delete("Pod", "bare").await;
    cluster
        .until("support", "Programmed", ("False", "Pending"))
        .await;
    cluster
        .until("support", "Ready", ("False", "NoReadyPods"))
        .await;
    cluster.pod("guarded", "support", true, true).await;
    cluster
        .until("support", "Ready", ("False", "Pending"))
        .await;
    cluster.delete("Pod", "guarded").await;
    cluster
        .until("support", "Programmed", ("False", "NoMatchingPods"))
        .await;
    operator.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_without_the_label_is_told_the_command() {
    let cluster = Cluster::new("unlabelled").await;
    cluster.label_namespace("disabled").await;
    let operator = cluster.operator().await;
    cluster.gateway("support", &spec("support")).await;
    let message = cluster
        .until("support", "Ready", ("False", "NamespaceNotEnabled"))
        .await;
    let command = message.split('`').nth(1).expect("a command");
    let arguments: Vec<_> = command.split_whitespace().skip(1).collect();
    let _ = cluster.server.kubectl(&arguments, "").succeeded();
    cluster
        .until("support", "Ready", ("False", "NoReadyPods"))
        .await;
    operator.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_served_is_an_unsupported_value() {
    let cluster = Cluster::new("unserved").await;
    let operator = cluster.operator().await;
    let mut limited = spec("support");
    limited["rateLimits"] =
        json!([{"name": "a", "per": "Principal", "requests": 1, "period": "1m"}]);
    cluster.gateway("support", &limited).await;
    let message = cluster
        .until("support", "Accepted", ("False", "UnsupportedValue"))
        .await;
    assert!(
        message.starts_with("spec.rateLimits: is not served"),
        "{message}"
    );
    cluster
        .apply(json!({
            "apiVersion": "sidegate.dev/v1alpha1",
            "kind": "LlmProvider",
            "metadata": {"name": "openai"},
            "spec": {
                "type": "OpenAI",
                "credentials": {"secretKeyRef": {"name": "openai", "key": "key"}},
            },
        }))
        .await;
    let unsupported = ("False", "UnsupportedValue");
    cluster
        .until_of("LlmProvider", "openai", "Ready", unsupported)
        .await;
    operator.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_when_nothing_changed() {
    let cluster = Cluster::new("quiet").await;
    let operator = cluster.operator().await;
    cluster.gateway("support", &spec("support")).await;
    cluster
        .until("support", "Ready", ("False", "NoReadyPods"))
        .await;
    let unchanged = r#"sidegate_operator_reconciles_total{kind="McpGateway",result="unchanged"}"#;
    let written = r#"sidegate_operator_reconciles_total{kind="McpGateway",result="written"}"#;
    let api = cluster.api("McpGateway");
    for round in ["one", "two"] {
        let before = metric(&operator, unchanged).await;
        let version = touch(&api, "support", round).await;
        until_metric_above(&operator, unchanged, before).await;
        let now = cluster
            .get("McpGateway", "support")
            .await
            .metadata
            .resource_version;
        assert_eq!(now.as_deref(), Some(&*version), "a status was written");
    }
    let writes = metric(&operator, written).await;
    operator.stop().await.expect("it stops");

    // Neither by a new operator, which knows nothing but what it reads.
    let version = cluster
        .get("McpGateway", "support")
        .await
        .metadata
        .resource_version;
    let second = cluster.operator().await;
    until_metric_above(&second, unchanged, 0).await;
    let now = cluster
        .get("McpGateway", "support")
        .await
        .metadata
        .resource_version;
    assert_eq!(now, version);
    assert!(writes >= 1);
    assert_eq!(metric(&second, written).await, 0);
    second.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_others_wrote_is_put_right() {
    let cluster = Cluster::new("tampered").await;
    let operator = cluster.operator().await;
    cluster.gateway("support", &spec("support")).await;
    cluster
        .until("support", "Ready", ("False", "NoReadyPods"))
        .await;
    let lie = json!({"status": {"dataPlane": {"programmed": 7, "summary": "7/7"}}});
    cluster
        .api("McpGateway")
        .patch_status(
            "support",
            &Default::default(),
            &kube::api::Patch::Merge(lie),
        )
        .await
        .expect("it is written");
    cluster
        .until_status("support", |status| status["dataPlane"]["summary"] == "0/0")
        .await;
    operator.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_health_port_tells_when_everything_is_known() {
    let cluster = Cluster::new("health").await;
    let operator = cluster.operator().await;
    assert_eq!(get(&operator, "/healthz").await.0, 200);
    cluster.gateway("support", &spec("support")).await;
    cluster
        .until("support", "Accepted", ("True", "Accepted"))
        .await;
    // A status needs no authority; streams and the webhook do.
    until("the replica is ready", || async {
        (get(&operator, "/readyz").await.0 == 200).then_some(())
    })
    .await;
    assert_eq!(metric(&operator, "sidegate_operator_leader").await, 1);
    let (_, metrics) = get(&operator, "/metrics").await;
    for name in ["watch_age_seconds{resource=\"pods\"}", "queue_depth"] {
        assert!(metrics.contains(name), "{name} in {metrics}");
    }
    operator.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_is_an_event_with_its_own_note() {
    let cluster = Cluster::new("events").await;
    let operator = cluster.operator().await;
    for broken_rule in [0, 1] {
        let mut broken = spec("support");
        let rules = broken["authorization"]["rules"].as_array_mut();
        let other = json!({"name": "other", "tools": ["other"]});
        rules.expect("rules").push(other);
        broken["authorization"]["rules"][broken_rule]["when"] = json!("args.priority ==");
        cluster.gateway("support", &broken).await;
        cluster
            .until("support", "Accepted", ("False", "Invalid"))
            .await;
        cluster.gateway("support", &spec("support")).await;
        cluster
            .until("support", "Accepted", ("True", "Accepted"))
            .await;
    }
    let end = tokio::time::Instant::now() + crate::cluster::PATIENCE;
    loop {
        let events = cluster.events("support").await;
        let mut notes: Vec<_> = events
            .iter()
            .filter(|(reason, _)| reason == "Invalid")
            .map(|(_, note)| note)
            .collect();
        notes.sort();
        notes.dedup();
        if notes.len() == 2 {
            break;
        }
        assert!(tokio::time::Instant::now() < end, "{events:?}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    operator.stop().await.expect("it stops");
}
