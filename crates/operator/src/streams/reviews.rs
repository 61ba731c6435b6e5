//! Whose token it is: what was found out a moment ago, or what the API server
//! says, which is asked no more often than it can bear.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use sidegate_config::sidecar_config::SecretText;
use sidegate_policy::clock::Clock;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep, timeout};
use tracing::warn;

use super::arrivals::network;
use super::rate::{Bucket, Rate, RateTable, TooOften};
use super::recent::Recent;
use super::refused::Refused;
use super::token::{Claimed, look_at};
use super::token_review::{NotAPod, Reviewed, TokenReviewer, pod_of};
use crate::chain::Chain;
use crate::metrics::{Metrics, ReviewResult};

/// How long a positive TokenReview counts, unless the token ends before.
const POSITIVE_LIFETIME: Duration = Duration::from_secs(60);
/// How long a negative one does. A token does not become good, but the API
/// server that was asked may not have known the pod yet.
const NEGATIVE_LIFETIME: Duration = Duration::from_secs(10);
/// Tokens that are remembered, of either kind.
const REMEMBERED: usize = 8_192;
/// Sources and pods whose rates are kept, each.
const COUNTED: usize = 16_384;
/// How long an attempt waits for its turn to ask the API server.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often it looks whether it is.
const LOOK: Duration = Duration::from_millis(50);

/// How often the API server is asked. Only attempts with a token that it does
/// not accept are counted against their source and pod.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReviewLimits {
    /// From one address.
    pub(crate) per_source: Rate,
    /// From one address, for what claims to be one pod. Not for the pod alone:
    /// then anybody could keep a pod away by claiming to be it.
    pub(crate) per_pod: Rate,
    /// In all.
    pub(crate) in_all: Rate,
    /// At a time.
    pub(crate) at_a_time: usize,
}

/// Asks whose tokens are, and remembers the answers.
pub(super) struct Reviews {
    reviewer: Arc<dyn TokenReviewer>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    limits: ReviewLimits,
    in_progress: Semaphore,
    memory: Mutex<Memory>,
}

struct Memory {
    sources: RateTable<IpAddr>,
    pods: RateTable<(IpAddr, Arc<str>)>,
    in_all: Bucket,
    positive: Recent<TokenHash, Reviewed>,
    negative: Recent<TokenHash, NotAPod>,
}

type TokenHash = [u8; 32];

// === impl ReviewLimits ===

impl Default for ReviewLimits {
    fn default() -> Self {
        Self {
            per_source: Rate {
                burst: 200,
                every: Duration::from_secs(1),
            },
            per_pod: Rate {
                burst: 10,
                every: Duration::from_secs(2),
            },
            in_all: Rate {
                burst: 200,
                every: Duration::from_millis(5),
            },
            at_a_time: 32,
        }
    }
}

// === impl Reviews ===

impl Reviews {
    pub(super) fn new(
        reviewer: Arc<dyn TokenReviewer>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        limits: ReviewLimits,
    ) -> Self {
        let memory = Memory {
            sources: RateTable::new(limits.per_source, COUNTED),
            pods: RateTable::new(limits.per_pod, COUNTED),
            in_all: Bucket::default(),
            positive: Recent::new(POSITIVE_LIFETIME, REMEMBERED),
            negative: Recent::new(NEGATIVE_LIFETIME, REMEMBERED),
        };
        Self {
            reviewer,
            clock,
            metrics,
            limits,
            in_progress: Semaphore::new(limits.at_a_time),
            memory: Mutex::new(memory),
        }
    }

    /// Whose token it is, and when it ends.
    ///
    /// # Errors
    /// What to tell the other side.
    pub(super) async fn review(
        &self,
        token: &SecretText,
        source: IpAddr,
    ) -> Result<(Reviewed, i64), Refused> {
        let claimed = look_at(token.expose(), self.clock.unix_seconds())
            .map_err(|invalid| Refused::unauthenticated(invalid.to_string()))?;
        let hash = hash_of(token);
        let reviewed = match self.remembered(&hash) {
            Some(known) => known?,
            None => self.ask(token, hash, &claimed, network(source)).await?,
        };
        // It was accepted, so what it says of its end is true. That it names
        // another pod than the API server can only be a fault of one of us.
        if reviewed.pod != claimed.pod {
            return Err(Refused::unauthenticated(
                "the API server says that the token is another pod's",
            ));
        }
        Ok((reviewed, claimed.expires_at_unix))
    }

