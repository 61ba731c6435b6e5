//! The injector: what a pod needs to get its sidecar, as a JSON patch.
//!
//! Pure: a pod as it was admitted, its gateway and the operator's settings go
//! in, patch operations come out. There is no client and no I/O, so nothing that
//! a pod says can make the webhook talk to anybody.
//!
//! The pod stays raw JSON. A typed pod would drop fields that are newer than
//! the type when it is written again; a patch touches only what it names.
//!
//! Injecting twice changes nothing: a pod that has its sidecar is compared with
//! what it would get, and refused when the two differ. What the API server and
//! other webhooks add by themselves (defaults, further variables and mounts) is
//! no difference.

pub mod admission;
mod annotations;
mod compare;
mod error;
mod identity;
mod names;
mod overrides;
mod patch;
mod pod;
pub mod policy;
mod ports;
mod present;
mod quantity;
mod render;
mod rewrite;
mod server;
mod settings;
mod strict_json;

use std::sync::Arc;

use serde_json::Value;
use sidegate_api::McpGatewaySpec;

pub use error::{InjectError, Unguardable};
pub use identity::{inject_identity, wants_identity};
pub use names::{
    BINARY, CPU_ANNOTATION, DRAIN_TIME_ANNOTATION, HOLD, HOLD_SOCKET, IDENTITY, IDENTITY_DIR,
    INJECTED_ANNOTATION, LOG_LEVEL_ANNOTATION, MEMORY_ANNOTATION, SIDECAR, STATE_DIR, TOKEN_FILE,
    TRUST_DIR,
};
pub use overrides::InvalidOverride;
pub use patch::{Operation, Pointer};
pub use quantity::{Cpu, InvalidQuantity, Memory};
pub use settings::{ImagePullPolicy, InjectorSettings, LogLevel, SidecarResources};

use overrides::{Overrides, Wearer};
use patch::Patch;
use pod::Pod;
use ports::GatewayPorts;
use present::Present;
use render::Rendered;

/// The gateway of a pod.
#[derive(Debug, Clone, PartialEq)]
pub struct Gateway {
    /// Its namespace, which is the pod's too.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The uid that tells it from an earlier gateway of the same name.
    pub uid: String,
    /// What it asks for.
    pub spec: Arc<McpGatewaySpec>,
}

/// What has to be done to a pod.
#[derive(Debug, Clone, PartialEq)]
pub struct Injection {
    /// RFC 6902 operations, in order. Empty when the pod has its sidecar.
    pub patch: Vec<Operation>,
    /// What a person should know, for the one who creates the pod.
    pub warnings: Vec<String>,
}

/// Makes the patch that gives a pod the sidecar of its gateway.
///
/// # Errors
/// When a sidecar could not guard the pod, or the pod has something in its
/// place; the error says what to change.
pub fn inject(
    pod: &Value,
    gateway: &Gateway,
    settings: &InjectorSettings,
) -> Result<Injection, InjectError> {
    let pod = Pod::read(pod)?;
    pod.refuse_unguardable(settings.user_id)?;
    let ports = GatewayPorts::of(&gateway.spec);
    ports.refuse_taken(&pod)?;
    let overrides = Overrides::read(&pod.annotations, pod.grace_seconds(), Wearer::Guarded)?;
    let present = Present::find(&pod, &ports)?;

    let mut patch = Patch::default();
    let mut warnings = pod.warnings();
    let known = present.as_ref().map(|it| it.probes.clone());
    let probes = rewrite::probes(
        &pod,
        &ports,
        known.unwrap_or_default(),
        &mut patch,
        &mut warnings,
    )?;
    let drain = overrides.drain(settings, pod.grace_seconds());
    server::prepare(&pod, &gateway.spec, drain, &mut patch, &mut warnings);

    let rendered = Rendered::new(settings, &overrides, &ports, &probes, drain)?;
    match present {
        None => rendered.add_to(&pod, &mut patch),
        Some(present) => present.keep(&pod, &rendered, &probes, &mut patch)?,
    }
    annotations::annotate(&pod, &gateway.uid, &rendered, &mut patch);
    Ok(Injection {
        patch: patch.operations,
        warnings,
    })
}

#[cfg(test)]
mod tests;
