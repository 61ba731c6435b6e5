//! The keys of one issuer, as they are believed now.
//!
//! Fetched keys are kept by one task per issuer: the only one that fetches, so
//! that any number of requests with an unknown key id cause one fetch, and a
//! caller that goes away interrupts nothing. A fetch that fails changes
//! nothing; keys that were fetched too long ago are not believed any more.

mod window;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use sidegate_policy::clock::Clock;
use sidegate_telemetry::metrics::Metrics;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use crate::fetch::{FetchError, FetchLimits, Fetcher, InvalidSource};
use crate::jwks::KeySet;
use crate::keys::window::FetchWindow;
use crate::settings::{InvalidAuthn, JwksSettings, KeySource};

/// Where the keys come from and within which bounds; stores are interchangeable
/// when this is equal.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct KeyOrigin {
    pub(crate) issuer: String,
    pub(crate) source: KeySource,
    pub(crate) jwks: JwksSettings,
    pub(crate) allow_loopback: bool,
}

/// The keys of one issuer. Dropping it ends its task.
pub(crate) struct KeyStore {
    origin: KeyOrigin,
    shared: Arc<Shared>,
    /// None: the keys are part of the configuration and do not age.
    task: Option<AbortHandle>,
}

/// A key set in force.
#[derive(Debug, Clone)]
pub(crate) struct LoadedKeys {
    set: Arc<KeySet>,
    /// Differs for any two sets of the process that are not the same text.
    generation: u64,
    text: Bytes,
    /// Monotonic; none when the keys do not age.
    fetched: Option<Duration>,
}

/// What came of asking for a fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refetch {
    /// There was none to wait for.
    NotAllowed,
    /// One has ended that began before it was asked for: what was published in
    /// between may be missing.
    BegunBefore,
    /// One has ended that began afterwards.
    BegunAfter,
}

/// The number of the fetch that a request waits for.
#[derive(Debug, Clone, Copy)]
enum Turn {
    NotAllowed,
    UnderWay(u64),
    Next(u64),
}

/// What the task and the requests share.
struct Shared {
    issuer: String,
    jwks: JwksSettings,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    keys: ArcSwapOption<LoadedKeys>,
    flight: Mutex<Flight>,
    /// Wakes the task when `flight.wanted` was set.
    wanted: Notify,
    /// How many fetches have ended.
    ended: watch::Sender<u64>,
}

/// The one fetch that can be under way.
#[derive(Debug, Default)]
struct Flight {
    started: u64,
    ended: u64,
    wanted: bool,
    window: FetchWindow,
}

// === impl KeyStore ===

