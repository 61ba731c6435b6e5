//! What a principal may see of an answer, now and after the configuration
//! changed.

use std::sync::Arc;

use sidegate_config::sidecar_config::IssuerConfig;
use sidegate_mcp::Item;
use sidegate_policy::policy_set::PolicySet;
use sidegate_policy::principal::Principal;
use sidegate_policy::resource::{Context, Resource};

use super::expected::Watching;
use crate::admitted::Admitted;
use crate::decide::decide;
use crate::runtime::Runtime;
use crate::shared::Shared;
use crate::stream::{Keep, NoteTask, StillAllowed};

/// One principal's view of one server.
#[derive(Debug, Clone)]
pub(super) struct Viewer {
    shared: Arc<Shared>,
    server: Arc<str>,
    principal: Arc<Principal>,
}

// === impl Viewer ===

impl Viewer {
    pub(super) fn of(admitted: &Admitted) -> Self {
        Self {
            shared: Arc::clone(&admitted.shared),
            server: Arc::clone(&admitted.server.name),
            principal: Arc::clone(&admitted.principal),
        }
    }

    /// Decides about items by the configuration that is in force when they
    /// pass.
    pub(super) fn keep(&self) -> Keep {
        let viewer = self.clone();
        Box::new(move |item| {
            let runtime = viewer.shared.runtime.load();
            runtime
                .as_deref()
                .is_some_and(|runtime| viewer.sees(&runtime.policies, item))
        })
    }

    /// Remembers the tasks that a call of `tool` started.
    pub(super) fn tasks_of(&self, tool: Option<Arc<str>>) -> NoteTask {
        let viewer = self.clone();
        Box::new(move |task| {
            if let Some(tool) = &tool {
                let key = viewer.principal.key();
                viewer.shared.tasks.started(&viewer.server, task, key, tool);
            }
        })
    }

    fn sees(&self, policies: &PolicySet, item: Item<'_>) -> bool {
        let server = &*self.server;
        let visible = |resource: &Resource<'_>| policies.visible(&self.principal, resource);
        match item {
            Item::Tool(name) => visible(&Resource::Tool { server, name }),
            Item::Prompt(name) => visible(&Resource::Prompt { server, name }),
            Item::Resource(uri) => visible(&Resource::McpResource { server, uri }),
            Item::Template(uri_template) => visible(&Resource::ResourceTemplate {
                server,
                uri_template,
            }),
            Item::Task(id) => {
                let tool = self.shared.tasks.tool_of(server, id, self.principal.key());
                tool.is_some_and(|tool| {
                    visible(&Resource::Tool {
                        server,
                        name: &tool,
                    })
                })
            }
        }
    }
}

/// Asks again what the stream was permitted for, under the configuration in
/// force.
pub(super) fn still_allowed(admitted: &Admitted, watching: Watching) -> StillAllowed {
    let viewer = Viewer::of(admitted);
    let began = Arc::clone(&admitted.runtime);
    Box::new(move || {
        let runtime = viewer.shared.runtime.load();
        let Some(runtime) = runtime.as_deref() else {
            return false;
        };
        let Viewer {
            shared: _,
            server,
            principal,
        } = &viewer;
        if runtime.server(server).is_none() || !grants_the_same(&began, runtime, principal) {
            return false;
        }
        // It was text when the message was read.
        let arguments = watching.arguments.as_deref();
        let arguments = arguments.and_then(|text| std::str::from_utf8(text).ok());
        let context = Context {
            method: &watching.method,
            arguments,
        };
        decide(
            &runtime.policies,
            principal,
            server,
            &watching.questions,
            &context,
        )
        .is_ok()
    })
}

/// Whether the identity that a stream was opened with would come out the same
/// now. Keys may rotate; what a token of this issuer grants may not change.
fn grants_the_same(began: &Runtime, now: &Runtime, principal: &Principal) -> bool {
    let Some(claims) = principal.claims() else {
        return !now.config.authentication.require_token;
    };
    let issuer = |runtime: &Runtime| -> Option<IssuerConfig> {
        let issuers = &runtime.config.authentication.issuers;
        issuers
            .iter()
            .find(|issuer| *issuer.issuer == *claims.issuer)
            .cloned()
    };
    let (Some(before), Some(after)) = (issuer(began), issuer(now)) else {
        return false;
    };
    before.audiences == after.audiences
        && before.scope_claims == after.scope_claims
        && before.allowed_scopes == after.allowed_scopes
        && began.config.policy.scope_hierarchy == now.config.policy.scope_hierarchy
}
