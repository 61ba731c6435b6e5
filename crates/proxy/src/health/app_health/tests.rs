use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};

use http_body_util::BodyExt as _;
use sidegate_config::probes::{Scheme, Target};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::advance;

use super::*;

/// A server that answers every connection alike, and counts them.
struct Server {
    port: u16,
    seen: Arc<AtomicUsize>,
}

impl Server {
    async fn start(answer: &'static str) -> Self {
        Self::answering(move |_| answer).await
    }

    /// The answer to each connection, counted from 1.
    async fn answering(answer: impl Fn(usize) -> &'static str + Send + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&seen);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let answer = answer(count.fetch_add(1, Ordering::SeqCst) + 1);
                let mut head = [0; 1024];
                let _ = stream.read(&mut head).await;
                let _ = stream.write_all(answer.as_bytes()).await;
                if answer.is_empty() {
                    // Never answers, for as long as somebody waits.
                    let _ = stream.read(&mut head).await;
                }
            }
        });
        Self { port, seen }
    }

    fn seen(&self) -> usize {
        self.seen.load(Ordering::SeqCst)
    }
}

const GOOD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret";
const BAD: &str = "HTTP/1.1 500 Oops\r\nContent-Length: 6\r\nX-A: secret\r\n\r\nsecret";

fn probing(check: Check, port: u16) -> Arc<AppHealth> {
    let is_hook = matches!(check, Check::Poststart | Check::Prestop);
    probing_for(check, port, (!is_hook).then_some(1))
}

fn probing_for(check: Check, port: u16, timeout_seconds: Option<u32>) -> Arc<AppHealth> {
    let mut probes = RewrittenProbes::default();
    let target = Target::Http {
        port,
        path: "/health".to_owned(),
        scheme: Scheme::Http,
        headers: Vec::new(),
    };
    let is_hook = matches!(check, Check::Poststart | Check::Prestop);
    let probe = RewrittenProbe {
        target,
        timeout_seconds,
        period_seconds: (!is_hook).then_some(5),
    };
    probes.insert("app", check, probe);
    Arc::new(AppHealth::new(&probes))
}

async fn ask(health: &AppHealth, check: Check, drain: &Arc<Drain>) -> (u16, String) {
    let path = RewrittenProbes::path("app", check);
    let answer = health.answer(&path, drain).await;
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn status(health: &AppHealth, check: Check, drain: &Arc<Drain>) -> u16 {
    ask(health, check, drain).await.0
}

/// A result of `check`, begun `ago`.
fn known(check: Check, outcome: Option<Outcome>, ago: Duration) -> (Checked, Instant) {
    let (outcome_tx, outcome_rx) = watch::channel(outcome);
    let latest = Latest {
        begun: Instant::now(),
        outcome: outcome_rx,
    };
    // A probe that runs has its sender.
    std::mem::forget(outcome_tx);
    let now = latest.begun + ago;
    let checked = Checked {
        check,
        probe: Arc::new(RewrittenProbe {
            target: Target::Tcp { port: 1 },
            timeout_seconds: None,
            period_seconds: Some(5),
        }),
        latest: Mutex::new(Some(latest)),
    };
    (checked, now)
}

/// Whether one who asks so long after the last probe has the server asked.
fn asks_anew(check: Check, outcome: Option<Outcome>, ago: Duration) -> &'static str {
    let (checked, now) = known(check, outcome, ago);
    match checked.step(now) {
        Step::WaitUntil(_) => "waits",
        Step::Take(_) if checked.latest.lock().unwrap().as_ref().unwrap().begun == now => "anew",
        Step::Take(_) => "takes",
    }
}

