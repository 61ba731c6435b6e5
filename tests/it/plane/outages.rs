//! The API server, its store and its memory of changes go away and come back.

use serde_json::json;
use sidegate_testkit::plane::{Load, Patch, Plane};
use tokio::time::Instant;

use super::{NAMESPACE, RATE, Stage, path, rules, until_connected};

/// Gateways with an object each that is watched for them.
const GATEWAYS: usize = 20;
/// What is promised, of each replica.
const MOST_PER_SECOND: f64 = 1.0;
/// Seconds until attempts are as far apart as they get.
const BACKED_OFF: u64 = 25;
/// Seconds in which they are counted.
const MEASURED: u64 = 25;

/// OPR-016.
#[tokio::test(flavor = "multi_thread")]
async fn opr_016_an_api_server_that_restarts_is_followed() {
    let stage = Stage::new().await;
    stage.until_ready().await;
    let load = stage.load();
    for tool in ["one", "two"] {
        stage.plane.api.beside(|server| server.restart()).await;
        let up = Instant::now();
        stage.permit(tool).await;
        stage.until_status(tool, 200).await;
        let enforced = up.elapsed();
        stage.until_ready().await;
        println!("after a restart of the API server: enforced {enforced:?} after the change");
    }
    let seen = load.end();
    println!("{} requests, none failed", seen.answered);
}

/// OPR-016. While the API server is away, tokens cannot be reviewed either.
#[tokio::test(flavor = "multi_thread")]
async fn opr_016_without_its_store_the_api_server_can_do_nothing_and_nothing_fails() {
    let mut stage = Stage::new().await;
    stage.permit("before").await;
    stage.until_status("before", 200).await;
    stage.until_ready().await;
    let load = stage.load();
    stage.plane.api.beside(|server| server.stop_store()).await;
    // Streams that stand, stay; one that is cut comes back by what the other
    // replica remembers, or waits. Either way the last good one is enforced.
    let streams = stage.operators[1].streams().await;
    stage.plane.streams.point(&[streams]);
    let attempts = stage.plane.streams.accepted();
    sidegate_testkit::poll::until("the sidecar dials again", || {
        (stage.plane.streams.accepted() > attempts).then_some(())
    })
    .await;
    load.until_answered(200).await;
    assert_eq!(stage.status("before").await, 200);
    assert_eq!(stage.status("after").await, 403);

    stage.plane.api.beside(|server| server.start_store()).await;
    stage.permit("after").await;
    stage.until_status("after", 200).await;
    stage.until_ready().await;
    until_connected(&mut stage.pod, true).await;
    let seen = load.end();
    println!(
        "etcd stopped and started: {} requests, none failed",
        seen.answered
    );
}

/// OPR-017 as a whole: both replicas lose their connection, miss more than the
/// API server remembers, and are told `410 Gone` when they come back.
#[tokio::test(flavor = "multi_thread")]
async fn opr_017_what_the_api_server_forgot_is_read_anew() {
    let stage = Stage::new().await;
    stage.permit("before").await;
    stage.until_status("before", 200).await;
    stage.until_ready().await;
    let other = Plane::gateway_path(NAMESPACE, "other");
    let mut object = stage.gateway(|spec| {
        spec["selector"] = json!({"matchLabels": {"app": "other"}});
    });
    object["metadata"]["name"] = json!("other");
    let api = &stage.plane.api;
    api.apply(&other, &object).await;
    stage
        .plane
        .until_condition(&other, "Accepted", ("True", "Accepted"))
        .await;
    let load = stage.load();
    for operator in &stage.operators {
        operator.reaches_api(false);
    }
    let seen = api.get(&path()).await["metadata"]["resourceVersion"].clone();
    for tool in ["missed", "after"] {
        let patch = json!({"spec": {"authorization": {"rules": rules(tool)}}});
        api.patch(&path(), Patch::Merge, &patch).await;
    }
    api.delete(&other).await;
    // Its memory of changes begins with what is stored when it starts.
    api.beside(|server| server.restart()).await;
    let watch = format!(
        "/apis/sidegate.dev/v1alpha1/mcpgateways?watch=1&timeoutSeconds=1&resourceVersion={}",
        seen.as_str().unwrap()
    );
    let told = api
        .send("GET", &watch, "application/json", &json!(null))
        .await;
    let told = told.unwrap().text();
    assert!(told.contains("410") && told.contains("Expired"), "{told}");
    assert_eq!(stage.status("before").await, 200);

    for operator in &stage.operators {
        operator.reaches_api(true);
    }
    stage.until_status("after", 200).await;
    stage.until_ready().await;
    assert_eq!(stage.status("before").await, 403);
    // Nothing is left of what was deleted meanwhile.
    assert_eq!(api.find(&other).await, None);
    load.end();
}

/// OPR-016. However many objects gateways refer to, an operator that cannot reach
/// the API server asks for no more than one thing a second.
#[tokio::test(flavor = "multi_thread")]
async fn opr_016_an_operator_backs_off_while_the_api_server_is_away() {
    let stage = Stage::new().await;
    for index in 0..GATEWAYS {
        refers_to_keys(&stage, index).await;
    }
    stage.until_ready().await;
    let load = stage.load();
    stage.plane.api.beside(|server| server.stop()).await;
    // The first attempts come quickly, and the leader has to step down.
    until_answered(&load, BACKED_OFF).await;
    let asked = || stage.operators.each_ref().map(|it| it.api.accepted());
    let (before, began) = (asked(), Instant::now());
    until_answered(&load, MEASURED).await;
    let (after, took) = (asked(), began.elapsed().as_secs_f64());
    let rates = [0, 1].map(|replica| {
        let count = u32::try_from(after[replica] - before[replica]).unwrap();
        f64::from(count) / took
    });
    println!("no API server: {rates:.2?} attempts per second and replica, for {took:.0} s");
    for rate in rates {
        // They try, but not often.
        assert!(rate > 0.1 && rate <= MOST_PER_SECOND, "{rates:?}");
    }

    stage.plane.api.beside(|server| server.restart()).await;
    let up = Instant::now();
    stage.permit("after").await;
    stage.until_status("after", 200).await;
    stage.until_ready().await;
    let followed = up.elapsed();
    let seen = load.end();
    println!(
        "the API server is back: Ready {followed:?} after; {} requests, none failed",
        seen.answered
    );
}

/// A gateway that selects nobody, with a ConfigMap that is not there.
async fn refers_to_keys(stage: &Stage, index: usize) {
    let name = format!("other-{index}");
    let path = Plane::gateway_path(NAMESPACE, &name);
    let mut object = stage.gateway(|spec| {
        spec["selector"] = json!({"matchLabels": {"app": name}});
        spec["authentication"]["jwt"][0]["jwks"] =
            json!({"configMapKeyRef": {"name": name, "key": "jwks.json"}});
    });
    object["metadata"]["name"] = json!(name);
    stage.plane.api.apply(&path, &object).await;
    let missing = ("False", "ConfigMapNotFound");
    let resolved = stage.plane.until_condition(&path, "ResolvedRefs", missing);
    resolved.await;
}

/// Requests at a steady rate are a clock.
async fn until_answered(load: &Load, seconds: u64) {
    for _ in 0..seconds {
        load.until_answered(RATE.into()).await;
    }
}
