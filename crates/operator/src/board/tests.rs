mod moves;
mod retelling;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use sidegate_tls::{MAX_DNS_NAMES, is_dns_name};
use tokio::sync::watch::Receiver;
use tokio::time::timeout;

use super::*;
use crate::reconcile::Findings;
use crate::world::{PodFacts, SeenGateway, ServiceFacts};

const SHORT: Duration = Duration::from_millis(1);

struct Desk {
    board: Arc<Board>,
    conditions: Arc<PodConditions>,
}

fn unsynced() -> Desk {
    let conditions = Arc::<PodConditions>::default();
    let naming = Naming {
        cluster_domain: "cluster.local".to_owned(),
    };
    let board = Arc::new(Board::new(naming, Arc::clone(&conditions)));
    Desk { board, conditions }
}

fn desk() -> Desk {
    let desk = unsynced();
    desk.board.everything_is_known();
    desk
}

fn object(name: &str, uid: &str, created: u32, generation: u64, version: u64) -> SeenGateway {
    let object = json!({
        "metadata": {
            "namespace": "crm", "name": name, "uid": uid, "generation": generation,
            "resourceVersion": version.to_string(),
            "creationTimestamp": format!("2026-01-01T00:00:{created:02}Z"),
        },
        "spec": {"selector": {"matchLabels": {"app": "a"}}},
    });
    serde_json::from_value(object).expect("a gateway")
}

fn key(name: &str) -> Key {
    Key::new("crm", name)
}

fn pod(uid: &str) -> PodRef {
    PodRef {
        key: key("p"),
        uid: uid.into(),
    }
}

fn facts(uid: &str, app: &str) -> PodFacts {
    PodFacts {
        uid: uid.into(),
        service_account: "support".into(),
        labels: BTreeMap::from([("app".to_owned(), app.to_owned())]),
        counted: true,
        injected: true,
        ..PodFacts::default()
    }
}

fn published(gateway: &str, hash: &str) -> Published {
    let config = RawValue::from_string(json!({"secret": "canary"}).to_string()).expect("JSON");
    Published {
        program: Program {
            gateway: key(gateway),
            generation: Some(1),
            references: Default::default(),
            hash: hash.to_owned(),
            schema_version: 1,
            config: config.into(),
        },
        hosts: vec!["a.example.com".to_owned()],
    }
}

fn assessment(generation: i64) -> Assessment {
    Assessment {
        uid: Some("u".to_owned()),
        generation: Some(generation),
        findings: Findings::nothing(),
    }
}

/// What is assigned, in a word, and its stamp.
fn told(assignment: &Assignment) -> (String, u64) {
    let word = match &assignment.assigned {
        Assigned::NoGateway => "nobody".to_owned(),
        Assigned::Waiting => "waiting".to_owned(),
        Assigned::Program(program) => format!("{}={}", program.gateway.name, program.hash),
    };
    (word, assignment.revision)
}

fn program(assignment: &Assignment) -> Arc<Program> {
    match &assignment.assigned {
        Assigned::Program(program) => Arc::clone(program),
        Assigned::NoGateway | Assigned::Waiting => panic!("a program"),
    }
}

fn now(receiver: &mut Receiver<Assignment>) -> (String, u64) {
    told(&receiver.borrow_and_update())
}

impl Desk {
    fn gateway(&self, name: &str, created: u32, generation: u64, version: u64) {
        let object = object(name, "u", created, generation, version);
        self.board.set_gateway(object, Some(version));
    }

    fn build(&self, name: &str, hash: Option<&str>) -> bool {
        self.build_with(name, hash.map(|hash| published(name, hash)))
    }

    fn build_with(&self, name: &str, published: Option<Published>) -> bool {
        let (draft, _) = self.board.begin(&key(name)).expect("something to build");
        self.board
            .publish(&key(name), draft, assessment(1), published)
    }

    /// Of gateway `a`, with a Secret in this version.
    fn build_of_secret(&self, hash: &str, version: u64) {
        let mut published = published("a", hash);
        let references = [("Secret/tls".to_owned(), version)];
        published.program.references = references.into_iter().collect();
        self.board.reference_changed(&[key("a")]);
        self.build_with("a", Some(published));
    }

    fn follow(&self, uid: &str) -> Option<Receiver<Assignment>> {
        self.board.follow(&pod(uid))
    }

