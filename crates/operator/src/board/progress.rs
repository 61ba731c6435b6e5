//! How far this replica's knowledge of gateways reaches: what stamps are made
//! of. The module above says why nothing else counts.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::Board;
use crate::key::Key;
use crate::queue::Queue;

/// The names of a namespace's gateways, each with its resource version.
pub(crate) type Versions = BTreeMap<Arc<str>, String>;

/// Up to which revision every change of a gateway is known.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// What the watch told.
    watched: u64,
    /// What was read beyond that, by namespace.
    confirmed: HashMap<Arc<str>, u64>,
}

// === impl Progress ===

impl Progress {
    pub(super) fn of(&self, namespace: &str) -> u64 {
        let confirmed = self.confirmed.get(namespace).copied();
        self.watched.max(confirmed.unwrap_or_default())
    }

    /// Whether what the watch tells late was read to be over: a gateway that
    /// came and went meanwhile.
    pub(super) fn is_past(&self, namespace: &str, version: u64) -> bool {
        let confirmed = self.confirmed.get(namespace);
        confirmed.is_some_and(|confirmed| version <= *confirmed)
    }

    /// Says whether that is more than before.
    pub(super) fn watched(&mut self, revision: u64) -> bool {
        let is_news = self.watched < revision;
        if is_news {
            self.watched = revision;
            self.confirmed.retain(|_, confirmed| *confirmed > revision);
        }
        is_news
    }

    fn confirmed(&mut self, namespace: &Arc<str>, revision: u64) {
        if self.of(namespace) < revision {
            self.confirmed.insert(Arc::clone(namespace), revision);
        }
    }
}

// === impl Board ===

impl Board {
    /// Waits until what this replica knows of the gateways of a pod's namespace
    /// reaches so far. Then everybody who follows one of its pods is told,
    /// unless a change of its gateway is still being built: then, as soon as it
    /// is.
    ///
    /// The watch may have nothing to tell for long, so the namespace is read.
    pub(crate) async fn wait_for_revision(&self, pod: &Key, at_least: u64) {
        let namespace = &pod.namespace;
        let mut progressed = self.progressed.subscribe();
        if self.reaches(namespace, at_least) {
            return;
        }
        self.behind.add(Arc::clone(namespace), super::USUAL_LAG);
        // The sender is this board's, so it is there.
        while progressed.changed().await.is_ok() {
            if self.reaches(namespace, at_least) {
                return;
            }
        }
    }

    fn reaches(&self, namespace: &Arc<str>, at_least: u64) -> bool {
        let mut state = self.lock();
        let reaches = state.progress.of(namespace) >= at_least;
        if reaches {
            state.stamp_again(namespace, at_least);
        }
        reaches
    }

    /// Namespaces whose gateways are to be read, because a sidecar there knows
    /// more than this replica.
    pub(crate) fn behind(&self) -> &Queue<Arc<str>> {
        &self.behind
    }

    /// The gateways of a namespace were these at `revision`. If they are what is
    /// known here, it is known up to there; says whether it is.
    pub(crate) fn confirm(&self, namespace: &Arc<str>, found: &Versions, revision: u64) -> bool {
        {
            let mut state = self.lock();
            if !state.synced || !state.world.gateways_are(namespace, found) {
                return false;
            }
            state.progress.confirmed(namespace, revision);
        }
        self.progressed.send_replace(());
        true
    }
}
