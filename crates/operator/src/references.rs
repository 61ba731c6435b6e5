//! Secrets and ConfigMaps that gateways or providers refer to, each watched by
//! its name.
//!
//! Nothing else of a namespace is read. What cannot be read is told apart:
//! an object that is missing is for its owner to create, one that may not be
//! read is for its owner to grant. A change asks for another look at those that
//! refer to the object, and at no others.

mod watch;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::Client;
use tokio::task::AbortHandle;

use crate::key::Key;

/// The kind of an object that can be referred to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum RefKind {
    /// A Secret.
    Secret,
    /// A ConfigMap.
    ConfigMap,
}

/// An object that is referred to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Reference {
    /// Its kind.
    pub(crate) kind: RefKind,
    /// Its name; the namespace is that of whoever refers to it.
    pub(crate) key: Key,
}

/// What is known of an object that is referred to.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum State {
    /// The API server has not answered yet.
    Awaited,
    /// It does not exist.
    NotFound,
    /// The operator may not read it.
    Forbidden,
    /// A Secret, with its type and its word.
    Secret(Arc<SecretContent>),
    /// A ConfigMap.
    ConfigMap(Arc<ConfigMapContent>),
}

/// A ConfigMap's values.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ConfigMapContent {
    /// How new it is.
    pub(crate) version: Option<u64>,
    pub(crate) data: BTreeMap<String, Vec<u8>>,
}

/// A Secret's type and values, and the hosts that it may be sent to, as its
/// annotation says it. It has no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SecretContent {
    /// How new it is.
    pub(crate) version: Option<u64>,
    pub(crate) secret_type: String,
    pub(crate) allowed_hosts: Option<String>,
    pub(crate) data: BTreeMap<String, Vec<u8>>,
}

/// All objects that are referred to by objects of one kind.
pub(crate) struct References {
    client: Client,
    changed: Arc<Changed>,
    watched: Arc<Mutex<Watched>>,
}

/// Is told whom the change of an object is about.
type Changed = dyn Fn(Vec<Key>) + Send + Sync;

#[derive(Default)]
struct Watched {
    objects: HashMap<Reference, Object>,
    /// By who refers to them.
    of: HashMap<Key, BTreeSet<Reference>>,
}

struct Object {
    state: State,
    dependents: BTreeSet<Key>,
    watch: AbortHandle,
}

// === impl RefKind ===

impl RefKind {
    /// The plural name that permissions use.
    pub(crate) fn plural(self) -> &'static str {
        match self {
            Self::Secret => "secrets",
            Self::ConfigMap => "configmaps",
        }
    }
}

impl fmt::Display for RefKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.key)
    }
}

// === impl References ===

impl References {
    /// `changed` is told whom a change is about.
    pub(crate) fn new(client: Client, changed: impl Fn(Vec<Key>) + Send + Sync + 'static) -> Self {
        Self {
            client,
            changed: Arc::new(changed),
            watched: Arc::default(),
        }
    }

    /// Says what an object refers to. What nobody refers to any more is
    /// forgotten, values and all.
    pub(crate) fn track(&self, dependent: &Key, references: BTreeSet<Reference>) {
        let mut watched = lock(&self.watched);
        let before = watched.of.remove(dependent).unwrap_or_default();
        for gone in before.difference(&references) {
            watched.release(dependent, gone);
        }
        for reference in &references {
            let object = watched
                .objects
                .entry(reference.clone())
                .or_insert_with(|| Object {
                    state: State::Awaited,
                    dependents: BTreeSet::new(),
                    watch: self.watch(reference.clone()),
                });
            object.dependents.insert(dependent.clone());
        }
        if !references.is_empty() {
            watched.of.insert(dependent.clone(), references);
        }
    }

    /// What is known of an object; it must be tracked.
    pub(crate) fn read(&self, reference: &Reference) -> State {
        let watched = lock(&self.watched);
        let object = watched.objects.get(reference);
        object.map_or(State::Awaited, |object| object.state.clone())
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        let mut watched = lock(&self.watched);
        for object in watched.objects.values() {
            object.watch.abort();
        }
        *watched = Watched::default();
    }

    fn watch(&self, reference: Reference) -> AbortHandle {
        let client = self.client.clone();
        let changed = Arc::clone(&self.changed);
        let watched = Arc::clone(&self.watched);
        let told = reference.clone();
        let tell = move |state: State| {
            let dependents = lock(&watched).set(&told, state);
            changed(dependents);
        };
        let task = watch::follow(client, reference, tell);
        tokio::spawn(task).abort_handle()
    }
}

impl Drop for References {
    fn drop(&mut self) {
        self.clear();
    }
}

// === impl Watched ===

impl Watched {
    /// Returns who is to know.
    fn set(&mut self, reference: &Reference, state: State) -> Vec<Key> {
        match self.objects.get_mut(reference) {
            Some(object) if object.state != state => {
                object.state = state;
                object.dependents.iter().cloned().collect()
            }
            Some(_) | None => Vec::new(),
        }
    }

    fn release(&mut self, dependent: &Key, reference: &Reference) {
        let Some(object) = self.objects.get_mut(reference) else {
            return;
        };
        object.dependents.remove(dependent);
        if object.dependents.is_empty() {
            object.watch.abort();
            self.objects.remove(reference);
        }
    }
}

fn lock(watched: &Mutex<Watched>) -> MutexGuard<'_, Watched> {
    watched.lock().unwrap_or_else(PoisonError::into_inner)
}
