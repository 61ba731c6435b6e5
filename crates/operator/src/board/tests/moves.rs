//! A sidecar that moves between replicas whose watches lag, each on its own:
//! that of gateways, and one for each object that a gateway refers to.

mod model;

use std::collections::HashMap;

use proptest::prelude::*;
use sidegate_config::control::ReferenceVersions;

use self::model::{Cluster, Known, Past, Replica, Spec, Value};
use super::*;

const REPLICAS: usize = 2;
const REFERENCES: usize = 2;

/// What happens next.
#[derive(Debug, Clone, Copy)]
enum Step {
    Change(Spec),
    Status,
    Delete,
    ChangeReference(usize, Option<u8>),
    /// The gateway watch of a replica tells one change.
    Watch(usize),
    /// It begins anew; what it lists is told one by one.
    List(usize),
    Listed(usize),
    /// The watch of one object tells one change, or what it is if nothing of it
    /// was known.
    WatchReference(usize, usize),
    Build(usize),
    /// A replica reads the namespace.
    Read(usize),
    /// The sidecar takes what its replica has for it.
    Take,
    Move(usize),
}

/// The newest of everything that a sidecar was told of.
#[derive(Debug, Clone, Default)]
struct Heard {
    state: u64,
    references: [u64; REFERENCES],
}

struct Moves {
    cluster: Cluster,
    replicas: [Replica; REPLICAS],
    at: usize,
    /// What it was told on this stream.
    told: Option<Arc<Program>>,
    in_force: Option<SnapshotVersion>,
    heard: Heard,
    /// To see that the test would notice.
    compares_references: bool,
}

/// Mostly a replica builds what it saw, and a sidecar takes what there is.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (replica, reference) = (0..REPLICAS, 0..REFERENCES);
    let content = prop_oneof![1 => Just(None), 8 => (0_u8..2).prop_map(Some)];
    let step = prop_oneof![
        3 => spec().prop_map(|spec| vec![Step::Change(spec)]),
        1 => Just(vec![Step::Status]),
        1 => Just(vec![Step::Delete]),
        4 => (reference.clone(), content)
            .prop_map(|(it, content)| vec![Step::ChangeReference(it, content)]),
        1 => replica.clone().prop_map(|it| vec![Step::Watch(it)]),
        4 => replica.clone().prop_map(|it| vec![Step::Watch(it), Step::Build(it)]),
        1 => replica.clone().prop_map(|it| vec![Step::List(it)]),
        2 => replica.clone().prop_map(|it| vec![Step::Listed(it), Step::Build(it)]),
        1 => (replica.clone(), reference.clone())
            .prop_map(|(it, of)| vec![Step::WatchReference(it, of)]),
        6 => (replica.clone(), reference)
            .prop_map(|(it, of)| vec![Step::WatchReference(it, of), Step::Build(it)]),
        1 => replica.clone().prop_map(|it| vec![Step::Build(it)]),
        1 => replica.clone().prop_map(|it| vec![Step::Read(it)]),
        3 => Just(vec![Step::Take]),
        4 => replica.prop_map(|it| vec![Step::Move(it), Step::Take]),
    ];
    prop::collection::vec(step, 0..80).prop_map(|steps| steps.concat())
}

fn spec() -> impl Strategy<Value = Spec> {
    let refers_to = prop::array::uniform2(prop::bool::weighted(0.7));
    (0_u8..2, prop::bool::weighted(0.9), refers_to).prop_map(|(content, valid, refers_to)| Spec {
        content,
        valid,
        refers_to,
    })
}

impl Heard {
    fn of(program: &Program) -> Self {
        let state = program.generation.and_then(|it| u64::try_from(it).ok());
        let versions = serde_json::to_value(&program.references).expect("JSON");
        let version = |reference| versions[format!("Secret/{reference}")].as_u64();
        Self {
            state: state.expect("a state"),
            references: std::array::from_fn(|it| version(it).unwrap_or_default()),
        }
    }

    /// Whether anything of `self` is older; what it does not refer to is not.
    fn is_older_than(&self, other: &Self) -> bool {
        let both = self.references.iter().zip(&other.references);
        let mut named = both.filter(|(here, _)| **here > 0);
        self.state < other.state || named.any(|(here, there)| here < there)
    }

    fn add(&mut self, other: &Self) {
        self.state = self.state.max(other.state);
        for (known, new) in self.references.iter_mut().zip(other.references) {
            *known = new.max(*known);
        }
    }
}

