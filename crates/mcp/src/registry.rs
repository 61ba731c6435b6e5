//! The methods that clients may send, by era.
//!
//! A method that is not in this table for the era of a message is unknown, and
//! denied unless a rule allows its exact name: a new method of the protocol is
//! one row here.

use crate::call::{Era, ListKind};

/// What a registered method names, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Tool,
    Prompt,
    ReadResource,
    SubscribeResource,
    Complete,
    Listen,
    Task,
    List(ListKind),
    ListTasks,
    Initialize,
    Session,
    Notification,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Eras {
    Both,
    Legacy,
    Modern,
}

const METHODS: &[(&str, Eras, Shape)] = &[
    ("tools/call", Eras::Both, Shape::Tool),
    ("tools/list", Eras::Both, Shape::List(ListKind::Tools)),
    ("prompts/get", Eras::Both, Shape::Prompt),
    ("prompts/list", Eras::Both, Shape::List(ListKind::Prompts)),
    ("resources/read", Eras::Both, Shape::ReadResource),
    (
        "resources/list",
        Eras::Both,
        Shape::List(ListKind::Resources),
    ),
    (
        "resources/templates/list",
        Eras::Both,
        Shape::List(ListKind::Templates),
    ),
    (
        "resources/subscribe",
        Eras::Legacy,
        Shape::SubscribeResource,
    ),
    (
        "resources/unsubscribe",
        Eras::Legacy,
        Shape::SubscribeResource,
    ),
    ("completion/complete", Eras::Both, Shape::Complete),
    ("subscriptions/listen", Eras::Modern, Shape::Listen),
    // Core in 2025-11-25, the extension io.modelcontextprotocol/tasks since.
    ("tasks/get", Eras::Both, Shape::Task),
    ("tasks/cancel", Eras::Both, Shape::Task),
    ("tasks/result", Eras::Legacy, Shape::Task),
    ("tasks/update", Eras::Modern, Shape::Task),
    ("tasks/list", Eras::Legacy, Shape::ListTasks),
    ("server/discover", Eras::Modern, Shape::Session),
    ("initialize", Eras::Legacy, Shape::Initialize),
    ("ping", Eras::Legacy, Shape::Session),
    ("logging/setLevel", Eras::Legacy, Shape::Session),
    // In the modern era defined for stdio only; harmless where it is sent.
    ("notifications/cancelled", Eras::Both, Shape::Notification),
    (
        "notifications/initialized",
        Eras::Legacy,
        Shape::Notification,
    ),
    ("notifications/progress", Eras::Legacy, Shape::Notification),
    (
        "notifications/roots/list_changed",
        Eras::Legacy,
        Shape::Notification,
    ),
];

/// What `method` names in `era`; None when the era does not register it.
pub(crate) fn shape(method: &str, era: Era) -> Option<Shape> {
    let (_, eras, shape) = METHODS.iter().find(|(name, _, _)| *name == method)?;
    match (eras, era) {
        (Eras::Both, _) | (Eras::Legacy, Era::Legacy) | (Eras::Modern, Era::Modern) => Some(*shape),
        (Eras::Legacy, Era::Modern) | (Eras::Modern, Era::Legacy) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_is_registered_once() {
        for (index, (name, _, _)) in METHODS.iter().enumerate() {
            let first = METHODS.iter().position(|(other, _, _)| other == name);
            assert_eq!(first, Some(index), "{name}");
        }
    }

    #[test]
    fn a_method_of_the_other_era_is_unknown() {
        for method in [
            "ping",
            "logging/setLevel",
            "resources/subscribe",
            "resources/unsubscribe",
            "tasks/result",
            "tasks/list",
            "initialize",
            "notifications/initialized",
        ] {
            assert_eq!(shape(method, Era::Modern), None, "{method}");
            assert!(shape(method, Era::Legacy).is_some(), "{method}");
        }
        for method in ["server/discover", "subscriptions/listen", "tasks/update"] {
            assert_eq!(shape(method, Era::Legacy), None, "{method}");
            assert!(shape(method, Era::Modern).is_some(), "{method}");
        }
    }

    #[test]
    fn names_of_methods_are_compared_exactly() {
        for method in [
            "Tools/Call",
            "tools/call ",
            "tools/call\0",
            "tools",
            "",
            "notifications/message",
        ] {
            assert_eq!(shape(method, Era::Legacy), None, "{method:?}");
        }
    }
}
