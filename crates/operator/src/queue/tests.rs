//! The order and the times of the queue.

use std::sync::Arc;

use super::*;

const NONE: Duration = Duration::ZERO;

fn request(name: &str) -> Request {
    Request::Gateway(Key::new("crm", name))
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_once_and_the_earliest_time_counts() {
    let queue = Queue::<Request>::default();
    let start = Instant::now();
    queue.add(request("a"), Duration::from_secs(9));
    queue.add(request("a"), Duration::from_secs(2));
    queue.add(request("a"), Duration::from_secs(5));
    assert_eq!(queue.depth(), 1);
    assert_eq!(queue.next().await.request, request("a"));
    assert_eq!(start.elapsed(), Duration::from_secs(2));
    assert_eq!(queue.depth(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_earlier_request_wakes_who_waits_for_a_later_one() {
    let queue = Queue::<Request>::default();
    queue.add(request("late"), Duration::from_secs(60));
    let adding = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        queue.add(request("now"), NONE);
    };
    let (next, ()) = tokio::join!(queue.next(), adding);
    assert_eq!(next.request, request("now"));
}

#[tokio::test(start_paused = true)]
async fn one_object_is_not_reconciled_twice_at_a_time() {
    let queue = Queue::<Request>::default();
    queue.add(request("a"), NONE);
    assert_eq!(queue.next().await.request, request("a"));
    queue.add(request("a"), NONE);
    queue.add(request("b"), NONE);
    assert_eq!(queue.next().await.request, request("b"));
    let hour = Duration::from_secs(3600);
    let again = tokio::time::timeout(hour, queue.next()).await;
    assert!(again.is_err(), "it is still running");
    queue.end(&request("a"), Ended::Done);
    assert_eq!(queue.next().await.request, request("a"));
}

#[tokio::test(start_paused = true)]
async fn failures_wait_longer_each_time_up_to_a_bound() {
    let queue = Queue::<Request>::default();
    queue.add(request("a"), NONE);
    let mut waits = Vec::new();
    for _ in 0..9 {
        let start = Instant::now();
        let next = queue.next().await;
        waits.push(start.elapsed());
        queue.end(&next.request, Ended::Failed);
    }
    assert_eq!(waits[1], MIN_BACKOFF);
    assert!(waits.windows(2).all(|pair| pair[0] <= pair[1]), "{waits:?}");
    assert_eq!(waits[8], MAX_BACKOFF);
    let next = queue.next().await;
    queue.end(&next.request, Ended::Done);
    queue.add(request("a"), NONE);
    let next = queue.next().await;
    let start = Instant::now();
    queue.end(&next.request, Ended::Failed);
    queue.next().await;
    assert_eq!(start.elapsed(), MIN_BACKOFF, "a success starts anew");
}

/// OPR-019.
#[tokio::test(start_paused = true)]
async fn what_was_written_waits_for_its_next_turn_and_others_do_not() {
    let queue = Queue::<Request>::default();
    queue.add(request("a"), NONE);
    queue.next().await;
    // Asked for while it runs, and after it.
    queue.add(request("a"), NONE);
    queue.end(&request("a"), Ended::Wrote);
    queue.add(request("a"), NONE);
    queue.add(request("b"), NONE);
    let start = Instant::now();
    assert_eq!(queue.next().await.request, request("b"));
    assert_eq!(start.elapsed(), NONE);
    assert_eq!(queue.next().await.request, request("a"));
    assert_eq!(start.elapsed(), PACE);
    queue.end(&request("a"), Ended::Wrote);
    queue.add(request("a"), NONE);
    queue.next().await;
    assert_eq!(start.elapsed(), PACE * 2);
    // Nothing was written: at once.
    queue.end(&request("a"), Ended::Done);
    queue.add(request("a"), NONE);
    queue.next().await;
    assert_eq!(start.elapsed(), PACE * 2);
    // A longer wait stays as long.
    queue.end(&request("a"), Ended::Wrote);
    queue.add(request("a"), PACE * 3);
    queue.next().await;
    assert_eq!(start.elapsed(), PACE * 5);
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_was_opened_again_is_empty_and_works() {
    let queue = Queue::<Request>::default();
    queue.add(request("a"), NONE);
    queue.next().await;
    queue.add(request("a"), NONE);
    queue.open();
    assert_eq!(queue.depth(), 0);
    queue.add(request("a"), NONE);
    assert_eq!(
        queue.next().await.request,
        request("a"),
        "it is not held as running"
    );
}

/// A replica that does not lead writes no status.
#[tokio::test(start_paused = true)]
async fn a_closed_queue_keeps_nothing() {
    let queue = Queue::<Request>::closed();
    queue.add(request("a"), NONE);
    assert_eq!(queue.depth(), 0);
    queue.open();
    queue.add(request("b"), NONE);
    assert_eq!(queue.next().await.request, request("b"));
    queue.add(request("c"), NONE);
    queue.close();
    queue.end(&request("b"), Ended::Failed);
    assert_eq!(queue.depth(), 0);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_gets_what_is_due_at_the_same_time() {
    let queue = Arc::new(Queue::<Request>::default());
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let queue = Arc::clone(&queue);
        workers.spawn(async move { queue.next().await });
    }
    tokio::task::yield_now().await;
    let start = Instant::now();
    for name in ["a", "b", "c"] {
        queue.add(request(name), Duration::from_secs(1));
    }
    let mut names: Vec<_> = workers.join_all().await;
    assert_eq!(start.elapsed(), Duration::from_secs(1));
    names.sort_by(|one, other| one.request.cmp(&other.request));
    assert_eq!(names[2].request, request("c"));
    assert_eq!(names[2].asked, start);
}
