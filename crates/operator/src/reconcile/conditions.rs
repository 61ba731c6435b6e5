//! Conditions: made without a time, which only a change of status sets.

use k8s_openapi::jiff::Timestamp;
use sidegate_api::names::{condition, reason};
use sidegate_api::status::{Condition, ConditionStatus, FailingPod};

use super::assess::Problem;
use crate::events::Notice;

/// What the API server takes, in characters.
const MAX_MESSAGE: usize = 32_768;
/// The reason of an event about pods without a sidecar.
const POD_NOT_INJECTED: &str = "PodNotInjected";

/// A condition that holds.
pub(super) fn holds(condition_type: &str, reason: &str, message: impl Into<String>) -> Condition {
    made(
        condition_type,
        ConditionStatus::True,
        reason,
        message.into(),
    )
}

/// A condition that does not hold.
pub(super) fn fails(condition_type: &str, problem: Problem) -> Condition {
    let Problem { reason, message } = problem;
    made(condition_type, ConditionStatus::False, reason, message)
}

/// A condition that nobody can say anything about.
pub(super) fn unknown(condition_type: &str, reason: &str, message: &str) -> Condition {
    made(
        condition_type,
        ConditionStatus::Unknown,
        reason,
        message.to_owned(),
    )
}

fn made(condition_type: &str, status: ConditionStatus, reason: &str, message: String) -> Condition {
    let message = match message.char_indices().nth(MAX_MESSAGE) {
        Some((end, _)) => message.get(..end).unwrap_or_default().to_owned(),
        None => message,
    };
    Condition {
        condition_type: condition_type.to_owned(),
        status,
        observed_generation: None,
        last_transition_time: String::new(),
        reason: reason.to_owned(),
        message,
    }
}

/// Fills in generation and times: the time of a condition is when its status
/// last changed.
pub(super) fn complete(
    current: &[Condition],
    wanted: &mut [Condition],
    generation: Option<i64>,
    now_unix: i64,
) {
    let now = Timestamp::from_second(now_unix).unwrap_or_default();
    for condition in wanted {
        condition.observed_generation = generation;
        condition.last_transition_time = find(current, &condition.condition_type)
            .filter(|before| before.status == condition.status)
            .map_or_else(
                || now.to_string(),
                |before| before.last_transition_time.clone(),
            );
    }
}

/// What a person should know of a change: a condition that is told began or
/// ceased to hold, or says something else. What holds from the start is news of
/// acceptance only.
pub(super) fn notices(current: &[Condition], wanted: &[Condition]) -> Vec<Notice> {
    wanted
        .iter()
        .filter_map(|now| {
            let before = find(current, &now.condition_type);
            let (warning, reason) = match now.condition_type.as_str() {
                condition::ACCEPTED => told_always(before, now, true)?,
                condition::RESOLVED_REFS => told_always(before, now, false)?,
                condition::PROGRAMMED => told_of_pods(before, now)?,
                condition::BYPASS_POSSIBLE => told_of_bypass(before, now)?,
                condition::READY => told_of_namespace(before, now)?,
                _ => return None,
            };
            Some(Notice {
                warning,
                reason: reason.to_owned(),
                note: now.message.clone(),
            })
        })
        .collect()
}

/// Whether it is a warning, and the reason of the event.
type Told<'a> = (bool, &'a str);

fn told_always<'a>(
    before: Option<&Condition>,
    now: &'a Condition,
    from_the_start: bool,
) -> Option<Told<'a>> {
    let holds = now.status == ConditionStatus::True;
    let news = match before {
        Some(before) => !says_the_same_but_for_counts(before, now),
        None => !holds || from_the_start,
    };
    let warning = now.status == ConditionStatus::False;
    news.then_some((warning, now.reason.as_str()))
}

/// What pods do changes often, and the numbers are in the status: told is that
/// all enforce it, and what somebody has to look at.
fn told_of_pods<'a>(before: Option<&Condition>, now: &'a Condition) -> Option<Told<'a>> {
    let other_reason = before.is_none_or(|before| before.reason != now.reason);
    match now.reason.as_str() {
        reason::PROGRAMMED if other_reason => Some((false, reason::PROGRAMMED)),
        reason::PODS_NOT_INJECTED if other_reason => Some((true, POD_NOT_INJECTED)),
        reason::DATA_PLANE_REJECTED | reason::SIDECAR_OUTDATED | reason::OPERATOR_BEHIND
            if before.is_none_or(|before| !says_the_same(before, now)) =>
        {
            Some((true, now.reason.as_str()))
        }
        _ => None,
    }
}