#[tokio::test]
async fn a_period_passes_between_two_probes() {
    let period = Duration::from_secs(5);
    let tick = Duration::from_millis(1);
    for outcome in [Ok(()), Err(Failure::Refused), Err(Failure::Status(500))] {
        let after = |ago| asks_anew(Check::Readyz, Some(outcome), ago);
        assert_eq!(after(tick), "takes");
        assert_eq!(after(period - EARLY - tick), "takes");
        assert_eq!(after(period - EARLY), "waits");
        assert_eq!(after(period - tick), "waits");
        assert_eq!(after(period), "anew");
    }
    assert_eq!(
        asks_anew(Check::Readyz, None, period * 2),
        "takes",
        "one runs"
    );
}

#[tokio::test]
async fn a_hook_is_tried_once_per_second_until_it_succeeds() {
    let (year, tick) = (Duration::from_secs(31_536_000), Duration::from_millis(1));
    for check in [Check::Poststart, Check::Prestop] {
        assert_eq!(asks_anew(check, Some(Ok(())), year), "takes");
        assert_eq!(asks_anew(check, None, year), "takes", "one runs");
        for failure in [Failure::Refused, Failure::Status(500), Failure::NoAnswer] {
            let after = |ago| asks_anew(check, Some(Err(failure)), ago);
            assert_eq!(after(HOOK_RETRY - EARLY - tick), "takes");
            assert_eq!(after(HOOK_RETRY - tick), "waits");
            assert_eq!(after(HOOK_RETRY), "anew");
        }
    }
}

#[tokio::test]
async fn whoever_asks_at_once_shares_a_probe() {
    for check in [Check::Livez, Check::Poststart] {
        let server = Server::start(GOOD).await;
        let health = probing(check, server.port);
        let drain = Drain::new();
        let mut asking = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let (health, drain) = (Arc::clone(&health), Arc::clone(&drain));
            asking.spawn(async move { status(&health, check, &drain).await });
        }
        assert!(asking.join_all().await.iter().all(|status| *status == 200));
        assert_eq!(server.seen(), 1);
    }
}

