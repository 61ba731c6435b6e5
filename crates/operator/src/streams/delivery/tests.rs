use proptest::prelude::*;
use serde_json::value::RawValue;
use sidegate_config::control::MAX_REFERENCES;
use tokio::time::Instant;

use super::*;
use crate::key::Key;

fn program(hash: &str, schema_version: u32) -> Assigned {
    let config = RawValue::from_string("{}".to_owned()).expect("JSON");
    Assigned::Program(Arc::new(Program {
        gateway: Key::new("crm", "support"),
        generation: None,
        references: Default::default(),
        hash: hash.to_owned(),
        schema_version,
        config: config.into(),
    }))
}

fn assignment(assigned: Assigned, revision: u64) -> Assignment {
    Assignment {
        assigned,
        revision,
        changed_at: None,
        dns_names: Vec::new(),
        service_hosts: vec!["support".to_owned()],
    }
}

fn version(epoch: u64, revision: u64, hash: &str) -> SnapshotVersion {
    SnapshotVersion {
        epoch,
        revision,
        hash: hash.to_owned(),
        references: Default::default(),
    }
}

fn fresh() -> Delivery {
    Delivery::new(vec![1], None)
}

/// The version of what is to be sent, which is then sent.
fn send(delivery: &mut Delivery, assignment: &Assignment, epoch: u64) -> SnapshotVersion {
    let version = match delivery.next(assignment, epoch) {
        Next::Snapshot { version, .. }
        | Next::Withdrawn(version)
        | Next::Outdated { version, .. } => version,
        other @ (Next::Nothing | Next::Behind { .. }) => panic!("{other:?}"),
    };
    delivery.sending(assignment, version.clone(), None);
    version
}

fn says_nothing(delivery: &Delivery, assignment: &Assignment, epoch: u64) -> bool {
    matches!(delivery.next(assignment, epoch), Next::Nothing)
}

fn rejection(
    version: &SnapshotVersion,
    reason: RejectReason,
    in_force: Option<SnapshotVersion>,
) -> Rejected {
    Rejected {
        version: version.clone(),
        reason,
        message: "no\nport".to_owned(),
        in_force,
    }
}

#[test]
fn everything_is_told_once() {
    let mut delivery = fresh();
    let first = assignment(program("a", 1), 10);
    assert_eq!(send(&mut delivery, &first, 1), version(1, 10, "a"));
    assert!(says_nothing(&delivery, &first, 1));
    let later = assignment(program("a", 1), 11);
    assert!(says_nothing(&delivery, &later, 1), "only the revision grew");
    let other = assignment(program("b", 1), 12);
    assert_eq!(send(&mut delivery, &other, 1), version(1, 12, "b"));
    let none = assignment(Assigned::NoGateway, 13);
    assert_eq!(send(&mut delivery, &none, 1), version(1, 13, ""));
    assert!(says_nothing(&delivery, &none, 1));
    assert_eq!(send(&mut delivery, &other, 1), version(1, 12, "b"));
}

#[test]
fn while_a_gateway_is_not_built_nothing_is_told() {
    let mut delivery = fresh();
    let waiting = assignment(Assigned::Waiting, 10);
    assert!(says_nothing(&delivery, &waiting, 1));
    let first = assignment(program("a", 1), 11);
    send(&mut delivery, &first, 1);
    assert!(says_nothing(&delivery, &waiting, 1));
    assert!(says_nothing(&delivery, &first, 1));
}

#[test]
fn other_services_and_another_epoch_are_told() {
    let mut delivery = fresh();
    let mut assignment = assignment(program("a", 1), 10);
    send(&mut delivery, &assignment, 1);
    assignment.service_hosts.push("support.crm".to_owned());
    send(&mut delivery, &assignment, 1);
    assert!(says_nothing(&delivery, &assignment, 1));
    assert_eq!(send(&mut delivery, &assignment, 2), version(2, 10, "a"));
}

