//! A request whose principal is known: what it may do next.

use std::sync::Arc;

use http::HeaderMap;
use sidegate_mcp::Era;
use sidegate_policy::decision::{Denial, DenialReason, Permit};
use sidegate_policy::principal::Principal;
use sidegate_policy::resource::Context;
use sidegate_policy::scope::ScopeSet;

use crate::answer::{Denied, Refusal};
use crate::decide::{self, Question};
use crate::held::InProgressGuard;
use crate::outcome::Exchange;
use crate::runtime::{McpServer, Runtime};
use crate::shared::Shared;

/// A request that was let through to a server's endpoint: what every later
/// phase needs.
pub(crate) struct Admitted {
    pub(crate) shared: Arc<Shared>,
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) server: Arc<McpServer>,
    pub(crate) principal: Arc<Principal>,
    /// The URL of the metadata that challenges name.
    pub(crate) metadata_url: Arc<str>,
    pub(crate) headers: HeaderMap,
}

// === impl Admitted ===

impl Admitted {
    /// Asks the policies; a denial becomes the refusal that says what cures it.
    ///
    /// # Errors
    /// As [`Admitted::denied`] says.
    pub(crate) fn decide(
        &self,
        exchange: &mut Exchange,
        questions: &[Question],
        context: &Context<'_>,
        era: Era,
    ) -> Result<Permit, Refusal> {
        let (policies, server) = (&self.runtime.policies, &*self.server.name);
        match decide::decide(policies, &self.principal, server, questions, context) {
            Ok(permit) => {
                exchange.allowed(&permit);
                Ok(permit)
            }
            Err(denial) => {
                exchange.denied(&denial);
                Err(self.denied(denial, era))
            }
        }
    }

    /// The refusal that a denial becomes.
    fn denied(&self, denial: Denial, era: Era) -> Refusal {
        let Denial {
            reason,
            rule: _,
            missing_scopes,
        } = denial;
        if reason == DenialReason::UnknownMethod {
            return Refusal::UnknownMethod { era };
        }
        let curable = missing_scopes
            .iter()
            .all(|scope| self.may_be_granted(scope.as_ref()));
        let missing_scopes = if curable {
            missing_scopes
        } else {
            ScopeSet::default()
        };
        Refusal::Denied(Box::new(Denied {
            reason,
            missing_scopes,
            metadata_url: Arc::clone(&self.metadata_url),
            has_token: self.principal.claims().is_some(),
        }))
    }

    /// Whether the principal's issuer may grant a scope at all
    /// (`allowedScopes`). A challenge for one that it may not would send the
    /// client to get the same token again.
    fn may_be_granted(&self, scope: &str) -> bool {
        let Some(claims) = self.principal.claims() else {
            return true;
        };
        let issuers = &self.runtime.config.authentication.issuers;
        let issuer = issuers
            .iter()
            .find(|issuer| *issuer.issuer == *claims.issuer);
        let Some(allowed) = issuer.and_then(|issuer| issuer.allowed_scopes.as_ref()) else {
            return true;
        };
        let allowed: ScopeSet = allowed
            .iter()
            .filter_map(|scope| scope.parse().ok())
            .collect();
        let hierarchy = self.runtime.policies.hierarchy();
        hierarchy.expand(&allowed).contains(scope)
    }

    /// One more request in progress for this principal.
    ///
    /// # Errors
    /// 429 at `limits.maxRequestsPerPrincipal`.
    pub(crate) fn enter(&self) -> Result<InProgressGuard, Refusal> {
        let limit = self.runtime.limits().max_requests_per_principal;
        let entered = self.shared.in_progress.enter(self.principal.key(), limit);
        entered.ok_or(Refusal::TooManyRequests)
    }

    /// Checks that the session was given to this principal.
    ///
    /// # Errors
    /// 404, as if it did not exist: a client then initializes again, and
    /// nobody learns of the sessions of others.
    pub(crate) fn own_session(&self, id: &str) -> Result<(), Refusal> {
        let now = self.shared.clock.monotonic();
        let limits = self.runtime.session_limits();
        let sessions = &self.shared.sessions;
        if sessions.touch(&self.server.name, id, self.principal.key(), now, limits) {
            Ok(())
        } else {
            Err(Refusal::UnknownSession)
        }
    }

    /// Checks that one more session may be asked for.
    ///
    /// # Errors
    /// 429 at `limits.maxSessions` or `limits.maxSessionsPerPrincipal`.
    pub(crate) fn check_session_room(&self) -> Result<(), Refusal> {
        let now = self.shared.clock.monotonic();
        let limits = self.runtime.session_limits();
        let room = self
            .shared
            .sessions
            .check_room(self.principal.key(), now, limits);
        room.map_err(|_full| Refusal::TooManySessions)
    }
}