#[tokio::test]
async fn one_who_hangs_up_costs_no_further_probe() {
    let server = Server::start(GOOD).await;
    let health = probing(Check::Livez, server.port);
    let drain = Drain::new();
    for _ in 0..20 {
        let asking = ask(&health, Check::Livez, &drain);
        let _ = timeout(Duration::ZERO, asking).await;
    }
    assert_eq!(status(&health, Check::Livez, &drain).await, 200);
    assert_eq!(server.seen(), 1);
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_not_waited_for_longer_than_is_written() {
    let server = Server::start("").await;
    let health = probing(Check::Livez, server.port);
    let drain = Drain::new();
    let begun = Instant::now();
    let (first, second) = tokio::join!(
        ask(&health, Check::Livez, &drain),
        ask(&health, Check::Livez, &drain)
    );
    assert_eq!(first, (503, "failed: timeout".to_owned()));
    assert_eq!(second, first);
    assert_eq!(begun.elapsed().as_secs(), 1);
    assert_eq!(server.seen(), 1);
}

#[tokio::test]
async fn an_answer_says_nothing_that_the_server_said() {
    let server = Server::start(BAD).await;
    let health = probing(Check::Livez, server.port);
    let answer = ask(&health, Check::Livez, &Drain::new()).await;
    assert_eq!(answer, (503, "failed: status 500".to_owned()));
    let good = Server::start(GOOD).await;
    let health = probing(Check::Livez, good.port);
    let answer = ask(&health, Check::Livez, &Drain::new()).await;
    assert_eq!(answer, (200, "ok".to_owned()));
}

#[tokio::test]
async fn a_post_start_hook_cannot_be_spoiled_by_one_who_asks_early() {
    let server = Server::answering(|count| if count == 1 { BAD } else { GOOD }).await;
    let health = probing(Check::Poststart, server.port);
    let drain = Drain::new();
    let early = status(&health, Check::Poststart, &drain).await;
    assert_eq!(early, 503, "the failure of one's own attempt is told");
    let began = Instant::now();
    for _ in 0..3 {
        assert_eq!(status(&health, Check::Poststart, &drain).await, 200);
    }
    assert_eq!(server.seen(), 2, "a success is final");
    assert!(began.elapsed() < HOOK_RETRY * 5, "{:?}", began.elapsed());
}

#[tokio::test]
async fn one_who_joins_an_attempt_is_not_told_its_failure() {
    // The first attempt ends without an answer.
    let server = Server::answering(|count| if count == 1 { "" } else { GOOD }).await;
    let health = probing_for(Check::Poststart, server.port, Some(1));
    let drain = Drain::new();
    let mut early = Box::pin(ask(&health, Check::Poststart, &drain));
    let begun = async {
        while server.seen() == 0 {
            assert!(timeout(Duration::from_millis(1), &mut early).await.is_err());
        }
    };
    timeout(Duration::from_secs(10), begun).await.unwrap();
    drop(early);
    let joined = ask(&health, Check::Poststart, &drain).await;
    assert_eq!(joined, (200, "ok".to_owned()));
    assert_eq!(server.seen(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_pre_stop_hook_is_not_run_before_the_drain() {
    let health = probing(Check::Prestop, 1);
    let drain = Drain::new();
    let begun = Instant::now();
    let (status, text) = ask(&health, Check::Prestop, &drain).await;
    assert_eq!((status, &*text), (503, "the pod is not stopping"));
    assert_eq!(begun.elapsed(), DRAIN_WAIT);

    // The drain may begin a little later than the hook comes.
    let ((status, text), ()) = tokio::join!(ask(&health, Check::Prestop, &drain), async {
        advance(DRAIN_WAIT - Duration::from_millis(1)).await;
        drain.begin();
    });
    assert_eq!((status, &*text), (503, "failed: connection refused"));
}

#[tokio::test]
async fn a_pre_stop_hook_runs_once_while_draining() {
    let server = Server::start(GOOD).await;
    let health = probing(Check::Prestop, server.port);
    let drain = Drain::new();
    drain.begin();
    for _ in 0..3 {
        assert_eq!(status(&health, Check::Prestop, &drain).await, 200);
    }
    assert_eq!(server.seen(), 1);
}

#[tokio::test]
async fn a_drain_waits_for_the_pre_stop_hook() {
    let server = Server::start("").await;
    let health = probing(Check::Prestop, server.port);
    let drain = Drain::new();
    drain.begin();
    let asking = Arc::clone(&drain);
    let hook = tokio::spawn(async move { status(&health, Check::Prestop, &asking).await });
    let reached = async {
        while server.seen() == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), reached).await.unwrap();
    assert_eq!(drain.connections(), 1);
    hook.abort();
    timeout(Duration::from_secs(10), drain.drained())
        .await
        .unwrap();
}

#[tokio::test]
async fn what_was_never_written_is_not_found() {
    let health = probing(Check::Livez, 1);
    let drain = Drain::new();
    for path in [
        "/app-health/",
        "/app-health/app",
        "/app-health/app/readyz",
        "/app-health/app/livez/",
        "/app-health/other/livez",
        "/app-health/app/LIVEZ",
    ] {
        let answer = health.answer(path, &drain).await;
        assert_eq!(answer.status(), 404, "{path}");
    }
}

#[test]
fn waits_have_defaults_and_bounds() {
    let waits = |check, timeout_seconds, period_seconds| {
        let probe = RewrittenProbe {
            target: Target::Tcp { port: 1 },
            timeout_seconds,
            period_seconds,
        };
        let checked = Checked {
            check,
            probe: Arc::new(probe),
            latest: Mutex::default(),
        };
        (checked.timeout().as_secs(), checked.period().as_secs())
    };
    assert_eq!(waits(Check::Livez, None, None), (1, 10));
    assert_eq!(waits(Check::Livez, Some(0), Some(0)), (1, 10));
    assert_eq!(waits(Check::Livez, Some(110), Some(7)), (110, 7));
    assert_eq!(waits(Check::Livez, Some(111), None), (110, 10));
    assert_eq!(waits(Check::Prestop, None, None), (110, 10));
}
