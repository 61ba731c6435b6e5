//! Replicas that die, hang, lose their Lease or come back with old knowledge.

use std::time::Duration;

use serde_json::{Value, json};
use sidegate_testkit::plane::{HOME, PATIENCE, Patch};
use tokio::time::{Instant, sleep};

use super::{Stage, until_certified, until_connected};

const LEASE: &str =
    "/apis/coordination.k8s.io/v1/namespaces/sidegate-system/leases/sidegate-operator";
/// What is promised after a crash of the leader, with the first status that the
/// new one writes: the Lease ends after 15 s, and is looked at every 2 s.
const TAKEN_OVER: Duration = Duration::from_secs(20);

/// OPR-021.
#[tokio::test(flavor = "multi_thread")]
async fn opr_021_a_leader_that_is_killed_during_a_change_is_followed() {
    let mut stage = Stage::new().await;
    stage.until_ready().await;
    let load = stage.load();
    let [one, two] = &mut stage.operators;
    // The stream goes to the one that dies.
    stage.plane.point(&mut [one]).await;
    until_connected(&mut stage.pod, true).await;
    let address = [one.streams().await, two.streams().await];
    stage.plane.streams.point(&address);
    stage.permit("new").await;
    let killed = Instant::now();
    stage.operators[0].kill().await;
    stage.until_status("new", 200).await;
    let enforced = killed.elapsed();
    stage.operators[1].until_leading().await;
    let led = killed.elapsed();
    stage.until_ready().await;
    let ready = killed.elapsed();
    let seen = load.end();
    println!(
        "the leader was killed: enforced after {enforced:?}, another one leads after {led:?}, \
         Ready after {ready:?}; {} requests, none failed, the slowest {:?}",
        seen.answered, seen.slowest
    );
    assert!(led <= TAKEN_OVER, "{led:?}");
    // Its first status.
    assert!(ready <= TAKEN_OVER + Duration::from_secs(3), "{ready:?}");
}

/// OPR-016, OPR-022, CFG-012.
#[tokio::test(flavor = "multi_thread")]
async fn without_any_operator_a_sidecar_goes_on_and_starts_again_as_it_was() {
    let mut stage = Stage::new().await;
    stage.permit("kept").await;
    stage.until_status("kept", 200).await;
    stage.until_ready().await;
    until_certified(&stage.pod).await;
    let load = stage.load();
    for operator in &mut stage.operators {
        operator.kill().await;
    }
    until_connected(&mut stage.pod, false).await;
    // Several rounds of trying again: each may wait twice as long.
    let attempts = stage.plane.streams.accepted();
    sidegate_testkit::poll::until("it tried again", || {
        (stage.plane.streams.accepted() >= attempts + 5).then_some(())
    })
    .await;
    assert_eq!(stage.status("kept").await, 200);
    assert_eq!(stage.status("other").await, 403);
    let seen = load.end();

    let certificate = stage.pod.identity().certificate_pem;
    let before = stage.pod.config().await;
    let killed = Instant::now();
    stage.pod.sidecar().process().signal("KILL");
    stage.pod.start_sidecar();
    stage.pod.until_ready().await;
    let again = killed.elapsed();
    assert_eq!(stage.status("kept").await, 200);
    assert_eq!(stage.status("other").await, 403);
    let after = stage.pod.config().await;
    assert_eq!(after["version"], before["version"]);
    assert_eq!(after["source"]["snapshot"], before["source"]["snapshot"]);
    assert_eq!(stage.pod.identity().certificate_pem, certificate);
    println!(
        "no operator: {} requests, none failed; a killed sidecar is ready again after {again:?}",
        seen.answered
    );

    // And it is followed again when there is one.
    let load = stage.load();
    let mut three = stage.plane.operator("three").await;
    three.until_ready().await;
    stage.plane.point(&mut [&mut three]).await;
    stage.permit("new").await;
    stage.until_status("new", 200).await;
    stage.until_ready().await;
    load.end();
}

