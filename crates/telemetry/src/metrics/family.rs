//! Families of series with a bound on their combinations of label values.
//!
//! Every combination is a series that lives as long as the process, here and
//! in whatever scrapes it; where callers can influence a label they could fill
//! both (CVE-2022-21698, CVE-2023-45142). Beyond the bound of its definition a
//! family counts under `other`, so that the sum stays right.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::{PoisonError, RwLock};

use prometheus::Registry;
use prometheus::core::{Collector, MetricVec, MetricVecBuilder};

use super::definition::Definition;
use super::quick_hash::QuickHash;

/// What stands for a label value that has no place.
pub(super) const OTHER: &str = "other";

/// A family of series and the combinations that it has.
pub(super) struct Family<V: SeriesVec> {
    definition: &'static Definition,
    vec: V,
    sets: RwLock<LabelSets<V::Series>>,
}

/// A vector of the library, by what its series are: it does not name the type
/// that its vectors are generic over.
pub(super) trait SeriesVec: Collector + Clone + 'static {
    type Series: Clone;

    fn add(&self, values: &[&str]) -> prometheus::Result<Self::Series>;

    fn remove(&self, values: &[Box<str>]) -> prometheus::Result<()>;
}

/// Combinations of label values and what was made for each.
#[derive(Debug)]
pub(super) struct LabelSets<T> {
    by_hash: HashMap<u64, Vec<Entry<T>>, QuickHash>,
    len: usize,
}

#[derive(Debug)]
struct Entry<T> {
    values: Box<[Box<str>]>,
    made: T,
}

// === impl Family ===

impl<V: SeriesVec> Family<V> {
    /// Makes the family of a definition and exports it.
    pub(super) fn register(
        registry: &Registry,
        definition: &'static Definition,
        vec: prometheus::Result<V>,
    ) -> Self {
        Self {
            definition,
            vec: registered(registry, vec),
            sets: RwLock::default(),
        }
    }

    /// The series with these label values, in the order of the definition.
    /// None only when their number is wrong.
    pub(super) fn with(&self, values: &[&str]) -> Option<V::Series> {
        {
            let sets = self.sets.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(made) = sets.find(values) {
                return Some(made.clone());
            }
        }
        let mut sets = self.sets.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = sets.find(values) {
            return Some(made.clone());
        }
        let folded;
        let values = if sets.is_full(self.definition) {
            folded = fold(self.definition, values);
            if let Some(made) = sets.find(&folded) {
                return Some(made.clone());
            }
            &*folded
        } else {
            values
        };
        let made = self.vec.add(values).ok()?;
        sets.insert(values, made.clone());
        Some(made)
    }

    /// Ends every series whose label values are not wanted any more.
    pub(super) fn retain(&self, is_wanted: impl Fn(&[Box<str>]) -> bool) {
        let mut sets = self.sets.write().unwrap_or_else(PoisonError::into_inner);
        for values in sets.remove_unwanted(is_wanted) {
            // An error says that it is not there.
            let _gone = self.vec.remove(&values).is_err();
        }
    }
}

// === impl SeriesVec ===

impl<B: MetricVecBuilder + 'static> SeriesVec for MetricVec<B>
where
    B::M: Clone,
{
    type Series = B::M;

    fn add(&self, values: &[&str]) -> prometheus::Result<B::M> {
        self.get_metric_with_label_values(values)
    }

    fn remove(&self, values: &[Box<str>]) -> prometheus::Result<()> {
        self.remove_label_values(values)
    }
}

/// Exports a collector.
#[expect(
    clippy::expect_used,
    reason = "the definitions are constants, and every test makes them all"
)]
pub(super) fn registered<C: Collector + Clone + 'static>(
    registry: &Registry,
    made: prometheus::Result<C>,
) -> C {
    let collector = made.expect("the definition is valid");
    registry
        .register(Box::new(collector.clone()))
        .expect("the name is unique");
    collector
}

/// The combination that stands for one that has no place.
pub(super) fn fold<'a>(definition: &Definition, values: &[&'a str]) -> Vec<&'a str> {
    let labels = definition.labels.iter();
    let fold = |(label, value): (&super::definition::Label, &&'a str)| {
        if label.kept > 0 { *value } else { OTHER }
    };
    labels.zip(values).map(fold).collect()
}

// === impl LabelSets ===

impl<T> LabelSets<T> {
    pub(super) fn find(&self, values: &[&str]) -> Option<&T> {
        let entries = self.by_hash.get(&hash(values))?;
        let is_same = |entry: &&Entry<T>| {
            entry
                .values
                .iter()
                .map(|value| &**value)
                .eq(values.iter().copied())
        };
        entries.iter().find(is_same).map(|entry| &entry.made)
    }

    /// Whether a combination that is not there yet must be folded.
    pub(super) fn is_full(&self, definition: &Definition) -> bool {
        // A folded combination may be among those that are there.
        let room = definition.sets.saturating_sub(definition.folded_sets());
        !definition.labels.is_empty() && self.len >= room
    }

    pub(super) fn insert(&mut self, values: &[&str], made: T) {
        let entry = Entry {
            values: values.iter().map(|value| (*value).into()).collect(),
            made,
        };
        self.by_hash.entry(hash(values)).or_default().push(entry);
        self.len += 1;
    }

    fn remove_unwanted(&mut self, is_wanted: impl Fn(&[Box<str>]) -> bool) -> Vec<Box<[Box<str>]>> {
        let mut removed = Vec::new();
        for entries in self.by_hash.values_mut() {
            let unwanted = entries.extract_if(.., |entry| !is_wanted(&entry.values));
            removed.extend(unwanted.map(|entry| entry.values));
        }
        self.by_hash.retain(|_, entries| !entries.is_empty());
        self.len -= removed.len();
        removed
    }
}

impl<T> Default for LabelSets<T> {
    fn default() -> Self {
        Self {
            by_hash: HashMap::default(),
            len: 0,
        }
    }
}

fn hash(values: &[&str]) -> u64 {
    QuickHash::default().hash_one(values)
}
