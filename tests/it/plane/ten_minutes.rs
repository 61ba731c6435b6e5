//! Ten minutes without any operator, on the clock of the sidecar.
//!
//! It is the built program, with its own timers and waits; only what it sees
//! when it looks at a clock runs faster than outside.

use std::fs;
use std::time::Duration;

use serde_json::Value;
use sidegate_testkit::plane::{PATIENCE, condition_message};
use tokio::time::{Instant, sleep};

use super::{Stage, path, until_certified, until_connected};

/// So often its clock runs while that of the test runs once.
const PACE: u32 = 10;
const OUTAGE: f64 = 600.0;
/// It is restarted in the middle, and tried a little longer than it must be.
const HALF: f64 = OUTAGE / 2.0 + 5.0;
/// The longest wait between two attempts.
const LONGEST_WAIT: f64 = 30.0;
/// What an attempt itself may take: three seconds of everybody else.
const ATTEMPT: f64 = 30.0;
/// The same when its clock runs as others do.
const LATE: f64 = 10.0;
/// Twice as many attempts as there are in ten minutes when each wait is the
/// half of the longest one, and those that come quickly at the beginning.
const MOST_ATTEMPTS: usize = 2 * 40 + 2 * 10;

/// OPR-016, OPR-022, CFG-012.
#[tokio::test(flavor = "multi_thread")]
async fn ten_minutes_without_any_operator_fail_no_request() {
    let mut stage = Stage::new().await;
    stage.permit("kept").await;
    stage.until_status("kept", 200).await;
    stage.until_ready().await;
    until_certified(&stage.pod).await;
    let in_force = stage.pod.config().await;
    let kept = ["state/certificate.pem", "state/key.pem"].map(|name| stage.pod.file(name));
    let identity = kept.each_ref().map(|file| fs::read(file).unwrap());
    for operator in &mut stage.operators {
        operator.kill().await;
    }
    until_connected(&mut stage.pod, false).await;

    println!("{}", outage(&mut stage).await);
    let config = stage.pod.config().await;
    assert_eq!(config["version"], in_force["version"]);
    assert_eq!(config["source"]["snapshot"], in_force["source"]["snapshot"]);
    assert_eq!(config["source"]["connected"], false);
    assert!(kept.map(|file| fs::read(file).unwrap()) == identity);

    println!("{}", return_of_a_replica(&mut stage).await);
}

/// Ten minutes of its clock in two halves, with a change at half-time; says
/// how it went.
async fn outage(stage: &mut Stage) -> String {
    stage.pod.has_fast_clock(PACE);
    let began = Instant::now();
    let first = half_of_the_outage(stage).await;
    stage.permit("new").await;
    let second = half_of_the_outage(stage).await;
    let outside = began.elapsed();
    // An operator says something every ten seconds of its own clock.
    stage.pod.clock().runs_as_others_do();

    assert!(second.began >= first.ended, "its clock went back");
    let lasted = second.ended - first.began;
    assert!(lasted >= OUTAGE, "only {lasted} s");
    assert!(outside.as_secs_f64() < OUTAGE / 2.0, "{outside:?}");
    let attempts = first.attempts + second.attempts;
    assert!(attempts <= MOST_ATTEMPTS, "{attempts} attempts");
    format!(
        "no operator for {lasted:.0} s of the sidecar's clock ({outside:.1?} outside): {} \
         requests, none failed; {attempts} attempts, at most {:.1} s apart",
        first.answered + second.answered,
        first.longest.max(second.longest)
    )
}

/// A replica comes and is followed; says how fast.
async fn return_of_a_replica(stage: &mut Stage) -> String {
    let load = stage.load();
    // It leads before the sidecar can reach it: it knows the change, and that
    // nobody has confirmed it.
    let mut three = stage.plane.operator("three").await;
    three.until_leading().await;
    stage.until("Ready", ("False", "Pending")).await;
    assert_eq!(stage.status("new").await, 403);

    let back = Instant::now();
    stage.plane.point(&mut [&mut three]).await;
    until_ready_is_true(stage).await;
    let ready = back.elapsed();
    until_connected(&mut stage.pod, true).await;
    assert_eq!(stage.status("kept").await, 403);
    let seen = load.end();
    let wait = wait_before_connected(&stage.pod.sidecar().process().stderr());
    assert!(wait <= LONGEST_WAIT + LATE, "connected after {wait} s");
    format!(
        "a replica is back: connected {wait:.1} s after the last attempt in vain, Ready \
         {ready:.1?} after it could be reached; {} requests, none failed",
        seen.answered
    )
}

