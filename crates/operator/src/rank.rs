//! Which of several gateways has a pod. Everything that has to know asks here.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use sidegate_api::selector::LabelSelector;

/// The place of a gateway among those that select a pod: the lowest has it,
/// which is the oldest, then the one whose name comes first.
pub(crate) type Rank<'a> = (Option<&'a Time>, &'a str);

/// The rank of a gateway.
pub(crate) fn rank(meta: &ObjectMeta) -> Rank<'_> {
    let name = meta.name.as_deref().unwrap_or_default();
    (meta.creation_timestamp.as_ref(), name)
}

/// Whether a gateway with this selector selects a pod with these labels. An
/// empty selector is refused; it must not take every pod.
pub(crate) fn selects(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    !selector.is_empty() && selector.matches(labels)
}
