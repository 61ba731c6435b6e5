//! How new everything is that a snapshot was made of beside its gateway.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Most references that a version names. A gateway has nine at most; the others
/// are what the pod's gateways referred to before.
pub const MAX_REFERENCES: usize = 24;
/// Longest name of a reference: a kind, a slash, and a DNS subdomain.
pub const MAX_REFERENCE_NAME: usize = "ConfigMap/".len() + 253;

/// Secrets and ConfigMaps of the pod's namespace as `Kind/name`, each with its
/// resource version: of two versions of one object, the higher is the later.
#[derive(Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReferenceVersions(Arc<BTreeMap<String, u64>>);

// === impl ReferenceVersions ===

impl ReferenceVersions {
    /// Whether it names nothing: nothing is referred to, or the other side is of
    /// a version that does not say it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether that can be what sidecars keep.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        self.0.len() <= MAX_REFERENCES && self.0.keys().all(|name| name.len() <= MAX_REFERENCE_NAME)
    }

    /// Whether anything that both name was older here.
    #[must_use]
    pub fn lag_behind(&self, other: &Self) -> bool {
        let both = self
            .0
            .iter()
            .filter_map(|(name, here)| Some((here, other.0.get(name)?)));
        both.into_iter().any(|(here, there)| here < there)
    }

    /// These, none older than before, and what was referred to before: a gateway
    /// may refer to it again. Of what it does not refer to now, the versions that
    /// are known longest are forgotten first when there are too many.
    #[must_use]
    pub fn not_forgetting(&self, before: &Self) -> Self {
        let is_all_here = |(name, then): (&String, &u64)| {
            let now = self.0.get(name);
            now.is_some_and(|now| now >= then)
        };
        if before.0.iter().all(is_all_here) {
            return self.clone();
        }
        let mut all = self.0.as_ref().clone();
        let mut gone = Vec::new();
        for (name, then) in before.0.iter() {
            match all.get_mut(name) {
                Some(now) => *now = (*now).max(*then),
                None => gone.push((*then, name)),
            }
        }
        gone.sort_unstable();
        let room = MAX_REFERENCES.saturating_sub(all.len());
        let kept = gone.into_iter().rev().take(room);
        all.extend(kept.map(|(then, name)| (name.clone(), then)));
        Self(Arc::new(all))
    }
}

impl FromIterator<(String, u64)> for ReferenceVersions {
    fn from_iter<I: IntoIterator<Item = (String, u64)>>(references: I) -> Self {
        Self(Arc::new(references.into_iter().collect()))
    }
}

