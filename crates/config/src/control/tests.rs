use proptest::prelude::*;

use super::frame::{Decoder, FrameError, encode};
use super::*;

fn version(epoch: u64, revision: u64, hash: &str) -> SnapshotVersion {
    SnapshotVersion {
        epoch,
        revision,
        hash: hash.to_owned(),
        references: Default::default(),
    }
}

#[test]
fn what_was_made_with_less_knowledge_is_older() {
    let now = version(2, 10, "b");
    for older in [version(2, 9, "a"), version(1, 11, "a")] {
        assert!(older.is_older_than(&now), "{older}");
        assert!(!now.is_older_than(&older), "{older}");
    }
    for not_older in [
        version(2, 10, "a"),
        version(2, 11, "a"),
        version(3, 1, "a"),
        // It says what is in force anyhow.
        version(2, 9, "b"),
    ] {
        assert!(!not_older.is_older_than(&now), "{not_older}");
    }
}

fn with_keys(version: SnapshotVersion, keys: u64) -> SnapshotVersion {
    let references = [("ConfigMap/keys".to_owned(), keys)];
    SnapshotVersion {
        references: references.into_iter().collect(),
        ..version
    }
}

#[test]
fn an_old_value_of_a_reference_is_older_however_new_the_gateway_is() {
    let now = with_keys(version(2, 10, "b"), 500);
    for older in [10, 11].map(|revision| with_keys(version(2, revision, "a"), 499)) {
        assert!(older.is_older_than(&now), "{older}");
    }
    // Neither may follow the other.
    let other = with_keys(version(2, 11, "a"), 499);
    assert!(now.is_older_than(&other) && other.is_older_than(&now));
    for not_older in [
        with_keys(version(2, 10, "a"), 500),
        with_keys(version(3, 1, "a"), 1),
        version(2, 10, "a"),
        with_keys(version(2, 9, "b"), 499),
    ] {
        assert!(!not_older.is_older_than(&now), "{not_older}");
    }
}

