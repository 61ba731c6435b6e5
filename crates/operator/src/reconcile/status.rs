//! What the status of a gateway says, as a function of what is known.

mod bypass;
mod pods;
#[cfg(test)]
mod tests;

use sidegate_api::names::{INJECTION_ENABLED, INJECTION_LABEL, condition, reason};
use sidegate_api::status::{Condition, ConditionStatus, DataPlane, McpGatewayStatus};

use self::bypass::Bypass;
use self::pods::Pods;
use super::assess::{Built, Findings, Problem};
use super::conditions::{fails, holds, unknown};
use crate::bypass::Answered;
use crate::injector::policy;
use crate::key::Key;
use crate::world::{View, Winner};

/// Everything that a status is made of.
pub(super) struct Known<'a> {
    pub(super) key: &'a Key,
    pub(super) view: &'a View,
    /// What was found about `generation`.
    pub(super) findings: &'a Findings,
    pub(super) generation: Option<i64>,
    /// Whether the gateway, or what it refers to, changed since.
    pub(super) unbuilt: bool,
    /// Server ports that answered from outside, by the uid of the pod.
    pub(super) answered: &'a Answered,
    /// What else a person should know.
    pub(super) notes: Vec<String>,
}

/// The status that a gateway should have, without times.
pub(super) fn gateway(known: &Known<'_>) -> McpGatewayStatus {
    let Known { view, findings, .. } = known;
    let built = findings.built.as_ref();
    let pods = Pods::of(view, built.map(|built| built.version.as_str()));
    let bypass = Bypass::of(view, known.answered);
    let accepted = accepted_condition(known, pods.unprepared().as_deref());
    let resolved = resolved_condition(findings.resolved.as_ref());
    let programmed = match not_yet(known, &resolved) {
        Some(message) => fails(
            condition::PROGRAMMED,
            Problem {
                reason: reason::PENDING,
                message,
            },
        ),
        None => pods.programmed(),
    };
    let ready = ready(known, &pods, &bypass, [&accepted, &resolved, &programmed]);
    let conditions = [accepted, resolved, programmed, ready];
    McpGatewayStatus {
        observed_generation: known.generation,
        conditions: conditions.into_iter().chain(bypass.condition()).collect(),
        data_plane: Some(data_plane(&pods, built, &bypass)),
        failing: pods.failing(),
    }
}

fn accepted_condition(known: &Known<'_>, unprepared: Option<&str>) -> Condition {
    match (&known.findings.accepted, &known.view.winner) {
        (Err(problem), _) => fails(condition::ACCEPTED, problem.clone()),
        (Ok(()), Some(winner)) => {
            let mut problem = conflicted(winner);
            if !known.notes.is_empty() {
                let notes = known.notes.join("; ");
                problem.message = format!("{}; note: {notes}", problem.message);
            }
            fails(condition::ACCEPTED, problem)
        }
        (Ok(()), None) => {
            let built = known.findings.built.as_ref();
            let warnings = built.map(|built| built.warnings.as_slice());
            let notes: Vec<_> = warnings
                .into_iter()
                .flatten()
                .chain(&known.notes)
                .map(String::as_str)
                .chain(unprepared)
                .collect();
            let message = match notes.as_slice() {
                [] => "it is valid".to_owned(),
                notes => format!("it is valid; note: {}", notes.join("; ")),
            };
            holds(condition::ACCEPTED, reason::ACCEPTED, message)
        }
    }
}

fn conflicted(winner: &Winner) -> Problem {
    let Winner {
        name,
        shared_pods,
        is_older,
    } = winner;
    let comes_first = match is_older {
        true => "is older",
        false => "is as old, comes first by its name",
    };
    let shared = match shared_pods {
        0 => "has the same selector".to_owned(),
        1 => "selects one of its pods, too".to_owned(),
        more => format!("selects {more} of its pods, too"),
    };
    Problem {
        reason: reason::CONFLICTED,
        message: format!(
            "McpGateway {name} {comes_first} and {shared}: a pod has one gateway; delete one of \
             them, or label the pods so that each is selected once"
        ),
    }
}

