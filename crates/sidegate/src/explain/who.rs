//! Who asks: a real token, verified as the sidecar verifies it, or the claims
//! that one would have.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use sidegate_config::sidecar_config::{ServerConfig, SidecarConfig, TlsConfig};
use sidegate_policy::clock::SystemClock;
use sidegate_policy::policy_set::PolicySet;
use sidegate_policy::principal::{Claims, PeerIdentity, Principal, SpiffeId};
use sidegate_policy::scope::{Scope, ScopeSet};
use sidegate_proxy::drain::Drain;
use sidegate_proxy::runtime::{BuildOptions, Runtime};
use sidegate_proxy::shared::Shared;
use sidegate_telemetry::audit::AuditLog;
use sidegate_telemetry::metrics::Metrics;
use tokio::time::{sleep, timeout};

use crate::args::Who;

/// How long fetching the issuers' keys may take.
const KEYS_TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);

/// Whom the decision is about.
#[derive(Debug)]
pub(super) enum Asking {
    Principal(Principal),
    /// The sidecar would not get as far as deciding.
    Refused(String),
}

pub(super) fn asking(
    who: &Who,
    config: &SidecarConfig,
    server: &ServerConfig,
    policies: &PolicySet,
) -> anyhow::Result<Asking> {
    let peer = match &who.spiffe_id {
        Some(id) => {
            let id: SpiffeId = id
                .parse()
                .with_context(|| format!("`{id}` is not a SPIFFE id"))?;
            Some(PeerIdentity::new(Some(id)))
        }
        None => None,
    };
    let claims = match &who.token {
        Some(token) => match verify(token, config, server)? {
            Ok(claims) => Some(claims),
            Err(why) => return Ok(Asking::Refused(why)),
        },
        None if says_nothing_of_a_token(who) && peer.is_some() => {
            if config.authentication.require_token {
                let why = "there is no token, and requireToken is true".to_owned();
                return Ok(Asking::Refused(why));
            }
            None
        }
        None => Some(Arc::new(described(who, config, policies)?)),
    };
    match Principal::verified(peer, claims) {
        Some(principal) => Ok(Asking::Principal(principal)),
        None => bail!("say who asks, for example with --scopes or --token"),
    }
}

fn says_nothing_of_a_token(who: &Who) -> bool {
    let Who {
        token,
        scopes,
        subject,
        issuer,
        client,
        spiffe_id: _,
    } = who;
    [token, scopes, subject, issuer, client]
        .into_iter()
        .all(Option::is_none)
}

/// The claims that the options describe, with scopes as the gateway grants
/// them: what the issuer may not grant is dropped, then implied ones are added.
fn described(who: &Who, config: &SidecarConfig, policies: &PolicySet) -> anyhow::Result<Claims> {
    let issuers = &config.authentication.issuers;
    let issuer = match &who.issuer {
        Some(issuer) if issuers.iter().any(|known| known.issuer == *issuer) => issuer.clone(),
        Some(issuer) => bail!("the gateway trusts no issuer `{issuer}`"),
        None => issuers
            .first()
            .map(|issuer| issuer.issuer.clone())
            .unwrap_or_default(),
    };
    let allowed = issuers
        .iter()
        .find(|known| known.issuer == issuer)
        .and_then(|issuer| issuer.allowed_scopes.as_ref());
    let mut granted = Vec::new();
    for scope in who.scopes.as_deref().unwrap_or_default().split_whitespace() {
        let parsed: Scope = scope
            .parse()
            .with_context(|| format!("`{scope}` is not a scope"))?;
        if allowed.is_none_or(|allowed| allowed.iter().any(|allowed| allowed == scope)) {
            granted.push(parsed);
        }
    }
    let granted: ScopeSet = granted.into_iter().collect();
    let subject = who.subject.clone().or_else(|| who.client.clone());
    let subject = subject.unwrap_or_else(|| "explain".to_owned());
    let mut all = serde_json::Map::new();
    all.insert("iss".to_owned(), issuer.clone().into());
    all.insert("sub".to_owned(), subject.clone().into());
    all.insert("scope".to_owned(), granted.to_string().into());
    if let Some(client) = &who.client {
        all.insert("client_id".to_owned(), client.clone().into());
    }
    Ok(Claims {
        issuer: issuer.into(),
        subject: subject.into(),
        client_id: who.client.as_deref().map(Into::into),
        scopes: policies.hierarchy().expand(&granted),
        expires_at: i64::MAX,
        all,
    })
}

/// The claims of a token, or why the sidecar would refuse it.
fn verify(
    token: &str,
    config: &SidecarConfig,
    server: &ServerConfig,
) -> anyhow::Result<Result<Arc<Claims>, String>> {
    let token = match token {
        "-" => {
            let mut token = String::new();
            std::io::stdin()
                .read_to_string(&mut token)
                .context("cannot read the token")?;
            token
        }
        token => token.to_owned(),
    };
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
        .context("a token holds no line breaks or other control characters")?;
    value.set_sensitive(true);
    let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    runtime.block_on(Box::pin(authenticate(&headers, config, server)))
}

async fn authenticate(
    headers: &HeaderMap,
    config: &SidecarConfig,
    server: &ServerConfig,
) -> anyhow::Result<Result<Arc<Claims>, String>> {
    let clock = Arc::new(SystemClock);
    let metrics = Metrics::new();
    let audit = AuditLog::start(Box::new(std::io::sink()), Arc::clone(&metrics));
    let shared = Shared::new(metrics, Arc::new(audit), clock, Drain::new());
    let options = BuildOptions {
        allow_loopback: true,
    };
    // Nobody connects, so no certificate is needed to answer.
    let config = SidecarConfig {
        tls: TlsConfig::Plaintext,
        ..config.clone()
    };
    let runtime = Runtime::build(config, &shared.surroundings(options), None)?;
    let keys = timeout(KEYS_TIMEOUT, async {
        while !runtime.authenticator.ready() {
            sleep(POLL).await;
        }
    });
    // Without all keys the token's own issuer may still be there.
    let _ = keys.await;
    match runtime
        .authenticator
        .authenticate(headers, &server.resources)
        .await
    {
        Ok(Some(claims)) => Ok(Ok(claims)),
        Ok(None) => bail!("there is no token"),
        Err(error) => Ok(Err(format!("the token is refused: {error}"))),
    }
}
