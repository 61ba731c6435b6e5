//! What is said on a stream.

use sidegate_config::control::{
    CertificateRequest, Confirmed, ForeignListener, Listeners, RefusalReason, RejectReason,
    Rejected, Token,
};

use super::certificates::request;
use super::*;

fn confirmed(version: SnapshotVersion) -> FromSidecar {
    FromSidecar::Confirmed(Confirmed { version })
}

#[tokio::test(start_paused = true)]
async fn changes_are_sent_as_they_come() {
    let replica = Replica::new();
    let mut stream = replica.stream(Wanted::default()).await;
    stream.assign(program("a"), 5);
    assert_eq!(stream.snapshot().await, version(1, 5, "a"));
    stream.say(&confirmed(version(1, 5, "a"))).await;
    stream.assign(program("b"), 6);
    assert_eq!(stream.snapshot().await, version(1, 6, "b"));
    stream.assign(Assigned::NoGateway, 7);
    let withdrawn = stream.next().await;
    assert!(matches!(withdrawn, FromOperator::Withdrawn(it) if it.version == version(1, 7, "")));
    let newer = program_with("c", 2, "{}");
    stream.assign(newer, 8);
    let outdated = stream.next().await;
    assert!(
        matches!(outdated, FromOperator::Outdated(it) if it.version == version(1, 8, "c") && it.schema_version == 2)
    );
    assert_eq!(stream.end().await, "hung_up");
    let text = replica.shared.metrics.render();
    for line in [
        r#"sidegate_operator_snapshots_sent_total{kind="snapshot"} 2"#,
        "sidegate_operator_snapshots_confirmed_total 1",
        "sidegate_operator_snapshot_lag_seconds_count 1",
    ] {
        assert!(text.lines().any(|it| it == line), "{line} in {text}");
    }
}

/// The time in which a change is built belongs to it.
#[tokio::test(start_paused = true)]
async fn the_lag_begins_when_a_watch_tells_a_change() {
    let replica = Replica::new();
    let began = tokio::time::Instant::now();
    let mut stream = replica
        .stream(Wanted {
            assignment: Assignment {
                changed_at: Some(began),
                ..assigned(program("a"), 1)
            },
            ..Wanted::default()
        })
        .await;
    let lag = |of: &str| {
        let text = replica.shared.metrics.render();
        let name = format!("sidegate_operator_snapshot_lag_seconds_{of} ");
        let value = text
            .lines()
            .find_map(|it| it.strip_prefix(&name)?.parse::<f64>().ok());
        value.expect("a value")
    };
    // What was there when the stream began is no change.
    let first = stream.snapshot().await;
    stream.say(&confirmed(first)).await;
    tokio::time::advance(Duration::from_secs(3)).await;
    stream.assignment.send_replace(Assignment {
        changed_at: Some(began + Duration::from_secs(1)),
        ..assigned(program("b"), 2)
    });
    let second = stream.snapshot().await;
    assert!(lag("count") < 1.0);
    stream.say(&confirmed(second)).await;
    assert!(matches!(stream.next().await, FromOperator::Heartbeat));
    assert!(
        lag("count") == 1.0 && (2.0..2.5).contains(&lag("sum")),
        "{}",
        lag("sum")
    );
    // Its Services changed, and nothing that was built.
    stream.assignment.send_replace(Assignment {
        changed_at: Some(began + Duration::from_secs(1)),
        service_hosts: vec!["support".to_owned()],
        ..assigned(program("b"), 3)
    });
    let third = stream.snapshot().await;
    stream.say(&confirmed(third)).await;
    assert!(matches!(stream.next().await, FromOperator::Heartbeat));
    assert!(lag("count") == 2.0 && lag("sum") < 2.5, "{}", lag("sum"));
}

