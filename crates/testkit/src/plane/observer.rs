//! Somebody who looks all the time whether `Ready` is true: while a gateway says
//! it of what it is now, each ready pod enforces what the status names.

mod claims;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use self::claims::{Claim, Enforced, Judge};
use super::{Api, GROUP};
use crate::client::{Client, Connection, Streaming};
use crate::poll::until;
use crate::process::Output;

/// How often it looks when nothing changes.
const TURN: Duration = Duration::from_millis(100);
/// The API server may be away, a process may be stopped.
const LATE: Duration = Duration::from_secs(2);

/// Looks until it is dropped; then what was not true fails the test.
#[derive(Debug)]
pub struct Observer {
    judge: Arc<Mutex<Judge>>,
    task: JoinHandle<()>,
}

/// The logs of all sidecars of a plane, by the uid of their pod.
#[derive(Debug, Clone, Default)]
pub(super) struct Sidecars(Arc<Mutex<HashMap<String, Sidecar>>>);

#[derive(Debug, Clone)]
struct Sidecar {
    log: Output,
    admin: Option<SocketAddr>,
}

// === impl Observer ===

impl Observer {
    pub(super) fn start(api: &Api, sidecars: &Sidecars) -> Self {
        let judge = Arc::<Mutex<Judge>>::default();
        let eyes = Eyes {
            api: api.clone(),
            sidecars: sidecars.clone(),
            judge: Arc::clone(&judge),
            gateways: HashMap::new(),
        };
        Self {
            judge,
            task: tokio::spawn(eyes.look_always()),
        }
    }

    /// Waits until it has compared a claim with a pod once more, so that a test
    /// in which it sees nothing fails.
    ///
    /// # Panics
    /// It does not.
    pub async fn until_looked(&self) {
        let before = lock(&self.judge).looks();
        let look = || (lock(&self.judge).looks() > before).then_some(());
        until("the observer compared a status with a pod", look).await;
    }

    /// What was not true so far.
    #[must_use]
    pub fn untrue(&self) -> Vec<String> {
        lock(&self.judge).untrue().to_vec()
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.task.abort();
        let judge = lock(&self.judge);
        let untrue = judge.untrue();
        assert!(
            untrue.is_empty() || std::thread::panicking(),
            "a status was not true, {} times: {:#?}",
            untrue.len(),
            untrue.first()
        );
    }
}

// === impl Sidecars ===

impl Sidecars {
    /// The pod has a new sidecar.
    pub(super) fn started(&self, pod: &str, log: Output) {
        let sidecar = Sidecar { log, admin: None };
        lock(&self.0).insert(pod.to_owned(), sidecar);
    }

    /// What a pod's sidecar says of itself. None when there is none, or none
    /// that answers: nobody gets through it either.
    async fn config(&self, pod: &str) -> Option<Value> {
        let (log, admin) = self.admin(pod)?;
        let client = Client::plaintext(admin);
        let answer = timeout(LATE, client.get("/config")).await.ok()?.ok()?;
        // The port may be somebody else's by now.
        (!log.has_ended() && answer.status == 200).then(|| answer.json())
    }

