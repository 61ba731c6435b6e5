//! The steps that only the leader takes: what is known of an object goes into
//! its status.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::{Client, Resource as _};
use sidegate_api::gateway::McpGateway;
use sidegate_api::status::McpGatewayStatus;
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
use crate::queue::{Queue, Request};
use crate::tally::Tally;
use crate::trust_bundles::BundleProblems;

/// What reconciles share while this replica leads.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) board: Arc<Board>,
    pub(crate) statuses: Arc<Queue>,
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
    let result = write(context, &object, &current, wanted).await?;
    // After the status, which does not wait for it.
    if let Ok(gateway) = &object.0 {
        let note = network_policy(context, gateway, known.view.winner.is_some()).await?;
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

/// Keeps the gateway's NetworkPolicy. Gives what a person should know of it.
async fn network_policy(
    context: &Context,
    gateway: &McpGateway,
    is_conflicted: bool,
) -> Result<Option<String>, ReconcileError> {
    let state = match is_conflicted {
        true => context.policies.remove(gateway).await?,
        false => context.policies.apply(gateway).await?,
    };
    Ok(match state {
        PolicyState::Foreign(_) => Some(state.to_string()),
        PolicyState::Written | PolicyState::Unchanged => None,
    })
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