impl KeyStore {
    /// Reads the keys of the configuration, or starts to fetch them.
    ///
    /// # Errors
    /// [`InvalidAuthn`] when the source cannot be used as configured; that
    /// nothing can be fetched now is no error.
    pub(crate) fn start(
        origin: KeyOrigin,
        clock: &Arc<dyn Clock>,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, InvalidAuthn> {
        let KeyOrigin {
            issuer,
            source,
            jwks,
            allow_loopback,
        } = &origin;
        let shared = Arc::new(Shared {
            issuer: issuer.clone(),
            jwks: *jwks,
            clock: Arc::clone(clock),
            metrics: Arc::clone(metrics),
            keys: ArcSwapOption::empty(),
            flight: Mutex::default(),
            wanted: Notify::new(),
            ended: watch::Sender::new(0),
        });
        let task = match source {
            KeySource::Static { jwks_json } => {
                let text = Bytes::copy_from_slice(jwks_json.as_bytes());
                let keys = LoadedKeys::parse(text, jwks.max_keys, None).map_err(|source| {
                    InvalidAuthn::Keys {
                        issuer: issuer.clone(),
                        source,
                    }
                })?;
                shared.keys.store(Some(Arc::new(keys)));
                None
            }
            KeySource::Remote { uri, ca_pem } => {
                let limits = FetchLimits {
                    timeout: jwks.timeout,
                    max_bytes: jwks.max_bytes,
                    allow_loopback: *allow_loopback,
                };
                let fetcher = Fetcher::new(uri, ca_pem.as_deref(), limits)
                    .map_err(|invalid| invalid.of(issuer))?;
                let runtime = Handle::try_current().map_err(|_| InvalidAuthn::NoRuntime)?;
                let keep = keep(Arc::clone(&shared), fetcher);
                Some(runtime.spawn(keep).abort_handle())
            }
        };
        Ok(Self {
            origin,
            shared,
            task,
        })
    }

    pub(crate) fn origin(&self) -> &KeyOrigin {
        &self.origin
    }

    /// The keys that are believed now; none when they were never loaded or are
    /// too old.
    pub(crate) fn believed(&self) -> Option<Arc<LoadedKeys>> {
        self.shared.believed()
    }

    /// The generation of the keys that are believed now.
    pub(crate) fn generation(&self) -> Option<u64> {
        let keys = self.shared.keys.load();
        let keys = keys.as_deref().filter(|keys| self.shared.is_fresh(keys))?;
        Some(keys.generation)
    }

    /// Waits for a fetch because a key is not there: for the one under way, or
    /// for a new one when the cooldown allows it.
    pub(crate) async fn refetch(&self) -> Refetch {
        if self.task.is_none() {
            return Refetch::NotAllowed;
        }
        let turn = self.shared.join_or_ask();
        let number = match turn {
            Turn::NotAllowed => return Refetch::NotAllowed,
            Turn::UnderWay(number) | Turn::Next(number) => number,
        };
        let mut ended = self.shared.ended.subscribe();
        // A fetch ends in time by itself; this is for a task that is gone.
        let patience = self.shared.jwks.timeout.saturating_mul(2);
        let waited = timeout(patience, ended.wait_for(|ended| *ended >= number)).await;
        match (waited, turn) {
            (Ok(Ok(_)), Turn::UnderWay(_)) => Refetch::BegunBefore,
            (Ok(Ok(_)), _) => Refetch::BegunAfter,
            (Ok(Err(_)) | Err(_), _) => Refetch::NotAllowed,
        }
    }
}

impl Drop for KeyStore {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl fmt::Debug for KeyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyStore")
            .field("origin", &self.origin)
            .field("believed", &self.believed())
            .finish_non_exhaustive()
    }
}

// === impl LoadedKeys ===

impl LoadedKeys {
    fn parse(
        text: Bytes,
        max_keys: usize,
        fetched: Option<Duration>,
    ) -> Result<Self, crate::jwks::InvalidJwks> {
        let set = Arc::new(KeySet::parse(&text, max_keys)?);
        let generation = NEXT_GENERATION.fetch_add(1, Ordering::Relaxed);
        Ok(Self {
            set,
            generation,
            text,
            fetched,
        })
    }

    pub(crate) fn set(&self) -> &KeySet {
        &self.set
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }
}

static NEXT_GENERATION: AtomicU64 = AtomicU64::new(0);

// === impl Shared ===

impl Shared {
    fn believed(&self) -> Option<Arc<LoadedKeys>> {
        self.keys.load_full().filter(|keys| self.is_fresh(keys))
    }

    fn is_fresh(&self, keys: &LoadedKeys) -> bool {
        keys.fetched
            .is_none_or(|fetched| self.clock.monotonic().saturating_sub(fetched) <= self.jwks.stale)
    }

    fn join_or_ask(&self) -> Turn {
        let mut flight = self.flight();
        if flight.started > flight.ended {
            return Turn::UnderWay(flight.started);
        }
        if !flight.wanted {
            let now = self.clock.monotonic();
            if !flight.window.admits_wanted(now, self.jwks.cooldown) {
                return Turn::NotAllowed;
            }
            flight.window.record_wanted(now);
            flight.wanted = true;
            self.wanted.notify_one();
        }
        Turn::Next(flight.started + 1)
    }

    /// Fetches once; true when keys were loaded.
    async fn fetch(&self, fetcher: &Fetcher) -> bool {
        let started = self.clock.monotonic();
        self.begin(started);
        let outcome = match fetcher.fetch().await {
            Ok(text) => self.load(text, started).map_err(FetchError::from),
            Err(error) => Err(error),
        };
        let loaded = self.report(&outcome);
        self.end();
        loaded
    }

    fn begin(&self, now: Duration) {
        let mut flight = self.flight();
        flight.started += 1;
        if !std::mem::take(&mut flight.wanted) {
            flight.window.record_scheduled(now);
        }
    }

    fn end(&self) {
        let ended = {
            let mut flight = self.flight();
            flight.ended = flight.started;
            flight.ended
        };
        self.ended.send_replace(ended);
    }

