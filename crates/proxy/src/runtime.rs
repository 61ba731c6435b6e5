//! From a `SidecarConfig` to live objects: the only place that does it.
//!
//! Nothing here touches what is live: a configuration that cannot be built
//! leaves everything as it was.

use std::fmt;
use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};
use sidegate_authn::{
    Algorithm, Authenticator, AuthnSettings, InvalidAuthn, IssuerSettings, JwksSettings, KeySource,
};
use sidegate_config::sidecar_config::{
    AuthenticationConfig, IdentityHeaders, IssuerConfig, KeysConfig, Limits, ServerConfig,
    SidecarConfig, TlsConfig, UpstreamHost,
};
use sidegate_mcp::ScanLimits;
use sidegate_mcp::metadata::metadata_path;
use sidegate_policy::policy_set::PolicySet;
use sidegate_policy::principal::Principal;
use sidegate_tls::{InvalidTls, PrivateKeyPem, ServerMaterial, ServerTls, TlsMode};
use url::Url;

use crate::session::SessionLimits;
use crate::shared::Shared;
use crate::upstream::pool::Upstream;

/// Why a configuration cannot be put in force.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The certificate, key or client authorities are not usable.
    #[error("tls: {0}")]
    Tls(#[from] InvalidTls),
    /// An issuer or its keys are not usable.
    #[error("authentication: {0}")]
    Authn(#[from] InvalidAuthn),
    /// A rule does not compile; `sidegate check` names the field.
    #[error("authorization: rule {rule}: {field}: {message}")]
    Rule {
        /// Position of the rule in the list.
        rule: usize,
        /// Field within the rule.
        field: String,
        /// What is wrong.
        message: String,
    },
    /// A value passed validation but cannot be used; a defect of `validate`.
    #[error("`{field}`: {message}")]
    Value {
        /// The field in question.
        field: &'static str,
        /// What is wrong.
        message: String,
    },
}

/// What differs between the desk and a pod.
#[derive(Debug, Clone, Copy, Default)]
pub struct BuildOptions {
    /// Accept loopback addresses and plain http for key fetches.
    pub allow_loopback: bool,
}

/// One configuration in force.
pub struct Runtime {
    /// The configuration that this was built from.
    pub config: Arc<SidecarConfig>,
    /// TLS of the traffic listeners; none in mode Plaintext.
    pub tls: Option<ServerTls>,
    /// Verifies tokens.
    pub authenticator: Authenticator,
    pub(crate) policies: PolicySet,
    servers: Vec<Arc<McpServer>>,
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime")
            .field("version", &self.config.version)
            .finish_non_exhaustive()
    }
}

impl Runtime {
    /// Builds everything that a configuration asks for.
    ///
    /// # Errors
    /// [`BuildError`] names what cannot be used. The result is whole or not at
    /// all.
    pub fn build(
        config: SidecarConfig,
        options: &BuildOptions,
        shared: &Arc<Shared>,
        previous: Option<&Runtime>,
    ) -> Result<Self, BuildError> {
        let tls = build_tls(&config.tls)?;
        let policies = build_policies(&config)?;
        let servers = config
            .servers
            .iter()
            .map(|server| McpServer::build(server, &config.authentication, shared).map(Arc::new))
            .collect::<Result<Vec<_>, _>>()?;
        let authenticator = build_authenticator(&config, &policies, options, shared, previous)?;
        Ok(Self {
            config: Arc::new(config),
            tls,
            authenticator,
            policies,
            servers,
        })
    }

    /// Whether requests can be decided: every issuer's keys are there and the
    /// certificate has not expired.
    #[must_use]
    pub fn ready(&self, now_unix: i64) -> bool {
        let certificate_valid = self
            .tls
            .as_ref()
            .is_none_or(|tls| tls.not_after_unix() > now_unix);
        certificate_valid && self.authenticator.ready()
    }

    /// The server behind a listener, by the listener's name.
    pub(crate) fn server(&self, listener: &str) -> Option<&Arc<McpServer>> {
        self.servers.iter().find(|server| *server.name == *listener)
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.config.limits
    }

    pub(crate) fn scan_limits(&self) -> ScanLimits {
        ScanLimits {
            max_depth: self.config.limits.max_json_depth,
            max_name_bytes: self.config.limits.max_name_bytes,
        }
    }

