//! Without an operator, or with a bad one, the data plane goes on.

use std::fs;
use std::time::Instant;

use sidegate_config::control::{FromOperator, MAX_TO_SIDECAR, Refusal, RefusalReason};
use sidegate_testkit::control::{Greeting, snapshot};
use sidegate_testkit::poll::until;

use super::{Pod, logged, metric, shown, until_answer, until_logged};

#[tokio::test]
async fn cfg_012_a_restart_without_an_operator_serves_at_once() {
    let mut pod = Pod::new().await;
    let first = snapshot(1, &pod.permitting("one"));
    let mut sidecar = pod.enforcing(first.clone()).await;
    let address = sidecar.address("support").await;
    pod.operator.take_down().await;
    until_answer(sidecar.admin().await, "/config", |answer| {
        answer.json()["source"]["connected"] == false
    })
    .await;
    assert_eq!(pod.status(address, "one").await, 200);
    assert_eq!(shown(&mut sidecar).await["ready"], true);
    // By these people are told, and for how long.
    let connected = "sidegate_control_plane_connected";
    assert_eq!(metric(&mut sidecar, connected).await, Some(0));
    let heard = "sidegate_control_plane_last_heard_timestamp_seconds";
    assert!(metric(&mut sidecar, heard).await > Some(0));

    for signal in ["KILL", "TERM"] {
        sidecar.process().signal(signal);
        sidecar.process().until_ended().await;
        sidecar = pod.start();
        sidecar.until_ready().await;
        let address = sidecar.address("support").await;
        assert_eq!(pod.status(address, "one").await, 200);
        assert_eq!(pod.status(address, "two").await, 403);
    }
    // And when it is back, it is followed again.
    let second = snapshot(2, &pod.permitting("two"));
    pod.operator.say(&FromOperator::Snapshot(second.clone()));
    pod.operator.bring_up().await;
    pod.until_confirmed(&second.version).await;
    let address = sidecar.address("support").await;
    assert_eq!(pod.status(address, "two").await, 200);
}

#[tokio::test]
async fn damaged_state_is_left_out_whole() {
    let mut pod = Pod::new().await;
    let mut sidecar = pod.enforcing(snapshot(1, &pod.permitting("one"))).await;
    pod.operator.take_down().await;
    sidecar.process().signal("KILL");
    sidecar.process().until_ended().await;
    let path = pod.path("state/snapshot.json");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("\"one\""));
    fs::write(&path, text.replace("\"one\"", "\"two\"")).unwrap();
    fs::write(pod.path("state/certificate.pem"), "half").unwrap();
    let mut sidecar = pod.start();
    until_logged(&mut sidecar, "the snapshot of before is left out", 1).await;
    until_logged(&mut sidecar, "the certificate of before is left out", 1).await;
    assert_eq!(shown(&mut sidecar).await["ready"], false);
    assert!(logged(&mut sidecar, "listening").is_empty());
    // An operator mends it.
    let second = snapshot(2, &pod.permitting("two"));
    pod.operator.say(&FromOperator::Snapshot(second.clone()));
    pod.operator.bring_up().await;
    pod.until_confirmed(&second.version).await;
    sidecar.until_ready().await;
}

#[tokio::test]
async fn bytes_that_are_no_messages_end_the_stream_and_nothing_else() {
    let pod = Pod::new().await;
    let mut sidecar = pod.enforcing(snapshot(1, &pod.permitting("one"))).await;
    let address = sidecar.address("support").await;
    let too_large = u32::try_from(MAX_TO_SIDECAR + 1).unwrap();
    let cases = [
        too_large.to_be_bytes().to_vec(),
        [&4_u32.to_be_bytes()[..], b"nope"].concat(),
        b"HTTP/1.1 500 Internal Server Error\r\n\r\n".to_vec(),
    ];
    for (round, bytes) in cases.into_iter().enumerate() {
        pod.operator.say_raw(bytes);
        pod.operator.until_streams(round + 2).await;
        until_answer(sidecar.admin().await, "/config", |answer| {
            answer.json()["source"]["connected"] == true
        })
        .await;
        assert_eq!(pod.status(address, "one").await, 200);
        assert_eq!(shown(&mut sidecar).await["ready"], true);
    }
    // In place of a welcome.
    pod.operator.greet(Greeting::Raw(vec![0xff; 64]));
    pod.operator.hang_up();
    let said = until("the log says what came", || {
        let lines = logged(
            &mut sidecar,
            "not connected to the operator; what is in force stays",
        );
        let last = lines.last()?["error"].as_str()?.to_owned();
        last.contains("something else than messages")
            .then_some(last)
    });
    said.await;
    assert_eq!(pod.status(address, "one").await, 200);
}

#[tokio::test]
async fn a_refusal_is_obeyed_and_told_once() {
    let pod = Pod::new().await;
    let refusal = |reason, retry_after_ms| {
        Greeting::Refuse(Refusal {
            reason,
            message: "come back later".to_owned(),
            retry_after_ms,
        })
    };
    pod.operator.greet(refusal(RefusalReason::UnknownPod, 400));
    let first = snapshot(1, &pod.permitting("one"));
    pod.operator.say(&FromOperator::Snapshot(first.clone()));
    let began = Instant::now();
    let mut sidecar = pod.start();
    pod.operator.until_streams(4).await;
    assert!(began.elapsed().as_millis() >= 3 * 400);
    let said = logged(
        &mut sidecar,
        "not connected to the operator; what is in force stays",
    );
    assert_eq!(said.len(), 1, "{said:?}");
    let error = said[0]["error"].as_str().unwrap();
    assert!(
        error.contains("UnknownPod") && error.contains("come back later"),
        "{error}"
    );
    pod.operator.greet(refusal(RefusalReason::Busy, 1));
    until_logged(
        &mut sidecar,
        "not connected to the operator; what is in force stays",
        2,
    )
    .await;
    pod.operator.greet(Greeting::Welcome);
    pod.until_confirmed(&first.version).await;
}
