//! What was built of each gateway, and of how much of the cluster.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Program;
use super::retelling::Retelling;
use crate::key::Key;
use crate::reconcile::Findings;

/// What was found about one version of a gateway.
#[derive(Debug, Clone)]
pub(crate) struct Assessment {
    /// The object's uid.
    pub(crate) uid: Option<String>,
    /// The generation of its spec.
    pub(crate) generation: Option<i64>,
    /// What was found.
    pub(crate) findings: Findings,
}

/// What was built of a gateway.
#[derive(Debug)]
pub(crate) struct Published {
    /// What its sidecars are to enforce.
    pub(crate) program: Program,
    /// Hosts of its resources that certificates may carry.
    pub(crate) hosts: Vec<String>,
}

/// The begin of a build: what it will be made of, at least.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Draft {
    change: u64,
    revision: u64,
}

/// A program and how much of the cluster it was made of.
pub(super) struct Made<'a> {
    pub(super) program: &'a Arc<Program>,
    pub(super) hosts: &'a [String],
    pub(super) revision: u64,
    /// Whether more was seen that is not in it yet.
    pub(super) held_back: bool,
    /// When a watch told the change that it was made for.
    pub(super) changed_at: Instant,
    /// Whether who was told the same content is not to be told it again yet.
    pub(super) waits: bool,
}

/// What was built of every gateway.
#[derive(Default)]
pub(super) struct Programs {
    gateways: HashMap<Key, Built>,
    /// Counts changes of all gateways, so that no two are alike.
    changes: u64,
}

struct Built {
    /// The first change of this object: builds that began before are of another
    /// one of the same name.
    since: u64,
    last_good: Option<Good>,
    /// How much that was made of; none when nothing relevant has changed since.
    made_of: Option<u64>,
    assessment: Option<Arc<Assessment>>,
    /// The change that was not built yet.
    unbuilt: Option<u64>,
    /// Since when there is something to build.
    unbuilt_since: Option<Instant>,
    retelling: Retelling,
}

/// The last good program.
struct Good {
    program: Arc<Program>,
    hosts: Vec<String>,
    /// What its build began with. In the middle of a list that is more than
    /// what is known of all gateways.
    at_least: u64,
    /// When a watch told the change that it was made for.
    changed_at: Instant,
}

// === impl Programs ===

impl Programs {
    /// Something that the gateway is built of changed, or is about to. What is
    /// there is of `revision` and no newer.
    pub(super) fn changed(&mut self, gateway: &Key, revision: u64) {
        self.changes += 1;
        let since = self.changes;
        let built = self
            .gateways
            .entry(gateway.clone())
            .or_insert_with(|| Built {
                since,
                last_good: None,
                made_of: None,
                assessment: None,
                unbuilt: None,
                unbuilt_since: None,
                retelling: Retelling::default(),
            });
        built.unbuilt = Some(since);
        built.unbuilt_since.get_or_insert_with(Instant::now);
        built.made_of.get_or_insert(revision);
    }

    /// The gateway is gone, or another one has its name.
    pub(super) fn remove(&mut self, gateway: &Key) {
        self.gateways.remove(gateway);
    }

    /// Begins to build a gateway; none when there is no change.
    pub(super) fn begin(&self, gateway: &Key, revision: u64) -> Option<Draft> {
        let change = self.gateways.get(gateway)?.unbuilt?;
        Some(Draft { change, revision })
    }

    /// What came of a build; none published when it is not valid: the last good
    /// program stays. Says whether there was no change meanwhile.
    pub(super) fn publish(
        &mut self,
        gateway: &Key,
        draft: Draft,
        assessment: Assessment,
        published: Option<Published>,
    ) -> bool {
        let Some(built) = self.gateways.get_mut(gateway) else {
            return false;
        };
        let Some(change) = built.unbuilt else {
            return false;
        };
        if draft.change < built.since {
            return false;
        }
        let up_to_date = change == draft.change;
        let changed_at = built.unbuilt_since.unwrap_or_else(Instant::now);
        if up_to_date {
            built.unbuilt = None;
            built.unbuilt_since = None;
        }
        if let Some(Published { program, hosts }) = published {
            let program = match built.last_good.take() {
                Some(before) if before.program.is_same_as(&program) => before.program,
                // The same text is not kept twice.
                Some(before) if before.program.hash == program.hash => {
                    match before.program.is_content_of(&program) {
                        true => built.retelling.is_due(Instant::now()),
                        false => built.retelling.is_needless(),
                    }
                    Arc::new(Program {
                        config: Arc::clone(&before.program.config),
                        ..program
                    })
                }
                Some(_) | None => {
                    built.retelling.is_needless();
                    Arc::new(program)
                }
            };
            built.last_good = Some(Good {
                program,
                hosts,
                at_least: draft.revision,
                changed_at,
            });
            built.made_of = (!up_to_date).then_some(draft.revision);
        }
        built.assessment = Some(Arc::new(assessment));
        up_to_date
    }

    /// The last good program of a gateway. It is of the present `revision`
    /// unless something changed.
    pub(super) fn of(&self, gateway: &Key, revision: u64) -> Option<Made<'_>> {
        let built = self.gateways.get(gateway)?;
        let Good {
            program,
            hosts,
            at_least,
            changed_at,
        } = built.last_good.as_ref()?;
        Some(Made {
            program,
            hosts,
            revision: built.made_of.unwrap_or(revision).max(*at_least),
            held_back: built.made_of.is_some(),
            changed_at: *changed_at,
            waits: built.retelling.waits_until().is_some(),
        })
    }

    /// Until when streams wait for versions of the same content.
    pub(super) fn waits_until(&self, gateway: &Key) -> Option<Instant> {
        self.gateways.get(gateway)?.retelling.waits_until()
    }

    /// They have waited. Says whether there is something to tell.
    pub(super) fn end_retelling(&mut self, gateway: &Key) -> bool {
        let built = self.gateways.get_mut(gateway);
        built.is_some_and(|built| built.retelling.ends(Instant::now()))
    }

    /// What was found last.
    pub(super) fn assessment(&self, gateway: &Key) -> Option<Arc<Assessment>> {
        self.gateways.get(gateway)?.assessment.clone()
    }

    /// For how long a change was not built.
    pub(super) fn unbuilt_for(&self, gateway: &Key) -> Option<Duration> {
        let since = self.gateways.get(gateway)?.unbuilt_since?;
        Some(since.elapsed())
    }
}