/// OPR-022.
#[tokio::test(flavor = "multi_thread")]
async fn opr_022_a_lease_that_is_taken_away_stops_the_leader_and_nothing_else() {
    let mut stage = Stage::new().await;
    stage.until_ready().await;
    let load = stage.load();
    // Somebody else has it, and does not write any more.
    let stolen = json!({"spec": {
        "holderIdentity": "somebody-else",
        "renewTime": stage.plane.api.get(LEASE).await["spec"]["renewTime"],
    }});
    let _ = stage.plane.api.patch(LEASE, Patch::Merge, &stolen).await;
    let began = Instant::now();
    until_follower(&mut stage).await;
    let stopped = began.elapsed();
    // A change is enforced without a leader.
    stage.permit("new").await;
    stage.until_status("new", 200).await;
    let holder = stage.plane.api.get(LEASE).await["spec"]["holderIdentity"].clone();
    assert_eq!(holder, "somebody-else");
    stage.until_ready().await;
    let led = began.elapsed();
    let holder = stage.plane.api.get(LEASE).await["spec"]["holderIdentity"].clone();
    assert_ne!(holder, "somebody-else");

    // A Lease that is gone is made again.
    stage.plane.api.delete(LEASE).await;
    stage.permit("newer").await;
    stage.until_status("newer", 200).await;
    stage.until_ready().await;
    let lease = until_lease(&stage).await;
    assert_eq!(lease["metadata"]["namespace"], HOME);
    load.end();
    println!("a Lease taken away: stopped after {stopped:?}, Ready by a new leader after {led:?}");
}

/// CFG-005, OPR-022. One replica hangs while the other tells a change; then the
/// stream moves to it, and it knows what was before only.
#[tokio::test(flavor = "multi_thread")]
async fn cfg_005_a_replica_that_lags_takes_nothing_back() {
    let mut stage = Stage::new().await;
    let load = stage.load();
    stage.permit("old").await;
    stage.until_status("old", 200).await;
    stage.until_ready().await;
    let [leader, laggard] = &mut stage.operators;
    let [leading, lagging] = [leader.streams().await, laggard.streams().await];
    // It knows the token from now on, so it need not ask the API server.
    stage.plane.streams.point(&[lagging]);
    until_served_by(&mut stage, 1, 1).await;
    stage.plane.streams.point(&[leading]);
    until_connected(&mut stage.pod, true).await;

    let laggard = &mut stage.operators[1];
    laggard.process().signal("STOP");
    laggard.reaches_api(false);
    stage.permit("new").await;
    stage.until_status("new", 200).await;
    stage.until_ready().await;
    let enforced = stage.pod.config().await;

    stage.plane.streams.point(&[lagging]);
    stage.operators[1].process().signal("CONT");
    until_served_by(&mut stage, 1, 2).await;
    // Until it said something again, and so had its turn to say anything.
    let connected = stage.pod.config().await;
    let heard = connected["source"]["lastHeard"].as_i64().unwrap();
    let later = |config: &Value| config["source"]["lastHeard"].as_i64() > Some(heard + 5);
    let now = stage
        .pod
        .until_config("the replica says something", later)
        .await;
    assert_eq!(now["source"]["connected"], true);
    assert_eq!(now["version"], enforced["version"]);
    assert_eq!(
        [stage.status("new").await, stage.status("old").await],
        [200, 403]
    );

    // It catches up, and the sidecar follows it.
    stage.operators[1].reaches_api(true);
    stage.permit("newest").await;
    stage.until_status("newest", 200).await;
    stage.until_ready().await;
    load.end();
}

/// Waits until a replica has recognized the sidecar this often.
async fn until_served_by(stage: &mut Stage, replica: usize, times: usize) {
    let what = format!("stream {times} of the sidecar begins");
    let begun = |log: &str| {
        let lines = log.lines().filter(|line| line.contains("a stream begins"));
        (lines.count() >= times).then_some(())
    };
    stage.operators[replica].until(&what, begun).await;
    until_connected(&mut stage.pod, true).await;
}

/// Waits until no replica leads.
async fn until_follower(stage: &mut Stage) {
    let end = Instant::now() + PATIENCE;
    loop {
        let mut leaders = 0.0;
        for operator in &mut stage.operators {
            leaders += operator.metric("sidegate_operator_leader").await;
        }
        if leaders < 0.5 {
            return;
        }
        assert!(Instant::now() < end, "a replica still leads");
        sleep(Duration::from_millis(10)).await;
    }
}

async fn until_lease(stage: &Stage) -> Value {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(lease) = stage.plane.api.find(LEASE).await {
            return lease;
        }
        assert!(Instant::now() < end, "there is no Lease");
        sleep(Duration::from_millis(10)).await;
    }
}