    fn admin(&self, pod: &str) -> Option<(Output, SocketAddr)> {
        let mut sidecars = lock(&self.0);
        let sidecar = sidecars.get_mut(pod)?;
        if sidecar.admin.is_none() {
            let admin = sidecar.log.address("service port open", "port", "admin");
            sidecar.admin = admin;
        }
        let admin = sidecar.admin.filter(|_| !sidecar.log.has_ended())?;
        Some((sidecar.log.clone(), admin))
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the task of an observer has.
struct Eyes {
    api: Api,
    sidecars: Sidecars,
    judge: Arc<Mutex<Judge>>,
    /// As the watch told them, by uid.
    gateways: HashMap<String, Value>,
}

/// Connections to the API server: one whose answer never ends, one for
/// questions.
struct Lines {
    watch: Streaming,
    /// What came of a line that is not whole.
    begun: Vec<u8>,
    questions: Connection,
}

// === impl Eyes ===

impl Eyes {
    async fn look_always(mut self) {
        loop {
            // Tests take the API server away.
            let _ended = self.follow().await;
            sleep(TURN).await;
        }
    }

    /// Looks until a connection breaks.
    async fn follow(&mut self) -> anyhow::Result<()> {
        self.gateways.clear();
        let mut lines = timeout(LATE, Lines::open(&self.api)).await??;
        loop {
            let changed = match timeout(TURN, lines.watch.next(Duration::MAX)).await {
                Ok(piece) => {
                    let piece = piece?.context("the watch ended")?;
                    self.take(lines.events(&piece)?)
                }
                // Nothing changed; then all are looked at once more.
                Err(_) => self.gateways.keys().cloned().collect(),
            };
            for uid in changed {
                if let Some(claim) = self.gateways.get(&uid).and_then(Claim::of) {
                    self.look(&mut lines, &claim).await?;
                }
            }
        }
    }

    /// Takes the news of a watch, and says which gateways it is about.
    fn take(&mut self, events: Vec<Value>) -> Vec<String> {
        let mut changed = Vec::new();
        for mut event in events {
            let object = event["object"].take();
            let Some(uid) = object["metadata"]["uid"].as_str() else {
                continue;
            };
            let uid = uid.to_owned();
            if event["type"] == "DELETED" {
                self.gateways.remove(&uid);
                continue;
            }
            lock(&self.judge).read(&object);
            self.gateways.insert(uid.clone(), object);
            if !changed.contains(&uid) {
                changed.push(uid);
            }
        }
        changed
    }

    /// Looks at the pods that a claim is about. It counts only if the claim
    /// still stands afterwards.
    async fn look(&self, lines: &mut Lines, claim: &Claim) -> anyhow::Result<()> {
        let Claim {
            namespace, name, ..
        } = claim;
        let pods = format!("/api/v1/namespaces/{namespace}/pods");
        let pods = lines.get(&self.api, &pods).await?;
        let mut seen = Vec::new();
        for pod in claim.pods(&pods.unwrap_or_default()) {
            let config = self.sidecars.config(&pod.uid).await;
            if let Some(enforced) = config.as_ref().and_then(Enforced::of) {
                seen.push((pod, enforced));
            }
        }
        let path = format!("{GROUP}/namespaces/{namespace}/mcpgateways/{name}");
        let after = lines.get(&self.api, &path).await?;
        if after.as_ref().and_then(Claim::of).as_ref() != Some(claim) {
            return Ok(());
        }
        let (mut judge, now) = (lock(&self.judge), Instant::now());
        for (pod, enforced) in seen {
            judge.look(claim, &pod, &enforced, now);
        }
        Ok(())
    }
}

// === impl Lines ===

impl Lines {
    async fn open(api: &Api) -> anyhow::Result<Self> {
        // It begins with all that there are.
        let path = format!("{GROUP}/mcpgateways?watch=1");
        let watch = api.connect().await?.start(api.question(&path)?).await?;
        if watch.status != 200 {
            bail!("{}", watch.status);
        }
        Ok(Self {
            watch,
            begun: Vec::new(),
            questions: api.connect().await?,
        })
    }

    /// The events that are whole now.
    fn events(&mut self, piece: &[u8]) -> anyhow::Result<Vec<Value>> {
        self.begun.extend_from_slice(piece);
        let whole = self.begun.iter().rposition(|byte| *byte == b'\n');
        let rest = self.begun.split_off(whole.map_or(0, |last| last + 1));
        let whole = std::mem::replace(&mut self.begun, rest);
        let lines = whole.split(|byte| *byte == b'\n');
        let lines = lines.filter(|line| !line.is_empty());
        Ok(lines
            .map(serde_json::from_slice)
            .collect::<Result<_, _>>()?)
    }

    /// Reads something; none when it is not there.
    async fn get(&mut self, api: &Api, path: &str) -> anyhow::Result<Option<Value>> {
        let asked = self.questions.send(api.question(path)?);
        let answer = timeout(LATE, asked).await??;
        match answer.status.as_u16() {
            200 => Ok(Some(answer.json())),
            404 => Ok(None),
            _ => bail!("{}: {}", answer.status, answer.text()),
        }
    }
}
