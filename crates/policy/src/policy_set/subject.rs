//! What a decision is about: which names of rules count, and for which
//! methods.

use super::index::Spelling;
use crate::resource::{Action, Resource, is_ambiguous_uri};

/// The kinds of names in rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Tool,
    Prompt,
    Resource,
    Model,
    /// A method that needs no rule.
    KnownMethod,
    /// A method that needs a rule with its exact name.
    UnknownMethod,
}

/// What a decision is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) kind: Kind,
    pub(super) server: Option<&'a str>,
    /// Empty for methods, which come with the context.
    pub(super) name: &'a str,
    pub(super) is_template: bool,
    /// Whether the arguments in the context are those of the subject.
    pub(super) arguments_known: bool,
}

impl<'a> Subject<'a> {
    /// The subject of an action on a resource; None for a pair that does not
    /// fit together, which nothing can allow.
    pub(super) fn of(action: Action, resource: &Resource<'a>) -> Option<Self> {
        let mut subject = Self::in_list(resource);
        let fits = match subject.kind {
            Kind::Tool => matches!(action, Action::CallTool | Action::UseTask),
            Kind::Prompt => matches!(action, Action::GetPrompt | Action::Complete),
            Kind::Resource => matches!(
                action,
                Action::ReadResource | Action::SubscribeResource | Action::Complete
            ),
            Kind::Model => matches!(action, Action::Chat),
            Kind::KnownMethod | Kind::UnknownMethod => {
                matches!(action, Action::UseSession | Action::CallMethod)
            }
        };
        if action == Action::CallMethod {
            subject.kind = Kind::UnknownMethod;
        }
        // `completion/complete` refers to a resource by the text of its
        // template.
        subject.is_template |= action == Action::Complete && subject.kind == Kind::Resource;
        subject.arguments_known = action != Action::UseTask;
        fits.then_some(subject)
    }

    /// The subject of showing a resource in a list.
    pub(super) fn in_list(resource: &Resource<'a>) -> Self {
        let of = |kind, server, name| Self {
            kind,
            server,
            name,
            is_template: false,
            arguments_known: false,
        };
        match *resource {
            Resource::Tool { server, name } => of(Kind::Tool, Some(server), name),
            Resource::Prompt { server, name } => of(Kind::Prompt, Some(server), name),
            Resource::McpResource { server, uri } => of(Kind::Resource, Some(server), uri),
            Resource::ResourceTemplate {
                server,
                uri_template,
            } => Self {
                is_template: true,
                ..of(Kind::Resource, Some(server), uri_template)
            },
            Resource::Model { name } => of(Kind::Model, None, name),
            Resource::Server { server } => of(Kind::KnownMethod, Some(server), ""),
        }
    }

    /// Whether it is a URI that could mean another one than it spells.
    pub(super) fn is_ambiguous(&self) -> bool {
        self.kind == Kind::Resource && is_ambiguous_uri(self.name)
    }

    /// How Allow rules match the name: one expansion of a template is enough.
    pub(super) fn spelling_for_allow(&self) -> Spelling {
        if self.is_template {
            Spelling::SomeExpansion
        } else {
            Spelling::Name
        }
    }

    /// How Deny rules match the name: while one expansion is left, a template
    /// is not denied.
    pub(super) fn spelling_for_deny(&self) -> Spelling {
        if self.is_template {
            Spelling::EveryExpansion
        } else {
            Spelling::Name
        }
    }

    /// The methods by which something in a list is used; completion is not
    /// one, it only helps to use it.
    pub(super) fn methods_of_use(&self) -> &'static [&'static str] {
        match self.kind {
            Kind::Tool => &["tools/call"],
            Kind::Prompt => &["prompts/get"],
            Kind::Resource => &[
                "resources/read",
                "resources/subscribe",
                "subscriptions/listen",
            ],
            Kind::Model | Kind::KnownMethod | Kind::UnknownMethod => &[""],
        }
    }

    pub(super) fn tool(&self) -> &'a str {
        if self.kind == Kind::Tool {
            self.name
        } else {
            ""
        }
    }

    pub(super) fn model(&self) -> &'a str {
        if self.kind == Kind::Model {
            self.name
        } else {
            ""
        }
    }
}
