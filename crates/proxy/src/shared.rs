//! What lives as long as the sidecar: everything that a reload must not reset.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use sidegate_policy::clock::Clock;
use sidegate_telemetry::audit::AuditLog;
use sidegate_telemetry::metrics::Metrics;

use crate::drain::Drain;
use crate::held::{Buffered, InProgress};
use crate::identity::IssuedIdentity;
use crate::runtime::{BuildOptions, Runtime, Surroundings};
use crate::session::SessionTable;
use crate::task::TaskTable;
use crate::upstream::pool::Pools;

/// The state that all connections share.
///
/// It holds no configuration of its own: limits are read from the [`Runtime`]
/// that a request started with.
pub struct Shared {
    /// The configuration in force; none until the first one was accepted.
    pub runtime: ArcSwapOption<Runtime>,
    /// What the built-in authority gave this pod; none without a control plane.
    pub identity: ArcSwapOption<IssuedIdentity>,
    /// Counts configurations in force, so that long streams see a change.
    pub generation: tokio::sync::watch::Sender<u64>,
    /// The metric registry.
    pub metrics: Arc<Metrics>,
    /// Where decisions are written.
    pub audit: Arc<AuditLog>,
    /// The clock of every check.
    pub clock: Arc<dyn Clock>,
    /// Whether the sidecar is stopping.
    pub drain: Arc<Drain>,
    pub(crate) sessions: SessionTable,
    pub(crate) tasks: TaskTable,
    pub(crate) pools: Pools,
    pub(crate) buffered: Arc<Buffered>,
    pub(crate) in_progress: Arc<InProgress>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    /// Shared state without a configuration.
    #[must_use]
    pub fn new(
        metrics: Arc<Metrics>,
        audit: Arc<AuditLog>,
        clock: Arc<dyn Clock>,
        drain: Arc<Drain>,
    ) -> Arc<Self> {
        Arc::new(Self {
            runtime: ArcSwapOption::empty(),
            identity: ArcSwapOption::empty(),
            generation: tokio::sync::watch::Sender::new(0),
            metrics,
            audit,
            clock,
            drain,
            sessions: SessionTable::default(),
            tasks: TaskTable::default(),
            pools: Pools::default(),
            buffered: Arc::default(),
            in_progress: Arc::new(InProgress::new()),
        })
    }

    /// What a configuration is built with.
    #[must_use]
    pub fn surroundings(&self, options: BuildOptions) -> Surroundings<'_> {
        Surroundings {
            options,
            identity: self.identity.load_full(),
            clock: &self.clock,
            metrics: &self.metrics,
            pools: &self.pools,
        }
    }

    /// Puts a configuration in force for every request that starts from now
    /// on, and has open streams decided again.
    pub fn install(&self, runtime: Arc<Runtime>) {
        self.runtime.store(Some(runtime));
        self.generation.send_modify(|generation| *generation += 1);
    }

    /// Leaves nothing in force: every request is refused.
    pub fn clear(&self) {
        self.runtime.store(None);
        self.generation.send_modify(|generation| *generation += 1);
    }
}
