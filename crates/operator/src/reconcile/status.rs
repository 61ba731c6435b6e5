//! What the status of a gateway says, as a function of what is known.

use sidegate_api::names::{INJECTION_ENABLED, INJECTION_LABEL, condition, reason};
use sidegate_api::status::{Condition, ConditionStatus, DataPlane, FailingPod, McpGatewayStatus};

use super::assess::{Built, Findings, Problem};
use super::conditions::{fails, holds, unknown};
use crate::key::Key;
use crate::world::{PodCounts, View, Winner};

/// The status that a gateway should have, without times.
pub(super) fn gateway(
    key: &Key,
    view: &View,
    findings: Findings,
    generation: Option<i64>,
) -> McpGatewayStatus {
    let Findings {
        accepted,
        resolved,
        built,
    } = findings;
    let accepted = accepted_condition(accepted, view.winner.as_ref(), built.as_ref());
    let resolved = resolved_condition(resolved);
    let programmed = programmed(&accepted, &resolved, &view.pods);
    let ready = ready(key, view, &accepted, &resolved, &programmed);
    let conditions = vec![accepted, resolved, programmed, ready];
    McpGatewayStatus {
        observed_generation: generation,
        conditions,
        data_plane: Some(data_plane(&view.pods, built)),
        failing: failing(view),
    }
}

fn accepted_condition(
    accepted: Result<(), Problem>,
    winner: Option<&Winner>,
    built: Option<&Built>,
) -> Condition {
    match (accepted, winner) {
        (Err(problem), _) => fails(condition::ACCEPTED, problem),
        (Ok(()), Some(winner)) => fails(condition::ACCEPTED, conflicted(winner)),
        (Ok(()), None) => {
            let warnings = built.map(|built| built.warnings.as_slice());
            let message = match warnings {
                None | Some([]) => "it is valid".to_owned(),
                Some(warnings) => format!("it is valid; note: {}", warnings.join("; ")),
            };
            holds(condition::ACCEPTED, reason::ACCEPTED, message)
        }
    }
}

fn conflicted(winner: &Winner) -> Problem {
    let Winner { name, shared_pods } = winner;
    let shared = match shared_pods {
        0 => "has the same selector".to_owned(),
        1 => "selects one of its pods, too".to_owned(),
        more => format!("selects {more} of its pods, too"),
    };
    Problem {
        reason: reason::CONFLICTED,
        message: format!(
            "McpGateway {name} is older and {shared}: a pod has one gateway; delete one of them, \
             or label the pods so that each is selected once"
        ),
    }
}

fn resolved_condition(resolved: Option<Result<(), Problem>>) -> Condition {
    match resolved {
        Some(Ok(())) => holds(
            condition::RESOLVED_REFS,
            reason::RESOLVED_REFS,
            "everything that it refers to can be used",
        ),
        Some(Err(problem)) => fails(condition::RESOLVED_REFS, problem),
        None => unknown(
            condition::RESOLVED_REFS,
            reason::PENDING,
            "what it refers to is looked at once it can be read",
        ),
    }
}

/// No sidecar can confirm a configuration yet, so it never holds.
fn programmed(accepted: &Condition, resolved: &Condition, pods: &PodCounts) -> Condition {
    let PodCounts {
        matched, injected, ..
    } = *pods;
    let (reason, message) = if accepted.status != ConditionStatus::True
        || resolved.status != ConditionStatus::True
    {
        let message = "there is nothing to enforce before it is accepted and its references are \
                       resolved";
        (reason::PENDING, message.to_owned())
    } else if matched == 0 {
        let message = "the selector matches no pod";
        (reason::NO_MATCHING_PODS, message.to_owned())
    } else if injected < matched {
        let message = format!("{} of {matched} pods have no sidecar", matched - injected);
        (reason::PODS_NOT_INJECTED, message)
    } else {
        let message = "no sidecar has confirmed this configuration; this version of the operator \
                       cannot send it to them yet";
        (reason::PENDING, message.to_owned())
    };
    fails(condition::PROGRAMMED, Problem { reason, message })
}

/// It holds when every ready pod enforces this configuration; what is missing
/// is told in the order in which a person would mend it.
fn ready(
    key: &Key,
    view: &View,
    accepted: &Condition,
    resolved: &Condition,
    programmed: &Condition,
) -> Condition {
    let because = |condition: &Condition| Condition {
        condition_type: condition::READY.to_owned(),
        status: ConditionStatus::False,
        ..condition.clone()
    };
    for needed in [accepted, resolved] {
        if needed.status != ConditionStatus::True {
            return because(needed);
        }
    }
    if !view.namespace_enabled {
        let namespace = &key.namespace;
        let message = format!(
            "pods of namespace {namespace} get no sidecars: allow it with `kubectl label \
             namespace {namespace} {INJECTION_LABEL}={INJECTION_ENABLED} --overwrite`"
        );
        let reason = reason::NAMESPACE_NOT_ENABLED;
        return fails(condition::READY, Problem { reason, message });
    }
    if view.pods.ready == 0 {
        let message = match view.pods.matched {
            0 => "the selector matches no pod".to_owned(),
            matched => format!("none of {matched} pods is ready"),
        };
        let reason = reason::NO_READY_PODS;
        return fails(condition::READY, Problem { reason, message });
    }
    because(programmed)
}