    fn with_pod(self) -> (Self, Receiver<Assignment>) {
        self.board.set_pod(&key("p"), facts("1", "a"));
        let receiver = self.follow("1").expect("a pod");
        (self, receiver)
    }
}

#[test]
fn a_pod_is_known_by_its_name_and_followed_by_its_uid() {
    let desk = desk();
    assert_eq!(desk.board.known(&key("p")), None);
    assert!(desk.follow("1").is_none());
    desk.board.set_pod(&key("p"), facts("1", "a"));
    let known = desk.board.known(&key("p")).expect("a pod");
    assert_eq!((&*known.uid, &*known.service_account), ("1", "support"));
    assert!(desk.follow("2").is_none());
    let version = SnapshotVersion {
        epoch: 1,
        revision: 1,
        hash: "aa".to_owned(),
        references: Default::default(),
    };
    desk.board
        .report(&pod("2"), PodReport::Confirmed(version.clone()));
    assert_eq!(desk.conditions.depth(), 0, "another pod's report");
    desk.board.report(&pod("1"), PodReport::Confirmed(version));
    assert_eq!(desk.conditions.depth(), 1);
}

#[test]
fn a_pod_is_told_what_is_built_for_it() {
    let (desk, mut follower) = desk().with_pod();
    assert_eq!(now(&mut follower), ("nobody".to_owned(), 0));
    desk.gateway("a", 1, 1, 10);
    assert_eq!(now(&mut follower).0, "waiting");
    assert!(desk.build("a", Some("h1")));
    assert!(follower.has_changed().expect("open"));
    assert_eq!(now(&mut follower), ("a=h1".to_owned(), 10));
    // The same again is no news, and neither is a status.
    desk.gateway("a", 1, 1, 11);
    assert!(desk.board.begin(&key("a")).is_none(), "nothing to build");
    assert!(!follower.has_changed().expect("open"));
    desk.board.remove_gateway(&key("a"), Some(12));
    assert_eq!(now(&mut follower), ("nobody".to_owned(), 12));
}

#[test]
fn an_invalid_gateway_leaves_the_last_good_program_and_its_stamp() {
    let (desk, mut follower) = desk().with_pod();
    desk.gateway("a", 1, 1, 10);
    desk.build("a", Some("h1"));
    desk.gateway("a", 1, 2, 20);
    assert_eq!(
        told(&desk.follow("1").expect("a pod").borrow()),
        ("a=h1".to_owned(), 10)
    );
    desk.build("a", None);
    // However much is seen meanwhile: another replica may have built what came
    // between, and this must not look newer.
    desk.board.saw(100);
    assert_eq!(
        told(&desk.follow("1").expect("a pod").borrow()),
        ("a=h1".to_owned(), 10)
    );
    assert_eq!(now(&mut follower), ("a=h1".to_owned(), 10));
    desk.gateway("a", 1, 3, 110);
    desk.build("a", Some("h3"));
    assert_eq!(now(&mut follower), ("a=h3".to_owned(), 110));
}

#[test]
fn what_changes_while_it_is_built_holds_the_stamp_back() {
    let (desk, mut follower) = desk().with_pod();
    desk.gateway("a", 1, 1, 10);
    let (draft, _) = desk.board.begin(&key("a")).expect("something to build");
    desk.board.reference_changed(&[key("a")]);
    desk.board.saw(30);
    let published_now =
        desk.board
            .publish(&key("a"), draft, assessment(1), Some(published("a", "h1")));
    assert!(!published_now);
    assert_eq!(now(&mut follower), ("a=h1".to_owned(), 10));
    // The same configuration, now known to be of revision 30: that is told.
    assert!(desk.build("a", Some("h1")));
    assert!(follower.has_changed().expect("open"));
    assert_eq!(now(&mut follower), ("a=h1".to_owned(), 30));
}

#[test]
fn a_build_of_a_gateway_that_was_replaced_is_not_published() {
    let (desk, mut follower) = desk().with_pod();
    desk.gateway("a", 1, 1, 10);
    let (draft, _) = desk.board.begin(&key("a")).expect("something to build");
    let successor = object("a", "other", 1, 1, 20);
    desk.board.set_gateway(successor, Some(20));
    desk.board
        .publish(&key("a"), draft, assessment(1), Some(published("a", "h1")));
    assert_eq!(now(&mut follower).0, "waiting");
    desk.build("a", Some("h2"));
    desk.board.remove_gateway(&key("a"), Some(30));
    assert!(desk.board.begin(&key("a")).is_none());
    assert_eq!(now(&mut follower), ("nobody".to_owned(), 30));
}

