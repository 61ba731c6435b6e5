//! A cluster and a replica that learns of it, one change at a time.

use std::collections::HashMap;

use super::REFERENCES;
use crate::board::Published;
use crate::board::tests::{Desk, assessment, desk, key, object, published};
use crate::world::SeenGateway;

/// What a gateway says. Few things, so that the same comes again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spec {
    pub(super) content: u8,
    pub(super) valid: bool,
    pub(super) refers_to: [bool; REFERENCES],
}

/// A gateway as it was at a revision; none when it was deleted.
#[derive(Debug, Clone)]
pub(super) struct Past {
    pub(super) revision: u64,
    /// Counts the states of the gateway. Statuses do not count.
    pub(super) state: u64,
    pub(super) uid: Option<String>,
}

/// What an object was at a revision; none when it was deleted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Value {
    pub(super) revision: u64,
    pub(super) content: Option<u8>,
}

pub(super) struct Cluster {
    pub(super) revision: u64,
    pub(super) past: Vec<Past>,
    pub(super) specs: HashMap<u64, Spec>,
    pub(super) references: [Vec<Value>; REFERENCES],
}

/// What a replica knows of an object.
#[derive(Debug, Clone, Copy)]
pub(super) enum Known {
    /// It does not ask.
    Untracked,
    Awaited,
    /// So much of its past.
    Told(usize),
}

pub(super) struct Replica {
    pub(super) desk: Desk,
    /// How much of the past its watch told.
    pub(super) told: usize,
    /// The state that it knows.
    pub(super) state: u64,
    pub(super) listing: Option<(u64, Past, usize)>,
    pub(super) references: [Known; REFERENCES],
}

impl Cluster {
    pub(super) fn now(&self) -> Past {
        self.past.last().cloned().unwrap_or(Past {
            revision: 0,
            state: 0,
            uid: None,
        })
    }

    pub(super) fn change(&mut self, state: u64, uid: Option<String>) {
        self.revision += 1;
        let revision = self.revision;
        self.past.push(Past {
            revision,
            state,
            uid,
        });
    }

    /// What is built of a gateway in this state, with these objects.
    pub(super) fn program(
        &self,
        state: u64,
        values: &[Option<Value>; REFERENCES],
    ) -> Option<Published> {
        let spec = self.specs.get(&state).filter(|spec| spec.valid)?;
        let mut hash = format!("c{}", spec.content);
        let mut references = Vec::new();
        for (reference, value) in values.iter().enumerate() {
            if !spec.refers_to[reference] {
                continue;
            }
            let Value { revision, content } = (*value)?;
            hash.push_str(&format!("r{reference}{}", content?));
            references.push((format!("Secret/{reference}"), revision));
        }
        let mut published = published("a", &hash);
        published.program.generation = i64::try_from(state).ok();
        published.program.references = references.into_iter().collect();
        Some(published)
    }
}

impl Past {
    pub(super) fn object(&self) -> Option<SeenGateway> {
        let uid = self.uid.as_ref()?;
        Some(object("a", uid, 1, self.state, self.revision))
    }
}

impl Replica {
    pub(super) fn new() -> Self {
        let (desk, _) = desk().with_pod();
        Self {
            desk,
            told: 0,
            state: 0,
            listing: None,
            references: [Known::Untracked; REFERENCES],
        }
    }

    pub(super) fn watch(&mut self, cluster: &Cluster) {
        if self.listing.is_some() {
            return;
        }
        let Some(next) = cluster.past.get(self.told) else {
            return;
        };
        self.told += 1;
        // What was read may be later.
        self.state = self.state.max(next.state);
        match next.object() {
            Some(object) => drop(self.desk.board.set_gateway(object, Some(next.revision))),
            None => drop(
                self.desk
                    .board
                    .remove_gateway(&key("a"), Some(next.revision)),
            ),
        }
    }

    pub(super) fn list(&mut self, cluster: &Cluster) {
        let now = cluster.now();
        if let Some(object) = now.object() {
            self.desk.board.set_gateway(object, None);
            self.state = self.state.max(now.state);
        }
        self.listing = Some((cluster.revision, now, cluster.past.len()));
    }

    pub(super) fn listed(&mut self) {
        let Some((revision, listed, told)) = self.listing.take() else {
            return;
        };
        self.told = told;
        self.state = self.state.max(listed.state);
        if listed.uid.is_none() {
            self.desk.board.remove_gateway(&key("a"), Some(revision));
        }
        self.desk.board.saw(revision);
    }

    pub(super) fn watch_reference(&mut self, cluster: &Cluster, reference: usize) {
        let there = cluster.references[reference].len();
        let known = match self.references[reference] {
            Known::Untracked => return,
            Known::Awaited => there,
            Known::Told(told) if told < there => told + 1,
            Known::Told(_) => return,
        };
        self.references[reference] = Known::Told(known);
        self.desk.board.reference_changed(&[key("a")]);
    }

    pub(super) fn build(&mut self, cluster: &Cluster) {
        let Some((draft, object)) = self.desk.board.begin(&key("a")) else {
            if self.desk.board.world().gateway(&key("a")).is_none() {
                self.references = [Known::Untracked; REFERENCES];
            }
            return;
        };
        let state = object.0.as_ref().expect("a gateway").metadata.generation;
        let state = u64::try_from(state.unwrap_or_default()).expect("a count");
        let mut values = [None; REFERENCES];
        for (reference, value) in values.iter_mut().enumerate() {
            let known = &mut self.references[reference];
            if !cluster.specs[&state].refers_to[reference] {
                *known = Known::Untracked;
                continue;
            }
            match *known {
                Known::Untracked => *known = Known::Awaited,
                Known::Awaited => {}
                Known::Told(told) => {
                    *value = told
                        .checked_sub(1)
                        .map(|last| cluster.references[reference][last]);
                }
            }
        }
        if self
            .references
            .iter()
            .any(|it| matches!(it, Known::Awaited))
        {
            return;
        }
        let published = cluster.program(state, &values);
        let board = &self.desk.board;
        board.publish(&key("a"), draft, assessment(1), published);
    }

    pub(super) fn read(&mut self, cluster: &Cluster) -> bool {
        let gateway = cluster.now();
        let version = gateway.revision.to_string();
        let found = gateway.uid.as_ref().map(|_| ("a".into(), version));
        let found = found.into_iter().collect();
        let board = &self.desk.board;
        let is_known = board.confirm(&"crm".into(), &found, cluster.revision);
        if is_known {
            self.state = gateway.state;
        }
        is_known
    }
}
