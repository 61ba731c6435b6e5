use proptest::prelude::*;
use tokio::io::duplex;

use super::*;

fn version(hash: &str) -> SnapshotVersion {
    SnapshotVersion {
        epoch: 1,
        revision: 2,
        hash: hash.to_owned(),
        references: Default::default(),
    }
}

fn config(text: &str) -> Arc<RawValue> {
    RawValue::from_string(text.to_owned()).expect("JSON").into()
}

fn whole(frame: &Frame) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let rest = frame.after(bytes.len());
        if rest.is_empty() {
            return bytes;
        }
        bytes.extend_from_slice(rest);
    }
}

proptest! {
    #[test]
    fn a_snapshot_is_read_as_it_was_meant(
        text in "[a-zé\"\\\\]{0,40}",
        hash in "[a-f0-9]{0,16}",
        hosts in prop::collection::vec("[a-z.\"]{0,12}", 0..4),
    ) {
        let config = config(&serde_json::json!({"text": text, "n": [1.50]}).to_string());
        let frame = Frame::snapshot(&version(&hash), &config, &hosts).expect("a frame");
        let mut decoder = Decoder::new(MAX_TO_SIDECAR);
        decoder.push(&whole(&frame));
        let Some(FromOperator::Snapshot(read)) = decoder.next_message().expect("reads") else {
            panic!("a snapshot")
        };
        prop_assert_eq!(read.version, version(&hash));
        prop_assert_eq!(read.config.get(), config.get());
        prop_assert_eq!(read.service_hosts, hosts);
        prop_assert!(decoder.next_message::<FromOperator>().expect("reads").is_none());
    }

    #[test]
    fn every_place_in_a_frame_is_followed_by_the_rest(written in 0_usize..300) {
        let frame = Frame::snapshot(&version("a"), &config(r#"{"a":1}"#), &[]).expect("a frame");
        let all = whole(&frame);
        let rest = frame.after(written);
        let expected = all.get(written..).unwrap_or_default();
        prop_assert!(expected.starts_with(rest));
        prop_assert_eq!(rest.is_empty(), expected.is_empty());
    }
}

#[test]
fn a_snapshot_that_no_sidecar_would_take_is_not_begun() {
    let sized = |bytes: usize| {
        let empty = Frame::snapshot(&version("a"), &config(r#""""#), &[]).expect("a frame");
        let around = whole(&empty).len() - 4;
        config(&format!("\"{}\"", "x".repeat(bytes - around)))
    };
    let fits = sized(MAX_TO_SIDECAR);
    let frame = Frame::snapshot(&version("a"), &fits, &[]).expect("it fits");
    let mut decoder = Decoder::new(MAX_TO_SIDECAR);
    decoder.push(&whole(&frame));
    assert!(
        decoder
            .next_message::<FromOperator>()
            .expect("reads")
            .is_some()
    );
    let error = Frame::snapshot(&version("a"), &sized(MAX_TO_SIDECAR + 1), &[]);
    assert!(matches!(error, Err(FrameError::TooLarge { .. })));
}

#[tokio::test]
async fn a_first_message_is_smaller_than_those_that_follow() {
    let sized = |bytes: usize| {
        let frame = |text: &str| {
            let newer = RawValue::from_string(format!(r#"{{"type":"{text}"}}"#));
            encode(&newer.expect("JSON"), MAX_TO_OPERATOR).expect("a frame")
        };
        let around = frame("").len() - 4;
        frame(&"x".repeat(bytes - around))
    };
    let (mut near, far) = duplex(MAX_TO_OPERATOR * 2);
    let (mut reader, _writer) = split(far);
    near.write_all(&sized(MAX_HELLO)).await.expect("room");
    assert!(matches!(reader.next().await, Ok(FromSidecar::Unknown)));
    near.write_all(&sized(MAX_HELLO + 1)).await.expect("room");
    let refused = reader.next().await;
    assert!(matches!(refused, Err(ReadError::Frame(_))), "{refused:?}");
    reader.recognized();
    assert!(matches!(reader.next().await, Ok(FromSidecar::Unknown)));
    near.write_all(&sized(MAX_TO_OPERATOR)).await.expect("room");
    assert!(matches!(reader.next().await, Ok(FromSidecar::Unknown)));
}

#[tokio::test]
async fn what_is_said_is_not_shown() {
    let (mut near, far) = duplex(1_024);
    let (mut reader, mut writer) = split(far);
    let secret = config(r#"{"key":"canary"}"#);
    writer
        .put_snapshot(&version("a"), &secret, &[])
        .expect("room");
    let hello = br#"{"type":"hello","body":{"token":"canary"#;
    near.write_all(&[&[0, 0, 1, 0], hello.as_slice()].concat())
        .await
        .expect("room");
    let is_partial = tokio::time::timeout(std::time::Duration::from_millis(10), reader.next());
    assert!(is_partial.await.is_err());
    let shown = format!("{reader:?} {writer:?} {:?}", writer.waiting.front());
    for text in [
        "canary".to_owned(),
        format!("{:?}", b"canary").replace(['[', ']'], ""),
    ] {
        assert!(!shown.contains(&text), "{shown}");
    }
}

#[tokio::test]
async fn what_waits_is_bounded() {
    let (near, _far) = duplex(64);
    let (_reader, mut writer) = split(near);
    for _ in 0..MAX_WAITING {
        writer.put(&FromOperator::Heartbeat).expect("there is room");
    }
    let full = writer.put(&FromOperator::Heartbeat);
    assert!(matches!(full, Err(PutError::Full)));
}

#[tokio::test]
async fn messages_arrive_in_order_however_little_fits() {
    let (near, mut far) = duplex(7);
    let (_reader, mut writer) = split(near);
    writer.put(&FromOperator::Heartbeat).expect("room");
    let text = config(r#"{"a":[1,2,3]}"#);
    writer
        .put_snapshot(&version("a"), &text, &["h".to_owned()])
        .expect("room");
    writer.put(&FromOperator::Renew).expect("room");
    let wrote = tokio::spawn(async move {
        // Dropped again and again, as a task does that waits for more.
        while !writer.is_idle() {
            tokio::select! {
                biased;
                done = writer.advance() => done.expect("writes"),
                () = tokio::task::yield_now() => {}
            }
        }
        writer.finish().await.expect("ends");
    });
    let mut decoder = Decoder::new(MAX_TO_SIDECAR);
    let mut arrived = Vec::new();
    far.read_to_end(&mut arrived).await.expect("reads");
    decoder.push(&arrived);
    let mut next = || decoder.next_message::<FromOperator>().expect("reads");
    assert!(matches!(next(), Some(FromOperator::Heartbeat)));
    assert!(matches!(next(), Some(FromOperator::Snapshot(_))));
    assert!(matches!(next(), Some(FromOperator::Renew)));
    assert!(next().is_none());
    wrote.await.expect("it ended");
}
