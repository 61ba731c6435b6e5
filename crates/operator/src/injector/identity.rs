//! An identity for a pod that no gateway selects: callers without a sidecar.
//!
//! A pod that asks for it by an annotation gets a small native sidecar that
//! keeps `tls.crt`, `tls.key` and `ca.crt` in a volume in memory, which every
//! other container has read-only. Whoever may create the pod may use its
//! service account already, so nothing is given away by the key.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sidegate_api::names::{HEALTH_PORT, IDENTITY_ANNOTATION};

use super::annotations;
use super::error::InjectError;
use super::names::{
    CONTAINERS, IDENTITY, IDENTITY_DIR, IDENTITY_VOLUME, INJECTED_ANNOTATION, TOKEN_VOLUME,
    TRUST_VOLUME,
};
use super::overrides::{Overrides, Wearer};
use super::patch::Patch;
use super::pod::{Container, ContainerKind, Pod, text};
use super::ports::GatewayPorts;
use super::present::{taken, verify};
use super::render::Rendered;
use super::{Injection, InjectorSettings};

/// What stands in the place of a gateway's uid in the annotation.
const OWNER: &str = "identity";
const VOLUMES: [&str; 3] = [TOKEN_VOLUME, TRUST_VOLUME, IDENTITY_VOLUME];

/// Whether a pod asks for an identity. One that does not is not looked at any
/// further, however odd it is.
#[must_use]
pub fn wants_identity(pod: &Value) -> bool {
    let annotations = pod.get("metadata").and_then(|it| it.get("annotations"));
    annotations.is_some_and(|it| it.get(IDENTITY_ANNOTATION).is_some())
}

/// Makes the patch that gives a pod without a gateway its certificate.
///
/// # Errors
/// The pod cannot have one, or has something in its place; the error says what
/// to change.
pub fn inject_identity(pod: &Value, settings: &InjectorSettings) -> Result<Injection, InjectError> {
    let pod = Pod::read(pod)?;
    if let Some(kind) = pod.kind_without_sidecars() {
        return Err(InjectError::NoIdentity(kind));
    }
    pod.refuse_foreign_mounts()?;
    ports().refuse_taken(&pod)?;
    let overrides = Overrides::read(&pod.annotations, pod.grace_seconds(), Wearer::Caller)?;
    let rendered = Rendered::identity(settings, &overrides);
    let present = is_present(&pod)?;

    let mut patch = Patch::default();
    for container in pod.others().filter(|it| !has_files(it)) {
        let mount = json!({ "name": IDENTITY_VOLUME, "mountPath": IDENTITY_DIR, "readOnly": true });
        let (place, object) = (&container.place, container.object);
        patch.append(place, object, "volumeMounts", vec![mount]);
    }
    match present {
        true => verify(&pod, &rendered)?,
        false => rendered.add_to(&pod, &mut patch),
    }
    annotations::annotate(&pod, OWNER, &rendered, &mut patch);
    Ok(Injection {
        patch: patch.operations,
        warnings: Vec::new(),
    })
}

/// It listens for the kubelet, and for nobody else.
fn ports() -> GatewayPorts {
    GatewayPorts {
        guarded: BTreeSet::new(),
        held: BTreeSet::new(),
        own: BTreeSet::from([HEALTH_PORT]),
    }
}

/// Whether the pod has its sidecar. Whatever else has a name of ours is
/// refused.
fn is_present(pod: &Pod<'_>) -> Result<bool, InjectError> {
    let injected = pod.annotations.contains_key(INJECTED_ANNOTATION);
    let mut present = false;
    for container in pod.all().filter(|it| CONTAINERS.contains(&it.name)) {
        let ours = injected && container.name == IDENTITY && container.kind != ContainerKind::App;
        if !ours || present {
            return Err(taken("container", container.name));
        }
        present = true;
    }
    let leftover = VOLUMES.into_iter().find(|it| pod.volume(it).is_some());
    match leftover {
        Some(volume) if !present => Err(taken("volume", volume)),
        _ => Ok(present),
    }
}

/// A container may have the files elsewhere, as its program wants them.
fn has_files(container: &Container<'_>) -> bool {
    let mut mounts = container.items("volumeMounts");
    mounts.any(|it| text(it, "name") == Some(IDENTITY_VOLUME))
}