#[test]
fn the_oldest_gateway_has_the_pod_and_the_next_one_after_it() {
    let (desk, mut follower) = desk().with_pod();
    desk.gateway("a-young", 2, 1, 10);
    desk.build("a-young", Some("y"));
    assert_eq!(now(&mut follower).0, "a-young=y");
    desk.gateway("z-old", 1, 1, 20);
    assert_eq!(
        now(&mut follower).0,
        "waiting",
        "nothing of the old one is built"
    );
    desk.build("z-old", Some("o"));
    assert_eq!(now(&mut follower).0, "z-old=o");
    desk.board.remove_gateway(&key("z-old"), Some(30));
    assert_eq!(now(&mut follower), ("a-young=y".to_owned(), 30));
}

#[test]
fn a_label_moves_a_pod_and_its_end_closes_the_channel() {
    let (desk, mut follower) = desk().with_pod();
    desk.gateway("a", 1, 1, 10);
    desk.build("a", Some("h1"));
    desk.board.set_pod(&key("p"), facts("1", "other"));
    assert_eq!(now(&mut follower).0, "nobody");
    desk.board.set_pod(&key("p"), facts("1", "a"));
    assert_eq!(now(&mut follower).0, "a=h1");
    let mut ending = facts("1", "a");
    ending.counted = false;
    desk.board.set_pod(&key("p"), ending);
    assert_eq!(now(&mut follower).0, "a=h1", "it is served while it drains");
    // A successor of the same name is another pod.
    desk.board.set_pod(&key("p"), facts("2", "a"));
    assert!(follower.has_changed().is_err());
    let follower = desk.follow("2").expect("a pod");
    desk.board.remove_pod(&key("p"));
    assert!(follower.has_changed().is_err());
}

#[test]
fn before_everything_is_known_nobody_is_told_anything() {
    let (desk, mut follower) = unsynced().with_pod();
    assert!(!desk.board.synced());
    assert_eq!(now(&mut follower).0, "waiting");
    desk.gateway("a", 1, 1, 10);
    desk.build("a", Some("h1"));
    assert_eq!(now(&mut follower).0, "waiting");
    desk.board.everything_is_known();
    assert!(desk.board.synced());
    assert_eq!(now(&mut follower).0, "a=h1");
}

#[test]
fn names_follow_services_and_the_gateway() {
    let (desk, mut follower) = desk().with_pod();
    desk.gateway("a", 1, 1, 10);
    desk.build("a", Some("h1"));
    now(&mut follower);
    let service = |app: &str| {
        let spec: Value = json!({"spec": {"selector": {"app": app}}});
        ServiceFacts::of(serde_json::from_value(spec).expect("a Service"))
    };
    desk.board.set_service(&key("support"), service("a"));
    assert!(follower.has_changed().expect("open"));
    let assignment = follower.borrow_and_update().clone();
    assert!(
        assignment
            .service_hosts
            .contains(&"support.crm.svc".to_owned())
    );
    assert!(
        !assignment
            .service_hosts
            .contains(&"a.example.com".to_owned())
    );
    assert!(assignment.dns_names.contains(&"a.example.com".to_owned()));
    desk.board.set_service(&key("other"), service("b"));
    assert!(!follower.has_changed().expect("open"), "not about this pod");
    desk.board.remove_service(&key("support"));
    assert_eq!(follower.borrow_and_update().dns_names, ["a.example.com"]);
}