fn resolved_condition(resolved: Option<&Result<(), Problem>>) -> Condition {
    match resolved {
        Some(Ok(())) => holds(
            condition::RESOLVED_REFS,
            reason::RESOLVED_REFS,
            "everything that it refers to can be used",
        ),
        Some(Err(problem)) => fails(condition::RESOLVED_REFS, problem.clone()),
        None => unknown(
            condition::RESOLVED_REFS,
            reason::PENDING,
            "what it refers to is looked at once it can be read",
        ),
    }
}

/// Why no pod can have confirmed it yet.
fn not_yet(known: &Known<'_>, resolved: &Condition) -> Option<String> {
    if known.unbuilt {
        // What pods confirmed may not be this any more.
        return Some("a change of it, or of what it refers to, is still being read".to_owned());
    }
    // One that shares pods with an older gateway is enforced by its others.
    if known.findings.accepted.is_ok() && resolved.status == ConditionStatus::True {
        return None;
    }
    let message = "there is nothing new to enforce before it is accepted and its references are \
                   resolved; what sidecars enforce already stays";
    Some(message.to_owned())
}

/// It holds when every ready pod enforces this configuration, and nothing gets
/// past it; what is missing is told in the order in which a person would mend
/// it.
fn ready(
    known: &Known<'_>,
    pods: &Pods<'_>,
    bypass: &Bypass<'_>,
    [accepted, resolved, programmed]: [&Condition; 3],
) -> Condition {
    let because = |condition: &Condition| Condition {
        condition_type: condition::READY.to_owned(),
        status: ConditionStatus::False,
        ..condition.clone()
    };
    let not = |reason, message| fails(condition::READY, Problem { reason, message });
    for needed in [accepted, resolved] {
        if needed.status != ConditionStatus::True {
            return because(needed);
        }
    }
    if !known.view.namespace_enabled {
        let namespace = &known.key.namespace;
        let message = if policy::is_excluded(namespace) {
            format!("namespace {namespace} is the system's: none of its pods get sidecars")
        } else {
            format!(
                "pods of namespace {namespace} get no sidecars: allow it with `kubectl label \
                 namespace {namespace} {INJECTION_LABEL}={INJECTION_ENABLED} --overwrite`"
            )
        };
        return not(reason::NAMESPACE_NOT_ENABLED, message);
    }
    if known.unbuilt {
        return because(programmed);
    }
    match (pods.ready, pods.matched) {
        (0, 0) => {
            let message = "the selector matches no pod".to_owned();
            return not(reason::NO_READY_PODS, message);
        }
        (0, matched) => {
            let message = format!("none of {matched} pods is ready");
            return not(reason::NO_READY_PODS, message);
        }
        _ => {}
    }
    if let Some(pod) = pods.ready_without_sidecar() {
        let message = format!("pod {pod} is ready and has no sidecar: restart it to get one");
        return not(reason::PODS_NOT_INJECTED, message);
    }
    if !pods.every_ready_pod_enforces() {
        return because(programmed);
    }
    if let Some(Problem { reason, message }) = bypass.problem()
        && !accepts_bypass(known.view)
    {
        return not(reason, message);
    }
    let message = format!(
        "{0} of {0} ready pods enforce this configuration",
        pods.ready
    );
    holds(condition::READY, reason::READY, message)
}

fn accepts_bypass(view: &View) -> bool {
    let gateway = view.object.0.as_ref();
    gateway.is_ok_and(|gateway| gateway.spec.accept_bypass)
}

fn data_plane(pods: &Pods<'_>, built: Option<&Built>, bypass: &Bypass<'_>) -> DataPlane {
    DataPlane {
        matched: pods.matched,
        injected: pods.injected,
        programmed: pods.programmed,
        summary: format!("{}/{}", pods.programmed, pods.matched),
        config_version: built.map(|built| built.version.clone()),
        other_listeners: bypass.other_listeners(),
    }
}
