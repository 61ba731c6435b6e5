//! Who asks: the verified identity of the connection and the token.

use std::sync::Arc;

use http::HeaderMap;
use sidegate_authn::AuthnError;
use sidegate_policy::principal::Principal;

use crate::answer::{Refusal, Unauthenticated};
use crate::connection_info::ConnectionInfo;
use crate::runtime::{McpServer, Runtime};

/// Everything that admission depends on.
pub(super) struct Admission<'a> {
    pub(super) runtime: &'a Runtime,
    pub(super) server: &'a McpServer,
    pub(super) connection: &'a ConnectionInfo,
    /// The host that the client dialled; challenges name its resource.
    pub(super) authority: &'a str,
}

impl Admission<'_> {
    /// The principal of the request. A token that is presented is always
    /// verified, required or not.
    ///
    /// # Errors
    /// 401 with a challenge, 400 for credentials that are none, 503 while the
    /// issuer's keys are not known.
    pub(super) async fn admit(&self, headers: &HeaderMap) -> Result<Arc<Principal>, Refusal> {
        let authenticator = &self.runtime.authenticator;
        let claims = match authenticator
            .authenticate_again(headers, &self.server.audiences, &self.connection.token)
            .await
        {
            Ok(claims) => claims,
            Err(AuthnError::Malformed(fault)) => {
                return Err(Refusal::MalformedCredentials { fault });
            }
            Err(AuthnError::Invalid(fault)) => return Err(self.unauthenticated(Some(fault))),
            Err(AuthnError::KeysUnavailable) => return Err(Refusal::KeysUnavailable),
        };
        if claims.is_none() && self.runtime.config.authentication.require_token {
            return Err(self.unauthenticated(None));
        }
        self.connection
            .principal(claims)
            .ok_or_else(|| self.unauthenticated(None))
    }

    /// The metadata of the resource that was dialled.
    pub(super) fn metadata_url(&self) -> Arc<str> {
        let resource = self.server.resource_for(self.authority);
        resource.map_or_else(Arc::default, |resource| Arc::clone(&resource.metadata_url))
    }

    fn unauthenticated(&self, fault: Option<&'static str>) -> Refusal {
        Refusal::Unauthenticated(Unauthenticated {
            fault,
            metadata_url: self.metadata_url(),
            scope: self.runtime.policies.base_scopes(&self.server.name),
        })
    }
}
