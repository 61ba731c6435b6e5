//! The operator as a whole: watches, election, workers, health port.

use std::hash::{BuildHasher as _, Hasher as _};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::Client;
use sidegate_config::Options;
use sidegate_policy::clock::{Clock, SystemClock};
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep};
use tracing::{error, info, warn};

use crate::chain::Chain;
use crate::events::Events;
use crate::health::{self, Health};
use crate::leader::{Election, LeaseSettings};
use crate::metrics::{Metrics, ReconcileResult};
use crate::permission::Account;
use crate::queue::{Ended, Queue, Request};
use crate::reconcile::{Context, reconcile};
use crate::references::References;
use crate::watching::{WATCHES, Watching};
use crate::world::World;

/// Reconciles that run at a time. Most wait for the API server.
const WORKERS: usize = 8;
const RETRY: Duration = Duration::from_secs(2);

/// What an operator is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The one namespace whose objects are served; all when there is none.
    pub namespace: Option<String>,
    /// The Lease that decides who leads; without one, this replica does.
    pub lease: Option<LeaseSettings>,
    /// The name of this replica, for events.
    pub identity: String,
    /// The address of the health port; port 8081 of every address when there
    /// is none.
    pub health: Option<SocketAddr>,
    /// The SPIFFE trust domain of service accounts in rules.
    pub trust_domain: String,
}

/// Why an operator does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The health port cannot be bound.
    #[error("the health port cannot be opened: {0}")]
    Health(#[source] io::Error),
}

/// A part of the operator ended that never should. Only a new process helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a part of the operator broke; its log says why")]
pub struct Broken;

/// A running operator. Dropping it stops it at once, without giving the Lease
/// up.
#[derive(Debug)]
pub struct Operator {
    health: SocketAddr,
    leading: watch::Receiver<bool>,
    stopping: watch::Sender<bool>,
    running: JoinHandle<Result<(), Broken>>,
}

/// What the parts share.
struct Parts {
    client: Client,
    settings: Settings,
    clock: Arc<dyn Clock>,
    world: Arc<Mutex<World>>,
    queue: Arc<Queue>,
    metrics: Arc<Metrics>,
    synced: Arc<watch::Sender<usize>>,
    leading: watch::Receiver<bool>,
    leading_tx: Arc<watch::Sender<bool>>,
    stopping: watch::Receiver<bool>,
}

struct Answers {
    metrics: Arc<Metrics>,
    queue: Arc<Queue>,
    synced: watch::Receiver<usize>,
}

/// A name that no other replica has: that of the pod and a random number, so
/// that a pod's successor of the same name is another one.
#[must_use]
pub fn unique_identity(name: &str) -> String {
    let random = std::hash::RandomState::new().build_hasher().finish();
    format!("{name}_{random:016x}")
}

// === impl Operator ===

impl Operator {
    /// Starts an operator. It is ready once its watches know everything, which
    /// the health port tells.
    ///
    /// # Errors
    /// The health port cannot be bound.
    pub async fn start(client: Client, settings: Settings) -> Result<Self, StartError> {
        let listener = health::bind(settings.health)
            .await
            .map_err(StartError::Health)?;
        let health = listener.local_addr().map_err(StartError::Health)?;
        info!(port = "health", address = %health, "service port open");
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let metrics = Arc::new(Metrics::new(Arc::clone(&clock)));
        let queue = Arc::new(Queue::default());
        let (synced_tx, synced) = watch::channel(0);
        let (leading_tx, leading) = watch::channel(settings.lease.is_none());
        let leading_tx = Arc::new(leading_tx);
        let (stopping_tx, stopping) = watch::channel(false);
        let answers = Answers {
            metrics: Arc::clone(&metrics),
            queue: Arc::clone(&queue),
            synced,
        };
        let parts = Parts {
            client: client.clone(),
            settings: settings.clone(),
            clock,
            world: Arc::default(),
            queue,
            metrics,
            synced: Arc::new(synced_tx),
            leading: leading.clone(),
            leading_tx: Arc::clone(&leading_tx),
            stopping: stopping.clone(),
        };
        let mut tasks = parts.watching().start();
        tasks.spawn(health::serve(listener, Arc::new(answers)));
        let election = settings.lease.map(|lease| {
            let election = Election::new(client, lease);
            tokio::spawn(election.run(leading_tx, stopping))
        });
        let running = tokio::spawn(async move { parts.run(tasks, election).await });
        Ok(Self {
            health,
            leading,
            stopping: stopping_tx,
            running,
        })
    }

    /// The address of its health port.
    #[must_use]
    pub fn health(&self) -> SocketAddr {
        self.health
    }

    /// Whether it leads.
    #[must_use]
    pub fn leads(&self) -> bool {
        *self.leading.borrow()
    }

    /// Waits until something in it breaks, which should never happen.
    pub async fn broken(&mut self) -> Broken {
        // Nobody asked it to stop, so it ended by itself.
        let _ended = (&mut self.running).await;
        Broken
    }