fn data_plane(pods: &PodCounts, built: Option<Built>) -> DataPlane {
    let PodCounts {
        matched, injected, ..
    } = *pods;
    DataPlane {
        matched,
        injected,
        programmed: 0,
        summary: format!("0/{matched}"),
        config_version: built.map(|built| built.version),
        other_listeners: Vec::new(),
    }
}

fn failing(view: &View) -> Vec<FailingPod> {
    view.without_sidecar
        .iter()
        .map(|pod| FailingPod {
            pod: pod.to_string(),
            reason: reason::PODS_NOT_INJECTED.to_owned(),
            message: "it has no sidecar".to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn view(matched: u32, injected: u32, ready: u32) -> View {
        let object = json!({
            "metadata": {"name": "a", "namespace": "crm"},
            "spec": {"selector": {"matchLabels": {"app": "a"}}},
        });
        View {
            object: Arc::new(serde_json::from_value(object).expect("a gateway")),
            namespace_enabled: true,
            pods: PodCounts {
                matched,
                injected,
                ready,
            },
            without_sidecar: (injected..matched)
                .map(|index| format!("p{index}").into())
                .collect(),
            winner: None,
        }
    }

    fn good() -> Findings {
        Findings {
            accepted: Ok(()),
            resolved: Some(Ok(())),
            built: Some(Built {
                version: "0123".to_owned(),
                warnings: Vec::new(),
            }),
        }
    }

    fn problem(reason: &'static str) -> Problem {
        Problem {
            reason,
            message: "bad".to_owned(),
        }
    }

    /// `Type=Status/Reason` of every condition.
    fn words(view: &View, findings: Findings) -> Vec<String> {
        let status = gateway(&Key::new("crm", "a"), view, findings, Some(3));
        assert_eq!(status.observed_generation, Some(3));
        status
            .conditions
            .iter()
            .map(|it| format!("{}={:?}/{}", it.condition_type, it.status, it.reason))
            .collect()
    }

    #[test]
    fn nothing_is_said_to_be_enforced_while_no_sidecar_can_confirm() {
        assert_eq!(
            words(&view(3, 3, 3), good()),
            [
                "Accepted=True/Accepted",
                "ResolvedRefs=True/ResolvedRefs",
                "Programmed=False/Pending",
                "Ready=False/Pending",
            ]
        );
    }

    #[test]
    fn the_first_thing_to_mend_makes_it_not_ready() {
        let ready = |view: &View, findings| words(view, findings).pop().expect("Ready");
        assert_eq!(ready(&view(0, 0, 0), good()), "Ready=False/NoReadyPods");
        assert_eq!(ready(&view(2, 2, 0), good()), "Ready=False/NoReadyPods");
        assert_eq!(ready(&view(2, 1, 1), good()), "Ready=False/PodsNotInjected");
        let mut closed = view(0, 0, 0);
        closed.namespace_enabled = false;
        assert_eq!(ready(&closed, good()), "Ready=False/NamespaceNotEnabled");
        let mut findings = good();
        findings.resolved = Some(Err(problem(reason::FORBIDDEN)));
        assert_eq!(ready(&closed, findings.clone()), "Ready=False/Forbidden");
        findings.accepted = Err(problem(reason::INVALID));
        assert_eq!(ready(&closed, findings), "Ready=False/Invalid");
        closed.winner = Some(Winner {
            name: "old".into(),
            shared_pods: 2,
        });
        assert_eq!(ready(&closed, good()), "Ready=False/Conflicted");
    }

    #[test]
    fn the_commands_and_names_that_mend_it_are_told() {
        let mut closed = view(0, 0, 0);
        closed.namespace_enabled = false;
        closed.winner = Some(Winner {
            name: "old".into(),
            shared_pods: 0,
        });
        let key = Key::new("crm", "a");
        let status = gateway(&key, &closed, good(), None);
        let message = &status.conditions[0].message;
        assert!(message.contains("McpGateway old is older and has the same selector"));
        closed.winner = None;
        let status = gateway(&key, &closed, good(), None);
        let message = &status.conditions[3].message;
        assert!(
            message.contains(
                "`kubectl label namespace crm sidegate.dev/injection=enabled --overwrite`"
            ),
            "{message}"
        );
    }

    #[test]
    fn pods_are_counted_and_those_without_a_sidecar_named() {
        let status = gateway(&Key::new("crm", "a"), &view(3, 1, 2), good(), None);
        let plane = status.data_plane.expect("a data plane");
        assert_eq!((plane.matched, plane.injected, plane.programmed), (3, 1, 0));
        assert_eq!(plane.summary, "0/3");
        assert_eq!(plane.config_version.as_deref(), Some("0123"));
        let failing: Vec<_> = status.failing.iter().map(|it| it.pod.as_str()).collect();
        assert_eq!(failing, ["p1", "p2"]);
    }

    #[test]
    fn warnings_are_part_of_the_acceptance() {
        let mut findings = good();
        if let Some(built) = &mut findings.built {
            built.warnings = vec!["spec.tls.mode: Plaintext: unsafe".to_owned()];
        }
        let status = gateway(&Key::new("crm", "a"), &view(0, 0, 0), findings, None);
        let message = &status.conditions[0].message;
        assert_eq!(
            message,
            "it is valid; note: spec.tls.mode: Plaintext: unsafe"
        );
    }

    #[test]
    fn what_nobody_looked_at_is_unknown() {
        let mut findings = good();
        findings.accepted = Err(problem(reason::INVALID));
        findings.resolved = None;
        let words = words(&view(0, 0, 0), findings);
        assert_eq!(words[1], "ResolvedRefs=Unknown/Pending");
    }
}
