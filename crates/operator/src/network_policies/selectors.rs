//! Whether two selectors can select the same pod.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// Whether there can be labels that both select.
pub(super) fn may_meet(one: &LabelSelector, other: &LabelSelector) -> bool {
    let mut wanted = BTreeMap::<&str, Wanted<'_>>::new();
    for selector in [one, other] {
        for (key, value) in selector.match_labels.iter().flatten() {
            wanted.entry(key).or_default().be_one_of([value.as_str()]);
        }
        for it in selector.match_expressions.iter().flatten() {
            let wanted = wanted.entry(&it.key).or_default();
            let values = it.values.iter().flatten().map(String::as_str);
            match it.operator.as_str() {
                "In" => wanted.be_one_of(values),
                "NotIn" => wanted.not.extend(values),
                "Exists" => wanted.present = true,
                "DoesNotExist" => wanted.absent = true,
                // Of a newer API server: it might select anything.
                _ => {}
            }
        }
    }
    wanted.values().all(Wanted::is_possible)
}

/// What two selectors want of one label.
#[derive(Debug, Default)]
struct Wanted<'a> {
    present: bool,
    absent: bool,
    one_of: Option<BTreeSet<&'a str>>,
    not: BTreeSet<&'a str>,
}

// === impl Wanted ===

impl<'a> Wanted<'a> {
    fn be_one_of(&mut self, values: impl IntoIterator<Item = &'a str>) {
        let values: BTreeSet<_> = values.into_iter().collect();
        self.present = true;
        self.one_of = Some(match self.one_of.take() {
            Some(before) => before.intersection(&values).copied().collect(),
            None => values,
        });
    }

    fn is_possible(&self) -> bool {
        let is_value = |values: &BTreeSet<_>| values.difference(&self.not).next().is_some();
        !(self.present && self.absent) && self.one_of.as_ref().is_none_or(is_value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn labels(selector: &Value) -> LabelSelector {
        serde_json::from_value(selector.clone()).expect("a selector")
    }

    fn meet(one: &Value, other: &Value) -> bool {
        let (one, other) = (labels(one), labels(other));
        assert_eq!(may_meet(&one, &other), may_meet(&other, &one));
        may_meet(&one, &other)
    }

    fn requirement(operator: &str, values: &[&str]) -> Value {
        json!({"matchExpressions": [{"key": "app", "operator": operator, "values": values}]})
    }

    #[test]
    fn selectors_meet_unless_a_label_keeps_them_apart() {
        let app = |value: &str| json!({"matchLabels": {"app": value}});
        let a = app("a");
        assert!(meet(&a, &json!({})), "the default-deny of a namespace");
        assert!(meet(&a, &a));
        assert!(meet(&a, &json!({"matchLabels": {"tier": "x"}})));
        assert!(!meet(&a, &app("b")));
        assert!(meet(&a, &requirement("In", &["a", "b"])));
        assert!(!meet(&a, &requirement("In", &["b"])));
        assert!(meet(&a, &requirement("NotIn", &["b"])));
        assert!(!meet(&a, &requirement("NotIn", &["a"])));
        assert!(meet(&a, &requirement("Exists", &[])));
        assert!(!meet(&a, &requirement("DoesNotExist", &[])));
        assert!(meet(&a, &requirement("Like", &["b"])), "unknown");
        let absent = requirement("DoesNotExist", &[]);
        assert!(meet(&requirement("NotIn", &["a"]), &absent));
        assert!(!meet(&requirement("Exists", &[]), &absent));
    }

    fn arbitrary_selector() -> impl Strategy<Value = LabelSelector> {
        let value = || prop::sample::select(vec!["a", "b", "c"]);
        let key = || prop::sample::select(vec!["k", "l"]);
        let operator = prop::sample::select(vec!["In", "NotIn", "Exists", "DoesNotExist"]);
        let one = (key(), operator, prop::collection::vec(value(), 1..3));
        prop::collection::vec(one, 0..3).prop_map(|all| {
            let all: Vec<_> = all
                .into_iter()
                .map(|(key, operator, values)| match operator {
                    "In" | "NotIn" => json!({"key": key, "operator": operator, "values": values}),
                    _ => json!({"key": key, "operator": operator}),
                })
                .collect();
            labels(&json!({"matchExpressions": all}))
        })
    }

    proptest! {
        /// Every combination of two labels, with a value that nobody names.
        #[test]
        fn selectors_meet_where_labels_exist(one in arbitrary_selector(), other in arbitrary_selector()) {
            let values = [None, Some("a"), Some("b"), Some("c"), Some("d")];
            let as_ours = |selector: &LabelSelector| -> sidegate_api::selector::LabelSelector {
                serde_json::from_value(serde_json::to_value(selector).unwrap()).unwrap()
            };
            let (left, right) = (as_ours(&one), as_ours(&other));
            let exists = values.iter().any(|k| values.iter().any(|l| {
                let pairs = [("k", k), ("l", l)];
                let labels: BTreeMap<String, String> = pairs
                    .into_iter()
                    .filter_map(|(key, value)| Some((key.to_owned(), (*value)?.to_owned())))
                    .collect();
                left.matches(&labels) && right.matches(&labels)
            }));
            prop_assert_eq!(may_meet(&one, &other), exists);
        }
    }
}
