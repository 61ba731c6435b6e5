//! The operator as a whole: watches, election, workers, health port.

use std::hash::{BuildHasher as _, Hasher as _};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use sidegate_config::Options;
use sidegate_policy::clock::{Clock, SystemClock};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep};
use tracing::{error, info, warn};

use crate::authority::{AuthoritySettings, Clients, Endpoint, Keeper, TrustReceiver};
use crate::board::{Board, Naming};
use crate::bypass::{self, Dials};
use crate::ca_bundle::CaBundle;
use crate::chain::Chain;
use crate::events::Events;
use crate::health::{self, HEALTH_PORT, Health};
use crate::injector::InjectorSettings;
use crate::key::Key;
use crate::leader::{Election, LeaseSettings};
use crate::metrics::{Metrics, ReconcileResult};
use crate::network_policies::NetworkPolicies;
use crate::permission::Account;
use crate::pod_condition::{self, PodConditions};
use crate::queue::{Ended, Queue, Request, Taken};
use crate::reconcile::{Building, Context, PolicyNotes, build, reconcile};
use crate::references::References;
use crate::streams::{self, Neighbours, StreamLimits, StreamSettings};
use crate::tally::Tally;
use crate::trust_bundles::{BundleProblems, TrustBundles};
use crate::watching::Watching;
use crate::webhook::{self, WEBHOOK_PORT};

/// Statuses that are written at a time: all of them wait for the API server.
const WRITERS: usize = 32;
/// Gateways that are built at a time; that is work for a processor.
const BUILDERS: usize = 4;
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
    /// The SPIFFE trust domain of service accounts in rules, and of sidecars.
    pub trust_domain: String,
    /// The operator's own namespace, with the Secret of its authority.
    pub own_namespace: String,
    /// The operator's certificate authority.
    pub authority: AuthoritySettings,
    /// The domain of the cluster's Services.
    pub cluster_domain: String,
    /// Hosts of `resources` that certificates may carry: names, or `*.suffix`.
    pub certificate_hosts: Vec<String>,
    /// The address of the config stream; port 9443 of every address when there
    /// is none.
    pub control_plane: Option<SocketAddr>,
    /// The address of the webhook; port 9444 of every address when there is
    /// none.
    pub webhook: Option<SocketAddr>,
    /// What sidecars are injected.
    pub injector: InjectorSettings,
}

