//! Conditions: made without a time, which only a change of status sets.

use k8s_openapi::jiff::Timestamp;
use sidegate_api::status::{Condition, ConditionStatus};

use super::assess::Problem;
use crate::events::Notice;

/// What the API server takes, in characters.
const MAX_MESSAGE: usize = 32_768;

/// A condition that holds.
pub(super) fn holds(condition_type: &str, reason: &str, message: impl Into<String>) -> Condition {
    condition(
        condition_type,
        ConditionStatus::True,
        reason,
        message.into(),
    )
}

/// A condition that does not hold.
pub(super) fn fails(condition_type: &str, problem: Problem) -> Condition {
    let Problem { reason, message } = problem;
    condition(condition_type, ConditionStatus::False, reason, message)
}

/// A condition that nobody can say anything about.
pub(super) fn unknown(condition_type: &str, reason: &str, message: &str) -> Condition {
    condition(
        condition_type,
        ConditionStatus::Unknown,
        reason,
        message.to_owned(),
    )
}

fn condition(
    condition_type: &str,
    status: ConditionStatus,
    reason: &str,
    message: String,
) -> Condition {
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

/// What a person should know of a change: a condition of `types` began or
/// ceased to hold, or says something else. Of one that holds from the start,
/// only the first type is news.
pub(super) fn notices(types: &[&str], current: &[Condition], wanted: &[Condition]) -> Vec<Notice> {
    wanted
        .iter()
        .filter(|condition| types.contains(&condition.condition_type.as_str()))
        .filter(|condition| match find(current, &condition.condition_type) {
            Some(before) => {
                before.status != condition.status
                    || before.reason != condition.reason
                    || before.message != condition.message
            }
            None => {
                condition.status != ConditionStatus::True
                    || types.first() == Some(&condition.condition_type.as_str())
            }
        })
        .map(|condition| Notice {
            warning: condition.status == ConditionStatus::False,
            reason: condition.reason.clone(),
            note: condition.message.clone(),
        })
        .collect()
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

    #[test]
    fn a_notice_tells_news_only() {
        let types = ["Accepted"];
        let bad = failing("a");
        let first = notices(&types, &[], std::slice::from_ref(&bad));
        assert_eq!(first.len(), 1);
        assert!(first[0].warning);
        let known = [bad.clone()];
        assert_eq!(notices(&types, &known, std::slice::from_ref(&bad)), []);
        assert_eq!(notices(&types, &known, &[failing("b")]).len(), 1);
        let good = notices(&types, &known, &[holds("Accepted", "Accepted", "good")]);
        assert!(!good[0].warning);
        assert_eq!(notices(&["Ready"], &[], &known), []);
        let first = holds("Accepted", "Accepted", "good");
        let first = [first, holds("ResolvedRefs", "ResolvedRefs", "good")];
        let told = notices(&["Accepted", "ResolvedRefs"], &[], &first);
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].reason, "Accepted");
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
