use proptest::prelude::*;
use sidegate_api::names::reason;
use sidegate_config::control::{ForeignListener, RejectReason, SnapshotVersion};

use super::*;
use crate::world::PodCondition;

fn version(hash: &str) -> SnapshotVersion {
    SnapshotVersion {
        epoch: 1,
        revision: 7,
        hash: hash.to_owned(),
        references: Default::default(),
    }
}

fn rejected(hash: &str, reason: RejectReason) -> PodReport {
    PodReport::Rejected {
        version: version(hash),
        reason,
        message: "port 8080\nis taken".to_owned(),
    }
}

fn condition(said: &Said) -> PodCondition {
    PodCondition {
        holds: said.holds,
        reason: said.reason.to_owned(),
        message: said.message.clone(),
        since: None,
    }
}

fn written(report: PodReport) -> PodCondition {
    condition(&said::programmed(report).expect("it says something"))
}

fn pod(uid: &str) -> PodRef {
    PodRef {
        key: Key::new("crm", "p"),
        uid: uid.into(),
    }
}

fn listener(address: &str) -> ForeignListener {
    ForeignListener {
        address: address.parse().expect("an address"),
        user_id: 1000,
    }
}

#[test]
fn what_was_confirmed_is_enforced_and_nothing_else() {
    let it = written(PodReport::Confirmed(version("aa")));
    assert_eq!((it.holds, it.reason.as_str()), (true, "Programmed"));
    assert_eq!(it.message, "aa");
    assert_eq!(reported(Some(&it), "aa"), Reported::Enforced);
    assert_eq!(reported(Some(&it), "ab"), Reported::Nothing);
    assert_eq!(reported(None, "aa"), Reported::Nothing);
    let withdrawn = written(PodReport::Confirmed(version("")));
    assert!(!withdrawn.holds);
    assert_eq!(withdrawn.reason, reason::WITHDRAWN);
    for hash in ["", "aa"] {
        assert_eq!(reported(Some(&withdrawn), hash), Reported::Nothing);
    }
    // A message that happens to be a hash says nothing when it does not hold.
    let false_one = PodCondition { holds: false, ..it };
    assert_eq!(reported(Some(&false_one), "aa"), Reported::Nothing);
}

#[test]
fn a_rejection_is_about_its_version_and_in_one_line() {
    let it = written(rejected("aa", RejectReason::NotApplicable));
    assert_eq!(it.message, "aa: port 8080 is taken");
    let words = Reported::Rejected("port 8080 is taken");
    assert_eq!(reported(Some(&it), "aa"), words);
    assert_eq!(reported(Some(&it), "bb"), Reported::Nothing);
    assert_eq!(said::programmed(rejected("aa", RejectReason::Older)), None);
}

#[test]
fn a_sidecar_that_is_too_old_is_told_with_what_mends_it() {
    let it = written(PodReport::Outdated {
        version: version("aa"),
        schema_version: 9,
    });
    assert_eq!(it.reason, reason::SIDECAR_OUTDATED);
    let Reported::Outdated(words) = reported(Some(&it), "aa") else {
        panic!("{it:?}")
    };
    assert!(words.contains("version 9") && words.contains("restart the pod"));
}

#[test]
fn words_are_bounded() {
    for (length, kept) in [(1024, 1024), (1025, 1024)] {
        let it = written(PodReport::Rejected {
            version: version("aa"),
            reason: RejectReason::Unreadable,
            message: "ä".repeat(length),
        });
        assert_eq!(it.message.chars().count(), "aa: ".len() + kept);
    }
}

#[test]
fn a_listener_on_a_server_port_makes_the_condition_false() {
    let ports = ServerPorts {
        same: vec![8080],
        separate: vec![9000],
    };
    let said = |addresses: &[&str]| {
        let found = addresses.iter().map(|it| listener(it)).collect();
        said::listeners(found, &ports)
    };
    let found = said(&["10.0.0.1:22", "[::]:8080"]);
    assert!(!found.holds);
    // The one that matters is first.
    assert_eq!(found.message, "[::]:8080/1000 10.0.0.1:22/1000");
    let other = said(&["10.0.0.1:22", "0.0.0.0:9000"]);
    assert!(other.holds);
    assert!(!other.is_told_by(None));
    let none = said(&[]);
    assert!(none.holds && none.is_told_by(None));
    assert!(
        !none.is_told_by(Some(&condition(&other))),
        "it is taken back"
    );
}

