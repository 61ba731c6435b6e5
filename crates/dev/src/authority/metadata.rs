//! Where everything is, and how clients learn it (RFC 8414).

use std::collections::BTreeSet;

use serde_json::{Value, json};
use url::Url;

use super::config::Client;

/// The addresses of an issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoints {
    pub(super) authorize: String,
    pub(super) token: String,
    pub(super) jwks: String,
    pub(super) paths: Paths,
}

/// The paths that requests come in at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Paths {
    pub(super) metadata: [String; 3],
    pub(super) authorize: String,
    pub(super) token: String,
    pub(super) jwks: String,
    pub(super) rotate: String,
}

// === impl Endpoints ===

impl Endpoints {
    /// An issuer may have a path. RFC 8414 puts `/.well-known/…` in front of
    /// it, OpenID Connect behind it; both are served.
    pub(super) fn of(issuer: &Url) -> Self {
        let origin = issuer.origin().ascii_serialization();
        let base = issuer.path().trim_end_matches('/');
        let paths = Paths {
            metadata: [
                format!("/.well-known/oauth-authorization-server{base}"),
                format!("/.well-known/openid-configuration{base}"),
                format!("{base}/.well-known/openid-configuration"),
            ],
            authorize: format!("{base}/authorize"),
            token: format!("{base}/token"),
            jwks: format!("{base}/jwks"),
            rotate: format!("{base}/rotate"),
        };
        Self {
            authorize: format!("{origin}{}", paths.authorize),
            token: format!("{origin}{}", paths.token),
            jwks: format!("{origin}{}", paths.jwks),
            paths,
        }
    }
}

/// The metadata document. `issuer` is repeated character for character: clients
/// compare it with the address that they began with. RFC 8414 lets a server
/// without a grant that uses it leave the authorization endpoint out, but the
/// official Python and TypeScript clients refuse metadata without one.
pub(super) fn document(issuer: &str, endpoints: &Endpoints, clients: &[Client]) -> Value {
    let scopes: BTreeSet<_> = clients
        .iter()
        .flat_map(|client| &client.allowed_scopes)
        .collect();
    json!({
        "issuer": issuer,
        "authorization_endpoint": endpoints.authorize,
        "token_endpoint": endpoints.token,
        "jwks_uri": endpoints.jwks,
        "scopes_supported": scopes,
        "response_types_supported": [],
        "grant_types_supported": ["client_credentials"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(issuer: &str) -> Endpoints {
        Endpoints::of(&Url::parse(issuer).unwrap())
    }

    #[test]
    fn a_slash_at_the_end_of_the_issuer_moves_nothing() {
        assert_eq!(
            endpoints("http://127.0.0.1:1"),
            endpoints("http://127.0.0.1:1/")
        );
        let Endpoints {
            authorize,
            token,
            jwks,
            paths,
        } = endpoints("http://127.0.0.1:1/");
        assert_eq!(authorize, "http://127.0.0.1:1/authorize");
        assert_eq!(token, "http://127.0.0.1:1/token");
        assert_eq!(jwks, "http://127.0.0.1:1/jwks");
        assert_eq!(paths.metadata[0], "/.well-known/oauth-authorization-server");
    }

    #[test]
    fn an_issuer_with_a_path_is_found_as_both_specifications_say() {
        let Endpoints { token, paths, .. } = endpoints("http://127.0.0.1:1/tenant");
        assert_eq!(token, "http://127.0.0.1:1/tenant/token");
        assert_eq!(
            paths.metadata[0],
            "/.well-known/oauth-authorization-server/tenant"
        );
        assert_eq!(
            paths.metadata[2],
            "/tenant/.well-known/openid-configuration"
        );
    }
}
