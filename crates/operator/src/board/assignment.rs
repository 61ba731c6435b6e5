//! What a pod is assigned, and who is told of it.

use std::sync::Arc;

use sidegate_tls::{MAX_DNS_NAMES, is_dns_name};
use tokio::sync::watch;

use super::{Assigned, Assignment, PodRef, State};
use crate::key::Key;
use crate::world::{Owner, ServiceNames};

/// A pod that somebody follows.
pub(super) struct Followed {
    uid: Arc<str>,
    assignment: watch::Sender<Assignment>,
    /// Whether the stamp of the assignment is held back.
    held_back: bool,
}

/// What a pod is to be told.
struct Drawn {
    assignment: Assignment,
    /// Whether its stamp is held back.
    held_back: bool,
    /// Whether who was told the same content is not to be told it again yet.
    waits: bool,
}

// === impl State ===

impl State {
    pub(super) fn follow(&mut self, pod: &PodRef) -> Option<watch::Receiver<Assignment>> {
        // Who comes now knows other versions, or none.
        self.tell(&pod.key, false, |_, _| false);
        if let Some(followed) = self.followed.get(&pod.key)
            && followed.uid == pod.uid
        {
            return Some(followed.assignment.subscribe());
        }
        let Drawn {
            assignment,
            held_back,
            waits: _,
        } = self.assign(&pod.key)?;
        let (assignment, receiver) = watch::channel(assignment);
        let followed = Followed {
            uid: Arc::clone(&pod.uid),
            assignment,
            held_back,
        };
        self.followed.insert(pod.key.clone(), followed);
        Some(receiver)
    }

    /// Something about a pod may have changed: who follows it is told if it
    /// did, or if it can be stamped after a time in which it could not. When
    /// the pod is gone, or is another one of the same name, the channel closes.
    pub(super) fn refresh(&mut self, pod: &Key) {
        self.tell(pod, true, |before, after| {
            after.revision > before.revision && before.held_back && !after.held_back
        });
    }

    /// Everybody in a namespace whose assignment has a lower stamp gets it
    /// again.
    pub(super) fn stamp_again(&mut self, namespace: &Arc<str>, at_least: u64) {
        let lower: Vec<_> = self
            .followed
            .iter()
            .filter(|(pod, _)| pod.namespace == *namespace)
            .filter(|(_, it)| it.assignment.borrow().revision < at_least)
            .map(|(pod, _)| pod.clone())
            .collect();
        for pod in lower {
            self.tell(&pod, true, |before, after| after.revision > before.revision);
        }
    }

    /// Nobody may follow the pod any more.
    pub(super) fn forget_unfollowed(&mut self, pod: &Key) {
        if let Some(followed) = self.followed.get(pod)
            && followed.assignment.is_closed()
        {
            self.followed.remove(pod);
        }
    }

    /// Unless it `may_wait`, also versions of the same content are told now.
    fn tell(&mut self, pod: &Key, may_wait: bool, is_news: impl Fn(Stamp, Stamp) -> bool) {
        let Some(followed) = self.followed.get(pod) else {
            return;
        };
        let same = self.world.pod(pod).is_some_and(|it| it.uid == followed.uid);
        let assigned = self.assign(pod);
        let (Some(drawn), true) = (assigned, same) else {
            self.followed.remove(pod);
            return;
        };
        let Drawn {
            assignment: mut after,
            held_back,
            waits,
        } = drawn;
        let Some(followed) = self.followed.get_mut(pod) else {
            return;
        };
        let was_held_back = std::mem::replace(&mut followed.held_back, held_back);
        followed.assignment.send_if_modified(|before| {
            if waits && may_wait {
                after.keep_versions_of(before);
            }
            let stamp = |revision, held_back| Stamp {
                revision,
                held_back,
            };
            let news = !before.says_the_same(&after)
                || is_news(
                    stamp(before.revision, was_held_back),
                    stamp(after.revision, held_back),
                );
            *before = after;
            news
        });
    }

    fn assign(&self, pod: &Key) -> Option<Drawn> {
        let known = self.progress.of(&pod.namespace);
        let domain = &self.naming.cluster_domain;
        let ServiceNames { certificate, hosts } = self.world.service_names(pod, domain)?;
        let mut assignment = Assignment {
            assigned: Assigned::Waiting,
            revision: known,
            changed_at: None,
            dns_names: names_for_certificate(certificate, &[]),
            service_hosts: hosts,
        };
        // Who has it is not certain yet.
        if !self.synced {
            return Some(Drawn {
                assignment,
                held_back: true,
                waits: false,
            });
        }
        let (held_back, waits) = match self.world.owner(pod) {
            Owner::NoGateway => {
                assignment.assigned = Assigned::NoGateway;
                (false, false)
            }
            Owner::Unknown => (true, false),
            Owner::Gateway(gateway) => match self.programs.of(&gateway, known) {
                Some(made) => {
                    assignment.revision = made.revision;
                    assignment.changed_at = Some(made.changed_at);
                    assignment.dns_names = names_for_certificate(assignment.dns_names, made.hosts);
                    assignment.assigned = Assigned::Program(Arc::clone(made.program));
                    (made.held_back, made.waits)
                }
                None => (true, false),
            },
        };
        Some(Drawn {
            assignment,
            held_back,
            waits,
        })
    }
}

/// The same names always come out in the same order, those of Services first,
/// and no more than one certificate takes: a name that cannot be in one must not
/// keep the pod from having any. No `*`: a pod is no other host of its domain.
fn names_for_certificate(of_services: Vec<String>, hosts: &[String]) -> Vec<String> {
    let mut names = of_services;
    for host in hosts {
        if is_dns_name(host) && !names.contains(host) {
            names.push(host.clone());
        }
    }
    names.truncate(MAX_DNS_NAMES);
    names
}

/// How much an assignment was made of.
#[derive(Clone, Copy)]
struct Stamp {
    revision: u64,
    held_back: bool,
}

// === impl Assignment ===

impl Assignment {
    fn says_the_same(&self, other: &Self) -> bool {
        let same = match (&self.assigned, &other.assigned) {
            (Assigned::NoGateway, Assigned::NoGateway) | (Assigned::Waiting, Assigned::Waiting) => {
                true
            }
            (Assigned::Program(one), Assigned::Program(other)) => one.is_same_as(other),
            (Assigned::NoGateway | Assigned::Waiting | Assigned::Program(_), _) => false,
        };
        same && self.dns_names == other.dns_names && self.service_hosts == other.service_hosts
    }

    /// Of the same content, the one that was told already.
    fn keep_versions_of(&mut self, before: &Self) {
        if let (Assigned::Program(now), Assigned::Program(before)) =
            (&self.assigned, &before.assigned)
            && now.gateway == before.gateway
            && now.is_content_of(before)
        {
            self.assigned = Assigned::Program(Arc::clone(before));
        }
    }
}