#[test]
fn what_is_in_force_already_is_told_all_the_same() {
    let mut delivery = Delivery::new(vec![1], Some(version(1, 20, "a")));
    let lagging = assignment(program("a", 1), 10);
    // Equal content is never older.
    assert_eq!(send(&mut delivery, &lagging, 1), version(1, 10, "a"));
}

#[test]
fn a_format_that_the_sidecar_does_not_know_is_not_sent() {
    let mut delivery = fresh();
    let newer = assignment(program("a", 2), 10);
    let next = delivery.next(&newer, 1);
    assert!(
        matches!(next, Next::Outdated { ref version, schema_version: 2 } if version.hash == "a")
    );
    send(&mut delivery, &newer, 1);
    assert!(says_nothing(&delivery, &newer, 1));
    assert!(matches!(
        delivery.next(&assignment(program("b", 1), 11), 1),
        Next::Snapshot { .. }
    ));
}

#[test]
fn a_replica_that_lags_behind_waits() {
    let in_force = version(1, 20, "b");
    let mut delivery = Delivery::new(vec![1], Some(in_force.clone()));
    for lagging in [
        assignment(program("a", 1), 19),
        assignment(Assigned::NoGateway, 19),
        assignment(program("a", 9), 19),
    ] {
        let Next::Behind {
            in_force: newer, ..
        } = delivery.next(&lagging, 1)
        else {
            panic!("it is behind")
        };
        assert_eq!(newer, in_force);
    }
    assert!(matches!(
        delivery.next(&assignment(program("a", 1), 21), 0),
        Next::Behind { .. }
    ));
    send(&mut delivery, &assignment(program("a", 1), 20), 1);
}

#[test]
fn what_the_sidecar_finds_older_is_sent_again_when_more_is_known() {
    let mut delivery = fresh();
    let first = assignment(program("a", 1), 10);
    let sent = send(&mut delivery, &first, 1);
    let older = rejection(&sent, RejectReason::Older, Some(version(1, 15, "b")));
    assert_eq!(delivery.rejected(older), Rejection::Older);
    assert!(matches!(delivery.next(&first, 1), Next::Behind { .. }));
    let later = assignment(program("a", 1), 15);
    assert_eq!(send(&mut delivery, &later, 1), version(1, 15, "a"));
}

#[test]
fn a_rejection_without_sense_is_no_endless_loop() {
    let mut delivery = fresh();
    let first = assignment(program("a", 1), 10);
    let sent = send(&mut delivery, &first, 1);
    for in_force in [None, Some(version(1, 9, "b")), Some(version(1, 11, "a"))] {
        let nonsense = rejection(&sent, RejectReason::Older, in_force);
        let became = delivery.rejected(nonsense);
        assert!(matches!(became, Rejection::Final(_)), "{became:?}");
        assert!(says_nothing(&delivery, &first, 1));
    }
}

#[test]
fn what_was_rejected_is_not_sent_again_until_something_changes() {
    let mut delivery = fresh();
    let first = assignment(program("a", 1), 10);
    let sent = send(&mut delivery, &first, 1);
    let became = delivery.rejected(rejection(&sent, RejectReason::NotApplicable, None));
    let report = PodReport::Rejected {
        version: sent,
        reason: RejectReason::NotApplicable,
        message: "no port".to_owned(),
    };
    assert_eq!(became, Rejection::Final(report));
    assert!(says_nothing(&delivery, &first, 1));
    send(&mut delivery, &assignment(program("b", 1), 11), 1);
}

