//! From an object to what its pods enforce, and to its status.
//!
//! Every replica builds: [`dereference`] collects what a gateway refers to,
//! [`assess`] validates and builds with the functions that the sidecar and the
//! desk tool use, and the board tells the pods that are followed here. Only
//! what changed is built.
//!
//! Only the leader writes: [`status`] says what is known, as a function, and
//! [`update_status`] writes it when it says something new.

mod assess;
mod build;
mod certificate_hosts;
mod conditions;
mod context;
mod dereference;
mod provider;
mod status;
mod update_status;
mod write;

use thiserror::Error;

use crate::network_policies::PolicyError;
use crate::queue::Request;

pub(crate) use self::assess::Findings;
pub(crate) use self::build::{Building, build, references};
pub(crate) use self::context::{Context, PolicyNotes};
pub(crate) use self::provider::references as provider_references;
pub(crate) use self::write::reconcile;

/// Why a reconcile is tried again.
#[derive(Debug, Error)]
pub(crate) enum ReconcileError {
    /// A status was not written.
    #[error("the status cannot be written: {0}")]
    UpdateStatus(#[source] kube::Error),
    /// An object that does not fit its type was not read.
    #[error("the object cannot be read: {0}")]
    Read(#[source] kube::Error),
    /// A NetworkPolicy was not written.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The API server did not answer in time.
    #[error("the API server does not answer")]
    Timeout,
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
    pub(crate) fn key(&self) -> &crate::key::Key {
        match self {
            Self::Gateway(key) | Self::Provider(key) => key,
        }
    }
}