#[tokio::test(start_paused = true)]
async fn of_what_a_slow_reader_misses_only_the_last_is_sent() {
    let replica = Replica::new();
    let large = format!("\"{}\"", "x".repeat(4_000));
    let mut stream = replica
        .stream(Wanted {
            room: 64,
            assignment: assigned(program_with("h0", 1, &large), 1),
            ..Wanted::default()
        })
        .await;
    // The first one is being written while a hundred others come.
    let mut first = [0; 4];
    stream.far.read_exact(&mut first).await.expect("it begins");
    stream.decoder.push(&first);
    for number in 1..=100_u64 {
        stream.assign(program_with(&format!("h{number}"), 1, &large), number);
        tokio::task::yield_now().await;
    }
    assert_eq!(stream.snapshot().await.hash, "h0");
    assert_eq!(stream.snapshot().await.hash, "h100");
}

/// All write the one text that there is.
#[tokio::test(start_paused = true)]
async fn a_thousand_streams_share_a_configuration() {
    let replica = Replica::new();
    let config = RawValue::from_string(format!("\"{}\"", "x".repeat(4_000)));
    let config: Arc<RawValue> = config.expect("JSON").into();
    let mut streams = Vec::new();
    for number in 0..1_000 {
        let wanted = Wanted {
            room: 1_024,
            uid: format!("u{number}"),
            ..Wanted::default()
        };
        streams.push(replica.stream(wanted).await);
    }
    let program = Arc::new(Program {
        gateway: Key::new("crm", "support"),
        generation: None,
        references: Default::default(),
        hash: "a".to_owned(),
        schema_version: 1,
        config: Arc::clone(&config),
    });
    for stream in &streams {
        stream.assign(Assigned::Program(Arc::clone(&program)), 5);
    }
    // Each of them has begun to write, and none can end.
    while Arc::strong_count(&config) < 1_002 {
        tokio::task::yield_now().await;
    }
    for stream in &mut streams {
        assert_eq!(stream.snapshot().await.hash, "a");
    }
    while Arc::strong_count(&config) > 2 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_rejected_is_not_sent_again() {
    let replica = Replica::new();
    let mut stream = replica.stream(Wanted::default()).await;
    stream.assign(program("a"), 5);
    let sent = stream.snapshot().await;
    stream
        .say(&FromSidecar::Rejected(Rejected {
            version: sent,
            reason: RejectReason::NotApplicable,
            message: "no".to_owned(),
            in_force: None,
        }))
        .await;
    stream.assign(program("a"), 6);
    stream.assign(program("b"), 7);
    assert_eq!(stream.snapshot().await, version(1, 7, "b"));
}

#[tokio::test(start_paused = true)]
async fn a_lagging_replica_waits_for_what_the_sidecar_knows() {
    let replica = Replica::new();
    let mut stream = replica
        .stream(Wanted {
            assignment: assigned(program("a"), 5),
            in_force: Some(version(1, 9, "b")),
            ..Wanted::default()
        })
        .await;
    // Nothing but heartbeats until it has seen as much.
    assert!(matches!(stream.next().await, FromOperator::Heartbeat));
    stream.assign(program("c"), 8);
    assert!(matches!(stream.next().await, FromOperator::Heartbeat));
    stream.assign(program("c"), 9);
    assert_eq!(stream.snapshot().await, version(1, 9, "c"));
}

/// Behind for long, and unable to write: neither makes it turn in circles.
#[tokio::test(start_paused = true)]
async fn a_lagging_replica_waits_also_when_nobody_reads() {
    let replica = Replica::new();
    let stream = replica
        .stream(Wanted {
            assignment: assigned(program("a"), 5),
            in_force: Some(version(1, 9, "b")),
            room: 2_048,
            ..Wanted::default()
        })
        .await;
    let Standing {
        mut far,
        ended,
        assignment: _assignment,
        ..
    } = stream;
    let heartbeat = encode(&FromSidecar::Heartbeat, MAX_TO_OPERATOR).expect("a frame");
    let talks = tokio::spawn(async move {
        while far.write_all(&heartbeat).await.is_ok() {
            let other = trust();
            replica.trust.send_replace(Some(other));
            tokio::time::sleep(Duration::from_secs(4)).await;
        }
    });
    assert_eq!(ended.await.expect("no panic").word(), "slow");
    talks.abort();
}

/// As after the store of the cluster went back in time.
#[tokio::test(start_paused = true)]
async fn a_replica_that_lags_for_long_says_so() {
    let replica = Replica::new();
    replica.pod("a", "u1");
    let mut stream = replica
        .stream(Wanted {
            assignment: assigned(program("a"), 5),
            in_force: Some(version(1, 9, "b")),
            ..Wanted::default()
        })
        .await;
    for _ in 0..2 {
        assert!(matches!(stream.next().await, FromOperator::Heartbeat));
        stream.say(&FromSidecar::Heartbeat).await;
    }
    let pod = PodRef {
        key: Key::new("crm", "a"),
        uid: "u1".into(),
    };
    let said = replica.conditions.programmed_of(&pod);
    let (reason, message) = said.expect("a condition is to be written");
    assert_eq!(reason, "OperatorBehind");
    assert!(message.contains("sidegate.dev/epoch"), "{message}");
    // The remedy.
    stream.assign(program("a"), 9);
    assert_eq!(stream.snapshot().await, version(1, 9, "a"));
}

#[tokio::test(start_paused = true)]
async fn the_newest_stream_of_a_pod_stays() {
    let replica = Replica::new();
    let mut first = replica.stream(Wanted::default()).await;
    let mut second = replica.stream(Wanted::default()).await;
    assert_eq!(first.refused().await.reason, RefusalReason::Replaced);
    assert_eq!(first.end().await, "replaced");
    second.assign(program("a"), 5);
    assert_eq!(second.snapshot().await.hash, "a");
    // Who only wants a certificate is no reason to stop enforcing.
    let _identity = replica
        .stream(Wanted {
            purpose: Purpose::Identity,
            ..Wanted::default()
        })
        .await;
    second.assign(program("b"), 6);
    assert_eq!(second.snapshot().await.hash, "b");
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_its_pod_and_with_the_replica() {
    let replica = Replica::new();
    let mut stream = replica.stream(Wanted::default()).await;
    let (sender, _) = watch::channel(assigned(Assigned::Waiting, 1));
    drop(std::mem::replace(&mut stream.assignment, sender));
    assert_eq!(stream.refused().await.reason, RefusalReason::PodGone);
    assert_eq!(stream.end().await, "pod_gone");
    let mut stream = replica.stream(Wanted::default()).await;
    replica.stopping.send_replace(true);
    assert_eq!(stream.refused().await.reason, RefusalReason::Unavailable);
    assert_eq!(stream.end().await, "unavailable");
}

#[tokio::test(start_paused = true)]
async fn a_newer_token_prolongs_the_stream_and_another_pods_ends_it() {
    let replica = Replica::new();
    replica.pod("a", "u1");
    replica.pod("b", "u2");
    let mut stream = replica.stream(Wanted::default()).await;
    let newer = replica.token_with("a", "u1", now() + 7200, answer_for("a", "u1"));
    stream
        .say(&FromSidecar::Token(Token { token: newer }))
        .await;
    // Everything before this is read then.
    stream.assign(program("a"), 5);
    stream.snapshot().await;
    replica.clock.advance(Duration::from_secs(3700));
    assert!(matches!(stream.next().await, FromOperator::Heartbeat));
    let other = replica.token_with("b", "u2", now() + 7200, answer_for("b", "u2"));
    stream
        .say(&FromSidecar::Token(Token { token: other }))
        .await;
    assert_eq!(
        stream.refused().await.reason,
        RefusalReason::Unauthenticated
    );
}

#[tokio::test(start_paused = true)]
async fn a_token_that_cannot_be_looked_at_leaves_the_stream_as_it_is() {
    let replica = Replica::new();
    let mut stream = replica.stream(Wanted::default()).await;
    replica.api.is_down.store(true, Ordering::Relaxed);
    let newer = replica.token_with("a", "u1", now() + 9000, answer_for("a", "u1"));
    stream
        .say(&FromSidecar::Token(Token { token: newer }))
        .await;
    stream.assign(program("a"), 5);
    assert_eq!(stream.snapshot().await.hash, "a");
    assert!(matches!(stream.next().await, FromOperator::Heartbeat));
    stream.say(&FromSidecar::Heartbeat).await;
    assert!(replica.asked() >= 2, "it is asked again");
    // When the API server is back, the stream lasts as long as the newer one.
    replica.api.is_down.store(false, Ordering::Relaxed);
    assert!(matches!(stream.next().await, FromOperator::Heartbeat));
    stream.say(&FromSidecar::Heartbeat).await;
    replica.clock.advance(Duration::from_secs(3600));
    assert!(matches!(stream.next().await, FromOperator::Heartbeat));
}

/// Whatever the stream was for.
#[tokio::test(start_paused = true)]
async fn the_board_forgets_who_does_not_follow_any_more() {
    let replica = Replica::new();
    replica.pod("a", "u1");
    let board = replica.shared.board();
    let pod = PodRef {
        key: Key::new("crm", "a"),
        uid: "u1".into(),
    };
    for purpose in [Purpose::Identity, Purpose::Enforce] {
        let stream = replica
            .stream(Wanted {
                follows: board.follow(&pod),
                purpose,
                ..Wanted::default()
            })
            .await;
        assert_eq!(board.count_followed(), 1);
        assert_eq!(stream.end().await, "hung_up");
        assert_eq!(board.count_followed(), 0, "{purpose:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_none_ends_the_stream() {
    let replica = Replica::new();
    let mut stream = replica.stream(Wanted::default()).await;
    let none = FromSidecar::CertificateRequest(CertificateRequest {
        request_pem: "none".to_owned(),
    });
    stream.say(&none).await;
    assert_eq!(stream.refused().await.reason, RefusalReason::Protocol);
    let mut stream = replica.stream(Wanted::default()).await;
    let hello = Hello {
        token: SecretText::from(String::new()),
        purpose: Purpose::Enforce,
        schema_versions: Vec::new(),
        program: String::new(),
        in_force: None,
    };
    stream.say(&FromSidecar::Hello(hello)).await;
    assert_eq!(stream.refused().await.reason, RefusalReason::Protocol);
}

#[tokio::test(start_paused = true)]
async fn an_identity_stream_hears_of_no_configuration() {
    let replica = Replica::new();
    let mut stream = replica
        .stream(Wanted {
            assignment: assigned(program("a"), 1),
            purpose: Purpose::Identity,
            ..Wanted::default()
        })
        .await;
    stream.assign(program("b"), 2);
    stream.say(&request()).await;
    assert!(matches!(stream.next().await, FromOperator::Certificate(_)));
    assert!(matches!(stream.next().await, FromOperator::Heartbeat));
}

#[tokio::test(start_paused = true)]
async fn a_configuration_that_no_sidecar_takes_is_not_sent() {
    let replica = Replica::new();
    let mut stream = replica.stream(Wanted::default()).await;
    let huge = format!("\"{}\"", "x".repeat(MAX_TO_SIDECAR));
    stream.assign(program_with("huge", 1, &huge), 5);
    assert!(matches!(stream.next().await, FromOperator::Heartbeat));
    stream.assign(program("a"), 6);
    assert_eq!(stream.snapshot().await.hash, "a");
}

#[tokio::test(start_paused = true)]
async fn what_listens_is_taken_and_what_is_newer_is_skipped() {
    let replica = Replica::new();
    replica.pod("a", "u1");
    let mut stream = replica.stream(Wanted::default()).await;
    let listener = |port| ForeignListener {
        address: (Ipv4Addr::UNSPECIFIED, port).into(),
        user_id: 1,
    };
    let foreign = (1..=1_000).map(listener).collect();
    stream
        .say(&FromSidecar::Listeners(Listeners { foreign }))
        .await;
    let newer = RawValue::from_string(r#"{"type":"weather","body":{}}"#.to_owned());
    let frame = encode(&newer.expect("JSON"), MAX_TO_OPERATOR).expect("a frame");
    stream.far.write_all(&frame).await.expect("it is written");
    stream.assign(program("a"), 5);
    assert_eq!(stream.snapshot().await.hash, "a");
}
