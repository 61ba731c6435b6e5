//! Requests that come all the time, whatever happens meanwhile.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::client::Answer;
use crate::poll::until;

/// Nobody waits longer for an answer.
const LATE: Duration = Duration::from_secs(5);
/// Reasons that are kept; all of them are counted.
const KEPT: usize = 10;

/// Requests at a steady rate, until [`Load::end`].
#[derive(Debug)]
pub struct Load {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
    began: Instant,
}

/// What came of them.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// How many were answered with 200.
    pub answered: u64,
    /// How many were not.
    pub failed: u64,
    /// Why, of the first ones.
    pub failures: Vec<String>,
    /// The longest wait for an answer.
    pub slowest: Duration,
}

// === impl Load ===

impl Load {
    /// Calls `per_second` times in a second, whether those before are answered
    /// or not.
    pub fn start<F>(per_second: u32, call: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = anyhow::Result<Answer>> + Send + 'static,
    {
        let seen = Arc::<Mutex<Seen>>::default();
        let noted = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            let mut tick = interval(Duration::from_secs(1) / per_second);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut calls = JoinSet::new();
            loop {
                tick.tick().await;
                while let Some(ended) = calls.try_join_next() {
                    if let Err(error) = ended {
                        failed(&noted, Duration::ZERO, &error.to_string());
                    }
                }
                let (call, noted) = (call(), Arc::clone(&noted));
                calls.spawn(async move { note(&noted, call).await });
            }
        });
        Self {
            seen,
            task,
            began: Instant::now(),
        }
    }

    /// What came of them so far.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits until so many more were answered.
    ///
    /// # Panics
    /// They are not.
    pub async fn until_answered(&self, more: u64) {
        let wanted = self.seen().answered + more;
        let what = format!("{more} more requests are answered");
        until(&what, || (self.seen().answered >= wanted).then_some(())).await;
    }

    /// Ends it and checks that none failed.
    ///
    /// # Panics
    /// One did, or there were hardly any.
    #[track_caller]
    pub fn end(self) -> Seen {
        let seen = self.seen();
        let seconds = self.began.elapsed().as_secs();
        assert_eq!(seen.failed, 0, "failed requests: {:?}", seen.failures);
        assert!(
            seen.answered >= seconds,
            "only {} requests in {seconds} s",
            seen.answered
        );
        seen
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn note(seen: &Mutex<Seen>, call: impl Future<Output = anyhow::Result<Answer>>) {
    let began = Instant::now();
    let answer = timeout(LATE, call).await;
    let took = began.elapsed();
    let failure = match answer {
        Ok(Ok(answer)) if answer.status == 200 => None,
        Ok(Ok(answer)) => Some(format!("{}: {}", answer.status, answer.text())),
        Ok(Err(error)) => Some(format!("{error:#}")),
        Err(_) => Some("no answer".to_owned()),
    };
    match failure {
        Some(failure) => failed(seen, took, &failure),
        None => {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.slowest = seen.slowest.max(took);
            seen.answered += 1;
        }
    }
}

fn failed(seen: &Mutex<Seen>, took: Duration, failure: &str) {
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.slowest = seen.slowest.max(took);
    seen.failed += 1;
    if seen.failures.len() < KEPT {
        seen.failures.push(format!("after {took:?}: {failure}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Client;
    use crate::upstream::{Reply, Upstream};

    async fn load_on(status: u16) -> (Upstream, Load) {
        let upstream = Upstream::start(move |_| Reply::status(status, &[], b"")).await;
        let client = Client::plaintext(upstream.address());
        let load = Load::start(200, move || {
            let client = client.clone();
            async move { client.get("/").await }
        });
        (upstream, load)
    }

    #[tokio::test]
    async fn answers_are_counted() {
        let (_upstream, load) = load_on(200).await;
        load.until_answered(10).await;
        assert!(load.end().answered >= 10);
    }

    #[tokio::test]
    #[should_panic(expected = "503")]
    async fn a_failure_is_told() {
        let (_upstream, load) = load_on(503).await;
        until("one has failed", || (load.seen().failed > 0).then_some(())).await;
        load.end();
    }

    #[tokio::test]
    #[should_panic(expected = "panicked")]
    async fn a_call_that_breaks_is_a_failure() {
        let load = Load::start(200, || async { panic!("no call") });
        until("one has failed", || (load.seen().failed > 0).then_some(())).await;
        load.end();
    }
}