/// Otherwise `Ready` says what the other conditions say.
fn told_of_namespace<'a>(before: Option<&Condition>, now: &'a Condition) -> Option<Told<'a>> {
    let news = now.reason == reason::NAMESPACE_NOT_ENABLED
        && before.is_none_or(|before| before.reason != now.reason);
    news.then_some((true, reason::NAMESPACE_NOT_ENABLED))
}

/// That a server does not start, in the first pod in which it does not: the
/// numbers are in the status.
pub(super) fn notice_of_servers(current: &[FailingPod], wanted: &[FailingPod]) -> Option<Notice> {
    let is = |it: &&FailingPod| it.reason == reason::SERVER_NOT_STARTING;
    let now = wanted.iter().find(is)?;
    if current.iter().any(|it| is(&it)) {
        return None;
    }
    Some(Notice {
        warning: true,
        reason: now.reason.clone(),
        note: format!("pod {}: {}", now.pod, now.message),
    })
}

fn told_of_bypass<'a>(before: Option<&Condition>, now: &'a Condition) -> Option<Told<'a>> {
    let holds = now.status == ConditionStatus::True;
    let news = holds && before.is_none_or(|before| !says_the_same(before, now));
    news.then_some((true, condition::BYPASS_POSSIBLE))
}

fn says_the_same(before: &Condition, now: &Condition) -> bool {
    before.status == now.status && before.reason == now.reason && before.message == now.message
}

/// Of how many pods something is true changes with every rollout.
fn says_the_same_but_for_counts(before: &Condition, now: &Condition) -> bool {
    before.status == now.status
        && before.reason == now.reason
        && without_counts(&before.message) == without_counts(&now.message)
}

/// The words of a message without the numbers of each `3 of 5 pods`.
fn without_counts(message: &str) -> Vec<&str> {
    let words: Vec<_> = message.split(' ').collect();
    let is_number = |word: &str| word.parse::<u32>().is_ok();
    let is_count = |at: usize| {
        matches!(
            words.get(at..at + 4),
            Some([some, "of", all, "pods"]) if is_number(some) && is_number(all)
        )
    };
    let is_in_count = |at: usize| is_count(at) || at.checked_sub(2).is_some_and(is_count);
    let kept = words.iter().enumerate().filter(|(at, _)| !is_in_count(*at));
    kept.map(|(_, word)| *word).collect()
}

