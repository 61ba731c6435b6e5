//! What an injected pod says about itself.

use serde_json::Value;

use super::names::{DEFAULT_CONTAINER_ANNOTATION, INJECTED_ANNOTATION};
use super::patch::{Patch, Pointer};
use super::pod::Pod;
use super::render::Rendered;

pub(super) fn annotate(pod: &Pod<'_>, gateway_uid: &str, rendered: &Rendered, patch: &mut Patch) {
    let mut members = Vec::new();
    // So that `kubectl logs` and `exec` go on meaning the app.
    if !pod.annotations.contains_key(DEFAULT_CONTAINER_ANNOTATION) {
        let first = pod.first_app().map(|it| it.name);
        members.extend(first.map(|it| (DEFAULT_CONTAINER_ANNOTATION, Value::from(it))));
    }
    let injected = format!("{gateway_uid}/{}", rendered.hash());
    if pod.annotations.get(INJECTED_ANNOTATION) != Some(&injected.as_str()) {
        members.push((INJECTED_ANNOTATION, injected.into()));
    }
    let at = Pointer::default().key("metadata");
    patch.set_members(&at, pod.metadata, "annotations", members);
}