    /// Stops it: no more writes, then the Lease is given up.
    ///
    /// # Errors
    /// It was broken.
    pub async fn stop(mut self) -> Result<(), Broken> {
        self.stopping.send_replace(true);
        match (&mut self.running).await {
            Ok(ended) => ended,
            Err(error) => {
                error!(%error, "the operator broke");
                Err(Broken)
            }
        }
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.running.abort();
    }
}

// === impl Parts ===

impl Parts {
    fn watching(&self) -> Watching {
        Watching {
            client: self.client.clone(),
            namespace: self.settings.namespace.clone(),
            world: Arc::clone(&self.world),
            queue: Arc::clone(&self.queue),
            metrics: Arc::clone(&self.metrics),
            synced: Arc::clone(&self.synced),
        }
    }

    async fn run(
        self,
        mut tasks: JoinSet<()>,
        election: Option<JoinHandle<()>>,
    ) -> Result<(), Broken> {
        let mut stopping = self.stopping.clone();
        let mut election = election.map(AbortOnDrop);
        let ended = tokio::select! {
            biased;
            _stopping = stopping.wait_for(|stopping| *stopping) => Ok(()),
            ended = Box::pin(self.lead_again_and_again()) => ended,
            // Neither of them has an end.
            _ended = tasks.join_next() => Err(Broken),
            // It ends when it is asked to, perhaps before this task sees that.
            () = ended(&mut election) => match *self.stopping.borrow() {
                true => Ok(()),
                false => Err(Broken),
            },
        };
        // The workers are gone: nothing is written any more.
        drop(election);
        self.metrics.leading(false);
        let leads = *self.leading.borrow();
        if let (Some(lease), true) = (&self.settings.lease, leads) {
            self.leading_tx.send_replace(false);
            Election::release(self.client.clone(), lease.clone()).await;
        }
        ended
    }

    /// Leads whenever it is this replica's turn. Ends only when something
    /// breaks.
    async fn lead_again_and_again(&self) -> Result<(), Broken> {
        let mut leading = self.leading.clone();
        loop {
            if leading.wait_for(|leading| *leading).await.is_err() {
                return Err(Broken);
            }
            tokio::select! {
                ended = Box::pin(self.lead()) => return ended,
                _lost = leading.wait_for(|leading| !*leading) => {}
            }
            self.metrics.leading(false);
        }
    }

    /// Reconciles until it is dropped.
    async fn lead(&self) -> Result<(), Broken> {
        self.metrics.leading(true);
        let account = self.account().await;
        let mut synced = self.synced.subscribe();
        if synced.wait_for(|count| *count == WATCHES).await.is_err() {
            return Err(Broken);
        }
        self.queue.clear();
        let context = Arc::new(self.context(account));
        self.ask_for_everything();
        let mut workers = JoinSet::new();
        for _ in 0..WORKERS {
            workers.spawn(work(Arc::clone(&context), Arc::clone(&self.metrics)));
        }
        // Workers have no end; one that has one panicked.
        workers.join_next().await;
        Err(Broken)
    }

    async fn account(&self) -> Account {
        loop {
            match Account::ask(self.client.clone()).await {
                Ok(account) => return account,
                Err(error) => {
                    warn!(error = %Chain(&error), "the API server does not say who this is");
                }
            }
            sleep(RETRY).await;
        }
    }

    fn context(&self, account: Account) -> Context {
        Context {
            client: self.client.clone(),
            world: Arc::clone(&self.world),
            // With the context, values of Secrets go when another one leads.
            references: References::new(self.client.clone(), Arc::clone(&self.queue)),
            queue: Arc::clone(&self.queue),
            events: Events::new(self.client.clone(), &self.settings.identity),
            clock: Arc::clone(&self.clock),
            options: Options {
                allow_loopback: false,
                built_in_ca: true,
                trust_domain: self.settings.trust_domain.clone(),
            },
            account,
        }
    }

    fn ask_for_everything(&self) {
        let world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        for key in world.gateways() {
            self.queue.add(Request::Gateway(key), Duration::ZERO);
        }
        for key in world.providers() {
            self.queue.add(Request::Provider(key), Duration::ZERO);
        }
    }
}

async fn ended(election: &mut Option<AbortOnDrop>) {
    match election {
        Some(AbortOnDrop(task)) => {
            let _ended = task.await;
        }
        None => std::future::pending().await,
    }
}

async fn work(context: Arc<Context>, metrics: Arc<Metrics>) {
    loop {
        let request = context.queue.next().await;
        let started = Instant::now();
        let (result, ended) = match reconcile(&context, &request).await {
            Ok(result) => (result, Ended::Done),
            Err(error) => {
                warn!(
                    kind = request.kind(), object = %request.key(), error = %Chain(&error),
                    "a reconcile failed; it is tried again"
                );
                (ReconcileResult::Failed, Ended::Failed)
            }
        };
        metrics.reconciled(request.kind(), result, started.elapsed());
        context.queue.end(&request, ended);
    }
}

/// A task that ends with what holds it.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

// === impl Answers ===

impl Health for Answers {
    fn is_ready(&self) -> bool {
        *self.synced.borrow() == WATCHES
    }

    fn metrics(&self) -> String {
        self.metrics.queue_depth(self.queue.depth());
        self.metrics.render()
    }
}