#[test]
fn a_text_of_listeners_is_bounded() {
    let many: Vec<_> = (0..64)
        .map(|port| {
            listener(&format!(
                "[2001:db8::1111:2222:3333:4444]:{}",
                10_000 + port
            ))
        })
        .collect();
    let text = listeners::write(&many);
    assert!(text.len() <= 1024 && text.len() > 950, "{}", text.len());
    assert_eq!(read_listeners(&text).len(), text.split(' ').count());
}

proptest! {
    #[test]
    fn listeners_survive_the_text(ports in prop::collection::vec(any::<u16>(), 0..20), v6 in any::<bool>()) {
        let found: Vec<_> = ports
            .iter()
            .map(|port| listener(&if v6 { format!("[::]:{port}") } else { format!("0.0.0.0:{port}") }))
            .collect();
        let read: Vec<_> = read_listeners(&listeners::write(&found));
        let read: Vec<_> = read.iter().map(|it| it.address).collect();
        let expected: Vec<_> = found.iter().map(|it| it.address).collect();
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn odd_texts_are_read_without_harm(text in ".{0,1200}") {
        prop_assert!(read_listeners(&text).len() <= text.len());
    }
}

#[tokio::test(start_paused = true)]
async fn the_latest_report_counts_and_is_asked_for_once() {
    let conditions = PodConditions::default();
    let ports = ServerPorts::default();
    for hash in ["aa", "bb", "cc"] {
        conditions.report(&pod("1"), PodReport::Confirmed(version(hash)), &ports);
    }
    assert_eq!(conditions.depth(), 1);
    let writing = conditions.queue.next().await.request;
    let said = conditions.said(&writing).expect("a report");
    assert_eq!(said.message, "cc");
}

fn told(conditions: &PodConditions, report: PodReport) {
    conditions.report(&pod("1"), report, &ServerPorts::default());
}

fn facts(hash: &str) -> PodConditionFacts {
    PodConditionFacts {
        programmed: Some(Arc::new(written(PodReport::Confirmed(version(hash))))),
        ..PodConditionFacts::default()
    }
}

/// As the writer does.
fn write_all(conditions: &PodConditions, writing: &Writing) -> Option<Said> {
    let said = conditions.said(writing)?;
    conditions.written(writing, said.clone());
    conditions.queue.end(writing, crate::queue::Ended::Done);
    Some(said)
}

/// Its sidecar may find no other stream, and enforces it nevertheless.
#[tokio::test(start_paused = true)]
async fn what_waits_at_the_end_of_a_stream_is_written_and_then_forgotten() {
    let conditions = PodConditions::default();
    told(&conditions, PodReport::Confirmed(version("h1")));
    let writing = conditions.queue.next().await.request;
    write_all(&conditions, &writing).expect("a report");
    told(&conditions, PodReport::Confirmed(version("h2")));
    // The watch has not told yet what was written first.
    conditions.ended(&pod("1"), &facts("h0"));
    conditions.seen(&pod("1").key, &"1".into(), &facts("h0"));
    conditions.seen(&pod("1").key, &"1".into(), &facts("h1"));
    let writing = conditions.queue.next().await.request;
    let said = write_all(&conditions, &writing).expect("it waits still");
    assert_eq!(said.message, "h2");
    assert!(conditions.lock().is_empty());
    // Nor is anything put right any more.
    conditions.seen(&pod("1").key, &"1".into(), &facts("h3"));
    assert_eq!(conditions.depth(), 0);
}

#[tokio::test(start_paused = true)]
async fn at_the_end_of_a_stream_nothing_is_kept_of_what_is_written() {
    let conditions = PodConditions::default();
    told(&conditions, PodReport::Confirmed(version("h1")));
    told(&conditions, PodReport::Listeners(Vec::new()));
    for _ in 0..2 {
        let writing = conditions.queue.next().await.request;
        write_all(&conditions, &writing).expect("a report");
    }
    conditions.ended(&pod("1"), &facts("h1"));
    assert!(conditions.lock().is_empty());
}

/// Another replica has the pod's next stream.
#[tokio::test(start_paused = true)]
async fn after_the_end_of_a_stream_what_others_write_is_newer() {
    let conditions = PodConditions::default();
    told(&conditions, PodReport::Confirmed(version("h2")));
    conditions.ended(&pod("1"), &facts("h1"));
    conditions.seen(&pod("1").key, &"1".into(), &facts("h3"));
    let writing = conditions.queue.next().await.request;
    assert_eq!(conditions.said(&writing), None);
    // It comes back: what it says counts.
    told(&conditions, PodReport::Confirmed(version("h4")));
    conditions.seen(&pod("1").key, &"1".into(), &facts("h3"));
    assert!(conditions.said(&writing).is_some());
}

/// Another replica may have seen a newer one.
#[tokio::test(start_paused = true)]
async fn a_certificate_is_told_once_and_not_put_right() {
    let conditions = PodConditions::default();
    let shown = |until_unix| ShownCertificate {
        until_unix,
        authority: "0a".to_owned(),
        sandbox_unix: None,
    };
    told(&conditions, PodReport::Certificate(shown(1_000)));
    let writing = conditions.queue.next().await.request;
    let said = write_all(&conditions, &writing).expect("a report");
    assert!(conditions.lock().is_empty());
    conditions.seen(&pod("1").key, &"1".into(), &facts("h1"));
    assert_eq!(conditions.depth(), 0);
    for (until_unix, adds_nothing) in [(999, false), (1_000, true), (1_001, true)] {
        let before = condition(&shown(until_unix).said());
        assert_eq!(
            certificate::adds_nothing(&said, Some(&before)),
            adds_nothing
        );
    }
    assert!(!certificate::adds_nothing(&said, None));
}

/// A stream of which nothing is heard ends before it would put anything right.
#[test]
fn what_others_wrote_stays_longer_than_a_silent_stream() {
    assert!(SETTLE > Duration::from_secs(3 * HEARTBEAT_SECONDS));
}

#[test]
fn a_sidecar_that_knows_more_than_the_operator_is_told_with_what_mends_it() {
    let it = written(PodReport::Behind {
        in_force: version("aa"),
    });
    assert_eq!((it.holds, it.reason.as_str()), (false, "OperatorBehind"));
    let Reported::OperatorBehind(words) = reported(Some(&it), "bb") else {
        panic!("{it:?}")
    };
    assert!(words.contains("sidegate.dev/epoch") && words.contains("sidegate-authority"));
    // The replica that writes the status may know what the other one does not.
    assert_eq!(reported(Some(&it), "aa"), Reported::Enforced);
}

#[tokio::test(start_paused = true)]
async fn a_successor_of_the_same_name_starts_anew() {
    let conditions = PodConditions::default();
    let ports = ServerPorts::default();
    conditions.report(&pod("1"), PodReport::Confirmed(version("aa")), &ports);
    let writing = conditions.queue.next().await.request;
    conditions.report(&pod("2"), PodReport::Listeners(Vec::new()), &ports);
    assert_eq!(conditions.said(&writing), None);
    conditions.seen(&pod("3").key, &"3".into(), &PodConditionFacts::default());
    assert!(conditions.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_others_wrote_is_put_right_after_a_while() {
    let conditions = PodConditions::default();
    let ports = ServerPorts::default();
    let one = pod("1");
    conditions.report(&one, PodReport::Confirmed(version("aa")), &ports);
    let first = conditions.queue.next().await.request;
    conditions.queue.end(&first, crate::queue::Ended::Done);
    conditions.seen(&one.key, &one.uid, &facts("aa"));
    assert_eq!(conditions.depth(), 0);
    conditions.seen(&one.key, &one.uid, &facts("bb"));
    let start = tokio::time::Instant::now();
    assert_eq!(conditions.queue.next().await.request, first);
    assert_eq!(start.elapsed(), SETTLE);
}
