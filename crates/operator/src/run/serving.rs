//! What every replica does, leader or not: it watches, builds, and answers
//! sidecars, the API server and probes.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::warn;

use super::parts::Parts;
use crate::authority::{Clients, Endpoint, TrustReceiver};
use crate::board::Board;
use crate::catch_up::catch_up;
use crate::chain::Chain;
use crate::health::{self, Health};
use crate::key::Key;
use crate::metrics::Metrics;
use crate::permission::Account;
use crate::pod_condition::{self, PodConditions};
use crate::queue::{Ended, Queue};
use crate::reconcile::{Building, build, references};
use crate::streams::{self, Neighbours, StreamLimits, StreamSettings};
use crate::watching::Watching;
use crate::webhook;

/// Gateways that are built at a time; that is work for a processor.
const BUILDERS: usize = 4;
/// Namespaces that are read at a time, because a sidecar knows more.
const READERS: usize = 4;
const RETRY: Duration = Duration::from_secs(2);

struct Answers {
    trust: TrustReceiver,
    metrics: Arc<Metrics>,
    board: Arc<Board>,
    conditions: Arc<PodConditions>,
    builds: Arc<Queue<Key>>,
    statuses: Arc<Queue>,
}

// === impl Parts ===

impl Parts {
    /// Starts what has no end.
    pub(super) fn start(&self, health: TcpListener) -> JoinSet<()> {
        let mut tasks = self.watching().start();
        tasks.spawn(health::serve(health, Arc::new(self.answers())));
        tasks.spawn(self.building());
        let keeper = Arc::clone(&self.keeper);
        tasks.spawn(async move { keeper.follow().await });
        tasks.spawn(pod_condition::write(
            self.client.clone(),
            Arc::clone(&self.board),
            Arc::clone(&self.conditions),
            Arc::clone(&self.clock),
        ));
        let board = Arc::clone(&self.board);
        tasks.spawn(async move { board.retell().await });
        for _ in 0..READERS {
            tasks.spawn(catch_up(self.client.clone(), Arc::clone(&self.board)));
        }
        tasks
    }

    /// Starts what ends by itself once the operator stops.
    pub(super) fn serve(&self, streams: TcpListener, reviews: TcpListener) -> JoinSet<()> {
        let mut serving = JoinSet::new();
        serving.spawn(self.streams(streams));
        serving.spawn(self.webhook(reviews));
        serving
    }

    /// Who the operator is to the API server; it is asked once.
    pub(super) async fn account(&self) -> Account {
        let account = self.account.get_or_init(|| ask(&self.client));
        account.await.clone()
    }

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

    /// Builds for ever, leader or not: any replica may be asked by a sidecar.
    fn building(&self) -> impl Future<Output = ()> + Send + 'static {
        let client = self.client.clone();
        let (board, builds) = (Arc::clone(&self.board), Arc::clone(&self.builds));
        let (statuses, metrics) = (Arc::clone(&self.statuses), Arc::clone(&self.metrics));
        let options = self.options();
        let certificate_hosts = self.settings.certificate_hosts.clone();
        let account = Arc::clone(&self.account);
        async move {
            let references = references(client.clone(), &board, &builds);
            let building = Arc::new(Building {
                board,
                references,
                statuses,
                options,
                certificate_hosts,
                account: account.get_or_init(|| ask(&client)).await.clone(),
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
}

/// Who the operator is to the API server.
async fn ask(client: &Client) -> Account {
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

async fn build_all(building: Arc<Building>, builds: Arc<Queue<Key>>, metrics: Arc<Metrics>) {
    loop {
        let key = builds.next().await.request;
        metrics.built(build(&building, &key));
        builds.end(&key, Ended::Done);
        // A build does not wait for anything.
        tokio::task::yield_now().await;
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