    fn remembered(&self, hash: &TokenHash) -> Option<Result<Reviewed, Refused>> {
        let now = self.clock.monotonic();
        let memory = self.lock();
        if let Some(reviewed) = memory.positive.get(hash, now) {
            self.metrics.streams.review_saved(ReviewResult::Positive);
            return Some(Ok(reviewed.clone()));
        }
        let why = memory.negative.get(hash, now)?;
        self.metrics.streams.review_saved(ReviewResult::Negative);
        Some(Err(Refused::unauthenticated(why.to_string())))
    }

    /// Asks the API server, and remembers the answer.
    async fn ask(
        &self,
        token: &SecretText,
        hash: TokenHash,
        claimed: &Claimed,
        source: IpAddr,
    ) -> Result<Reviewed, Refused> {
        let key = (source, Arc::clone(&claimed.pod.uid));
        self.count(&key).await?;
        let answer = self.ask_in_turn(token).await;
        let now = self.clock.monotonic();
        let mut memory = self.lock();
        match answer {
            Ok(Ok(reviewed)) => {
                memory.discount(&key);
                memory.positive.put(hash, reviewed.clone(), now);
                Ok(reviewed)
            }
            Ok(Err(why)) => {
                memory.negative.put(hash, why, now);
                Err(Refused::unauthenticated(why.to_string()))
            }
            // Whether the token is good was not found out.
            Err(refused) => {
                memory.discount(&key);
                Err(refused)
            }
        }
    }

    /// Counts an attempt against its source, and against the pod there. It waits
    /// a while for others of the same source: when their tokens are good, they
    /// make room, and many sidecars may share an address.
    async fn count(&self, key: &(IpAddr, Arc<str>)) -> Result<(), Refused> {
        let too_often =
            |TooOften(wait)| Refused::busy("too many tokens from here were not accepted", wait);
        let now = self.clock.monotonic();
        let counted = self.lock().pods.take(key.clone(), now);
        counted.map_err(too_often)?;
        let last_look = Instant::now() + PATIENCE;
        loop {
            let now = self.clock.monotonic();
            let counted = self.lock().sources.take(key.0, now);
            match counted {
                Err(_) if Instant::now() < last_look => sleep(LOOK).await,
                counted => return counted.map_err(too_often),
            }
        }
    }

    async fn ask_in_turn(&self, token: &SecretText) -> Result<Result<Reviewed, NotAPod>, Refused> {
        let _turn = self.turn().await?;
        let started = self.clock.monotonic();
        let answer = self.reviewer.review(token.clone()).await;
        let took = self.clock.monotonic().saturating_sub(started);
        match answer {
            Ok(status) => {
                let read = pod_of(&status);
                let result = match &read {
                    Ok(_) => ReviewResult::Positive,
                    Err(_) => ReviewResult::Negative,
                };
                self.metrics.streams.reviewed(result, took);
                Ok(read)
            }
            Err(error) => {
                self.metrics.streams.reviewed(ReviewResult::Failed, took);
                warn!(error = %Chain(&error), "a token cannot be reviewed");
                Err(Refused::unavailable("the API server cannot be asked"))
            }
        }
    }

    /// Waits until the API server may be asked.
    async fn turn(&self) -> Result<SemaphorePermit<'_>, Refused> {
        let now = self.clock.monotonic();
        let reserved = self
            .lock()
            .in_all
            .reserve(self.limits.in_all, now, PATIENCE);
        let busy = "too many sidecars want to be recognized";
        let wait = reserved.map_err(|TooOften(wait)| Refused::busy(busy, wait))?;
        sleep(wait).await;
        match timeout(PATIENCE, self.in_progress.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            // It is never closed.
            Ok(Err(_)) | Err(_) => Err(Refused::busy(busy, PATIENCE)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Memory ===

impl Memory {
    fn discount(&mut self, key: &(IpAddr, Arc<str>)) {
        self.pods.give_back(key);
        self.sources.give_back(&key.0);
    }
}

fn hash_of(token: &SecretText) -> TokenHash {
    let sum = digest(&SHA256, token.expose());
    sum.as_ref().try_into().unwrap_or_default()
}