#[test]
fn a_version_of_an_older_program_is_read_and_written_as_it_was() {
    let text = r#"{"epoch":1,"revision":2,"hash":"c"}"#;
    let read: SnapshotVersion = serde_json::from_str(text).expect("reads");
    assert_eq!(read, version(1, 2, "c"));
    assert_eq!(serde_json::to_string(&read).expect("JSON"), text);
    let named = with_keys(read.clone(), 500);
    let text = serde_json::to_string(&named).expect("JSON");
    assert!(
        text.ends_with(r#","references":{"ConfigMap/keys":500}}"#),
        "{text}"
    );
    assert!(named.is_same_as(&read) && named != read);
}

fn any_version() -> impl Strategy<Value = SnapshotVersion> {
    let references = prop::collection::btree_map("Secret/[ab]", 0_u64..3, 0..3);
    (0_u64..2, 0_u64..3, "[ab]", references).prop_map(|(epoch, revision, hash, references)| {
        SnapshotVersion {
            references: references.into_iter().collect(),
            ..version(epoch, revision, &hash)
        }
    })
}

proptest! {
    /// After a version was taken, nothing may follow that could not have
    /// followed the one before it.
    #[test]
    fn what_is_not_forgotten_is_not_taken_later(
        before in any_version(), now in any_version(), next in any_version(),
    ) {
        let kept = now.clone().not_forgetting(&before);
        prop_assert_eq!(&kept.hash, &now.hash);
        prop_assert!(!kept.lags_behind(&before) && !kept.lags_behind(&now));
        let lags = next.lags_behind(&before) || next.lags_behind(&now);
        prop_assert_eq!(next.lags_behind(&kept), lags);
    }
}

#[test]
fn a_token_is_on_the_wire_and_nowhere_else() {
    let hello = FromSidecar::Hello(Hello {
        token: SecretText::from("canary".to_owned()),
        purpose: Purpose::Enforce,
        schema_versions: vec![1],
        program: "0.1.0".to_owned(),
        in_force: Some(version(1, 2, "c")),
    });
    assert!(!format!("{hello:?}").contains("canary"));
    let frame = encode(&hello, MAX_TO_OPERATOR).expect("fits");
    assert!(String::from_utf8_lossy(&frame).contains("canary"));
    let mut decoder = Decoder::new(MAX_TO_OPERATOR);
    decoder.push(&frame);
    let back = decoder.next_message::<FromSidecar>().expect("reads");
    let Some(FromSidecar::Hello(back)) = back else {
        panic!("a hello: {back:?}")
    };
    assert_eq!(back.token.expose(), b"canary");
    assert_eq!(back.in_force, Some(version(1, 2, "c")));
}

#[test]
fn a_configuration_passes_unread() {
    let text = r#"{"schemaVersion":99,"news":[1.50,null]}"#;
    let config = RawValue::from_string(text.to_owned()).expect("JSON");
    let snapshot = FromOperator::Snapshot(Snapshot {
        version: version(1, 2, "c"),
        config: config.into(),
        service_hosts: vec!["support".to_owned()],
    });
    let mut decoder = Decoder::new(MAX_TO_SIDECAR);
    decoder.push(&encode(&snapshot, MAX_TO_SIDECAR).expect("fits"));
    let Some(FromOperator::Snapshot(back)) = decoder.next_message().expect("reads") else {
        panic!("a snapshot")
    };
    assert_eq!(back.config.get(), text);
}

#[test]
fn what_is_newer_is_skipped_and_not_an_error() {
    let mut decoder = Decoder::new(MAX_TO_SIDECAR);
    for text in [
        r#"{"type":"weather","body":{"rain":true}}"#,
        r#"{"type":"silence"}"#,
        r#"{"type":"welcome","body":{"pod":"a/b","mood":"good"}}"#,
        r#"{"type":"refused","body":{"reason":"tired","message":"","retryAfterMs":1}}"#,
    ] {
        let raw = RawValue::from_string(text.to_owned()).expect("JSON");
        decoder.push(&encode(&raw, MAX_TO_SIDECAR).expect("fits"));
    }
    let mut next = || decoder.next_message::<FromOperator>().expect("reads");
    assert!(matches!(next(), Some(FromOperator::Unknown)));
    assert!(matches!(next(), Some(FromOperator::Unknown)));
    assert!(matches!(next(), Some(FromOperator::Welcome(_))));
    let Some(FromOperator::Refused(refusal)) = next() else {
        panic!("a refusal")
    };
    assert_eq!(refusal.reason, RefusalReason::Other);
    assert!(next().is_none());
}

#[test]
fn a_frame_over_the_limit_is_refused_on_both_sides() {
    // Two bytes are the quotes.
    let fits = "x".repeat(98);
    let frame = encode(&fits, 100).expect("fits");
    let mut decoder = Decoder::new(100);
    decoder.push(&frame);
    assert_eq!(decoder.next_message::<String>().expect("reads"), Some(fits));
    let error = encode(&"x".repeat(99), 100).expect_err("too large");
    assert!(matches!(
        error,
        FrameError::TooLarge {
            bytes: 101,
            limit: 100
        }
    ));
    let mut decoder = Decoder::new(100);
    // Before anything of it arrived.
    decoder.push(&101_u32.to_be_bytes());
    assert!(decoder.next_message::<String>().is_err());
}

#[test]
fn an_unreadable_frame_is_not_quoted() {
    let mut decoder = Decoder::new(100);
    decoder.push(&encode(&"canary", 100).expect("fits"));
    let error = decoder
        .next_message::<FromSidecar>()
        .expect_err("no message");
    assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
}

proptest! {
    #[test]
    fn messages_do_not_depend_on_how_bytes_arrive(
        texts in prop::collection::vec(".{0,40}", 0..8),
        cuts in prop::collection::vec(1_usize..9, 1..8),
    ) {
        let wire: Vec<u8> = texts.iter().flat_map(|text| encode(text, 400).expect("fits")).collect();
        let mut decoder = Decoder::new(400);
        let mut read: Vec<String> = Vec::new();
        let mut rest = wire.as_slice();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (now, later) = rest.split_at((*cut).min(rest.len()));
            decoder.push(now);
            while let Some(text) = decoder.next_message().expect("reads") {
                read.push(text);
            }
            rest = later;
        }
        prop_assert_eq!(read, texts);
    }

    #[test]
    fn odd_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let mut decoder = Decoder::new(1024);
        decoder.push(&bytes);
        while let Ok(Some(_)) = decoder.next_message::<FromSidecar>() {}
    }
}

