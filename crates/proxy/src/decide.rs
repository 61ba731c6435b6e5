//! From a received message to a decision: what is asked for, and whether the
//! principal may have it.

use std::sync::Arc;

use sidegate_mcp::{Call, Received, Reference};
use sidegate_policy::decision::{Decision, Denial, DenialReason, Permit};
use sidegate_policy::policy_set::PolicySet;
use sidegate_policy::principal::Principal;
use sidegate_policy::resource::{Action, Context, Resource};
use sidegate_policy::scope::ScopeSet;

use crate::task::TaskTable;

/// One question to the policies, owned, so that a long stream can ask it again
/// when the policies change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) action: Action,
    pub(crate) subject: Subject,
}

/// What a question is about, within one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subject {
    Tool(Arc<str>),
    Prompt(Arc<str>),
    McpResource(Arc<str>),
    Server,
    /// Something that nobody is known to have made: a task id of another.
    Unknown,
}

impl Subject {
    /// Kind and name for the audit line.
    pub(crate) fn name(&self) -> Option<(&'static str, &str)> {
        match self {
            Self::Tool(name) => Some(("tool", name)),
            Self::Prompt(name) => Some(("prompt", name)),
            Self::McpResource(uri) => Some(("resource", uri)),
            Self::Server | Self::Unknown => None,
        }
    }
}

/// The questions that a message raises; a message that names nothing raises
/// one about the server itself.
pub(crate) fn questions(
    received: &Received<'_>,
    server: &str,
    principal: &Principal,
    tasks: &TaskTable,
) -> Vec<Question> {
    let about = |action, subject| Question { action, subject };
    let session = || vec![about(Action::UseSession, Subject::Server)];
    let task = |id: &str| {
        let tool = tasks.tool_of(server, id, principal.key());
        about(
            Action::UseTask,
            tool.map_or(Subject::Unknown, Subject::Tool),
        )
    };
    match &received.call {
        Call::Tool { name } => vec![about(Action::CallTool, Subject::Tool((**name).into()))],
        Call::Prompt { name } => vec![about(Action::GetPrompt, Subject::Prompt((**name).into()))],
        Call::ReadResource { uri } => {
            vec![about(
                Action::ReadResource,
                Subject::McpResource((**uri).into()),
            )]
        }
        Call::SubscribeResource { uri } => {
            vec![about(
                Action::SubscribeResource,
                Subject::McpResource((**uri).into()),
            )]
        }
        Call::Complete { reference } => vec![about(
            Action::Complete,
            match reference {
                Reference::Prompt(name) => Subject::Prompt((**name).into()),
                Reference::Resource(uri) => Subject::McpResource((**uri).into()),
            },
        )],
        Call::Listen { uris, task_ids } => {
            let resources = uris.iter().map(|uri| {
                about(
                    Action::SubscribeResource,
                    Subject::McpResource((**uri).into()),
                )
            });
            let all: Vec<_> = resources
                .chain(task_ids.iter().map(|id| task(id)))
                .collect();
            if all.is_empty() { session() } else { all }
        }
        Call::Task { id } => vec![task(id)],
        Call::List(_)
        | Call::ListTasks
        | Call::Session
        | Call::Notification
        | Call::ClientResponse => session(),
        Call::Other => vec![about(Action::CallMethod, Subject::Server)],
    }
}

/// Decides every question; all must be allowed, and one permit stands for the
/// message as a whole.
///
/// # Errors
/// The first denial; when only scopes are missing, with those of all questions
/// together, so that one step-up is enough.
pub(crate) fn decide(
    policies: &PolicySet,
    principal: &Principal,
    server: &str,
    questions: &[Question],
    context: &Context<'_>,
) -> Result<Permit, Denial> {
    let mut permit = None;
    let mut missing: Option<Denial> = None;
    for question in questions {
        match ask(policies, principal, server, question, context) {
            Decision::Allow(granted) => permit = Some(granted),
            Decision::Deny(denial) if denial.missing_scopes.is_empty() => return Err(denial),
            Decision::Deny(denial) => {
                missing = Some(match missing {
                    Some(earlier) => Denial {
                        missing_scopes: earlier.missing_scopes.union(&denial.missing_scopes),
                        ..earlier
                    },
                    None => denial,
                });
            }
        }
    }
    match (missing, permit) {
        (Some(denial), _) => Err(denial),
        (None, Some(permit)) => Ok(permit),
        (None, None) => Err(no_rule()),
    }
}

fn ask(
    policies: &PolicySet,
    principal: &Principal,
    server: &str,
    question: &Question,
    context: &Context<'_>,
) -> Decision {
    let resource = match &question.subject {
        Subject::Tool(name) => Resource::Tool { server, name },
        Subject::Prompt(name) => Resource::Prompt { server, name },
        Subject::McpResource(uri) => Resource::McpResource { server, uri },
        Subject::Server => Resource::Server { server },
        Subject::Unknown => return Decision::Deny(no_rule()),
    };
    policies.decide(principal, question.action, &resource, context)
}

fn no_rule() -> Denial {
    Denial {
        reason: DenialReason::NoRule,
        rule: None,
        missing_scopes: ScopeSet::default(),
    }
}

/// Whether the message is one that a server may not run without an id: a call
/// in the shape of a notification is executed by some servers.
pub(crate) fn needs_id(received: &Received<'_>) -> bool {
    match received.call {
        Call::Tool { .. }
        | Call::Prompt { .. }
        | Call::ReadResource { .. }
        | Call::SubscribeResource { .. }
        | Call::Complete { .. }
        | Call::Listen { .. }
        | Call::Task { .. }
        | Call::ListTasks
        | Call::List(_)
        | Call::Session => true,
        Call::Notification | Call::ClientResponse | Call::Other => false,
    }
}

/// The label of a method in metrics: its name when it is a registered one.
pub(crate) fn method_label<'a>(received: &'a Received<'_>) -> &'a str {
    match received.call {
        Call::Other => "other",
        Call::ClientResponse => "response",
        Call::Notification => "notification",
        Call::Tool { .. }
        | Call::Prompt { .. }
        | Call::ReadResource { .. }
        | Call::SubscribeResource { .. }
        | Call::Complete { .. }
        | Call::Listen { .. }
        | Call::Task { .. }
        | Call::ListTasks
        | Call::List(_)
        | Call::Session => &received.method,
    }
}
