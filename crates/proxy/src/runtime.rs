//! From a `SidecarConfig` to live objects: the only place that does it.
//!
//! Nothing here touches what is live: a configuration that cannot be built
//! leaves everything as it was.

mod server;
mod tls;

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use sidegate_authn::{
    Algorithm, Authenticator, AuthnSettings, InvalidAuthn, IssuerSettings, JwksSettings, KeySource,
};
use sidegate_config::sidecar_config::{
    AuthenticationConfig, IssuerConfig, KeysConfig, Limits, SidecarConfig,
};
use sidegate_mcp::ScanLimits;
use sidegate_policy::clock::Clock;
use sidegate_policy::policy_config::PolicyConfig;
use sidegate_policy::policy_set::PolicySet;
use sidegate_telemetry::metrics::Metrics;
use sidegate_tls::{InvalidTls, ServerTls};
use url::Url;

pub(crate) use self::server::{McpServer, ProtectedResource};
use self::tls::build_tls;
use crate::identity::IssuedIdentity;
use crate::session::SessionLimits;
use crate::upstream::pool::Pools;

/// Why a configuration cannot be put in force.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The certificate, key or client authorities are not usable.
    #[error("tls: {0}")]
    Tls(#[from] InvalidTls),
    /// The built-in authority has given no certificate that is still valid.
    #[error("tls: needs a certificate of the built-in authority, and this sidecar has none")]
    NoIdentity,
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

/// What a configuration is built with. All of it outlives the [`Runtime`].
pub struct Surroundings<'a> {
    pub(crate) options: BuildOptions,
    /// What the built-in authority gave this pod.
    pub(crate) identity: Option<Arc<IssuedIdentity>>,
    pub(crate) clock: &'a Arc<dyn Clock>,
    pub(crate) metrics: &'a Arc<Metrics>,
    pub(crate) pools: &'a Pools,
}

impl fmt::Debug for Surroundings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// One configuration in force.
pub struct Runtime {
    /// The configuration that this was built from.
    pub config: Arc<SidecarConfig>,
    /// TLS of the traffic listeners; none in mode Plaintext. A certificate of
    /// the built-in authority is renewed while the configuration stays.
    tls: ArcSwapOption<ServerTls>,
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
        surroundings: &Surroundings<'_>,
        previous: Option<&Runtime>,
    ) -> Result<Self, BuildError> {
        let tls = build_tls(&config.tls, surroundings.identity.as_deref())?;
        let policies = build_policies(&config)?;
        let servers = config
            .servers
            .iter()
            .map(|server| McpServer::build(server, &config.authentication, surroundings.pools))
            .map(|built| built.map(Arc::new))
            .collect::<Result<Vec<_>, _>>()?;
        let authenticator = build_authenticator(&config, &policies, surroundings, previous)?;
        Ok(Self {
            config: Arc::new(config),
            tls: ArcSwapOption::from(tls.map(Arc::new)),
            authenticator,
            policies,
            servers,
        })
    }

    /// What stays of a configuration that was withdrawn: its connections, and
    /// nothing that anybody could ask for.
    ///
    /// # Errors
    /// [`BuildError::NoIdentity`] when it showed a certificate of its own, and
    /// the built-in authority gave the pod none.
    pub(crate) fn withdrawn(&self, surroundings: &Surroundings<'_>) -> Result<Self, BuildError> {
        let config = SidecarConfig {
            version: String::new(),
            servers: Vec::new(),
            authentication: AuthenticationConfig {
                require_token: true,
                issuers: Vec::new(),
            },
            policy: PolicyConfig {
                trust_domain: self.config.policy.trust_domain.clone(),
                ..PolicyConfig::default()
            },
            warnings: Vec::new(),
            ..(*self.config).clone()
        };
        // The key of a Secret goes with the gateway that was allowed to use it.
        let config = config.without_secrets();
        let tls = build_tls(&config.tls, surroundings.identity.as_deref())?;
        let policies = build_policies(&config)?;
        let authenticator = build_authenticator(&config, &policies, surroundings, None)?;
        Ok(Self {
            config: Arc::new(config),
            tls: ArcSwapOption::from(tls.map(Arc::new)),
            authenticator,
            policies,
            servers: Vec::new(),
        })
    }

    /// Whether requests can be decided: there is something to decide about,
    /// every issuer's keys are there and the certificate has not expired.
    #[must_use]
    pub fn ready(&self, now_unix: i64) -> bool {
        let certificate_valid = self
            .certificate_expiry()
            .is_none_or(|not_after_unix| not_after_unix > now_unix);
        certificate_valid && !self.is_withdrawn() && self.authenticator.ready()
    }

    /// Whether there is nothing to enforce any more.
    pub(crate) fn is_withdrawn(&self) -> bool {
        self.servers.is_empty()
    }

    /// TLS of the traffic listeners; none in mode Plaintext.
    pub(crate) fn tls(&self) -> Option<ServerTls> {
        self.tls.load().as_deref().cloned()
    }

    /// Notes that the listeners show another certificate.
    pub(crate) fn replace_tls(&self, tls: ServerTls) {
        self.tls.store(Some(Arc::new(tls)));
    }

    /// When the certificate of the listeners ends, in seconds since 1970.
    pub(crate) fn certificate_expiry(&self) -> Option<i64> {
        self.tls.load().as_deref().map(ServerTls::not_after_unix)
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
    surroundings: &Surroundings<'_>,
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
        allow_loopback: surroundings.options.allow_loopback,
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
        Arc::clone(surroundings.clock),
        Arc::clone(surroundings.metrics),
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

fn value_error(field: &'static str, error: &dyn fmt::Display) -> BuildError {
    BuildError::Value {
        field,
        message: error.to_string(),
    }
}