    pub(crate) fn session_limits(&self) -> SessionLimits {
        let limits = &self.config.limits;
        SessionLimits {
            all: limits.max_sessions,
            per_principal: limits.max_sessions_per_principal,
            idle: limits.session_idle_timeout,
        }
    }
}

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
    fn build(
        config: &ServerConfig,
        authentication: &AuthenticationConfig,
        shared: &Arc<Shared>,
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
            upstream: shared.pools.upstream(config.port),
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

fn build_tls(config: &TlsConfig) -> Result<Option<ServerTls>, BuildError> {
    let (mode, certificate, key, client_ca) = match config {
        TlsConfig::Plaintext => return Ok(None),
        TlsConfig::BuiltIn { .. } => {
            return Err(BuildError::Value {
                field: "tls",
                message: "needs a certificate of the built-in authority, and this sidecar has \
                          none"
                    .into(),
            });
        }
        TlsConfig::Server {
            certificate_pem,
            key_pem,
        } => (TlsMode::Server, certificate_pem, key_pem, None),
        TlsConfig::Mutual {
            certificate_pem,
            key_pem,
            client_ca_pem,
        } => (
            TlsMode::Mutual,
            certificate_pem,
            key_pem,
            Some(client_ca_pem),
        ),
    };
    let material = ServerMaterial {
        certificate_pem: certificate.clone().into(),
        key_pem: PrivateKeyPem::from(key.expose().to_vec()),
        client_ca_pem: client_ca.map(|pem| pem.clone().into()),
    };
    Ok(Some(sidegate_tls::server_config(mode, &material)?))
}

fn build_policies(config: &SidecarConfig) -> Result<PolicySet, BuildError> {
    match PolicySet::compile(&config.policy) {
        Ok(compiled) => Ok(compiled.policies),
        Err(issues) => {
            let first = issues.into_iter().next();
            Err(first.map_or_else(
                || BuildError::Value {
                    field: "authorization",
                    message: "does not compile".into(),
                },
                |issue| BuildError::Rule {
                    rule: issue.rule,
                    field: issue.field,
                    message: issue.message,
                },
            ))
        }
    }
}

fn build_authenticator(
    config: &SidecarConfig,
    policies: &PolicySet,
    options: &BuildOptions,
    shared: &Arc<Shared>,
    previous: Option<&Runtime>,
) -> Result<Authenticator, BuildError> {
    let limits = &config.limits;
    let settings = AuthnSettings {
        leeway: limits.token_leeway,
        max_lifetime: limits.max_token_lifetime,
        max_token_bytes: limits.max_token_bytes,
        cache_entries: limits.token_cache_entries,
        jwks: JwksSettings {
            timeout: limits.jwks_timeout,
            max_bytes: limits.jwks_max_bytes,
            max_keys: limits.jwks_max_keys,
            refresh: limits.jwks_refresh_interval,
            cooldown: limits.jwks_cooldown,
            stale: limits.jwks_stale_after,
        },
        allow_loopback: options.allow_loopback,
        hierarchy: policies.hierarchy().clone(),
    };
    let issuers = config
        .authentication
        .issuers
        .iter()
        .map(build_issuer)
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Authenticator::new(
        settings,
        issuers,
        Arc::clone(&shared.clock),
        Arc::clone(&shared.metrics),
        previous.map(|previous| &previous.authenticator),
    )?)
}

fn build_issuer(config: &IssuerConfig) -> Result<IssuerSettings, BuildError> {
    let keys = match &config.keys {
        KeysConfig::Inline { jwks } => KeySource::Static {
            jwks_json: jwks.clone(),
        },
        KeysConfig::Remote { uri, ca_pem } => KeySource::Remote {
            uri: Url::parse(uri).map_err(|error| value_error("jwks.uri", &error))?,
            ca_pem: ca_pem.as_ref().map(|pem| pem.clone().into_bytes()),
        },
    };
    let algorithms = config
        .algorithms
        .iter()
        .map(|name| {
            name.parse::<Algorithm>()
                .map_err(|error| value_error("algorithms", &error))
        })
        .collect::<Result<_, _>>()?;
    Ok(IssuerSettings {
        issuer: config.issuer.clone(),
        keys,
        algorithms,
        scope_claims: config.scope_claims.clone(),
        allowed_scopes: config.allowed_scopes.clone(),
        audiences: config.audiences.clone(),
    })
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

fn value_error(field: &'static str, error: &dyn fmt::Display) -> BuildError {
    BuildError::Value {
        field,
        message: error.to_string(),
    }
}