impl Moves {
    fn new() -> Self {
        Self {
            cluster: Cluster {
                revision: 0,
                past: Vec::new(),
                specs: HashMap::new(),
                references: Default::default(),
            },
            replicas: [Replica::new(), Replica::new()],
            at: 0,
            told: None,
            in_force: None,
            heard: Heard::default(),
            compares_references: true,
        }
    }

    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        let Self {
            cluster, replicas, ..
        } = self;
        match step {
            Step::Change(spec) => {
                let Past { state, uid, .. } = cluster.now();
                let uid = uid.unwrap_or_else(|| format!("u{state}"));
                cluster.specs.insert(state + 1, spec);
                cluster.change(state + 1, Some(uid));
            }
            Step::Status => {
                let Past { state, uid, .. } = cluster.now();
                if uid.is_some() {
                    cluster.change(state, uid);
                }
            }
            Step::Delete => {
                let Past { state, uid, .. } = cluster.now();
                if uid.is_some() {
                    cluster.change(state + 1, None);
                }
            }
            Step::ChangeReference(reference, content) => {
                cluster.revision += 1;
                let revision = cluster.revision;
                cluster.references[reference].push(Value { revision, content });
            }
            Step::Watch(it) => replicas[it].watch(cluster),
            Step::List(it) => replicas[it].list(cluster),
            Step::Listed(it) => replicas[it].listed(),
            Step::WatchReference(it, of) => replicas[it].watch_reference(cluster, of),
            Step::Build(it) => replicas[it].build(cluster),
            Step::Read(it) => drop(replicas[it].read(cluster)),
            Step::Take => drop(self.take()?),
            Step::Move(it) => {
                self.at = it;
                self.told = None;
            }
        }
        Ok(())
    }

    fn steps(&mut self, steps: &[Step]) -> Result<(), TestCaseError> {
        steps.iter().try_for_each(|step| self.step(*step))
    }

    /// Says whether the replica knows as much as the sidecar. What is in force
    /// changes only for something that is older in nothing than what the sidecar
    /// was told, or could be sure of because nothing else was told.
    fn take(&mut self) -> Result<bool, TestCaseError> {
        let replica = &self.replicas[self.at];
        let assignment = replica.desk.follow("1").expect("a pod").borrow().clone();
        let (hash, references, new) = match &assignment.assigned {
            Assigned::Waiting => return Ok(true),
            Assigned::NoGateway => {
                let nothing = Heard {
                    state: replica.state,
                    ..Heard::default()
                };
                (String::new(), ReferenceVersions::default(), nothing)
            }
            Assigned::Program(program) => (
                program.hash.clone(),
                program.references.clone(),
                Heard::of(program),
            ),
        };
        let mut version = SnapshotVersion {
            epoch: 1,
            revision: assignment.revision,
            hash,
            references,
        };
        if !self.compares_references {
            version.references = ReferenceVersions::default();
        }
        let in_force = self.in_force.clone();
        if in_force
            .as_ref()
            .is_some_and(|it| version.is_older_than(it))
        {
            return Ok(false);
        }
        let program = match &assignment.assigned {
            Assigned::Program(program) => Some(Arc::clone(program)),
            Assigned::Waiting | Assigned::NoGateway => None,
        };
        let told = std::mem::replace(&mut self.told, program);
        let is_told = told
            .zip(self.told.as_ref())
            .is_some_and(|(told, now)| told.is_same_as(now));
        let same = in_force.as_ref().is_some_and(|it| it.hash == version.hash);
        prop_assert!(
            same || !new.is_older_than(&self.heard),
            "{in_force:?} ({:?}) was replaced by {version:?} ({new:?})",
            self.heard
        );
        self.heard.add(&new);
        if !is_told {
            self.in_force = Some(match &in_force {
                Some(before) => version.not_forgetting(before),
                None => version,
            });
        }
        Ok(true)
    }

    fn everybody_knows_everything(&mut self) {
        let Self {
            cluster, replicas, ..
        } = self;
        for replica in replicas {
            replica.listed();
            while replica.told < cluster.past.len() {
                replica.watch(cluster);
            }
            // Before it is known what is referred to, and after.
            for _ in 0..2 {
                replica.build(cluster);
                for (reference, values) in cluster.references.iter().enumerate() {
                    let is_late = |known| match known {
                        Known::Untracked => false,
                        Known::Awaited => true,
                        Known::Told(told) => told < values.len(),
                    };
                    while is_late(replica.references[reference]) {
                        replica.watch_reference(cluster, reference);
                    }
                }
            }
            replica.build(cluster);
        }
    }

    fn newest(&self) -> Option<String> {
        let values = std::array::from_fn(|it| self.cluster.references[it].last().copied());
        let program = self.cluster.program(self.cluster.now().state, &values);
        program.map(|published| published.program.hash)
    }
}

const REFERS: Spec = Spec {
    content: 1,
    valid: true,
    refers_to: [true, false],
};

/// Both replicas know a gateway, and the object that it refers to.
fn known_to_both() -> Moves {
    let mut moves = Moves::new();
    let change = [Step::ChangeReference(0, Some(1)), Step::Change(REFERS)];
    moves.steps(&change).expect("nothing is in force");
    moves.everybody_knows_everything();
    moves.steps(&[Step::Take]).expect("the first");
    moves
}

/// The replica where the sidecar comes to misses a change of the gateway, and
/// sees a later one of a Secret.
fn come_to_one_that_lags(counts_references: bool) -> Result<bool, TestCaseError> {
    let mut moves = known_to_both();
    let changed = Spec {
        content: 2,
        ..REFERS
    };
    moves.steps(&[
        Step::Change(changed),
        Step::Watch(1),
        Step::Build(1),
        Step::Move(1),
        Step::Take,
        Step::ChangeReference(0, Some(2)),
        Step::WatchReference(0, 0),
        Step::Build(0),
    ])?;
    if counts_references {
        let revision = moves.cluster.revision;
        moves.replicas[0].desk.board.saw(revision);
        // As if they were numbers of one kind.
        moves.compares_references = false;
    }
    moves.step(Step::Move(0))?;
    moves.take()
}

