//! Gateways by what they select, so that a pod is compared with few of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use sidegate_api::selector::LabelSelector;

/// The gateways of a namespace by their selectors.
#[derive(Debug, Default)]
pub(super) struct Selectors {
    /// By the first label that they want, and its value.
    by_label: HashMap<String, HashMap<String, BTreeSet<Arc<str>>>>,
    /// Those that want no label with one certain value.
    others: BTreeSet<Arc<str>>,
    /// By the whole selector.
    alike: HashMap<String, BTreeSet<Arc<str>>>,
}

// === impl Selectors ===

impl Selectors {
    pub(super) fn insert(&mut self, selector: &LabelSelector, gateway: &Arc<str>) {
        let name = Arc::clone(gateway);
        self.alike
            .entry(text(selector))
            .or_default()
            .insert(Arc::clone(gateway));
        match selector.match_labels.first_key_value() {
            Some((label, value)) => self
                .by_label
                .entry(label.clone())
                .or_default()
                .entry(value.clone())
                .or_default()
                .insert(name),
            None => self.others.insert(name),
        };
    }

    pub(super) fn remove(&mut self, selector: &LabelSelector, gateway: &Arc<str>) {
        remove_from(&mut self.alike, &text(selector), gateway);
        match selector.match_labels.first_key_value() {
            Some((label, value)) => {
                if let Some(values) = self.by_label.get_mut(label) {
                    remove_from(values, value, gateway);
                    if values.is_empty() {
                        self.by_label.remove(label);
                    }
                }
            }
            None => {
                self.others.remove(gateway);
            }
        }
    }

    /// Every gateway that may select an object with these labels.
    pub(super) fn candidates<'a>(
        &'a self,
        labels: &'a BTreeMap<String, String>,
    ) -> impl Iterator<Item = &'a Arc<str>> {
        labels
            .iter()
            .filter_map(|(label, value)| self.by_label.get(label)?.get(value))
            .chain(std::iter::once(&self.others))
            .flatten()
    }

    /// The gateways with the very same selector.
    pub(super) fn alike(&self, selector: &LabelSelector) -> impl Iterator<Item = &Arc<str>> {
        self.alike.get(&text(selector)).into_iter().flatten()
    }
}

fn remove_from(map: &mut HashMap<String, BTreeSet<Arc<str>>>, key: &str, gateway: &Arc<str>) {
    if let Some(gateways) = map.get_mut(key) {
        gateways.remove(gateway);
        if gateways.is_empty() {
            map.remove(key);
        }
    }
}

fn text(selector: &LabelSelector) -> String {
    // Maps with texts as keys: nothing can fail.
    serde_json::to_string(selector).unwrap_or_default()
}