fn find<'a>(conditions: &'a [Condition], condition_type: &str) -> Option<&'a Condition> {
    conditions
        .iter()
        .find(|condition| condition.condition_type == condition_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failing(message: &str) -> Condition {
        let problem = Problem {
            reason: "Invalid",
            message: message.to_owned(),
        };
        fails("Accepted", problem)
    }

    fn completed(current: &[Condition], mut wanted: Condition, now: i64) -> Condition {
        complete(current, std::slice::from_mut(&mut wanted), Some(7), now);
        wanted
    }

    #[test]
    fn the_time_is_that_of_the_last_change_of_status() {
        let first = completed(&[], failing("a"), 0);
        assert_eq!(first.last_transition_time, "1970-01-01T00:00:00Z");
        assert_eq!(first.observed_generation, Some(7));
        let second = completed(std::slice::from_ref(&first), failing("b"), 60);
        assert_eq!(second.last_transition_time, first.last_transition_time);
        let third = completed(&[second], holds("Accepted", "Accepted", "good"), 60);
        assert_eq!(third.last_transition_time, "1970-01-01T00:01:00Z");
    }

    fn told(current: &[Condition], wanted: &Condition) -> Vec<String> {
        notices(current, std::slice::from_ref(wanted))
            .into_iter()
            .map(|notice| format!("{}{}", if notice.warning { "!" } else { "" }, notice.reason))
            .collect()
    }

    #[test]
    fn a_notice_tells_news_only() {
        let bad = failing("a");
        assert_eq!(told(&[], &bad), ["!Invalid"]);
        let known = [bad.clone()];
        assert_eq!(told(&known, &bad), [""; 0]);
        assert_eq!(told(&known, &failing("b")), ["!Invalid"]);
        let good = holds("Accepted", "Accepted", "good");
        assert_eq!(told(&known, &good), ["Accepted"]);
        assert_eq!(told(&[], &good), ["Accepted"]);
        let resolved = holds("ResolvedRefs", "ResolvedRefs", "good");
        assert_eq!(told(&[], &resolved), [""; 0]);
        let ready = fails("Ready", problem("Pending", "waiting"));
        assert_eq!(told(&[], &ready), [""; 0]);
    }

    #[test]
    fn how_many_pods_it_is_about_is_no_news() {
        let noted =
            |note: &str| holds("Accepted", "Accepted", format!("it is valid; note: {note}"));
        let first = [noted("in 1 of 3 pods no container declares port 8080")];
        for same in [
            "in 1 of 3 pods no container declares port 8080",
            "in 12 of 4000 pods no container declares port 8080",
        ] {
            assert_eq!(told(&first, &noted(same)), [""; 0], "{same}");
        }
        for news in [
            "in 1 of 3 pods no container declares port 8081",
            "in 1 of 3 hosts no container declares port 8080",
            "in some of 3 pods no container declares port 8080",
            "in 1 of 3 pods",
            "",
        ] {
            assert_eq!(told(&first, &noted(news)), ["Accepted"], "{news}");
        }
    }

    fn problem(reason: &'static str, message: &str) -> Problem {
        Problem {
            reason,
            message: message.to_owned(),
        }
    }

    #[test]
    fn of_pods_only_what_matters_is_told() {
        let programmed = |reason, message| match reason {
            "Programmed" => holds("Programmed", reason, message),
            reason => fails("Programmed", problem(reason, message)),
        };
        let pending = programmed("Pending", "waiting for 3 of 3 pods");
        assert_eq!(told(&[], &pending), [""; 0]);
        let partial = programmed("PartiallyProgrammed", "waiting for 2 of 3 pods");
        assert_eq!(told(std::slice::from_ref(&pending), &partial), [""; 0]);
        let all = programmed("Programmed", "3 pods");
        assert_eq!(told(std::slice::from_ref(&partial), &all), ["Programmed"]);
        let more = programmed("Programmed", "4 pods");
        assert_eq!(told(std::slice::from_ref(&all), &more), [""; 0]);
        let rejected = programmed("DataPlaneRejected", "pod a");
        assert_eq!(
            told(std::slice::from_ref(&all), &rejected),
            ["!DataPlaneRejected"]
        );
        let other = programmed("DataPlaneRejected", "pod b");
        assert_eq!(
            told(std::slice::from_ref(&rejected), &other),
            ["!DataPlaneRejected"]
        );
        let bare = programmed("PodsNotInjected", "1 of 2 pods");
        assert_eq!(told(&[], &bare), ["!PodNotInjected"]);
        let barer = programmed("PodsNotInjected", "2 of 3 pods");
        assert_eq!(told(&[bare], &barer), [""; 0]);
    }

    #[test]
    fn what_a_person_has_to_mend_in_the_cluster_is_told_once() {
        let behind = fails("Programmed", problem("OperatorBehind", "raise the epoch"));
        assert_eq!(told(&[], &behind), ["!OperatorBehind"]);
        assert_eq!(told(std::slice::from_ref(&behind), &behind), [""; 0]);
        let shut = fails("Ready", problem("NamespaceNotEnabled", "label it"));
        assert_eq!(told(&[], &shut), ["!NamespaceNotEnabled"]);
        assert_eq!(told(std::slice::from_ref(&shut), &shut), [""; 0]);

        let pod = |pod: &str, reason: &str| FailingPod {
            pod: pod.to_owned(),
            reason: reason.to_owned(),
            message: "container app does not stay up".to_owned(),
        };
        let down = [pod("a", "Pending"), pod("b", "ServerNotStarting")];
        let notice = notice_of_servers(&[], &down).expect("it is told");
        assert_eq!(
            (notice.warning, &*notice.reason),
            (true, "ServerNotStarting")
        );
        assert_eq!(notice.note, "pod b: container app does not stay up");
        let more = [pod("b", "ServerNotStarting"), pod("c", "ServerNotStarting")];
        assert_eq!(notice_of_servers(&down, &more), None);
        assert_eq!(notice_of_servers(&[], &[pod("a", "Pending")]), None);
    }

    #[test]
    fn a_bypass_is_told_and_not_that_nobody_knows() {
        let found = |message: &str| holds("BypassPossible", "ListenerFound", message);
        assert_eq!(told(&[], &found("a")), ["!BypassPossible"]);
        assert_eq!(told(&[found("a")], &found("a")), [""; 0]);
        let nobody_knows = unknown("BypassPossible", "Unknown", "who knows");
        assert_eq!(told(&[found("a")], &nobody_knows), [""; 0]);
    }

    #[test]
    fn messages_are_cut_at_the_bound() {
        assert_eq!(
            failing(&"ä".repeat(MAX_MESSAGE)).message.chars().count(),
            MAX_MESSAGE
        );
        assert_eq!(
            failing(&"ä".repeat(MAX_MESSAGE + 1))
                .message
                .chars()
                .count(),
            MAX_MESSAGE
        );
    }
}
