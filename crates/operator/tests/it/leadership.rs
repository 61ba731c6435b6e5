//! Two replicas and one Lease.

use std::time::Duration;

use kube::Client;
use serde_json::json;
use sidegate_operator::leader::{LeaseSettings, LeaseTimings};
use sidegate_operator::run::{Operator, Settings};
use tokio::time::{Instant, sleep};

use crate::cluster::{Cluster, PATIENCE, get, metric, settings, spec};
use crate::faults::Relay;

/// A Lease that others may take after three seconds.
fn lease(namespace: &str, identity: &str) -> LeaseSettings {
    LeaseSettings {
        namespace: namespace.to_owned(),
        name: "sidegate-operator".to_owned(),
        identity: identity.to_owned(),
        timings: LeaseTimings {
            duration: Duration::from_secs(3),
            renew_deadline: Duration::from_secs(2),
            retry: Duration::from_millis(200),
        },
    }
}

pub(crate) async fn replica(cluster: &Cluster, identity: &str) -> Operator {
    replica_as(cluster, cluster.client.clone(), identity).await
}

async fn replica_as(cluster: &Cluster, client: Client, identity: &str) -> Operator {
    let settings = Settings {
        lease: Some(lease(&cluster.namespace, identity)),
        identity: identity.to_owned(),
        ..settings(&cluster.namespace)
    };
    Operator::start(client, settings).await.expect("it starts")
}

pub(crate) async fn until_leads(operator: &Operator, leads: bool) {
    let end = Instant::now() + PATIENCE;
    while operator.leads() != leads {
        assert!(Instant::now() < end, "it does not become {leads}");
        sleep(Duration::from_millis(10)).await;
    }
}

async fn holder(cluster: &Cluster) -> serde_json::Value {
    let lease = cluster.get("Lease", "sidegate-operator").await;
    lease.data["spec"]["holderIdentity"].clone()
}

const WRITTEN: &str = r#"sidegate_operator_reconciles_total{kind="McpGateway",result="written"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn only_the_leader_writes_and_a_stopped_one_hands_over_at_once() {
    let cluster = Cluster::new("handover").await;
    let first = replica(&cluster, "first").await;
    until_leads(&first, true).await;
    let second = replica(&cluster, "second").await;
    cluster.gateway("support", &spec("support")).await;
    cluster
        .until("support", "Accepted", ("True", "Accepted"))
        .await;
    let end = Instant::now() + PATIENCE;
    while get(&second, "/readyz").await.0 != 200 {
        assert!(Instant::now() < end, "the follower is not ready");
        sleep(Duration::from_millis(10)).await;
    }
    assert!(!second.leads());
    assert_eq!(metric(&second, WRITTEN).await, 0);
    assert_eq!(metric(&second, "sidegate_operator_leader").await, 0);

    first.stop().await.expect("it stops");
    until_leads(&second, true).await;
    assert_eq!(holder(&cluster).await, "second");
    let mut broken = spec("support");
    broken["authorization"]["rules"][0]["when"] = json!("args.a ==");
    cluster.gateway("support", &broken).await;
    cluster
        .until("support", "Accepted", ("False", "Invalid"))
        .await;
    assert!(metric(&second, WRITTEN).await > 0);
    second.stop().await.expect("it stops");
    assert!(holder(&cluster).await.is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_gone_is_replaced_when_its_lease_lapses() {
    let cluster = Cluster::new("lapse").await;
    let first = replica(&cluster, "first").await;
    until_leads(&first, true).await;
    let second = replica(&cluster, "second").await;
    // Without a goodbye, like a process that is killed.
    drop(first);
    until_leads(&second, true).await;
    let lease = cluster.get("Lease", "sidegate-operator").await;
    assert_eq!(lease.data["spec"]["leaseTransitions"], 2);
    second.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_lease_was_taken_stops_writing() {
    let cluster = Cluster::new("taken").await;
    let first = replica(&cluster, "first").await;
    until_leads(&first, true).await;
    let api = cluster.api("Lease");
    let end = Instant::now() + PATIENCE;
    let take = json!({"spec": {"holderIdentity": "another", "leaseDurationSeconds": 3600}});
    while first.leads() {
        assert!(Instant::now() < end, "it goes on leading");
        let patch = kube::api::Patch::Merge(&take);
        let taken = api
            .patch("sidegate-operator", &Default::default(), &patch)
            .await;
        taken.expect("it is taken");
        sleep(Duration::from_millis(50)).await;
    }
    cluster.gateway("support", &spec("support")).await;
    let free = json!({"spec": {"holderIdentity": null}});
    let object = cluster.get("McpGateway", "support").await;
    assert!(object.data["status"].is_null(), "{}", object.data);
    api.patch(
        "sidegate-operator",
        &Default::default(),
        &kube::api::Patch::Merge(&free),
    )
    .await
    .expect("it is freed");
    cluster
        .until("support", "Accepted", ("True", "Accepted"))
        .await;
    first.stop().await.expect("it stops");
}

/// Of two, never both lead, also when the leader does not hear of the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_cut_off_steps_down_before_another_leads() {
    let cluster = Cluster::new("cut-off").await;
    let relay = Relay::to(cluster.server).await;
    let client = relay.client(cluster.server).await;
    let first = replica_as(&cluster, client, "first").await;
    until_leads(&first, true).await;
    let second = replica(&cluster, "second").await;
    relay.set_open(false);
    until_leads(&second, true).await;
    assert!(!first.leads());
    relay.set_open(true);
    cluster.gateway("support", &spec("support")).await;
    cluster
        .until("support", "Accepted", ("True", "Accepted"))
        .await;
    assert!(second.leads() && !first.leads());
    second.stop().await.expect("it stops");
    until_leads(&first, true).await;
    first.stop().await.expect("it stops");
}
