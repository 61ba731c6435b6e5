//! The pods of a gateway: counted, and those that do not enforce it told.

use std::sync::Arc;

use sidegate_api::names::{condition, reason};
use sidegate_api::status::{Condition, FailingPod};

use super::super::assess::Problem;
use super::super::conditions::{fails, holds};
use crate::pod_condition::{Reported, reported};
use crate::world::{PodView, ServerPorts, View};

/// Most failing pods that a status names.
const MAX_FAILING: usize = 10;
/// What the API server takes, in characters.
const MAX_MESSAGE: usize = 4096;

/// The pods of a gateway.
pub(super) struct Pods<'a> {
    pub(super) matched: u32,
    pub(super) injected: u32,
    pub(super) programmed: u32,
    pub(super) ready: u32,
    pods: Vec<Judged<'a>>,
    ports: ServerPorts,
}

struct Judged<'a> {
    pod: &'a PodView,
    state: PodState<'a>,
}

/// Whether a pod enforces the current configuration. What needs a person first
/// comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum PodState<'a> {
    Rejected(&'a str),
    Outdated(&'a str),
    OperatorBehind(&'a str),
    NotInjected,
    OfAnother(&'a str),
    Pending,
    Enforces,
}

// === impl Pods ===

impl<'a> Pods<'a> {
    /// The pods of a gateway whose current configuration has this hash; none
    /// enforces one that there is not.
    pub(super) fn of(view: &'a View, hash: Option<&str>) -> Self {
        let mut pods = Self {
            matched: 0,
            injected: 0,
            programmed: 0,
            ready: 0,
            pods: Vec::with_capacity(view.pods.len()),
            ports: ServerPorts::of(&view.object),
        };
        for pod in &view.pods {
            let state = PodState::of(pod, hash.unwrap_or_default());
            pods.matched += 1;
            pods.injected += u32::from(pod.injected);
            pods.programmed += u32::from(state == PodState::Enforces);
            pods.ready += u32::from(pod.ready);
            pods.pods.push(Judged { pod, state });
        }
        pods
    }

    pub(super) fn every_ready_pod_enforces(&self) -> bool {
        let mut ready = self.pods.iter().filter(|it| it.pod.ready);
        ready.all(|it| it.state == PodState::Enforces)
    }

    pub(super) fn ready_without_sidecar(&self) -> Option<&Arc<str>> {
        let found = self
            .pods
            .iter()
            .find(|it| it.pod.ready && !it.pod.injected)?;
        Some(&found.pod.name)
    }

    /// How many pods could not be prepared for their sidecar. Whoever created them
    /// was told, which is a controller as a rule. No names: each rollout has others.
    pub(super) fn unprepared(&self) -> Option<String> {
        let ServerPorts { same, separate } = &self.ports;
        let lacking = |port: &u16| {
            let own = self.pods.iter().map(|it| it.pod);
            own.filter(|pod| pod.injected && pod.had_by.is_none())
                .filter(|pod| !pod.declared.contains(port))
                .count()
        };
        let (port, count) = same
            .iter()
            .chain(separate)
            .map(|port| (port, lacking(port)))
            .find(|(_, count)| *count > 0)?;
        let not_told = match same.contains(port) {
            true => "was not told to listen on 127.0.0.1, and ",
            // It has the pod's addresses to itself.
            false => "",
        };
        Some(format!(
            "in {count} of {} pods no container declares port {port}, so its server {not_told}may \
             stop before its requests are answered: declare the port under `ports` of the server's \
             container",
            self.matched
        ))
    }

    /// Whether every pod has confirmed the current configuration.
    pub(super) fn programmed(&self) -> Condition {
        let Self {
            matched,
            injected,
            programmed,
            ..
        } = *self;
        let worst = self.pods.iter().min_by_key(|it| it.state);
        let (reason, message) = match worst {
            None => (
                reason::NO_MATCHING_PODS,
                "the selector matches no pod".to_owned(),
            ),
            Some(Judged { pod, state }) => match state {
                PodState::Rejected(words) => {
                    let message = format!("pod {} rejects it: {words}", pod.name);
                    (reason::DATA_PLANE_REJECTED, message)
                }
                PodState::Outdated(words) => (
                    reason::SIDECAR_OUTDATED,
                    format!("pod {}: {words}", pod.name),
                ),
                PodState::OperatorBehind(words) => (
                    reason::OPERATOR_BEHIND,
                    format!("pod {}: {words}", pod.name),
                ),
                PodState::NotInjected => {
                    let message =
                        format!("{} of {matched} pods have no sidecar", matched - injected);
                    (reason::PODS_NOT_INJECTED, message)
                }
                PodState::OfAnother(gateway) => {
                    let is = |it: &&Judged<'_>| matches!(it.state, PodState::OfAnother(_));
                    let theirs = self.pods.iter().filter(is).count();
                    let message = format!(
                        "{theirs} of {matched} pods have another gateway, as pod {} has \
                         McpGateway {gateway}; {programmed} enforce this configuration",
                        pod.name
                    );
                    (reason::CONFLICTED, message)
                }
                PodState::Pending => {
                    let reason = match programmed {
                        0 => reason::PENDING,
                        _ => reason::PARTIALLY_PROGRAMMED,
                    };
                    let waiting = matched - programmed;
                    (reason, format!("waiting for {waiting} of {matched} pods"))
                }
                PodState::Enforces => {
                    let message = format!("{matched} of {matched} pods enforce this configuration");
                    return holds(condition::PROGRAMMED, reason::PROGRAMMED, message);
                }
            },
        };
        fails(condition::PROGRAMMED, Problem { reason, message })
    }

    /// The pods that a person should look at, the most pressing first.
    pub(super) fn failing(&self) -> Vec<FailingPod> {
        let mut failing: Vec<_> = self
            .pods
            .iter()
            .filter_map(|it| Some((it, self.trouble(it)?)))
            .collect();
        // By name within each rank: that is the order of the pods.
        failing.sort_by_key(|(_, (rank, _))| *rank);
        failing.truncate(MAX_FAILING);
        failing
            .into_iter()
            .map(|(it, (_, Problem { reason, message }))| FailingPod {
                pod: it.pod.name.to_string(),
                reason: reason.to_owned(),
                message: message.chars().take(MAX_MESSAGE).collect(),
            })
            .collect()
    }

    fn trouble(&self, it: &Judged<'_>) -> Option<(u8, Problem)> {
        let problem = |reason, message: &str| Problem {
            reason,
            message: message.to_owned(),
        };
        let not_starting = || self.server_not_starting(it.pod).map(|problem| (3, problem));
        match it.state {
            PodState::Rejected(words) => Some((0, problem(reason::DATA_PLANE_REJECTED, words))),
            PodState::Outdated(words) => Some((1, problem(reason::SIDECAR_OUTDATED, words))),
            PodState::OperatorBehind(words) => Some((2, problem(reason::OPERATOR_BEHIND, words))),
            PodState::NotInjected => {
                let words = "it has no sidecar: restart it to get one";
                Some((4, problem(reason::PODS_NOT_INJECTED, words)))
            }
            PodState::OfAnother(gateway) => {
                let words = format!("McpGateway {gateway} has it");
                Some((5, problem(reason::CONFLICTED, &words)))
            }
            PodState::Pending => not_starting().or_else(|| {
                let words = "its sidecar has not confirmed this configuration yet";
                Some((6, problem(reason::PENDING, words)))
            }),
            PodState::Enforces => not_starting(),
        }
    }

    /// A server that insists on every address cannot start beside the sidecar,
    /// which has the pod's addresses. Its own log says `address in use`, and
    /// nobody would know by whom.
    fn server_not_starting(&self, pod: &PodView) -> Option<Problem> {
        let container = pod.failing_container.as_ref()?;
        let ports: Vec<_> = self.ports.same.iter().map(u16::to_string).collect();
        let ports = match ports.as_slice() {
            [] => return None,
            [port] => format!("port {port}"),
            ports => format!("ports {}", ports.join(", ")),
        };
        Some(Problem {
            reason: reason::SERVER_NOT_STARTING,
            message: format!(
                "container {container} does not stay up. The sidecar has {ports} on the pod's \
                 addresses, so a server that listens on 0.0.0.0 cannot start: let it listen on \
                 127.0.0.1 (HOST, FASTMCP_HOST, or the variables that bindEnv names), or choose \
                 exposure SeparatePort"
            ),
        })
    }
}

// === impl PodState ===

impl<'a> PodState<'a> {
    fn of(pod: &'a PodView, hash: &str) -> Self {
        if let Some(gateway) = &pod.had_by {
            return Self::OfAnother(gateway);
        }
        if !pod.injected {
            return Self::NotInjected;
        }
        match reported(pod.conditions.programmed.as_deref(), hash) {
            Reported::Enforced => Self::Enforces,
            Reported::Rejected(words) => Self::Rejected(words),
            Reported::Outdated(words) => Self::Outdated(words),
            Reported::OperatorBehind(words) => Self::OperatorBehind(words),
            Reported::Nothing => Self::Pending,
        }
    }
}