/// What does not fit into a certificate does not keep the pod from having one.
#[test]
fn names_for_a_certificate_are_bounded_and_those_of_services_come_first() {
    let (desk, mut follower) = desk().with_pod();
    let odd = [
        "a_b.example.com",
        "*.example.com",
        "host.7",
        "A.example.com",
    ];
    let mut hosts: Vec<_> = odd.map(str::to_owned).to_vec();
    hosts.extend((0..128).map(|number| format!("n{number:03}.example.com")));
    desk.gateway("a", 1, 1, 10);
    let published = Published {
        hosts,
        ..published("a", "h1")
    };
    desk.build_with("a", Some(published));
    let service: Value = json!({"spec": {"selector": {"app": "a"}}});
    let service: ServiceFacts =
        ServiceFacts::of(serde_json::from_value(service).expect("a Service"));
    desk.board.set_service(&key("support"), service.clone());
    let names = follower.borrow_and_update().dns_names.clone();
    assert_eq!(names.len(), MAX_DNS_NAMES);
    let services = ["support.crm.svc", "support.crm.svc.cluster.local"];
    assert_eq!(names[..2], services);
    assert_eq!(names[2], "n000.example.com");
    // As many Services again: still no more, and in the same order.
    for number in 0..MAX_DNS_NAMES {
        let name = format!("s{number:03}");
        desk.board.set_service(&key(&name), service.clone());
    }
    let assignment = follower.borrow_and_update().clone();
    assert_eq!(assignment.dns_names.len(), MAX_DNS_NAMES);
    assert_eq!(assignment.dns_names[0], "s000.crm.svc");
    assert!(assignment.dns_names.iter().all(|name| is_dns_name(name)));
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_revision_is_told_with_it() {
    let (desk, mut follower) = desk().with_pod();
    desk.gateway("a", 1, 1, 10);
    desk.build("a", Some("h1"));
    now(&mut follower);
    let board = Arc::clone(&desk.board);
    assert!(
        timeout(SHORT, board.wait_for_revision(&key("p"), 50))
            .await
            .is_err()
    );
    desk.board.saw(40);
    assert!(
        timeout(SHORT, board.wait_for_revision(&key("p"), 50))
            .await
            .is_err()
    );
    assert!(
        !follower.has_changed().expect("open"),
        "a number alone is no news"
    );
    desk.board.saw(50);
    board.wait_for_revision(&key("p"), 50).await;
    assert!(follower.has_changed().expect("open"));
    assert_eq!(now(&mut follower), ("a=h1".to_owned(), 50));
    board.wait_for_revision(&key("p"), 50).await;
    assert!(!follower.has_changed().expect("open"));
}

#[tokio::test(start_paused = true)]
async fn a_stamp_that_is_held_back_is_told_when_it_is_not_any_more() {
    let (desk, mut follower) = desk().with_pod();
    desk.gateway("a", 1, 1, 10);
    desk.build("a", Some("h1"));
    now(&mut follower);
    desk.board.reference_changed(&[key("a")]);
    desk.board.saw(50);
    desk.board.wait_for_revision(&key("p"), 50).await;
    assert_eq!(now(&mut follower), ("a=h1".to_owned(), 10));
    desk.build("a", Some("h1"));
    assert!(follower.has_changed().expect("open"));
    assert_eq!(now(&mut follower), ("a=h1".to_owned(), 50));
}

/// A new Secret must not make rules look newer than they are.
#[test]
fn what_a_gateway_refers_to_raises_no_stamp() {
    let (desk, mut follower) = desk().with_pod();
    desk.gateway("a", 1, 1, 300);
    desk.build("a", Some("old"));
    desk.board.reference_changed(&[key("a")]);
    desk.build("a", Some("new-secret"));
    assert_eq!(now(&mut follower), ("a=new-secret".to_owned(), 300));
}

/// The same content of a newer Secret is told, so that what came between is not
/// taken from a replica that lags. The text is not kept twice.
#[test]
fn the_same_content_of_something_newer_is_told() {
    let (desk, mut follower) = desk().with_pod();
    desk.gateway("a", 1, 1, 10);
    let made_of = |generation, secret: u64| {
        let mut published = published("a", "h1");
        published.program.generation = Some(generation);
        let references = [("Secret/tls".to_owned(), secret)];
        published.program.references = references.into_iter().collect();
        published
    };
    desk.build_with("a", Some(made_of(1, 5)));
    now(&mut follower);
    let config = |assignment: &Assignment| Arc::clone(&program(assignment).config);
    let first = config(&follower.borrow());
    for (generation, secret, is_news) in [(1, 5, false), (1, 6, true), (2, 6, true)] {
        desk.board.reference_changed(&[key("a")]);
        desk.build_with("a", Some(made_of(generation, secret)));
        assert_eq!(follower.has_changed().expect("open"), is_news);
        let assignment = follower.borrow_and_update().clone();
        assert!(Arc::ptr_eq(&config(&assignment), &first));
    }
}

/// Nothing is told of a list before it is complete, but a program of it is no
/// older than its gateway.
#[test]
fn in_the_middle_of_a_list_a_program_has_the_version_of_its_gateway() {
    let (desk, mut follower) = desk().with_pod();
    desk.gateway("a", 1, 1, 200);
    desk.build("a", Some("h1"));
    now(&mut follower);
    desk.board.set_gateway(object("a", "u", 1, 2, 300), None);
    desk.build("a", Some("h2"));
    assert_eq!(now(&mut follower), ("a=h2".to_owned(), 300));
    assert_eq!(desk.board.lock().progress.of("crm"), 200);
    desk.board.saw(350);
    let again = desk.follow("1").expect("a pod");
    assert_eq!(told(&again.borrow()), ("a=h2".to_owned(), 350));
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_told_once_the_gateways_were_read() {
    let (desk, mut follower) = desk().with_pod();
    desk.gateway("a", 1, 1, 10);
    desk.build("a", Some("h1"));
    now(&mut follower);
    let board = Arc::clone(&desk.board);
    let waiting = tokio::spawn(async move {
        board.wait_for_revision(&key("p"), 50).await;
    });
    let namespace = desk.board.behind().next().await.request;
    let found = |name: &str, version: &str| Versions::from([(name.into(), version.to_owned())]);
    for other in [found("a", "11"), found("b", "10"), Versions::new()] {
        assert!(!desk.board.confirm(&namespace, &other, 60), "{other:?}");
    }
    assert!(desk.board.confirm(&namespace, &found("a", "10"), 60));
    waiting.await.expect("no panic");
    assert!(follower.has_changed().expect("open"));
    assert_eq!(now(&mut follower), ("a=h1".to_owned(), 60));
    assert_eq!(desk.board.lock().progress.of("other"), 10);
    // The watch goes on from where it was.
    desk.gateway("a", 1, 2, 70);
    desk.build("a", Some("h2"));
    assert_eq!(now(&mut follower), ("a=h2".to_owned(), 70));
    assert_eq!(desk.board.lock().progress.of("other"), 70);
}

/// It came and went while the watch told nothing; that it is not there was read.
#[test]
fn a_gateway_that_is_told_of_too_late_is_not_taken() {
    let (desk, mut follower) = desk().with_pod();
    assert!(desk.board.confirm(&"crm".into(), &Versions::new(), 50));
    desk.gateway("a", 1, 1, 20);
    assert!(desk.board.begin(&key("a")).is_none());
    assert_eq!(now(&mut follower).0, "nobody");
    desk.board.remove_gateway(&key("a"), Some(30));
    desk.gateway("a", 1, 1, 51);
    desk.build("a", Some("h1"));
    assert_eq!(now(&mut follower), ("a=h1".to_owned(), 51));
}

#[test]
fn revisions_are_numbers_and_never_fall() {
    let desk = desk();
    desk.board.saw(7);
    desk.board.saw(3);
    assert_eq!(desk.board.lock().progress.of("crm"), 7);
    let of = |version: &str| {
        let mut object = object("a", "u", 1, 1, 1);
        object
            .0
            .as_mut()
            .expect("a gateway")
            .metadata
            .resource_version = Some(version.to_owned());
        revision_of(&object)
    };
    assert_eq!(of("12"), Some(12));
    for odd in ["", "-1", "x", "18446744073709551616"] {
        assert_eq!(of(odd), None, "{odd}");
    }
}

#[test]
fn a_program_does_not_show_its_secrets() {
    let (desk, follower) = desk().with_pod();
    desk.gateway("a", 1, 1, 10);
    desk.build("a", Some("h1"));
    let shown = format!("{:?} {:?}", follower.borrow(), desk.board);
    assert!(shown.contains("h1") && !shown.contains("canary"), "{shown}");
}

#[test]
fn whoever_left_is_forgotten() {
    let (desk, follower) = desk().with_pod();
    assert_eq!(desk.board.lock().followed.len(), 1);
    desk.board.unfollowed(&pod("1"));
    assert_eq!(desk.board.lock().followed.len(), 1, "it is followed still");
    drop(follower);
    desk.board.unfollowed(&pod("1"));
    assert_eq!(desk.board.lock().followed.len(), 0);
}
