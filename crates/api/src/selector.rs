//! Label selectors, as Kubernetes has them, without its client library.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Chooses objects by their labels; all requirements must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabelSelector {
    /// Labels with exactly these values.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::labels"))]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// Further requirements on labels.
    #[cfg_attr(
        feature = "crd",
        schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))
    )]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<LabelRequirement>,
}

/// A requirement on one label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "crd", schemars(extend("x-kubernetes-validations" = crate::schema::label_requirement_rules())))]
pub struct LabelRequirement {
    /// Key of the label.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::label_key"))]
    pub key: String,
    /// In: the value is one of values. NotIn: it is none of them, or the label
    /// is missing. Exists, DoesNotExist: about the label, whatever its value.
    pub operator: LabelOperator,
    /// The values of In and NotIn.
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::schema::label_values"))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// How a label is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
pub enum LabelOperator {
    /// The value is one of the listed.
    In,
    /// The value is none of the listed, or the label is missing.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is missing.
    DoesNotExist,
}

// === impl LabelSelector ===

impl LabelSelector {
    /// Whether it has no requirement, and so would choose everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.match_labels.is_empty() && self.match_expressions.is_empty()
    }

    /// Whether an object with these labels is chosen.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let exact = |(key, value)| labels.get(key) == Some(value);
        self.match_labels.iter().all(exact)
            && self.match_expressions.iter().all(|it| it.matches(labels))
    }
}

// === impl LabelRequirement ===

impl LabelRequirement {
    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        let listed = value.is_some_and(|value| self.values.contains(value));
        match self.operator {
            LabelOperator::In => listed,
            LabelOperator::NotIn => !listed,
            LabelOperator::Exists => value.is_some(),
            LabelOperator::DoesNotExist => value.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    fn requirement(operator: LabelOperator, values: &[&str]) -> LabelSelector {
        LabelSelector {
            match_labels: BTreeMap::new(),
            match_expressions: vec![LabelRequirement {
                key: "tier".to_owned(),
                operator,
                values: values.iter().map(|it| (*it).to_owned()).collect(),
            }],
        }
    }

    #[test]
    fn match_labels_demand_every_label_with_its_value() {
        let selector = LabelSelector {
            match_labels: labels(&[("app", "a"), ("tier", "b")]),
            match_expressions: Vec::new(),
        };
        assert!(selector.matches(&labels(&[("app", "a"), ("tier", "b"), ("x", "y")])));
        assert!(!selector.matches(&labels(&[("app", "a")])));
        assert!(!selector.matches(&labels(&[("app", "a"), ("tier", "c")])));
    }

    #[test]
    fn operators_treat_a_missing_label_as_kubernetes_does() {
        let (missing, gold) = (labels(&[]), labels(&[("tier", "gold")]));
        for (operator, values, when_missing, when_gold) in [
            (LabelOperator::In, &["gold"][..], false, true),
            (LabelOperator::In, &["lead"], false, false),
            (LabelOperator::NotIn, &["gold"], true, false),
            (LabelOperator::NotIn, &["lead"], true, true),
            (LabelOperator::Exists, &[], false, true),
            (LabelOperator::DoesNotExist, &[], true, false),
        ] {
            let selector = requirement(operator, values);
            assert_eq!(
                selector.matches(&missing),
                when_missing,
                "{operator:?} {values:?}"
            );
            assert_eq!(
                selector.matches(&gold),
                when_gold,
                "{operator:?} {values:?}"
            );
        }
    }

    #[test]
    fn a_selector_without_requirements_says_so() {
        assert!(LabelSelector::default().is_empty());
        assert!(!requirement(LabelOperator::Exists, &[]).is_empty());
    }
}
