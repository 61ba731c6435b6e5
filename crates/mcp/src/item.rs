//! The things of a server that a rule can name, as an answer lists them.

/// One entry of a list, or the thing that a notification is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Item<'a> {
    /// `result.tools[].name`.
    Tool(&'a str),
    /// `result.prompts[].name`.
    Prompt(&'a str),
    /// `result.resources[].uri`, or the `uri` of an update.
    Resource(&'a str),
    /// `result.resourceTemplates[].uriTemplate`.
    Template(&'a str),
    /// `result.tasks[].taskId`, or the task of a status notification.
    Task(&'a str),
}
