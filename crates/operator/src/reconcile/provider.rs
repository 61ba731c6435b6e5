//! Providers. No part of the product uses one yet, and their statuses say so;
//! their Secrets are not read before something does.

use kube::Resource as _;
use sidegate_api::names::{condition, reason};
use sidegate_api::status::{LlmProviderStatus, UsedBy};

use super::ReconcileError;
use super::assess::Problem;
use super::conditions::{fails, unknown};
use super::update_status::{read_provider_status, update_status};
use super::write::Context;
use crate::key::Key;
use crate::metrics::ReconcileResult;

/// Most users that a status names.
const MAX_USERS: usize = 100;

pub(super) async fn reconcile(
    context: &Context,
    key: &Key,
) -> Result<ReconcileResult, ReconcileError> {
    let (object, users) = {
        let world = context.board.world();
        let Some(object) = world.provider(key) else {
            return Ok(ReconcileResult::Gone);
        };
        let users: Vec<_> = world.users_of(key).take(MAX_USERS).map(used_by).collect();
        (object, users)
    };
    let (problem, current) = match &object.0 {
        Ok(provider) => (unserved(), provider.status.clone().unwrap_or_default()),
        Err(invalid) => {
            let problem = Problem {
                reason: reason::INVALID,
                message: format!(
                    "the object does not fit this version of LlmProvider: {}",
                    invalid.error
                ),
            };
            (problem, read_provider_status(context, key).await?)
        }
    };
    let wanted = status(problem, object.meta().generation, users);
    let reference = object.object_ref(&());
    let remember = |written| context.board.world().provider_written(&object, written);
    update_status(
        context,
        object.as_ref(),
        &reference,
        &current,
        wanted,
        remember,
    )
    .await
}

fn unserved() -> Problem {
    Problem {
        reason: reason::UNSUPPORTED_VALUE,
        message: "model providers are not served by this version yet".to_owned(),
    }
}

fn used_by(gateway: &Key) -> UsedBy {
    UsedBy {
        namespace: gateway.namespace.to_string(),
        name: gateway.name.to_string(),
    }
}

fn status(problem: Problem, generation: Option<i64>, used_by: Vec<UsedBy>) -> LlmProviderStatus {
    LlmProviderStatus {
        observed_generation: generation,
        conditions: vec![
            fails(condition::ACCEPTED, problem.clone()),
            unknown(
                condition::RESOLVED_REFS,
                reason::PENDING,
                "what it refers to is not read before it is served",
            ),
            fails(condition::READY, problem),
        ],
        used_by,
    }
}
