//! The steps that only the leader takes: what is known of an object goes into
//! its status.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::{Client, Resource as _};
use sidegate_api::gateway::McpGateway;
use sidegate_api::status::McpGatewayStatus;
use sidegate_config::Options;
use sidegate_policy::clock::Clock;

use super::build::AWAITED;
use super::status::{self, Known};
use super::update_status::{self, update_status};
use super::{ReconcileError, provider};
use crate::board::Board;
use crate::bypass::Dials;
use crate::events::Events;
use crate::key::Key;
use crate::metrics::ReconcileResult;
use crate::network_policies::{NetworkPolicies, PolicyState};
use crate::permission::Account;
use crate::queue::{Queue, Request};
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

/// Writes what there is to say about one object.
pub(crate) async fn reconcile(
    context: &Context,
    request: &Request,
) -> Result<ReconcileResult, ReconcileError> {
    match request {
        Request::Gateway(key) => gateway(context, key).await,
        Request::Provider(key) => provider::reconcile(context, key).await,
    }
}

async fn gateway(context: &Context, key: &Key) -> Result<ReconcileResult, ReconcileError> {
    let Some(known) = context.board.known_of(key) else {
        context.tally.forget(key);
        context.policy_notes.set(key, None);
        context.policies.forget(key);
        return Ok(ReconcileResult::Gone);
    };
    let object = Arc::clone(&known.view.object);
    let assessment = match known.assessment {
        Some(assessment) if assessment.uid == object.meta().uid => assessment,
        // The build asks again.
        Some(_) | None => return Ok(ReconcileResult::Waiting),
    };
    if known.unbuilt_for.is_some_and(|time| time < AWAITED) {
        return Ok(ReconcileResult::Waiting);
    }
    let notes = [
        context.bundle_problems.of(&key.namespace),
        context.policy_notes.of(key),
    ];
    let current = match &object.0 {
        Ok(gateway) => gateway.status.clone().unwrap_or_default(),
        Err(_) => update_status::read_gateway_status(context, key).await?,
    };
    let wanted = status::gateway(&Known {
        key,
        view: &known.view,
        findings: &assessment.findings,
        generation: assessment.generation,
        unbuilt: known.unbuilt_for.is_some(),
        answered: &context.dials.answered(key),
        notes: notes.into_iter().flatten().collect(),
    });
    context.tally.note(key, &wanted);
    let mut result = write(context, &object, &current, wanted).await?;
    // After the status, which does not wait for it.
    if let Ok(gateway) = &object.0 {
        let standing = Standing {
            is_conflicted: known.view.winner.is_some(),
            is_in_force: assessment.findings.accepted.is_ok() && known.view.namespace_enabled,
        };
        let state = network_policy(context, gateway, standing).await?;
        if state == PolicyState::Written && result == ReconcileResult::Unchanged {
            result = ReconcileResult::Written;
        }
        let note = note_of(&state);
        if context.policy_notes.set(key, note) {
            let again = Request::Gateway(key.clone());
            context.statuses.add(again, Duration::ZERO);
        }
    }
    Ok(result)
}

async fn write(
    context: &Context,
    object: &Arc<crate::world::SeenGateway>,
    current: &McpGatewayStatus,
    wanted: McpGatewayStatus,
) -> Result<ReconcileResult, ReconcileError> {
    let reference = object.object_ref(&());
    let remember = |written| context.board.world().gateway_written(object, written);
    update_status(
        context,
        object.as_ref(),
        &reference,
        current,
        wanted,
        remember,
    )
    .await
}

/// What a gateway's NetworkPolicy depends on.
#[derive(Clone, Copy)]
struct Standing {
    /// Another gateway has its pods.
    is_conflicted: bool,
    /// It is accepted, and its namespace allows injection.
    is_in_force: bool,
}

/// Keeps the gateway's NetworkPolicy.
async fn network_policy(
    context: &Context,
    gateway: &McpGateway,
    standing: Standing,
) -> Result<PolicyState, ReconcileError> {
    let policies = &context.policies;
    let Standing {
        is_conflicted,
        is_in_force,
    } = standing;
    Ok(match (is_conflicted, is_in_force) {
        (true, _) => policies.remove(gateway).await?,
        (false, true) => policies.apply(gateway).await?,
        // Pods that run already go on as they are.
        (false, false) => policies.keep(gateway).await?,
    })
}

/// What a person should know of a NetworkPolicy.
fn note_of(state: &PolicyState) -> Option<String> {
    match state {
        PolicyState::Foreign(_) | PolicyState::Decided(..) => Some(state.to_string()),
        PolicyState::Written | PolicyState::Unchanged => None,
    }
}

// === impl PolicyNotes ===

impl PolicyNotes {
    fn of(&self, gateway: &Key) -> Option<String> {
        self.lock().get(gateway).cloned()
    }

    /// Says whether it is news.
    fn set(&self, gateway: &Key, note: Option<String>) -> bool {
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
