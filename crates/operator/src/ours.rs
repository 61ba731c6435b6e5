//! Which objects are the operator's own.

use kube::ResourceExt;

use crate::events::CONTROLLER;

/// The label that says who made an object.
pub(crate) const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Its value on what the operator makes.
pub(crate) const MANAGED_BY_US: &str = CONTROLLER;

/// Whether the operator made an object. One of somebody else with the same
/// name is never touched (OPR-011).
pub(crate) fn is_ours(object: &impl ResourceExt) -> bool {
    let label = object.labels().get(MANAGED_BY);
    label.is_some_and(|value| value == MANAGED_BY_US)
}

/// Whether the operator applied fields of an object: it is the operator's also
/// when somebody took its label away.
pub(crate) fn is_applied_by_us(object: &impl ResourceExt) -> bool {
    object.managed_fields().iter().any(|entry| {
        entry.manager.as_deref() == Some(CONTROLLER) && entry.operation.as_deref() == Some("Apply")
    })
}
