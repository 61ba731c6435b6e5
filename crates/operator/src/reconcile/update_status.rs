//! The last step: a status is written when it says something new.

use std::fmt::Debug;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::DeserializeGuard;
use kube::{Api, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sidegate_api::gateway::McpGateway;
use sidegate_api::provider::LlmProvider;
use sidegate_api::status::{Condition, LlmProviderStatus, McpGatewayStatus};
use tokio::time::timeout;
use tracing::info;

use super::ReconcileError;
use super::conditions::{complete, notice_of_servers, notices};
use super::context::Context;
use crate::events::{CONTROLLER, Notice};
use crate::key::Key;
use crate::metrics::ReconcileResult;

/// The owner of every field that the operator writes.
const FIELD_MANAGER: &str = CONTROLLER;
const PATIENCE: Duration = Duration::from_secs(10);
/// A status with conditions.
pub(super) trait Status: Clone + PartialEq + Serialize {
    fn conditions(&self) -> &[Condition];
    fn conditions_mut(&mut self) -> &mut Vec<Condition>;
    fn generation(&self) -> Option<i64>;

    /// What a person should know that no condition says by itself.
    fn further_notice(&self, before: &Self) -> Option<Notice>;
}

/// Writes the status of an object if it differs from `current`, gives what the
/// object became to `remember`, and then tells people. Says whether it wrote.
pub(super) async fn update_status<K, S>(
    context: &Context,
    object: &DeserializeGuard<K>,
    reference: &ObjectReference,
    current: &S,
    mut wanted: S,
    remember: impl FnOnce(DeserializeGuard<K>),
) -> Result<ReconcileResult, ReconcileError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug,
    K: DeserializeOwned,
    S: Status,
{
    let generation = wanted.generation();
    let now = context.clock.unix_seconds();
    complete(
        current.conditions(),
        wanted.conditions_mut(),
        generation,
        now,
    );
    if wanted == *current {
        return Ok(ReconcileResult::Unchanged);
    }
    let key = Key::of(object);
    let api: Api<DeserializeGuard<K>> = Api::namespaced(context.client.clone(), &key.namespace);
    let body = body(object, &wanted);
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let patch = Patch::Apply(&body);
    let patched = timeout(PATIENCE, api.patch_status(&key.name, &params, &patch));
    let written = match patched.await {
        Ok(Ok(written)) => written,
        // It changed or went while it was reconciled: its watch asks again.
        Ok(Err(kube::Error::Api(status))) if status.is_conflict() || status.is_not_found() => {
            return Ok(ReconcileResult::Outdated);
        }
        Ok(Err(error)) => return Err(ReconcileError::UpdateStatus(error)),
        Err(_) => return Err(ReconcileError::Timeout),
    };
    // At once, before its watch tells the same.
    remember(written);
    let kind = K::kind(&());
    for it in wanted.conditions() {
        // What did not change was said before.
        if !current.conditions().contains(it) {
            info!(
                kind = %kind, object = %key, condition = it.condition_type, status = ?it.status,
                reason = it.reason, "status written"
            );
        }
    }
    let news = notices(current.conditions(), wanted.conditions());
    for notice in news.into_iter().chain(wanted.further_notice(current)) {
        context.events.post(reference, notice);
    }
    Ok(ReconcileResult::Written)
}

/// The status as a server-side apply. With uid and resourceVersion it is about
/// the very version that was reconciled: neither a successor of the same name
/// nor a newer version gets a status that is not its own.
fn body<K>(object: &DeserializeGuard<K>, status: &impl Serialize) -> Value
where
    K: Resource<DynamicType = ()>,
{
    let meta = object.meta();
    json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {
            "namespace": meta.namespace,
            "name": meta.name,
            "uid": meta.uid,
            "resourceVersion": meta.resource_version,
        },
        "status": status,
    })
}

/// The status of a gateway that does not fit its type, as far as it is one.
pub(super) async fn read_gateway_status(
    context: &Context,
    key: &Key,
) -> Result<McpGatewayStatus, ReconcileError> {
    let status = read_status::<McpGateway>(context, key).await?;
    Ok(serde_json::from_value(status).unwrap_or_default())
}

/// The status of a provider that does not fit its type, as far as it is one.
pub(super) async fn read_provider_status(
    context: &Context,
    key: &Key,
) -> Result<LlmProviderStatus, ReconcileError> {
    let status = read_status::<LlmProvider>(context, key).await?;
    Ok(serde_json::from_value(status).unwrap_or_default())
}

async fn read_status<K: Resource<DynamicType = ()>>(
    context: &Context,
    key: &Key,
) -> Result<Value, ReconcileError> {
    let resource = kube::core::ApiResource::erase::<K>(&());
    let client = context.client.clone();
    let api: Api<DynamicObject> = Api::namespaced_with(client, &key.namespace, &resource);
    let object = match timeout(PATIENCE, api.get_opt(&key.name)).await {
        Ok(Ok(object)) => object,
        Ok(Err(error)) => return Err(ReconcileError::Read(error)),
        Err(_) => return Err(ReconcileError::Timeout),
    };
    let status = object.and_then(|mut object| object.data.get_mut("status").map(Value::take));
    Ok(status.unwrap_or_else(|| json!({})))
}

// === impl Status ===

impl Status for McpGatewayStatus {
    fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    fn conditions_mut(&mut self) -> &mut Vec<Condition> {
        &mut self.conditions
    }

    fn generation(&self) -> Option<i64> {
        self.observed_generation
    }

    fn further_notice(&self, before: &Self) -> Option<Notice> {
        notice_of_servers(&before.failing, &self.failing)
    }
}

impl Status for LlmProviderStatus {
    fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    fn conditions_mut(&mut self) -> &mut Vec<Condition> {
        &mut self.conditions
    }

    fn generation(&self) -> Option<i64> {
        self.observed_generation
    }

    fn further_notice(&self, _before: &Self) -> Option<Notice> {
        None
    }
}
