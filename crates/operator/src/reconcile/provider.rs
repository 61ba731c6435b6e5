//! Providers: checked as `sidegate check` does it, and told the truth. No part
//! of the product sends requests to one yet, so none is ever ready.

use std::sync::Arc;
use std::time::Duration;

use kube::{Client, Resource as _};
use sidegate_api::names::{condition, reason};
use sidegate_api::status::{Condition, LlmProviderStatus, UsedBy};
use sidegate_config::{Options, ValidatedProvider, Violation, validate_provider};

use super::ReconcileError;
use super::assess::{Problem, accepted, resolved};
use super::conditions::{fails, holds, unknown};
use super::context::Context;
use super::dereference::{Dereferenced, dereference_provider};
use super::update_status::{read_provider_status, update_status};
use crate::key::Key;
use crate::metrics::ReconcileResult;
use crate::permission::Account;
use crate::queue::{Queue, Request};
use crate::references::References;

/// Most users that a status names.
const MAX_USERS: usize = 100;

/// What was found about a provider.
struct Findings {
    accepted: Condition,
    resolved: Condition,
}

/// What providers refer to: a change of it asks for their status. Only who
/// writes statuses reads it.
pub(crate) fn references(client: Client, statuses: &Arc<Queue>) -> References {
    let statuses = Arc::clone(statuses);
    References::new(client, move |providers| {
        for provider in providers {
            statuses.add(Request::Provider(provider), Duration::ZERO);
        }
    })
}

pub(super) async fn reconcile(
    context: &Context,
    key: &Key,
) -> Result<ReconcileResult, ReconcileError> {
    let (object, users) = {
        let world = context.board.world();
        let Some(object) = world.provider(key) else {
            // Also the values of Secrets are forgotten.
            context.provider_references.track(key, Default::default());
            return Ok(ReconcileResult::Gone);
        };
        let users: Vec<_> = world.users_of(key).take(MAX_USERS).map(used_by).collect();
        (object, users)
    };
    let (findings, current) = match &object.0 {
        Ok(provider) => {
            let references = &context.provider_references;
            let Some(read) = dereference_provider(references, key, &provider.spec) else {
                // The answer asks again.
                return Ok(ReconcileResult::Waiting);
            };
            let findings = assess(&read, &context.options, &context.account);
            (findings, provider.status.clone().unwrap_or_default())
        }
        Err(invalid) => {
            context.provider_references.track(key, Default::default());
            let message = format!(
                "the object does not fit this version of LlmProvider: {}",
                invalid.error
            );
            (
                unreadable(message),
                read_provider_status(context, key).await?,
            )
        }
    };
    let wanted = status(findings, object.meta().generation, users);
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

/// Validates the one provider of some documents.
fn assess(read: &Dereferenced, options: &Options, account: &Account) -> Findings {
    let Dereferenced {
        documents,
        versions: _,
        missing,
    } = read;
    let found = documents
        .providers
        .iter()
        .map(|provider| validate_provider(documents, provider, options));
    let mut valid: Vec<ValidatedProvider> = Vec::new();
    let mut violations: Vec<Violation> = Vec::new();
    for found in found {
        match found {
            Ok(provider) => valid.push(provider),
            Err(found) => violations.extend(found),
        }
    }
    let accepted = match accepted(&violations) {
        Ok(()) => holds(condition::ACCEPTED, reason::ACCEPTED, "it is valid"),
        Err(problem) => fails(condition::ACCEPTED, problem),
    };
    let resolved = match resolved(&violations, missing, |it| account.grant(&it.reference)) {
        Ok(()) => holds(
            condition::RESOLVED_REFS,
            reason::RESOLVED_REFS,
            "everything that it refers to can be used",
        ),
        Err(problem) => fails(condition::RESOLVED_REFS, problem),
    };
    Findings { accepted, resolved }
}

fn unreadable(message: String) -> Findings {
    let problem = Problem {
        reason: reason::INVALID,
        message,
    };
    Findings {
        accepted: fails(condition::ACCEPTED, problem),
        resolved: unknown(
            condition::RESOLVED_REFS,
            reason::PENDING,
            "what it refers to is looked at once it can be read",
        ),
    }
}

fn used_by(gateway: &Key) -> UsedBy {
    UsedBy {
        namespace: gateway.namespace.to_string(),
        name: gateway.name.to_string(),
    }
}

fn status(findings: Findings, generation: Option<i64>, used_by: Vec<UsedBy>) -> LlmProviderStatus {
    let Findings { accepted, resolved } = findings;
    let unserved = Problem {
        reason: reason::UNSUPPORTED_VALUE,
        message: "this version does not send requests to model providers yet, so no gateway can \
                  use it"
            .to_owned(),
    };
    LlmProviderStatus {
        observed_generation: generation,
        conditions: vec![accepted, resolved, fails(condition::READY, unserved)],
        used_by,
    }
}
