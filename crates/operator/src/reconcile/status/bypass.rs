//! Whether a server can be reached without passing its sidecar.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use sidegate_api::names::{condition, reason};
use sidegate_api::status::Condition;

use super::super::assess::Problem;
use super::super::conditions::{holds, unknown};
use crate::bypass::Answered;
use crate::pod_condition::{Found, read_listeners};
use crate::world::{PodView, ServerPorts, View};

/// Most other listeners that a status names.
const MAX_OTHER: usize = 64;

/// What is known of ways around the sidecars of a gateway.
pub(super) struct Bypass<'a> {
    ports: ServerPorts,
    /// Whether there is a pod at all.
    has_pods: bool,
    /// Listeners of other processes on ports that the sidecar has, too.
    listening: Vec<(&'a PodView, Found)>,
    /// Ports of servers that answered.
    answered: Vec<(&'a PodView, SocketAddr)>,
    other: BTreeSet<SocketAddr>,
}

// === impl Bypass ===

impl<'a> Bypass<'a> {
    pub(super) fn of(view: &'a View, answered: &Answered) -> Self {
        let ports = ServerPorts::of(&view.object);
        let mut bypass = Self {
            has_pods: !view.pods.is_empty(),
            listening: Vec::new(),
            answered: Vec::new(),
            other: BTreeSet::new(),
            ports,
        };
        for pod in &view.pods {
            let condition = pod.conditions.listeners.as_ref();
            let found = condition.map(|it| read_listeners(&it.message));
            for found in found.into_iter().flatten() {
                let port = found.address.port();
                if bypass.ports.same.contains(&port) {
                    bypass.listening.push((pod, found));
                } else if !bypass.ports.separate.contains(&port) {
                    bypass.other.insert(found.address);
                }
            }
            let answers = answered.get(&pod.uid).into_iter().flatten();
            let answers = answers.filter(|it| bypass.ports.separate.contains(&it.port()));
            bypass.answered.extend(answers.map(|it| (pod, *it)));
        }
        bypass
    }

    /// A way that was found, and how to close it.
    pub(super) fn problem(&self) -> Option<Problem> {
        let more = |count: usize| match count {
            0 | 1 => String::new(),
            count => format!(" (and {} more)", count - 1),
        };
        if let Some((pod, Found { address, user_id })) = self.listening.first() {
            let message = format!(
                "in pod {}, a process of user {user_id} listens on {address}{}, which can be \
                 reached without passing the sidecar: let it listen on 127.0.0.1, or accept this \
                 with spec.acceptBypass: true",
                pod.name,
                more(self.listening.len())
            );
            return Some(Problem {
                reason: reason::LISTENER_FOUND,
                message,
            });
        }
        let (pod, address) = self.answered.first()?;
        let message = format!(
            "the server of pod {} answers on {address}{} without its sidecar: let a NetworkPolicy \
             that is enforced admit every port but this one, or accept this with \
             spec.acceptBypass: true",
            pod.name,
            more(self.answered.len())
        );
        Some(Problem {
            reason: reason::SERVER_ANSWERED,
            message,
        })
    }

    /// None when there is nothing to say.
    pub(super) fn condition(&self) -> Option<Condition> {
        if let Some(Problem { reason, message }) = self.problem() {
            return Some(holds(condition::BYPASS_POSSIBLE, reason, message));
        }
        if self.ports.separate.is_empty() || !self.has_pods {
            return None;
        }
        let message = "no port of a server with exposure SeparatePort was reached without its \
                       sidecar, which does not prove that none can be";
        Some(unknown(
            condition::BYPASS_POSSIBLE,
            reason::UNKNOWN,
            message,
        ))
    }

    /// Other open ports of the pods. They are not guarded.
    pub(super) fn other_listeners(&self) -> Vec<String> {
        let other = self.other.iter().filter(|it| it.port() > 0);
        other.take(MAX_OTHER).map(SocketAddr::to_string).collect()
    }
}
