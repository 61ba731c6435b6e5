//! Label selectors, as the API server checks them.

use sidegate_api::selector::LabelOperator::{DoesNotExist, Exists, In, NotIn};
use sidegate_api::selector::{LabelRequirement, LabelSelector};

use super::{Check, names};
use crate::documents::path;

/// Checks a selector; `empty` says what is wrong with one that chooses
/// everything.
pub(super) fn check<S>(
    check: &mut Check<'_, S>,
    field: &str,
    selector: &LabelSelector,
    empty: &str,
) {
    if selector.is_empty() {
        check.refuse(field, empty);
    }
    let labels = format!("{field}.matchLabels");
    let expressions = format!("{field}.matchExpressions");
    check.at_most(&labels, selector.match_labels.len(), 32);
    check.at_most(&expressions, selector.match_expressions.len(), 16);
    for (label, value) in &selector.match_labels {
        let field = path::key(&labels, label);
        if !names::is_label_key(label) {
            check.refuse(&field, names::LABEL_KEY);
        }
        if !names::is_label_value(value) {
            check.refuse(&field, names::LABEL_VALUE);
        }
    }
    for (index, requirement) in selector.match_expressions.iter().enumerate() {
        check_requirement(check, &format!("{expressions}[{index}]"), requirement);
    }
}

fn check_requirement<S>(check: &mut Check<'_, S>, field: &str, requirement: &LabelRequirement) {
    let LabelRequirement {
        key,
        operator,
        values,
    } = requirement;
    if !names::is_label_key(key) {
        check.refuse(&format!("{field}.key"), names::LABEL_KEY);
    }
    let needs_values = match operator {
        In | NotIn => true,
        Exists | DoesNotExist => false,
    };
    if needs_values == values.is_empty() {
        let message = "In and NotIn need values; Exists and DoesNotExist have none";
        check.refuse(&format!("{field}.values"), message);
    }
    check.at_most(&format!("{field}.values"), values.len(), 64);
    for (at, value) in values.iter().enumerate() {
        let field = format!("{field}.values[{at}]");
        if !names::is_label_value(value) {
            check.refuse(&field, names::LABEL_VALUE);
        }
        if values.iter().take(at).any(|before| before == value) {
            check.refuse(&field, format!("`{value}` is there twice: remove one"));
        }
    }
}