/// Why an operator does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The health port cannot be bound.
    #[error("the health port cannot be opened: {0}")]
    Health(#[source] io::Error),
    /// The port of the config stream cannot be bound.
    #[error("the port of the config stream cannot be opened: {0}")]
    ControlPlane(#[source] io::Error),
    /// The port of the webhook cannot be bound.
    #[error("the port of the webhook cannot be opened: {0}")]
    Webhook(#[source] io::Error),
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
    control_plane: SocketAddr,
    webhook: SocketAddr,
    leading: watch::Receiver<bool>,
    stopping: watch::Sender<bool>,
    running: JoinHandle<Result<(), Broken>>,
}

/// What the parts share.
struct Parts {
    client: Client,
    settings: Settings,
    clock: Arc<dyn Clock>,
    board: Arc<Board>,
    conditions: Arc<PodConditions>,
    /// What is to be built, on every replica.
    builds: Arc<Queue<Key>>,
    /// What is to be written, while this replica leads.
    statuses: Arc<Queue>,
    keeper: Arc<Keeper>,
    bundle_problems: Arc<BundleProblems>,
    metrics: Arc<Metrics>,
    leading: watch::Receiver<bool>,
    leading_tx: Arc<watch::Sender<bool>>,
    stopping: watch::Receiver<bool>,
}

struct Answers {
    trust: TrustReceiver,
    metrics: Arc<Metrics>,
    board: Arc<Board>,
    conditions: Arc<PodConditions>,
    builds: Arc<Queue<Key>>,
    statuses: Arc<Queue>,
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
    /// A port cannot be bound.
    pub async fn start(client: Client, settings: Settings) -> Result<Self, StartError> {
        let listener = health::bind(settings.health, HEALTH_PORT)
            .await
            .map_err(StartError::Health)?;
        let health = listener.local_addr().map_err(StartError::Health)?;
        info!(port = "health", address = %health, "service port open");
        let streams = streams::bind(settings.control_plane).map_err(StartError::ControlPlane)?;
        let control_plane = streams.local_addr().map_err(StartError::ControlPlane)?;
        info!(port = "streams", address = %control_plane, "service port open");
        let reviews = health::bind(settings.webhook, WEBHOOK_PORT)
            .await
            .map_err(StartError::Webhook)?;
        let webhook = reviews.local_addr().map_err(StartError::Webhook)?;
        info!(port = "webhook", address = %webhook, "service port open");
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let metrics = Arc::new(Metrics::new(Arc::clone(&clock)));
        let conditions = Arc::<PodConditions>::default();
        let naming = Naming {
            cluster_domain: settings.cluster_domain.clone(),
        };
        let board = Arc::new(Board::new(naming, Arc::clone(&conditions)));
        let (leading_tx, leading) = watch::channel(settings.lease.is_none());
        let leading_tx = Arc::new(leading_tx);
        let (stopping_tx, stopping) = watch::channel(false);
        let keeper = Arc::new(Keeper::new(
            client.clone(),
            settings.authority.clone(),
            &settings.identity,
            Arc::clone(&metrics),
        ));
        let parts = Parts {
            client: client.clone(),
            settings: settings.clone(),
            clock,
            board,
            conditions,
            builds: Arc::default(),
            statuses: Arc::default(),
            keeper: Arc::clone(&keeper),
            bundle_problems: Arc::default(),
            metrics,
            leading: leading.clone(),
            leading_tx: Arc::clone(&leading_tx),
            stopping: stopping.clone(),
        };
        let mut tasks = parts.watching().start();
        tasks.spawn(health::serve(listener, Arc::new(parts.answers())));
        tasks.spawn(parts.building());
        tasks.spawn(async move { keeper.follow().await });
        tasks.spawn(pod_condition::write(
            client.clone(),
            Arc::clone(&parts.board),
            Arc::clone(&parts.conditions),
            Arc::clone(&parts.clock),
        ));
        let election = settings.lease.map(|lease| {
            let election = Election::new(client, lease);
            tokio::spawn(election.run(leading_tx, stopping))
        });
        let mut serving = JoinSet::new();
        serving.spawn(parts.streams(streams));
        serving.spawn(parts.webhook(reviews));
        let running = tokio::spawn(async move { parts.run(tasks, serving, election).await });
        Ok(Self {
            health,
            control_plane,
            webhook,
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

    /// The address of its config stream.
    #[must_use]
    pub fn control_plane(&self) -> SocketAddr {
        self.control_plane
    }

    /// The address of its webhook.
    #[must_use]
    pub fn webhook(&self) -> SocketAddr {
        self.webhook
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
            board: Arc::clone(&self.board),
            builds: Arc::clone(&self.builds),
            statuses: Arc::clone(&self.statuses),
            metrics: Arc::clone(&self.metrics),
            synced: Arc::default(),
        }
    }

    fn answers(&self) -> Answers {
        Answers {
            trust: self.keeper.trust(),
            metrics: Arc::clone(&self.metrics),
            board: Arc::clone(&self.board),
            conditions: Arc::clone(&self.conditions),
            builds: Arc::clone(&self.builds),
            statuses: Arc::clone(&self.statuses),
        }
    }

    /// Serves sidecars until the operator stops, leader or not.
    fn streams(&self, listener: TcpListener) -> impl Future<Output = ()> + Send + 'static {
        let settings = StreamSettings {
            trust_domain: self.settings.trust_domain.clone(),
            limits: StreamLimits::default(),
        };
        let neighbours = Neighbours {
            board: Arc::clone(&self.board),
            trust: self.keeper.trust(),
            metrics: Arc::clone(&self.metrics),
            clock: Arc::clone(&self.clock),
            stopping: self.stopping.clone(),
        };
        streams::serve(listener, settings, self.client.clone(), neighbours)
    }

    /// Answers the API server until the operator stops, leader or not.
    fn webhook(&self, listener: TcpListener) -> impl Future<Output = ()> + Send + 'static {
        let endpoint = Endpoint::new(
            "webhook",
            self.keeper.trust(),
            Arc::clone(&self.clock),
            Clients::Nobody,
            webhook::ALPN,
        );
        webhook::serve(
            listener,
            endpoint,
            self.client.clone(),
            self.settings.injector.clone(),
            self.metrics.webhook.clone(),
            self.stopping.clone(),
        )
    }

    async fn run(
        self,
        mut tasks: JoinSet<()>,
        mut serving: JoinSet<()>,
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
            // So do these.
            _ended = serving.join_next() => match *self.stopping.borrow() {
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
        if *self.stopping.borrow() {
            // They say goodbye, which takes a moment.
            while serving.join_next().await.is_some() {}
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

    /// Writes until it is dropped.
    async fn lead(&self) -> Result<(), Broken> {
        self.metrics.leading(true);
        let mut tasks = JoinSet::new();
        self.keep_trust(&mut tasks);
        let mut synced = self.board.subscribe_synced();
        if synced.wait_for(|synced| *synced).await.is_err() {
            return Err(Broken);
        }
        self.statuses.clear();
        let context = Arc::new(self.context());
        self.ask_for_everything();
        for _ in 0..WRITERS {
            tasks.spawn(work(
                Arc::clone(&context),
                Arc::clone(&self.statuses),
                Arc::clone(&self.metrics),
            ));
        }
        let events = Arc::clone(&context);
        tasks.spawn(async move { events.events.publish_posted().await });
        tasks.spawn(bypass::dial(
            Arc::clone(&self.board),
            Arc::clone(&context.dials),
            Arc::clone(&self.statuses),
        ));
        // None of them has an end; one that has one panicked.
        tasks.join_next().await;
        Err(Broken)
    }

    /// What a leader does for the certificate authority; it needs to know of
    /// no gateway.
    fn keep_trust(&self, tasks: &mut JoinSet<()>) {
        let keeper = Arc::clone(&self.keeper);
        let bundles = TrustBundles {
            client: self.client.clone(),
            own_namespace: self.settings.own_namespace.clone(),
            only: self.settings.namespace.clone(),
            trust: self.keeper.trust(),
            metrics: Arc::clone(&self.metrics),
            events: Events::new(self.client.clone(), &self.settings.identity),
            problems: Arc::clone(&self.bundle_problems),
            board: Arc::clone(&self.board),
            queue: Arc::clone(&self.statuses),
        };
        let webhook = CaBundle {
            client: self.client.clone(),
            name: self.settings.authority.webhook_configuration.clone(),
            trust: self.keeper.trust(),
        };
        tasks.spawn(async move { keeper.lead().await });
        tasks.spawn(async move { bundles.lead().await });
        tasks.spawn(async move { webhook.lead().await });
    }

    fn context(&self) -> Context {
        Context {
            client: self.client.clone(),
            board: Arc::clone(&self.board),
            statuses: Arc::clone(&self.statuses),
            events: Events::new(self.client.clone(), &self.settings.identity),
            clock: Arc::clone(&self.clock),
            policies: NetworkPolicies::new(
                self.client.clone(),
                self.settings.namespace.as_deref(),
                Arc::clone(&self.statuses),
            ),
            policy_notes: PolicyNotes::default(),
            bundle_problems: Arc::clone(&self.bundle_problems),
            dials: Arc::<Dials>::default(),
            tally: Tally::new(Arc::clone(&self.metrics)),
        }
    }

    /// Builds for ever, leader or not: any replica may be asked by a sidecar.
    fn building(&self) -> impl Future<Output = ()> + Send + 'static {
        let client = self.client.clone();
        let (board, builds) = (Arc::clone(&self.board), Arc::clone(&self.builds));
        let (statuses, metrics) = (Arc::clone(&self.statuses), Arc::clone(&self.metrics));
        let options = Options {
            allow_loopback: false,
            built_in_ca: true,
            trust_domain: self.settings.trust_domain.clone(),
        };
        let certificate_hosts = self.settings.certificate_hosts.clone();
        async move {
            let references =
                References::new(client.clone(), Arc::clone(&board), Arc::clone(&builds));
            let building = Arc::new(Building {
                board,
                references,
                statuses,
                options,
                certificate_hosts,
                account: account(&client).await,
            });
            let mut workers = JoinSet::new();
            for _ in 0..BUILDERS {
                let (building, builds) = (Arc::clone(&building), Arc::clone(&builds));
                workers.spawn(build_all(building, builds, Arc::clone(&metrics)));
            }
            // Workers have no end; one that has one panicked.
            workers.join_next().await;
        }
    }

    fn ask_for_everything(&self) {
        let (gateways, providers) = {
            let world = self.board.world();
            (world.gateways(), world.providers())
        };
        for key in gateways {
            self.statuses.add(Request::Gateway(key), Duration::ZERO);
        }
        for key in providers {
            self.statuses.add(Request::Provider(key), Duration::ZERO);
        }
    }
}

async fn account(client: &Client) -> Account {
    loop {
        match Account::ask(client.clone()).await {
            Ok(account) => return account,
            Err(error) => {
                warn!(error = %Chain(&error), "the API server does not say who this is");
            }
        }
        sleep(RETRY).await;
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

async fn build_all(building: Arc<Building>, builds: Arc<Queue<Key>>, metrics: Arc<Metrics>) {
    loop {
        let key = builds.next().await.request;
        metrics.built(build(&building, &key));
        builds.end(&key, Ended::Done);
        // A build does not wait for anything.
        tokio::task::yield_now().await;
    }
}

async fn work(context: Arc<Context>, statuses: Arc<Queue>, metrics: Arc<Metrics>) {
    loop {
        let Taken { request, asked } = statuses.next().await;
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
        if result == ReconcileResult::Written {
            metrics.status_lag(asked.elapsed());
        }
        statuses.end(&request, ended);
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
    /// Its ports are open from the start; without an authority they cannot
    /// show a certificate.
    fn is_ready(&self) -> bool {
        self.board.synced() && self.trust.borrow().is_some()
    }

    fn metrics(&self) -> String {
        let depth = self.builds.depth() + self.statuses.depth();
        self.metrics.queue_depth(depth);
        self.metrics.conditions_waiting(self.conditions.depth());
        self.metrics.render()
    }
}
