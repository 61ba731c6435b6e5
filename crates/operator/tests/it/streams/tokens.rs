//! Which tokens begin a stream.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sidegate_config::control::{FromOperator, FromSidecar, RefusalReason, Token};
use sidegate_config::sidecar_config::SecretText;

use super::{ACCOUNT, Stage};
use crate::cluster::metric;

const NEGATIVE: &str = r#"sidegate_operator_token_reviews_total{result="negative"}"#;

/// The token with another claim; its signature is wrong then.
fn altered(token: &str, change: impl FnOnce(&mut Value)) -> String {
    let parts: Vec<_> = token.split('.').collect();
    let payload = URL_SAFE_NO_PAD.decode(parts[1]).expect("base64");
    let mut payload: Value = serde_json::from_slice(&payload).expect("JSON");
    change(&mut payload);
    let payload = URL_SAFE_NO_PAD.encode(payload.to_string());
    format!("{}.{payload}.{}", parts[0], parts[2])
}

async fn refused(stage: &Stage, token: &str) -> (RefusalReason, String) {
    let refusal = stage.place.refusal(token).await;
    assert!(refusal.retry_after_ms > 0, "{refusal:?}");
    (refusal.reason, refusal.message)
}

/// CFG-001.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_begins_with_the_token_of_a_pod_and_with_no_other() {
    let stage = Stage::new("stream-tokens").await;
    let uid = stage.pod("support-0").await;
    let token = stage.token("support-0", &uid).await;
    let _stream = stage.place.stream(&token).await;

    // Refused without asking anybody.
    let before = metric(&stage.operator, NEGATIVE).await;
    let bound = json!({"kind": "Pod", "apiVersion": "v1", "name": "support-0", "uid": uid});
    let other_audience = json!({"audiences": ["vault"], "boundObjectRef": bound});
    let unbound = json!({"audiences": ["sidegate.dev"]});
    for (token, says) in [
        (String::new(), "no projected service account token"),
        ("garbage".to_owned(), "no projected service account token"),
        (format!("{token}.x"), "no projected service account token"),
        (stage.token_with(other_audience).await, "another audience"),
        (stage.token_with(unbound).await, "not bound to a pod"),
        (altered(&token, |it| it["exp"] = json!(1)), "has ended"),
        ("a".repeat(17 * 1024), "larger than"),
    ] {
        let (reason, message) = refused(&stage, &token).await;
        assert_eq!(reason, RefusalReason::Unauthenticated, "{message}");
        assert!(message.contains(says), "{message}");
    }
    assert_eq!(metric(&stage.operator, NEGATIVE).await, before);

    // Refused by the API server.
    for token in [
        altered(&token, |it| {
            it["kubernetes.io"]["pod"]["name"] = json!("support-1");
        }),
        altered(&token, |it| it["aud"] = json!(["sidegate.dev", "x"])),
        altered(&token, |it| {
            it["sub"] = json!(format!("system:serviceaccount:x:{ACCOUNT}"));
        }),
    ] {
        let (reason, message) = refused(&stage, &token).await;
        assert_eq!(reason, RefusalReason::Unauthenticated, "{message}");
        assert!(message.contains("does not accept the token"), "{message}");
    }
    assert_eq!(metric(&stage.operator, NEGATIVE).await, before + 3);
    stage.operator.stop().await.expect("it stops");
}

/// One audience of several is enough for the API server, too.
#[tokio::test(flavor = "multi_thread")]
async fn the_token_of_a_pod_that_is_gone_is_not_enough() {
    let stage = Stage::new("stream-gone").await;
    let token = stage.pod_with_token("support-0").await;
    let mut stream = stage.place.stream(&token).await;
    stage.cluster.delete("Pod", "support-0").await;
    assert_eq!(stream.refused().await.reason, RefusalReason::PodGone);

    // Its successor has the same name and another uid.
    let successor = stage.pod("support-0").await;
    let refusal = stage.place.refusal(&token).await;
    assert!(
        matches!(
            refusal.reason,
            // The review of a moment before counts, the pod does not.
            RefusalReason::UnknownPod | RefusalReason::Unauthenticated
        ),
        "{refusal:?}"
    );
    let own = stage.token("support-0", &successor).await;
    let _stream = stage.place.stream(&own).await;
    let never_seen = {
        let token = stage.pod_with_token("support-1").await;
        stage.cluster.delete("Pod", "support-1").await;
        token
    };
    let refusal = stage.place.refusal(&never_seen).await;
    assert!(
        matches!(
            refusal.reason,
            RefusalReason::UnknownPod | RefusalReason::Unauthenticated
        ),
        "{refusal:?}"
    );
    stage.operator.stop().await.expect("it stops");
}

/// CFG-002: there is nothing by which one pod could ask for another's.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_of_one_pod_to_its_end() {
    let stage = Stage::new("stream-one-pod").await;
    let first = stage.pod_with_token("support-0").await;
    let second = stage.pod_with_token("support-1").await;
    let mut stream = stage.place.stream(&first).await;
    let _second = stage.place.stream(&second).await;
    let say = |token: &str| {
        FromSidecar::Token(Token {
            token: SecretText::from(token.to_owned()),
        })
    };
    // Its own again: nothing happens.
    stream.say(&say(&first)).await;
    stream.say(&say(&second)).await;
    let refusal = stream.refused().await;
    assert_eq!(
        refusal.reason,
        RefusalReason::Unauthenticated,
        "{refusal:?}"
    );
    assert!(refusal.message.contains("another pod's"), "{refusal:?}");
    stage.operator.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_connection_of_a_pod_wins_and_a_stop_is_told() {
    let stage = Stage::new("stream-replaced").await;
    let token = stage.pod_with_token("support-0").await;
    let mut first = stage.place.stream(&token).await;
    let mut second = stage.place.stream(&token).await;
    assert_eq!(first.refused().await.reason, RefusalReason::Replaced);
    assert!(first.try_next().await.is_none(), "it hung up");
    let Stage { operator, .. } = stage;
    let (stopped, refusal) = tokio::join!(operator.stop(), second.refused());
    stopped.expect("it stops");
    assert_eq!(refusal.reason, RefusalReason::Unavailable);
    assert!(refusal.retry_after_ms < 3_000, "{refusal:?}");
    assert!(!matches!(
        second.try_next().await,
        Some(FromOperator::Snapshot(_))
    ));
}
