//! What a message asks for.

use std::borrow::Cow;

/// Which half of the protocol's history a message belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Era {
    /// 2025-03-26 to 2025-11-25: `initialize` and sessions.
    Legacy,
    /// 2026-07-28: every POST stands alone.
    Modern,
}

/// What a message asks for, with the names that rules decide about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call<'a> {
    /// `tools/call`.
    Tool {
        /// `params.name`.
        name: Cow<'a, str>,
    },
    /// `prompts/get`.
    Prompt {
        /// `params.name`.
        name: Cow<'a, str>,
    },
    /// `resources/read`.
    ReadResource {
        /// `params.uri`.
        uri: Cow<'a, str>,
    },
    /// `resources/subscribe` and `resources/unsubscribe`.
    SubscribeResource {
        /// `params.uri`.
        uri: Cow<'a, str>,
    },
    /// `completion/complete`.
    Complete {
        /// `params.ref`.
        reference: Reference<'a>,
    },
    /// `subscriptions/listen`.
    Listen {
        /// `params.notifications.resourceSubscriptions`.
        uris: Vec<Cow<'a, str>>,
        /// `params.notifications.taskIds`, of the tasks extension.
        task_ids: Vec<Cow<'a, str>>,
    },
    /// `tasks/get`, `tasks/cancel`, `tasks/result` and `tasks/update`.
    Task {
        /// `params.taskId`.
        id: Cow<'a, str>,
    },
    /// One of the lists of things.
    List(ListKind),
    /// `tasks/list`.
    ListTasks,
    /// `initialize`, `ping`, `server/discover`, `logging/setLevel`.
    Session,
    /// A notification that the protocol registers for clients.
    Notification,
    /// An answer to a question of the server; legacy only.
    ClientResponse,
    /// A method that this era does not register.
    Other,
}

/// What a completion is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference<'a> {
    /// `ref/prompt`: its `name`.
    Prompt(Cow<'a, str>),
    /// `ref/resource`: its `uri`, often a template.
    Resource(Cow<'a, str>),
}

/// Which list is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ListKind {
    /// `tools/list`.
    Tools,
    /// `prompts/list`.
    Prompts,
    /// `resources/list`.
    Resources,
    /// `resources/templates/list`.
    Templates,
}