#[tokio::test(start_paused = true)]
async fn only_what_was_sent_is_believed() {
    let mut delivery = fresh();
    let first = assignment(program("a", 1), 10);
    let Next::Snapshot { version: sent, .. } = delivery.next(&first, 1) else {
        panic!("a snapshot")
    };
    let changed = Instant::now();
    delivery.sending(&first, sent.clone(), Some(changed));
    for never in [version(1, 10, "b"), version(2, 10, "a"), version(1, 10, "")] {
        assert_eq!(delivery.confirmed(&never), Confirmation::NeverSent);
        let rejected = rejection(&never, RejectReason::Other, None);
        assert_eq!(delivery.rejected(rejected), Rejection::NeverSent);
    }
    // With the revision that it had before.
    let confirmed = delivery.confirmed(&version(1, 7, "a"));
    assert_eq!(
        confirmed,
        Confirmation::InForce(sent.clone(), Some(changed))
    );
    let again = delivery.confirmed(&sent);
    assert_eq!(
        again,
        Confirmation::InForce(sent, None),
        "its lag is known already"
    );
}

#[test]
fn what_a_sidecar_says_is_bounded() {
    let odd = "a\n".repeat(2_000);
    let told = for_people(&odd);
    assert_eq!(told.chars().count(), MAX_MESSAGE);
    assert!(!told.contains('\n'));
    for hash in ["x".repeat(MAX_HASH + 1), "a b".to_owned(), "<b>".to_owned()] {
        let delivery = Delivery::new(vec![1], Some(version(1, 1, &hash)));
        assert_eq!(delivery.in_force(), None);
    }
    let plausible = version(1, 1, &"f".repeat(MAX_HASH));
    let delivery = Delivery::new(vec![1], Some(plausible.clone()));
    assert_eq!(delivery.in_force(), Some(&plausible));
}

fn references(keys: u64) -> ReferenceVersions {
    [("ConfigMap/keys".to_owned(), keys)].into_iter().collect()
}

/// A program whose gateway is of a generation, and refers to a ConfigMap.
fn made_of(hash: &str, generation: i64, keys: u64) -> Assigned {
    let Assigned::Program(program) = program(hash, 1) else {
        panic!("a program")
    };
    let program = Program::clone(&program);
    Assigned::Program(Arc::new(Program {
        generation: Some(generation),
        references: references(keys),
        ..program
    }))
}

fn with_keys(version: SnapshotVersion, keys: u64) -> SnapshotVersion {
    SnapshotVersion {
        references: references(keys),
        ..version
    }
}

#[test]
fn a_replica_whose_watch_of_a_reference_lags_waits() {
    let in_force = with_keys(version(1, 20, "now"), 500);
    let delivery = || Delivery::new(vec![1], Some(in_force.clone()));
    // However new its gateway is.
    for revision in [19, 20, 600] {
        let lagging = assignment(made_of("old", 1, 499), revision);
        let Next::Behind {
            version: behind,
            in_force: newer,
        } = delivery().next(&lagging, 1)
        else {
            panic!("it is behind")
        };
        assert_eq!(newer, in_force);
        assert_eq!(behind, with_keys(version(1, revision, "old"), 499));
    }
    for (keys, epoch) in [(500, 1), (501, 1), (3, 2)] {
        let made_of = assignment(made_of("next", 1, keys), 20);
        let sent = send(&mut delivery(), &made_of, epoch);
        assert_eq!(sent, with_keys(version(epoch, 20, "next"), keys));
    }
    // What is not referred to is not compared, nor what nobody told.
    send(&mut delivery(), &assignment(program("next", 1), 20), 1);
    send(&mut delivery(), &assignment(Assigned::NoGateway, 20), 1);
    let mut unknown = Delivery::new(vec![1], Some(version(1, 20, "now")));
    send(&mut unknown, &assignment(made_of("next", 1, 3), 20), 1);
}

#[test]
fn the_same_content_of_something_newer_is_told_again() {
    let mut delivery = fresh();
    for (generation, keys, revision) in [(1, 500, 10), (1, 501, 10), (2, 501, 12)] {
        let next = assignment(made_of("a", generation, keys), revision);
        let sent = send(&mut delivery, &next, 1);
        assert_eq!(sent, with_keys(version(1, revision, "a"), keys));
        let later = assignment(made_of("a", generation, keys), revision + 1);
        assert!(says_nothing(&delivery, &later, 1), "only the revision grew");
    }
}

