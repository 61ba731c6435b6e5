//! Somebody else writes the same object all the time.

use std::time::Duration;

use kube::api::{Patch, PatchParams};
use serde_json::json;
use sidegate_operator::run::Operator;
use tokio::time::{Instant, sleep};

use crate::authority::until;
use crate::cluster::{Cluster, metric, spec, until_metric_above};

/// How long it lasts.
const STORM: Duration = Duration::from_secs(4);
/// Far more often than anybody should.
const EVERY: Duration = Duration::from_millis(15);
const WRITTEN: &str = r#"sidegate_operator_reconciles_total{kind="McpGateway",result="written"}"#;
const OUTDATED: &str = r#"sidegate_operator_reconciles_total{kind="McpGateway",result="outdated"}"#;

/// Changes an object by somebody else, for as long as the storm lasts, and
/// asserts that the operator writes much less. Returns what happened.
async fn storm(
    cluster: &Cluster,
    operator: &Operator,
    kind: &str,
    name: &str,
    status: bool,
) -> String {
    let tried = async || metric(operator, WRITTEN).await + metric(operator, OUTDATED).await;
    let before = tried().await;
    let api = cluster.api(kind);
    let (began, mut storm) = (Instant::now(), 0_u64);
    while began.elapsed() < STORM {
        storm += 1;
        let params = PatchParams::default();
        let number = storm % 1000;
        let _ = if status {
            let lie = Patch::Merge(json!({"status": {"dataPlane": {"programmed": number}}}));
            api.patch_status(name, &params, &lie).await
        } else {
            let selector = json!({"matchLabels": {"number": number.to_string()}});
            let lie = Patch::Merge(json!({"spec": {"podSelector": selector}}));
            api.patch(name, &params, &lie).await
        }
        .expect("it is written");
        sleep(EVERY).await;
    }
    let seconds = began.elapsed().as_secs_f64();
    let writes = tried().await - before;
    #[expect(clippy::cast_precision_loss, reason = "far under 2^52")]
    let rate = writes as f64 / seconds;
    assert!(storm > 20, "{storm}");
    assert!(rate < 5.0, "{rate} writes a second");
    format!("{storm} writes of another in {seconds:.1} s, {writes} of the operator")
}

/// OPR-019: each write of the other makes the operator's status wrong, and
/// makes what it is about to write a conflict. It does not race.
#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_others_write_all_the_time_is_not_fought_over() {
    let cluster = Cluster::new("attack-storm").await;
    let operator = cluster.operator().await;
    cluster.gateway("support", &spec("support")).await;
    cluster
        .until("support", "Ready", ("False", "NoReadyPods"))
        .await;
    let seen = storm(&cluster, &operator, "McpGateway", "support", true).await;
    println!("{seen}");
    // Afterwards the truth is told again.
    cluster
        .until_status("support", |status| status["dataPlane"]["programmed"] == 0)
        .await;
    // And who waited for a turn loses nothing: another gateway is as quick.
    let unchanged = metric(&operator, WRITTEN).await;
    cluster.gateway("other", &spec("other")).await;
    until_metric_above(&operator, WRITTEN, unchanged).await;
    operator.stop().await.expect("it stops");
}

/// OPR-019, for what the operator keeps beside the gateway.
#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_others_write_all_the_time_is_not_fought_over() {
    let cluster = Cluster::new("attack-policy-storm").await;
    let operator = cluster.operator().await;
    let mut separate = spec("support");
    separate["servers"][0]["exposure"] = json!("SeparatePort");
    separate["servers"][0]["listenPort"] = json!(18080);
    cluster.gateway("support", &separate).await;
    let name = "sidegate-support";
    let kept = async || {
        let policy = cluster.api("NetworkPolicy").get_opt(name).await;
        let policy = policy.expect("an answer")?;
        let selected = &policy.data["spec"]["podSelector"]["matchLabels"];
        (*selected == json!({"app": "support"})).then_some(())
    };
    until("the policy", kept).await;
    let seen = storm(&cluster, &operator, "NetworkPolicy", name, false).await;
    println!("{seen}");
    until("the policy is mended", kept).await;
    operator.stop().await.expect("it stops");
}