#[test]
fn old_rules_do_not_come_back_with_a_new_secret() {
    assert!(matches!(come_to_one_that_lags(false), Ok(false)));
    // The test would notice.
    assert!(come_to_one_that_lags(true).is_err());
}

/// The replica where the sidecar comes to knows its gateway, and an old Secret.
fn come_to_an_old_secret(mut moves: Moves) -> Result<(), TestCaseError> {
    moves.steps(&[
        Step::ChangeReference(0, Some(2)),
        Step::WatchReference(1, 0),
        Step::Build(1),
        Step::Move(1),
        Step::Take,
        Step::Move(0),
    ])?;
    prop_assert!(!moves.take()?, "it waits");
    moves.steps(&[Step::WatchReference(0, 0), Step::Build(0)])?;
    prop_assert!(moves.take()?, "it need not wait any more");
    prop_assert_eq!(moves.in_force.map(|it| it.hash), Some("c1r02".to_owned()));
    Ok(())
}

#[test]
fn an_old_secret_does_not_come_back() {
    come_to_an_old_secret(known_to_both()).expect("it does not");
    // The test would notice.
    let mut moves = known_to_both();
    moves.compares_references = false;
    assert!(come_to_an_old_secret(moves).is_err());
}

/// Between two states of the gateway that refer to it, there is one that does
/// not; the replica that lags has seen only the first and the last.
#[test]
fn nor_does_it_when_it_was_not_referred_to_meanwhile() {
    let mut moves = known_to_both();
    let (refers, none) = (REFERS, [false; REFERENCES]);
    let without = Spec {
        refers_to: none,
        ..refers
    };
    moves
        .steps(&[
            Step::ChangeReference(0, Some(2)),
            Step::WatchReference(1, 0),
            Step::Build(1),
            Step::Move(1),
            Step::Take,
            Step::Change(without),
            Step::Watch(1),
            Step::Build(1),
            Step::Take,
            Step::Change(refers),
            Step::List(0),
            Step::Listed(0),
            Step::Build(0),
            Step::Move(0),
        ])
        .expect("in order");
    assert_eq!(moves.in_force.as_ref().map(|it| &*it.hash), Some("c1"));
    assert!(!moves.take().expect("nothing old"), "it waits");
    moves.everybody_knows_everything();
    assert!(moves.take().expect("nothing old"));
    assert_eq!(moves.in_force.map(|it| it.hash), Some("c1r02".to_owned()));
}

/// What was taken back is not enforced again because it came between two equal
/// states, of which the sidecar would have heard one.
#[test]
fn what_came_between_two_equal_states_does_not_come_back() {
    let changes = |step: fn(u8) -> Step, watch: fn(usize) -> Step| {
        let mut moves = known_to_both();
        moves
            .steps(&[
                step(2),
                watch(0),
                Step::Build(0),
                step(1),
                Step::Move(1),
                Step::Take,
                watch(1),
                watch(1),
                Step::Build(1),
                Step::Take,
                Step::Move(0),
            ])
            .expect("in order");
        assert!(!moves.take().expect("nothing old"), "it waits");
    };
    let secret = |content| Step::ChangeReference(0, Some(content));
    changes(secret, |replica| Step::WatchReference(replica, 0));
    let gateway = |content| Step::Change(Spec { content, ..REFERS });
    changes(gateway, Step::Watch);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_sidecar_that_moves_never_goes_back_and_gets_the_newest(
        steps in steps(), last in 0..REPLICAS, relisted in any::<bool>(),
        refers_to in any::<[bool; REFERENCES]>(),
    ) {
        let begin = [
            Step::ChangeReference(0, Some(0)),
            Step::ChangeReference(1, Some(0)),
            Step::Change(Spec { refers_to, ..REFERS }),
        ];
        let mut moves = Moves::new();
        moves.steps(&begin)?;
        moves.everybody_knows_everything();
        moves.steps(&steps)?;
        moves.steps(&begin)?;
        moves.everybody_knows_everything();
        moves.take()?;
        // Another replica lists when the cluster has got further.
        moves.step(Step::Move(1 - last))?;
        moves.cluster.revision += 10;
        if relisted {
            moves.step(Step::List(1 - last))?;
            moves.step(Step::Listed(1 - last))?;
        }
        prop_assert!(moves.take()? || moves.replicas[moves.at].read(&moves.cluster));
        prop_assert!(moves.take()?);
        moves.step(Step::ChangeReference(0, Some(7)))?;
        moves.everybody_knows_everything();
        moves.step(Step::Move(last))?;
        prop_assert!(moves.take()? || moves.replicas[last].read(&moves.cluster));
        prop_assert!(moves.take()?);
        prop_assert_eq!(moves.in_force.as_ref().map(|it| it.hash.clone()), moves.newest());
    }
}
