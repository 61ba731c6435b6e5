//! One MCP server of the pod, as the request path needs it.

use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};
use sidegate_config::sidecar_config::{
    AuthenticationConfig, IdentityHeaders, ServerConfig, UpstreamHost,
};
use sidegate_mcp::metadata::metadata_path;
use sidegate_policy::principal::Principal;
use url::Url;

use super::{BuildError, value_error};
use crate::upstream::pool::{Pools, Upstream};

/// One MCP server of the pod, as the request path needs it.
#[derive(Debug)]
pub(crate) struct McpServer {
    pub(crate) name: Arc<str>,
    pub(crate) path: String,
    pub(crate) resources: Vec<ProtectedResource>,
    /// The accepted audiences: the canonical URIs of `resources`.
    pub(crate) audiences: Vec<String>,
    pub(crate) authorization_servers: Vec<String>,
    pub(crate) hosts: Vec<String>,
    pub(crate) allowed_origins: Vec<String>,
    pub(crate) upstream: Upstream,
    pub(crate) upstream_uri: http::Uri,
    /// `Host` towards the server; none when the caller's is preserved.
    pub(crate) loopback_host: Option<HeaderValue>,
    pub(crate) keep_authorization: bool,
    pub(crate) identity_headers: Vec<(HeaderName, IdentityFact)>,
}

/// One canonical URI of a server, and where its metadata is (RFC 9728 3.1).
#[derive(Debug)]
pub(crate) struct ProtectedResource {
    pub(crate) uri: String,
    pub(crate) host: String,
    /// `host` or `host:port` as a client would write it.
    pub(crate) authority: String,
    pub(crate) metadata_url: Arc<str>,
    pub(crate) metadata_path: String,
}

/// A verified fact that a server can be told in a header.
#[derive(Debug, Clone, Copy)]
pub(crate) enum IdentityFact {
    Subject,
    Issuer,
    ClientId,
    Scopes,
    SpiffeId,
}

// === impl IdentityFact ===

impl IdentityFact {
    pub(crate) fn of(self, principal: &Principal) -> Option<String> {
        let claims = principal.claims();
        match self {
            Self::Subject => claims.map(|claims| claims.subject.to_string()),
            Self::Issuer => claims.map(|claims| claims.issuer.to_string()),
            Self::ClientId => {
                claims.and_then(|claims| claims.client_id.as_deref().map(str::to_owned))
            }
            Self::Scopes => claims.map(|claims| claims.scopes.to_string()),
            Self::SpiffeId => {
                let id = principal.peer().and_then(|peer| peer.spiffe_id());
                id.map(|id| id.as_str().to_owned())
            }
        }
    }
}

// === impl McpServer ===

impl McpServer {
    pub(super) fn build(
        config: &ServerConfig,
        authentication: &AuthenticationConfig,
        pools: &Pools,
    ) -> Result<Self, BuildError> {
        let loopback_host = match config.upstream_host {
            UpstreamHost::Loopback => Some(header_value(&format!("127.0.0.1:{}", config.port))?),
            UpstreamHost::Preserve => None,
        };
        Ok(Self {
            name: config.name.as_str().into(),
            path: config.path.clone(),
            resources: config
                .resources
                .iter()
                .map(|uri| ProtectedResource::build(uri))
                .collect::<Result<_, _>>()?,
            audiences: config.resources.clone(),
            authorization_servers: authentication
                .issuers
                .iter()
                .map(|issuer| issuer.issuer.clone())
                .collect(),
            hosts: config
                .hosts
                .iter()
                .map(|host| host.to_ascii_lowercase())
                .collect(),
            allowed_origins: config.allowed_origins.clone(),
            upstream: pools.upstream(config.port),
            upstream_uri: config
                .path
                .parse()
                .map_err(|error| value_error("servers[].path", &error))?,
            loopback_host,
            keep_authorization: config.keep_authorization,
            identity_headers: build_identity_headers(&config.identity_headers)?,
        })
    }

    /// The resource whose host the client dialled, else the first.
    pub(crate) fn resource_for(&self, authority: &str) -> Option<&ProtectedResource> {
        let host = crate::authority::host_of(authority);
        self.resources
            .iter()
            .find(|resource| resource.authority == authority)
            .or_else(|| self.resources.iter().find(|resource| resource.host == host))
            .or_else(|| self.resources.first())
    }
}

// === impl ProtectedResource ===

impl ProtectedResource {
    fn build(uri: &str) -> Result<Self, BuildError> {
        let url = Url::parse(uri).map_err(|error| value_error("servers[].resources", &error))?;
        let host = url.host_str().unwrap_or_default().to_ascii_lowercase();
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.clone(),
        };
        let metadata_path = metadata_path(url.path());
        let metadata_url = format!("{}://{authority}{metadata_path}", url.scheme());
        Ok(Self {
            uri: uri.to_owned(),
            host,
            authority,
            metadata_url: metadata_url.into(),
            metadata_path,
        })
    }
}

fn build_identity_headers(
    config: &IdentityHeaders,
) -> Result<Vec<(HeaderName, IdentityFact)>, BuildError> {
    let IdentityHeaders {
        subject,
        issuer,
        client_id,
        scopes,
        spiffe_id,
    } = config;
    [
        (subject, IdentityFact::Subject),
        (issuer, IdentityFact::Issuer),
        (client_id, IdentityFact::ClientId),
        (scopes, IdentityFact::Scopes),
        (spiffe_id, IdentityFact::SpiffeId),
    ]
    .into_iter()
    .filter_map(|(name, fact)| name.as_ref().map(|name| (name, fact)))
    .map(|(name, fact)| {
        let name = HeaderName::try_from(name.as_str())
            .map_err(|error| value_error("identityHeaders", &error))?;
        Ok((name, fact))
    })
    .collect()
}

fn header_value(text: &str) -> Result<HeaderValue, BuildError> {
    HeaderValue::from_str(text).map_err(|error| value_error("host", &error))
}