/// The names by which messages are read are those by which they are written.
#[test]
fn every_message_is_read_as_what_it_was_written() {
    let raw = RawValue::from_string("{}".to_owned()).expect("JSON");
    let to_sidecar = [
        FromOperator::Welcome(Welcome { pod: "a/b".into() }),
        FromOperator::Refused(Refusal {
            reason: RefusalReason::Busy,
            message: String::new(),
            retry_after_ms: 1,
        }),
        FromOperator::Snapshot(Snapshot {
            version: version(1, 1, "a"),
            config: raw.into(),
            service_hosts: Vec::new(),
        }),
        FromOperator::Withdrawn(Withdrawn {
            version: version(1, 1, ""),
        }),
        FromOperator::Outdated(Outdated {
            version: version(1, 1, "a"),
            schema_version: 2,
        }),
        FromOperator::Certificate(Certificate {
            certificate_pem: String::new(),
            authorities_pem: String::new(),
        }),
        FromOperator::Renew,
        FromOperator::Authorities(Authorities {
            authorities_pem: String::new(),
        }),
        FromOperator::Heartbeat,
    ];
    for message in to_sidecar {
        let text = serde_json::to_string(&message).expect("JSON");
        let back: FromOperator = serde_json::from_str(&text).expect("reads");
        let same = std::mem::discriminant(&back) == std::mem::discriminant(&message);
        assert!(same, "{text}");
    }
    let confirmed = Confirmed {
        version: version(1, 1, "a"),
    };
    let to_operator = [
        FromSidecar::Token(Token {
            token: SecretText::from("t".to_owned()),
        }),
        FromSidecar::Confirmed(confirmed),
        FromSidecar::Rejected(Rejected {
            version: version(1, 1, "a"),
            reason: RejectReason::Older,
            message: String::new(),
            in_force: None,
        }),
        FromSidecar::CertificateRequest(CertificateRequest {
            request_pem: String::new(),
        }),
        FromSidecar::Listeners(Listeners {
            foreign: vec![ForeignListener {
                address: "0.0.0.0:8080".parse().expect("an address"),
                user_id: 1000,
            }],
        }),
        FromSidecar::Heartbeat,
    ];
    for message in to_operator {
        let text = serde_json::to_string(&message).expect("JSON");
        let back: FromSidecar = serde_json::from_str(&text).expect("reads");
        let same = std::mem::discriminant(&back) == std::mem::discriminant(&message);
        assert!(same, "{text}");
    }
}

#[test]
fn no_secret_is_shown() {
    let config = RawValue::from_string(r#"{"key":"canary"}"#.to_owned()).expect("JSON");
    let snapshot = FromOperator::Snapshot(Snapshot {
        version: version(1, 1, "a"),
        config: config.into(),
        service_hosts: Vec::new(),
    });
    let token = FromSidecar::Token(Token {
        token: SecretText::from("canary".to_owned()),
    });
    let mut decoder = Decoder::new(1_024);
    decoder.push(b"canary");
    let shown = format!("{snapshot:?} {token:?} {decoder:?}");
    let in_numbers = format!("{:?}", b"canary");
    let in_numbers = in_numbers.trim_matches(['[', ']']);
    assert!(
        !shown.contains("canary") && !shown.contains(in_numbers),
        "{shown}"
    );
}
