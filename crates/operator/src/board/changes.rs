//! What watches, references and builds tell the board.

use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::{Assessment, Board, Draft, PodRef, Published, State};
use crate::key::Key;
use crate::world::{
    PodConditionFacts, PodFacts, SeenGateway, SeenProvider, ServiceFacts, Touched, View, World,
};

/// What a change asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Gateways to build.
    pub(crate) builds: Vec<Key>,
    /// Gateways whose status may be another one.
    pub(crate) statuses: Vec<Key>,
    /// Providers whose status may be another one.
    pub(crate) providers: Vec<Key>,
}

/// What the status of a gateway is made of.
pub(crate) struct Known {
    /// The gateway and its pods.
    pub(crate) view: View,
    /// What was found about it last.
    pub(crate) assessment: Option<Arc<Assessment>>,
    /// For how long a change of it, or of what it refers to, was not built.
    pub(crate) unbuilt_for: Option<Duration>,
}

// === impl Board ===

impl Board {
    /// A gateway is there or changed. `revision` is how much of the cluster is
    /// seen with it, if more than before.
    pub(crate) fn set_gateway(&self, object: SeenGateway, revision: Option<u64>) -> Asked {
        let key = Key::of(&object);
        self.change(revision, |state| {
            let version = revision_of(&object).unwrap_or(u64::MAX);
            if state.progress.is_past(&key.namespace, version) {
                return Touched::default();
            }
            let touched = state.world.set_gateway(object);
            if touched.replaced {
                state.programs.remove(&key);
            }
            if touched.build {
                let revision = state.progress.of(&key.namespace);
                state.programs.changed(&key, revision);
            }
            touched
        })
        .asked(&key)
    }

    /// A gateway is gone. `revision` is that of its end, if that is known.
    pub(crate) fn remove_gateway(&self, key: &Key, revision: Option<u64>) -> Asked {
        self.change(revision, |state| {
            state.programs.remove(key);
            state.world.remove_gateway(key)
        })
        .asked(key)
    }

    /// A pod is there or changed.
    pub(crate) fn set_pod(&self, key: &Key, pod: PodFacts) -> Asked {
        let conditions = pod.conditions.clone();
        let uid = Arc::clone(&pod.uid);
        let touched = self.change(None, |state| state.world.set_pod(key, pod));
        self.conditions.seen(key, &uid, &conditions);
        touched.asked(key)
    }

    /// A pod is gone.
    pub(crate) fn remove_pod(&self, key: &Key) -> Asked {
        let touched = self.change(None, |state| state.world.remove_pod(key));
        self.conditions.gone(key);
        touched.asked(key)
    }

    /// A Service is there or changed.
    pub(crate) fn set_service(&self, key: &Key, service: ServiceFacts) {
        self.change(None, |state| state.world.set_service(key, service));
    }

    /// A Service is gone.
    pub(crate) fn remove_service(&self, key: &Key) {
        self.change(None, |state| state.world.remove_service(key));
    }

    /// A namespace is there, with or without the label that allows injection.
    pub(crate) fn set_namespace(&self, name: &Arc<str>, enabled: bool) -> Asked {
        Asked {
            statuses: self.lock().world.set_namespace(name, enabled),
            ..Asked::default()
        }
    }

    /// A namespace is gone. What was in it went before, or will be told.
    pub(crate) fn remove_namespace(&self, name: &Arc<str>) -> Asked {
        self.set_namespace(name, false)
    }

    /// A provider is there or changed; says whether that is news.
    pub(crate) fn set_provider(&self, object: SeenProvider) -> bool {
        self.lock().world.set_provider(object)
    }

    /// A provider is gone.
    pub(crate) fn remove_provider(&self, key: &Key) {
        self.lock().world.remove_provider(key);
    }

    /// Something that gateways refer to changed. That says nothing about how
    /// much is known of gateways.
    pub(crate) fn reference_changed(&self, gateways: &[Key]) {
        let mut state = self.lock();
        for gateway in gateways {
            // It may be gone, and its references not given up yet.
            if state.world.gateway(gateway).is_some() {
                let revision = state.progress.of(&gateway.namespace);
                state.programs.changed(gateway, revision);
            }
        }
    }

    /// Gateways are known up to this revision.
    pub(crate) fn saw(&self, revision: u64) {
        self.change(Some(revision), |_| Touched::default());
    }

