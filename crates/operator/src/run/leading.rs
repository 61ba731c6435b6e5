//! What the replica that leads does: it writes.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::warn;

use super::Broken;
use super::parts::Parts;
use crate::bypass::{self, Dials};
use crate::ca_bundle::CaBundle;
use crate::chain::Chain;
use crate::events::Events;
use crate::metrics::{Metrics, ReconcileResult};
use crate::network_policies::NetworkPolicies;
use crate::permission::Account;
use crate::queue::{Ended, Queue, Request, Taken};
use crate::reconcile::{Context, PolicyNotes, provider_references, reconcile};
use crate::tally::Tally;
use crate::trust_bundles::TrustBundles;

/// Statuses that are written at a time: all of them wait for the API server.
const WRITERS: usize = 32;

// === impl Parts ===

impl Parts {
    /// Leads whenever it is this replica's turn. Ends only when something
    /// breaks.
    pub(super) async fn lead_again_and_again(&self) -> Result<(), Broken> {
        let mut leading = self.leading.clone();
        loop {
            if leading.wait_for(|leading| *leading).await.is_err() {
                return Err(Broken);
            }
            tokio::select! {
                ended = Box::pin(self.lead()) => return ended,
                _lost = leading.wait_for(|leading| !*leading) => {}
            }
            self.statuses.close();
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
        let account = self.account().await;
        self.statuses.open();
        let context = Arc::new(self.context(account));
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

    fn context(&self, account: Account) -> Context {
        Context {
            client: self.client.clone(),
            board: Arc::clone(&self.board),
            statuses: Arc::clone(&self.statuses),
            provider_references: provider_references(self.client.clone(), &self.statuses),
            options: self.options(),
            account,
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

async fn work(context: Arc<Context>, statuses: Arc<Queue>, metrics: Arc<Metrics>) {
    loop {
        let Taken { request, asked } = statuses.next().await;
        let started = Instant::now();
        let (result, ended) = match reconcile(&context, &request).await {
            Ok(result) => (result, ended_as(result)),
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

/// A write that met a conflict counts as one: it is tried again.
fn ended_as(result: ReconcileResult) -> Ended {
    match result {
        ReconcileResult::Written | ReconcileResult::Outdated => Ended::Wrote,
        ReconcileResult::Unchanged
        | ReconcileResult::Waiting
        | ReconcileResult::Gone
        | ReconcileResult::Failed => Ended::Done,
    }
}
