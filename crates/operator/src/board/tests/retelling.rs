//! The same content of newer objects: told, and not too often.

use tokio::task::JoinSet;

use super::*;

/// Tells what waits, until it is dropped.
fn retelling(desk: &Desk) -> JoinSet<()> {
    let board = Arc::clone(&desk.board);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { board.retell().await });
    tasks
}

/// OPR-019. Who touches a Secret ten times a second makes nobody send ten times a second.
/// The last touch is told, too, and other content waits for nothing.
#[tokio::test(start_paused = true)]
async fn versions_of_the_same_content_are_told_a_second_apart() {
    let (desk, mut follower) = desk().with_pod();
    let _retelling = retelling(&desk);
    desk.gateway("a", 1, 1, 10);
    let touch = |hash, version| desk.build_of_secret(hash, version);
    let of = |assignment: &Assignment| {
        let program = program(assignment);
        let references = serde_json::to_value(&program.references).expect("JSON");
        (program.hash.clone(), references["Secret/tls"].as_u64())
    };
    desk.build("a", Some("h1"));
    now(&mut follower);
    let began = Instant::now();
    let mut tellings = Vec::new();
    for touched in 0..=40 {
        touch("h1", 100 + touched);
        while follower.has_changed().expect("open") {
            tellings.push((began.elapsed(), of(&follower.borrow_and_update()).1));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let told_at: Vec<_> = tellings.iter().map(|(at, _)| *at).collect();
    assert_eq!(told_at.first(), Some(&Duration::ZERO), "the first at once");
    assert!((4..=5).contains(&told_at.len()), "{told_at:?}");
    for pair in told_at.windows(2) {
        assert!(pair[1] - pair[0] >= Duration::from_secs(1), "{told_at:?}");
    }
    // Who comes meanwhile gets the newest, and the last one is told.
    touch("h1", 200);
    touch("h1", 201);
    assert!(!follower.has_changed().expect("open"));
    let changed = timeout(Duration::from_secs(1), follower.changed()).await;
    changed.expect("within a second").expect("open");
    assert_eq!(
        of(&follower.borrow_and_update()),
        ("h1".to_owned(), Some(201))
    );
    touch("h1", 202);
    assert!(!follower.has_changed().expect("open"));
    let newcomer = desk.follow("1").expect("a pod");
    assert_eq!(of(&newcomer.borrow()).1, Some(202));
    now(&mut follower);
    // Other content is told at once, and then there is nothing to tell.
    touch("h1", 203);
    assert!(!follower.has_changed().expect("open"));
    touch("h2", 204);
    assert!(follower.has_changed().expect("open"));
    assert_eq!(
        of(&follower.borrow_and_update()),
        ("h2".to_owned(), Some(204))
    );
    let nothing = timeout(Duration::from_secs(3), follower.changed()).await;
    assert!(nothing.is_err(), "told twice");
}

/// What a pod is told meanwhile for another reason has the versions from before,
/// and the newer stamp: the content is the same.
#[tokio::test(start_paused = true)]
async fn what_waits_is_not_told_by_the_way() {
    let (desk, mut follower) = desk().with_pod();
    desk.gateway("a", 1, 1, 10);
    for version in [5, 6, 7] {
        desk.build_of_secret("h1", version);
    }
    let told = program(&follower.borrow_and_update());
    let service = json!({"spec": {"selector": {"app": "a"}}});
    let service = ServiceFacts::of(serde_json::from_value(service).expect("a Service"));
    desk.board.saw(50);
    desk.board.set_service(&key("s"), service);
    assert!(follower.has_changed().expect("open"), "another name");
    assert!(Arc::ptr_eq(&program(&follower.borrow_and_update()), &told));
    assert_eq!(now(&mut follower).1, 50);
    let _retelling = retelling(&desk);
    let changed = timeout(Duration::from_secs(2), follower.changed()).await;
    changed.expect("it is told").expect("open");
    let newer = program(&follower.borrow_and_update());
    assert!(told.references.lag_behind(&newer.references));
}
