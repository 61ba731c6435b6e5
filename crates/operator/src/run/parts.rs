//! What an operator is made of, and how it ends.

use std::sync::Arc;

use kube::Client;
use sidegate_config::Options;
use sidegate_policy::clock::{Clock, SystemClock};
use tokio::sync::{OnceCell, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::{Broken, Settings};
use crate::authority::Keeper;
use crate::board::{Board, Naming};
use crate::key::Key;
use crate::leader::Election;
use crate::metrics::Metrics;
use crate::permission::Account;
use crate::pod_condition::PodConditions;
use crate::queue::Queue;
use crate::trust_bundles::BundleProblems;

/// What the parts share.
pub(super) struct Parts {
    pub(super) client: Client,
    pub(super) settings: Settings,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) board: Arc<Board>,
    pub(super) conditions: Arc<PodConditions>,
    /// What is to be built, on every replica.
    pub(super) builds: Arc<Queue<Key>>,
    /// What is to be written, while this replica leads.
    pub(super) statuses: Arc<Queue>,
    pub(super) keeper: Arc<Keeper>,
    pub(super) bundle_problems: Arc<BundleProblems>,
    /// Who the operator is to the API server, once that is asked.
    pub(super) account: Arc<OnceCell<Account>>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) leading: watch::Receiver<bool>,
    pub(super) leading_tx: Arc<watch::Sender<bool>>,
    pub(super) stopping: watch::Receiver<bool>,
}

/// A task that ends with what holds it.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

// === impl Parts ===

impl Parts {
    pub(super) fn new(client: Client, settings: Settings, stopping: watch::Receiver<bool>) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let metrics = Arc::new(Metrics::new(Arc::clone(&clock)));
        let conditions = Arc::<PodConditions>::default();
        let naming = Naming {
            cluster_domain: settings.cluster_domain.clone(),
        };
        let board = Arc::new(Board::new(naming, Arc::clone(&conditions)));
        let (leading_tx, leading) = watch::channel(settings.lease.is_none());
        let keeper = Arc::new(Keeper::new(
            client.clone(),
            settings.authority.clone(),
            &settings.identity,
            Arc::clone(&metrics),
        ));
        Self {
            client,
            settings,
            clock,
            board,
            conditions,
            builds: Arc::default(),
            statuses: Arc::new(Queue::closed()),
            keeper,
            bundle_problems: Arc::default(),
            account: Arc::default(),
            metrics,
            leading,
            leading_tx: Arc::new(leading_tx),
            stopping,
        }
    }

    /// What is valid in a cluster.
    pub(super) fn options(&self) -> Options {
        Options {
            allow_loopback: false,
            built_in_ca: true,
            trust_domain: self.settings.trust_domain.clone(),
        }
    }

    /// Takes part in the election, if there is one.
    pub(super) fn elect(&self) -> Option<JoinHandle<()>> {
        let lease = self.settings.lease.clone()?;
        let election = Election::new(self.client.clone(), lease);
        let (leading, stopping) = (Arc::clone(&self.leading_tx), self.stopping.clone());
        Some(tokio::spawn(election.run(leading, stopping)))
    }

    pub(super) async fn run(
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
}

async fn ended(election: &mut Option<AbortOnDrop>) {
    match election {
        Some(AbortOnDrop(task)) => {
            let _ended = task.await;
        }
        None => std::future::pending().await,
    }
}