    fn load(&self, text: Bytes, started: Duration) -> Result<(), crate::jwks::InvalidJwks> {
        let current = self.keys.load_full();
        let same = current.filter(|keys| keys.text == text);
        let keys = match same {
            // The same set keeps its generation, and with it the verified
            // tokens that are remembered.
            Some(keys) => LoadedKeys {
                fetched: Some(started),
                ..LoadedKeys::clone(&keys)
            },
            None => {
                let keys = LoadedKeys::parse(text, self.jwks.max_keys, Some(started))?;
                let (usable, ignored) = (keys.set.len(), keys.set.ignored());
                info!(issuer = %self.issuer, usable, ignored, "new key set");
                keys
            }
        };
        self.keys.store(Some(Arc::new(keys)));
        Ok(())
    }

    fn report(&self, outcome: &Result<(), FetchError>) -> bool {
        match outcome {
            Ok(()) => {
                self.metrics.jwks_fetch(&self.issuer, "ok");
                self.metrics
                    .jwks_loaded_at(&self.issuer, self.clock.unix_seconds());
                debug!(issuer = %self.issuer, "key set fetched");
                true
            }
            Err(error) => {
                self.metrics.jwks_fetch(&self.issuer, error.as_str());
                let usable = self.believed().is_some();
                let cause = std::error::Error::source(error).map(ToString::to_string);
                warn!(issuer = %self.issuer, %error, cause, usable, "key set not fetched");
                false
            }
        }
    }

    /// How long until the next fetch when nobody asks for one.
    fn pause(&self, failures: u32) -> Duration {
        if failures == 0 {
            return jittered(self.period());
        }
        if self.believed().is_some() {
            return self.jwks.cooldown.min(self.period());
        }
        FIRST_RETRY
            .saturating_mul(1 << (failures - 1).min(16))
            .min(LONGEST_RETRY)
    }

    /// The time between two scheduled fetches. Keys must not grow stale in
    /// between, whatever the two settings say.
    fn period(&self) -> Duration {
        self.jwks.refresh.min(self.jwks.stale / 2)
    }

    /// Returns when it is time to fetch: after the pause, or when a request
    /// waits for it. As long as there are keys, a scheduled fetch waits until
    /// the window has room: a flood of unknown key ids and the schedule together
    /// stay within it, unless the schedule alone is closer.
    async fn turn(&self, pause: Duration) {
        let mut due = pin_sleep(pause);
        loop {
            tokio::select! {
                () = &mut due => match self.wait_for_room() {
                    Some(wait) => due.as_mut().reset(Instant::now() + wait),
                    None => return,
                },
                () = self.wanted.notified() => if self.flight().wanted { return },
            }
        }
    }

    fn wait_for_room(&self) -> Option<Duration> {
        if self.period() < self.jwks.cooldown || self.believed().is_none() {
            return None;
        }
        let now = self.clock.monotonic();
        let wait = self.flight().window.room_after(now, self.jwks.cooldown)?;
        Some(wait.max(SHORTEST_WAIT))
    }

    fn flight(&self) -> MutexGuard<'_, Flight> {
        self.flight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pin_sleep(pause: Duration) -> std::pin::Pin<Box<tokio::time::Sleep>> {
    Box::pin(sleep(pause))
}

/// Keeps the keys of one issuer until it is aborted.
async fn keep(shared: Arc<Shared>, fetcher: Fetcher) {
    let mut failures = 0_u32;
    loop {
        failures = match shared.fetch(&fetcher).await {
            true => 0,
            false => failures.saturating_add(1),
        };
        shared.turn(shared.pause(failures)).await;
    }
}

/// Up to a tenth earlier, so that the sidecars of many pods do not fetch at
/// once.
fn jittered(period: Duration) -> Duration {
    let mut random = [0_u8];
    // Without randomness: no jitter.
    let _ = aws_lc_rs::rand::fill(&mut random);
    let [random] = random;
    period - period / 2560 * u32::from(random)
}

/// Retries while there are no keys, doubling.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(30);

const SHORTEST_WAIT: Duration = Duration::from_millis(10);

// === impl InvalidSource ===

impl InvalidSource {
    fn of(self, issuer: &str) -> InvalidAuthn {
        let issuer = issuer.to_owned();
        match self {
            Self::Uri(reason) => InvalidAuthn::Uri { issuer, reason },
            Self::Ca(reason) => InvalidAuthn::Ca { issuer, reason },
        }
    }
}

#[cfg(test)]
mod tests;