    /// Everything was told once.
    pub(crate) fn everything_is_known(&self) {
        let mut state = self.lock();
        state.synced = true;
        let followed: Vec<_> = state.followed.keys().cloned().collect();
        for pod in followed {
            state.refresh(&pod);
        }
        drop(state);
        self.synced.send_replace(true);
    }

    /// Says when everything is known.
    pub(crate) fn subscribe_synced(&self) -> watch::Receiver<bool> {
        self.synced.subscribe()
    }

    /// The gateway to build, if there is a change of it that was not built.
    pub(crate) fn begin(&self, gateway: &Key) -> Option<(Draft, Arc<SeenGateway>)> {
        let state = self.lock();
        let object = state.world.gateway(gateway)?;
        // In the middle of a list the object is newer than what is known.
        let known = state.progress.of(&gateway.namespace);
        let revision = known.max(revision_of(object.as_ref()).unwrap_or_default());
        let draft = state.programs.begin(gateway, revision)?;
        Some((draft, object))
    }

    /// What came of a build. Nobody is told of one that is not valid: the last
    /// good program stays. Says whether there was no further change meanwhile.
    pub(crate) fn publish(
        &self,
        gateway: &Key,
        draft: Draft,
        assessment: Assessment,
        published: Option<Published>,
    ) -> bool {
        let mut state = self.lock();
        let up_to_date = state
            .programs
            .publish(gateway, draft, assessment, published);
        for pod in state.world.pods_of(gateway) {
            state.refresh(&pod);
        }
        if let Some(until) = state.programs.waits_until(gateway) {
            let delay = until.saturating_duration_since(Instant::now());
            self.retellings.add(gateway.clone(), delay);
        }
        up_to_date
    }

    /// What the status of a gateway is made of.
    pub(crate) fn known_of(&self, gateway: &Key) -> Option<Known> {
        let state = self.lock();
        Some(Known {
            view: state.world.view(gateway)?,
            assessment: state.programs.assessment(gateway),
            unbuilt_for: state.programs.unbuilt_for(gateway),
        })
    }

    /// The conditions of a pod; none when it is gone.
    pub(crate) fn conditions_of(&self, pod: &PodRef) -> Option<PodConditionFacts> {
        let state = self.lock();
        let facts = state.world.pod(&pod.key)?;
        (facts.uid == pod.uid).then(|| facts.conditions.clone())
    }

    /// The world, to look at it and to note down own writes.
    pub(crate) fn world(&self) -> WorldGuard<'_> {
        WorldGuard(self.lock())
    }

    /// First what is known changes, then how much is known, then pods are told:
    /// in another order, something old could get a new stamp.
    fn change(&self, revision: Option<u64>, how: impl FnOnce(&mut State) -> Touched) -> Touched {
        let mut state = self.lock();
        let touched = how(&mut state);
        let is_more = state.progress.watched(revision.unwrap_or_default());
        for pod in &touched.pods {
            state.refresh(pod);
        }
        drop(state);
        if is_more {
            self.progressed.send_replace(());
        }
        touched
    }
}

/// Access to the world for as long as this is held.
pub(crate) struct WorldGuard<'a>(MutexGuard<'a, State>);

impl std::ops::Deref for WorldGuard<'_> {
    type Target = World;

    fn deref(&self) -> &World {
        &self.0.world
    }
}

impl WorldGuard<'_> {
    /// What a gateway became by a write of ours.
    pub(crate) fn gateway_written(&mut self, before: &SeenGateway, after: SeenGateway) {
        self.0.world.gateway_written(before, after);
    }

    /// What a provider became by a write of ours.
    pub(crate) fn provider_written(&mut self, before: &SeenProvider, after: SeenProvider) {
        self.0.world.provider_written(before, after);
    }
}

// === impl Touched ===

impl Touched {
    fn asked(self, key: &Key) -> Asked {
        Asked {
            builds: self.build.then(|| key.clone()).into_iter().collect(),
            statuses: self.gateways,
            providers: self.providers,
        }
    }
}

/// The version of an object. The API server counts them; one that is no number
/// counts as nothing.
pub(crate) fn revision_of(object: &impl kube::Resource) -> Option<u64> {
    object.meta().resource_version.as_deref()?.parse().ok()
}
