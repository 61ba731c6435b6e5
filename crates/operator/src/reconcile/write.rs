//! The steps that only the leader takes: what is known of an object goes into
//! its status.

use std::sync::Arc;
use std::time::Duration;

use kube::Resource as _;
use sidegate_api::gateway::McpGateway;
use sidegate_api::status::McpGatewayStatus;

use super::build::AWAITED;
use super::context::Context;
use super::status::{self, Known};
use super::update_status::{self, update_status};
use super::{ReconcileError, provider};
use crate::key::Key;
use crate::metrics::ReconcileResult;
use crate::network_policies::{Guarded, PolicyState};
use crate::queue::Request;

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
            has_no_pods: known.view.winner.is_some()
                && known.view.pods.iter().all(|pod| pod.had_by.is_some()),
            is_in_force: assessment.findings.accepted.is_ok() && known.view.namespace_enabled,
        };
        let older = context.board.world().older_than(key);
        let guarded = context.policies.guarded(gateway, &older);
        let state = network_policy(context, gateway, &guarded, standing).await?;
        if state == PolicyState::Written && result == ReconcileResult::Unchanged {
            result = ReconcileResult::Written;
        }
        let note = note_of(&state).or_else(|| guarded.note(gateway));
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
    /// Other gateways have all of its pods.
    has_no_pods: bool,
    /// It is accepted, and its namespace allows injection.
    is_in_force: bool,
}

/// Keeps the gateway's NetworkPolicy.
async fn network_policy(
    context: &Context,
    gateway: &McpGateway,
    guarded: &Guarded,
    standing: Standing,
) -> Result<PolicyState, ReconcileError> {
    let policies = &context.policies;
    let Standing {
        has_no_pods,
        is_in_force,
    } = standing;
    Ok(match (has_no_pods, is_in_force) {
        (true, _) => policies.remove(gateway).await?,
        (false, true) => policies.apply(gateway, guarded).await?,
        // Pods that run already go on as they are.
        (false, false) => policies.keep(gateway, guarded).await?,
    })
}

/// What a person should know of a NetworkPolicy.
fn note_of(state: &PolicyState) -> Option<String> {
    match state {
        PolicyState::Foreign(_) | PolicyState::Decided(..) | PolicyState::Overlaps(_) => {
            Some(state.to_string())
        }
        PolicyState::Written | PolicyState::Unchanged => None,
    }
}
