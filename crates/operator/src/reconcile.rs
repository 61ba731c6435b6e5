//! From an object to its status, in named steps.
//!
//! [`dereference`] collects what a gateway refers to; [`assess`] validates and
//! builds with the functions that the sidecar and the desk tool use;
//! [`update_status`] writes what was found. There is nothing yet that a step
//! between them would apply to the cluster: sidecars get their configuration
//! over a stream that does not exist yet, and until it does no gateway is said
//! to be programmed.

mod assess;
mod conditions;
mod dereference;
mod provider;
mod status;
mod update_status;

use std::sync::{Arc, Mutex, PoisonError};

use kube::{Client, Resource as _};
use sidegate_config::Options;
use sidegate_policy::clock::Clock;
use thiserror::Error;

use self::assess::assess;
use self::dereference::dereference;
use self::update_status::update_status;
use crate::events::Events;
use crate::key::Key;
use crate::metrics::ReconcileResult;
use crate::permission::Account;
use crate::queue::{Queue, Request};
use crate::references::References;
use crate::world::World;

/// What reconciles share.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) world: Arc<Mutex<World>>,
    pub(crate) references: References,
    pub(crate) queue: Arc<Queue>,
    pub(crate) events: Events,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) options: Options,
    /// Who the operator is, for commands that grant it something.
    pub(crate) account: Account,
}

/// Why a reconcile is tried again.
#[derive(Debug, Error)]
pub(crate) enum ReconcileError {
    /// A status was not written.
    #[error("the status cannot be written: {0}")]
    UpdateStatus(#[source] kube::Error),
    /// An object that does not fit its type was not read.
    #[error("the object cannot be read: {0}")]
    Read(#[source] kube::Error),
    /// The API server did not answer in time.
    #[error("the API server does not answer")]
    Timeout,
}

/// Reconciles one object.
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
    let Some(view) = context.world().view(key) else {
        context.references.track(key, Default::default());
        return Ok(ReconcileResult::Gone);
    };
    let findings = match &view.object.0 {
        Ok(gateway) => {
            let Some(dereferenced) = dereference(&context.references, key, &gateway.spec) else {
                return Ok(ReconcileResult::Waiting);
            };
            assess(context, key, &dereferenced)
        }
        Err(invalid) => assess::unreadable(invalid),
    };
    let current = match &view.object.0 {
        Ok(gateway) => gateway.status.clone().unwrap_or_default(),
        Err(_) => update_status::read_gateway_status(context, key).await?,
    };
    let generation = view.object.meta().generation;
    let wanted = status::gateway(key, &view, findings, generation);
    let reference = view.object.object_ref(&());
    let remember = |written| context.world().gateway_written(&view.object, written);
    let object = view.object.as_ref();
    update_status(context, object, &reference, &current, wanted, remember).await
}

// === impl Context ===

impl Context {
    pub(crate) fn world(&self) -> std::sync::MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Request {
    /// The kind, for metrics and logs.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Gateway(_) => sidegate_api::names::GATEWAY_KIND,
            Self::Provider(_) => sidegate_api::names::PROVIDER_KIND,
        }
    }

    /// The object.
    pub(crate) fn key(&self) -> &Key {
        match self {
            Self::Gateway(key) | Self::Provider(key) => key,
        }
    }
}
