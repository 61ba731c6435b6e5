//! Namespaces whose sidecars are not told whom to trust.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use crate::names::TRUST_CONFIG_MAP;

/// The namespaces in which somebody else's ConfigMap has the name of ours.
#[derive(Debug, Default)]
pub(crate) struct BundleProblems {
    foreign: Mutex<BTreeSet<String>>,
}

// === impl BundleProblems ===

impl BundleProblems {
    /// What is wrong in a namespace, and what to do, in a sentence.
    pub(crate) fn of(&self, namespace: &str) -> Option<String> {
        let foreign = self.foreign.lock().unwrap_or_else(PoisonError::into_inner);
        foreign.contains(namespace).then(|| {
            format!(
                "ConfigMap {namespace}/{TRUST_CONFIG_MAP} is not the operator's and is left as it is, \
                 so new sidecars of this namespace cannot trust the operator: give it another name"
            )
        })
    }

    /// Returns the namespaces for which this is news.
    pub(super) fn set(&self, foreign: BTreeSet<String>) -> Vec<String> {
        let mut known = self.foreign.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = known.symmetric_difference(&foreign).cloned().collect();
        *known = foreign;
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_and_what_went_is_news() {
        let problems = BundleProblems::default();
        let set = |names: &[&str]| problems.set(names.iter().map(|&it| it.to_owned()).collect());
        assert_eq!(set(&["a", "b"]), ["a", "b"]);
        assert_eq!(set(&["b", "c"]), ["a", "c"]);
        assert!(set(&["b", "c"]).is_empty());
        assert!(problems.of("a").is_none());
        assert!(
            problems
                .of("b")
                .is_some_and(|it| it.contains("b/sidegate-trust"))
        );
    }
}