#[test]
fn what_a_sidecar_remembers_is_not_forgotten() {
    let in_force = with_keys(version(1, 20, "now"), 500);
    let mut delivery = Delivery::new(vec![1], Some(in_force));
    let without = assignment(program("without", 1), 21);
    let sent = send(&mut delivery, &without, 1);
    delivery.confirmed(&sent);
    let known = with_keys(version(1, 21, "without"), 500);
    assert_eq!(delivery.in_force(), Some(&known));
    let again = assignment(made_of("again", 2, 499), 22);
    assert!(matches!(delivery.next(&again, 1), Next::Behind { .. }));
    send(&mut delivery, &assignment(made_of("again", 2, 500), 22), 1);
}

/// It left the references out when it repeats what it was sent.
#[test]
fn an_older_sidecar_is_understood() {
    let mut delivery = fresh();
    let first = assignment(made_of("a", 1, 500), 10);
    let sent = send(&mut delivery, &first, 1);
    let without = version(1, 10, "a");
    let became = delivery.rejected(rejection(&without, RejectReason::NotApplicable, None));
    assert!(
        matches!(became, Rejection::Final(PodReport::Rejected { version, .. }) if version == sent)
    );
    let became = delivery.confirmed(&without);
    assert_eq!(became, Confirmation::InForce(sent.clone(), None));
    assert_eq!(delivery.in_force(), Some(&sent));
}

#[test]
fn what_a_sidecar_says_of_references_is_bounded() {
    let many = |count: usize| SnapshotVersion {
        references: (0..count).map(|it| (format!("Secret/{it}"), 1)).collect(),
        ..version(1, 1, "a")
    };
    let in_force = |count| {
        Delivery::new(vec![1], Some(many(count)))
            .in_force()
            .cloned()
    };
    assert_eq!(in_force(MAX_REFERENCES), Some(many(MAX_REFERENCES)));
    assert_eq!(in_force(MAX_REFERENCES + 1), None);
}

#[derive(Debug, Clone)]
enum Step {
    /// The gateway becomes this, or goes.
    Change(Option<u8>),
    /// Something else in the cluster changes.
    Other,
    /// The sidecar reads what was sent, and confirms or rejects it.
    Answer(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        prop::option::of(0_u8..4).prop_map(Step::Change),
        Just(Step::Other),
        any::<bool>().prop_map(Step::Answer),
    ]
}

proptest! {
    /// Whatever happens in between: a sidecar that reads everything has been
    /// sent what its pod is assigned, and nothing twice in a row.
    #[test]
    fn the_sidecar_hears_the_truth_in_the_end(steps in prop::collection::vec(step(), 0..40)) {
        let mut delivery = fresh();
        let mut revision = 1;
        let mut assigned = Assigned::Waiting;
        let mut last: Option<SnapshotVersion> = None;
        for step in steps {
            match step {
                Step::Change(content) => {
                    revision += 1;
                    assigned = match content {
                        Some(content) => program(&format!("h{content}"), 1),
                        None => Assigned::NoGateway,
                    };
                }
                Step::Other => revision += 1,
                Step::Answer(confirms) => {
                    if let Some(version) = last.clone() {
                        if confirms {
                            delivery.confirmed(&version);
                        } else {
                            let in_force = delivery.in_force().cloned();
                            let reason = RejectReason::NotApplicable;
                            delivery.rejected(rejection(&version, reason, in_force));
                        }
                    }
                }
            }
            let now = assignment(assigned.clone(), revision);
            let hash = match &assigned {
                Assigned::Waiting => None,
                Assigned::NoGateway => Some(String::new()),
                Assigned::Program(program) => Some(program.hash.clone()),
            };
            if !says_nothing(&delivery, &now, 1) {
                let sent = send(&mut delivery, &now, 1);
                prop_assert!(last.as_ref().is_none_or(|last| last.hash != sent.hash));
                last = Some(sent);
            }
            prop_assert_eq!(last.as_ref().map(|it| it.hash.clone()), hash);
        }
    }
}
