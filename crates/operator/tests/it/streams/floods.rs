//! What nobody should send.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sidegate_config::control::frame::encode;
use sidegate_config::control::{
    FromOperator, FromSidecar, MAX_HELLO, MAX_TO_OPERATOR, RefusalReason,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::Stage;
use super::sidecar::hello;
use crate::cluster::metric;

/// A flood of tokens must not become one of TokenReviews.
#[tokio::test(flavor = "multi_thread")]
async fn bad_tokens_are_not_all_shown_to_the_api_server() {
    let stage = Stage::new("stream-flood").await;
    let token = stage.pod_with_token("support-0").await;
    let mut good = stage.place.stream(&token).await;
    let (front, _) = token.rsplit_once('.').expect("a signature");
    let mut busy = 0;
    for index in 0..40 {
        let signature = URL_SAFE_NO_PAD.encode(format!("signature {index}"));
        let refusal = stage.place.refusal(&format!("{front}.{signature}")).await;
        if refusal.reason == RefusalReason::Busy {
            busy += 1;
        } else {
            assert_eq!(
                refusal.reason,
                RefusalReason::Unauthenticated,
                "{refusal:?}"
            );
        }
    }
    let sample = r#"sidegate_operator_token_reviews_total{result="negative"}"#;
    let reviews = metric(&stage.operator, sample).await;
    // Ten at once, then one in two seconds.
    assert!((10..30).contains(&reviews), "{reviews}");
    assert_eq!(busy, 40 - reviews);
    // Who was recognized a moment before comes in all the same.
    let _again = stage.place.stream(&token).await;
    assert_eq!(good.refused().await.reason, RefusalReason::Replaced);
    stage.operator.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_are_bounded_and_may_come_byte_by_byte() {
    let stage = Stage::new("stream-frames").await;
    let token = stage.pod_with_token("support-0").await;
    let _known = stage.place.stream(&token).await;
    let mut slow = stage.place.connect().await;
    let frame = encode(&FromSidecar::Hello(hello(&token)), MAX_TO_OPERATOR).expect("a frame");
    for byte in frame {
        slow.write(&[byte]).await;
    }
    assert!(matches!(slow.next().await, FromOperator::Welcome(_)));

    let too_large = u32::try_from(MAX_TO_OPERATOR + 1)
        .expect("a number")
        .to_be_bytes();
    slow.write(&too_large).await;
    assert_eq!(slow.refused().await.reason, RefusalReason::Protocol);
    // Before it is known whose it is, less.
    let mut first = stage.place.connect().await;
    let too_large = u32::try_from(MAX_HELLO + 1).expect("a number");
    first.write(&too_large.to_be_bytes()).await;
    assert_eq!(first.refused().await.reason, RefusalReason::Protocol);
    let mut unreadable = stage.place.connect().await;
    unreadable.write(b"\0\0\0\x02[]").await;
    assert_eq!(unreadable.refused().await.reason, RefusalReason::Protocol);
    let mut early = stage.place.connect().await;
    early.say(&FromSidecar::Heartbeat).await;
    assert_eq!(early.refused().await.reason, RefusalReason::Protocol);
    stage.operator.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_speaks_something_else_is_not_answered() {
    let stage = Stage::new("stream-foreign-protocol").await;
    let mut plain = TcpStream::connect(stage.place.address)
        .await
        .expect("a connection");
    plain
        .write_all(b"GET / HTTP/1.1\r\n\r\n")
        .await
        .expect("it is written");
    let mut answer = Vec::new();
    let _ended = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"));

    let roots = stage.place.roots_pem.as_bytes();
    for alpn in [&[b"h2".as_slice()][..], &[]] {
        let tls = sidegate_tls::client_config(roots, None, alpn).expect("a client");
        if let Ok(mut sidecar) = stage.place.try_connect(&tls).await {
            sidecar.try_say(&FromSidecar::Heartbeat).await;
            assert!(sidecar.try_next().await.is_none());
        }
    }
    stage.operator.stop().await.expect("it stops");
}