/// What was seen of one process of the sidecar.
struct Half {
    /// In seconds of its clock.
    began: f64,
    ended: f64,
    answered: u64,
    attempts: usize,
    /// The longest time between two attempts.
    longest: f64,
}

/// Starts the sidecar from what it kept and lets half of the time go by, with
/// requests that may not fail.
async fn half_of_the_outage(stage: &mut Stage) -> Half {
    stage.pod.start_sidecar();
    stage.pod.until_ready().await;
    let load = stage.load();
    let end = Instant::now() + PATIENCE;
    let (log, times) = loop {
        let log = stage.pod.sidecar().process().stderr();
        let times: Vec<_> = attempts(&log).collect();
        let lasted = times.last().zip(times.first());
        if lasted.is_some_and(|(last, first)| last - first >= HALF) {
            break (log, times);
        }
        assert!(Instant::now() < end, "half of the outage does not end");
        sleep(Duration::from_millis(50)).await;
    };
    // Whatever else it did in that time.
    assert_eq!(stage.status("kept").await, 200);
    assert_eq!(stage.status("other").await, 403);
    assert_eq!(stage.status("new").await, 403);
    let seen = load.end();
    let waits = times.windows(2).map(|pair| pair[1] - pair[0]);
    let longest = waits.fold(0.0, f64::max);
    assert!(longest <= LONGEST_WAIT + ATTEMPT, "{longest} s: {times:?}");
    Half {
        began: seconds(&log).next().unwrap(),
        ended: times[times.len() - 1],
        answered: seen.answered,
        attempts: times.len(),
        longest,
    }
}

/// Waits until the gateway says `Ready` of what it is now, and checks that
/// this is so by then.
async fn until_ready_is_true(stage: &Stage) {
    let end = Instant::now() + PATIENCE;
    loop {
        let object = stage.plane.api.get(&path()).await;
        let ready = condition_message(&object, "Ready", ("True", "Ready"));
        let status = stage.status("new").await;
        if ready.is_some() {
            assert_eq!(status, 200, "Ready, and the old rules are enforced");
            return;
        }
        assert!(Instant::now() < end, "not ready: {:#}", object["status"]);
        sleep(Duration::from_millis(5)).await;
    }
}

/// When it tried to reach an operator in vain.
fn attempts(log: &str) -> impl Iterator<Item = f64> {
    lines(log).filter(is_attempt).map(|line| second(&line))
}

fn is_attempt(line: &Value) -> bool {
    let message = line["message"].as_str().unwrap_or_default();
    message.contains("not connected to the operator")
}

/// How long it waited before the attempt that did it.
fn wait_before_connected(log: &str) -> f64 {
    let connected = lines(log).find(|line| line["message"] == "connected to the operator");
    let connected = second(&connected.unwrap());
    let before = attempts(log).filter(|at| *at <= connected);
    connected - before.last().unwrap()
}

fn seconds(log: &str) -> impl Iterator<Item = f64> {
    lines(log).map(|line| second(&line))
}

fn lines(log: &str) -> impl Iterator<Item = Value> {
    log.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
}

/// When a line was written, in seconds on the clock of who wrote it:
/// `2026-11-30T15:13:41.230815Z`.
fn second(line: &Value) -> f64 {
    let text = line["timestamp"].as_str().unwrap().trim_end_matches('Z');
    let (date, time) = text.split_once('T').unwrap();
    let date: Vec<u32> = date.split('-').map(|part| part.parse().unwrap()).collect();
    // The year begins with March here, so that a leap day is its last.
    let (year, month) = match date[1] {
        month @ 3.. => (date[0], month - 3),
        month => (date[0] - 1, month + 9),
    };
    let days = 365 * year + year / 4 - year / 100 + year / 400;
    let day = f64::from(days + (153 * month + 2) / 5 + date[2]);
    let parts = time.split(':').map(|part| part.parse::<f64>().unwrap());
    day * 86_400.0 + parts.fold(0.0, |sum, part| sum * 60.0 + part)
}
