//! What the steps share that only the leader takes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::Client;
use sidegate_config::Options;
use sidegate_policy::clock::Clock;

use crate::board::Board;
use crate::bypass::Dials;
use crate::events::Events;
use crate::key::Key;
use crate::network_policies::NetworkPolicies;
use crate::permission::Account;
use crate::queue::Queue;
use crate::references::References;
use crate::tally::Tally;
use crate::trust_bundles::BundleProblems;

/// What reconciles share while this replica leads.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) board: Arc<Board>,
    pub(crate) statuses: Arc<Queue>,
    /// What providers refer to.
    pub(crate) provider_references: References,
    /// What is valid in a cluster.
    pub(crate) options: Options,
    /// Who the operator is, for commands that grant it something.
    pub(crate) account: Account,
    pub(crate) events: Events,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) policies: NetworkPolicies,
    pub(crate) policy_notes: PolicyNotes,
    pub(crate) bundle_problems: Arc<BundleProblems>,
    pub(crate) dials: Arc<Dials>,
    pub(crate) tally: Tally,
}

/// What a person should know of a gateway's NetworkPolicy.
#[derive(Default)]
pub(crate) struct PolicyNotes(Mutex<HashMap<Key, String>>);

// === impl PolicyNotes ===

impl PolicyNotes {
    pub(super) fn of(&self, gateway: &Key) -> Option<String> {
        self.lock().get(gateway).cloned()
    }

    /// Says whether it is news.
    pub(super) fn set(&self, gateway: &Key, note: Option<String>) -> bool {
        let mut notes = self.lock();
        match note {
            Some(note) => notes.insert(gateway.clone(), note.clone()) != Some(note),
            None => notes.remove(gateway).is_some(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