/// How many: a log is no place for all their names.
impl fmt::Debug for ReferenceVersions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} references", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::control::frame::encode;
    use crate::control::{
        FromSidecar, Hello, MAX_HELLO, MAX_TO_OPERATOR, Purpose, RejectReason, Rejected,
        SnapshotVersion,
    };
    use crate::sidecar_config::SecretText;

    fn of(references: &[(&str, u64)]) -> ReferenceVersions {
        let named = references.iter();
        named.map(|(name, at)| ((*name).to_owned(), *at)).collect()
    }

    /// As many as there can be, and their names and numbers as long.
    fn largest() -> ReferenceVersions {
        let name = |number| format!("ConfigMap/{number:03}{}", "x".repeat(250));
        let all = (0..MAX_REFERENCES).map(|number| (name(number), u64::MAX));
        all.collect()
    }

    #[test]
    fn only_what_both_name_is_compared() {
        let now = of(&[("ConfigMap/keys", 500), ("Secret/tls", 40)]);
        for older in [
            of(&[("ConfigMap/keys", 499)]),
            of(&[("ConfigMap/keys", 600), ("Secret/tls", 39)]),
        ] {
            assert!(older.lag_behind(&now), "{:?}", older.0);
        }
        for not_older in [
            of(&[]),
            of(&[("ConfigMap/keys", 500)]),
            of(&[("Secret/keys", 1), ("ConfigMap/tls", 1)]),
            of(&[("ConfigMap/keys", 501), ("Secret/tls", 40)]),
        ] {
            assert!(!not_older.lag_behind(&now), "{:?}", not_older.0);
        }
        assert!(!now.lag_behind(&of(&[])));
    }

    #[test]
    fn what_is_not_referred_to_any_more_is_remembered_the_newest_of_it() {
        let before: Vec<_> = (0..MAX_REFERENCES as u64)
            .map(|number| (format!("ConfigMap/{number}"), 100 + number))
            .collect();
        let before: ReferenceVersions = before.into_iter().collect();
        assert_eq!(of(&[]).not_forgetting(&before), before);
        let now = of(&[("ConfigMap/23", 7), ("Secret/a", 1), ("Secret/b", 2)]);
        let all = now.not_forgetting(&before);
        assert_eq!(all.0.len(), MAX_REFERENCES);
        let named = |name: &str| all.0.get(name).copied();
        assert_eq!(named("ConfigMap/23"), Some(123), "none becomes older");
        assert_eq!([named("Secret/a"), named("Secret/b")], [Some(1), Some(2)]);
        assert_eq!(
            [
                named("ConfigMap/0"),
                named("ConfigMap/1"),
                named("ConfigMap/2")
            ],
            [None, None, Some(102)]
        );
    }

    #[test]
    fn the_largest_fit_into_a_hello_with_the_largest_token() {
        let references = largest();
        assert!(references.is_bounded());
        let version = SnapshotVersion {
            epoch: u64::MAX,
            revision: u64::MAX,
            hash: "f".repeat(64),
            references,
        };
        let hello = FromSidecar::Hello(Hello {
            // The largest that either side takes.
            token: SecretText::from("t".repeat(16 * 1024)),
            purpose: Purpose::Enforce,
            schema_versions: vec![1; 8],
            program: "0.1.0".to_owned(),
            in_force: Some(version.clone()),
        });
        assert!(encode(&hello, MAX_HELLO).is_ok());
        let rejected = FromSidecar::Rejected(Rejected {
            version: version.clone(),
            reason: RejectReason::Older,
            message: "\u{1}".repeat(1_024),
            in_force: Some(version),
        });
        assert!(encode(&rejected, MAX_TO_OPERATOR).is_ok());
    }

    #[test]
    fn what_no_sidecar_keeps_is_told_apart() {
        let mut one_more = largest().0.as_ref().clone();
        one_more.insert("Secret/a".to_owned(), 1);
        assert!(
            !one_more
                .into_iter()
                .collect::<ReferenceVersions>()
                .is_bounded()
        );
        let longest = "x".repeat(MAX_REFERENCE_NAME);
        assert!(of(&[(&longest, 1)]).is_bounded());
        assert!(!of(&[(&format!("{longest}x"), 1)]).is_bounded());
    }

    #[test]
    fn names_are_not_shown() {
        let shown = format!("{:?}", of(&[("Secret/canary", 1)]));
        assert_eq!(shown, "1 references");
    }

    fn some() -> impl Strategy<Value = ReferenceVersions> {
        prop::collection::btree_map("Secret/[a-f]", 0_u64..4, 0..6)
            .prop_map(|map| map.into_iter().collect())
    }

    proptest! {
        #[test]
        fn what_is_not_forgotten_is_behind_neither(now in some(), before in some()) {
            let all = now.not_forgetting(&before);
            prop_assert!(!all.lag_behind(&now) && !all.lag_behind(&before));
            prop_assert_eq!(&all.not_forgetting(&before), &all);
            // Whoever knows as much is not behind.
            prop_assert_eq!(
                now.lag_behind(&all), now.lag_behind(&before),
            );
        }

        #[test]
        fn they_are_read_as_they_are_written(all in some()) {
            let text = serde_json::to_string(&all).expect("JSON");
            let back: ReferenceVersions = serde_json::from_str(&text).expect("reads");
            prop_assert_eq!(back, all);
        }
    }
}
