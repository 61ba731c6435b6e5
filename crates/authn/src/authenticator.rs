//! From an `Authorization` header to verified claims.

use std::sync::Arc;

use http::HeaderMap;
use sidegate_policy::clock::Clock;
use sidegate_policy::principal::Claims;
use sidegate_telemetry::metrics::Metrics;

use crate::cache::{CachedToken, TokenCache, TokenDigest, TokenMemo};
use crate::claims::{self, ClaimRules, Millis, Use, VerifiedClaims};
use crate::credentials::bearer_token;
use crate::fault::{AuthnError, Fault};
use crate::jwks::Candidates;
use crate::keys::{KeyOrigin, KeyStore, LoadedKeys, Refetch};
use crate::settings::{AuthnSettings, InvalidAuthn, IssuerSettings};
use crate::token::UnverifiedToken;

/// Verifies the tokens of the configured issuers.
///
/// One is built per configuration. What it has learned, keys and verified
/// tokens, moves on to its successor as far as it still holds.
#[derive(Debug)]
pub struct Authenticator {
    settings: AuthnSettings,
    issuers: Vec<Issuer>,
    cache: Arc<TokenCache>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct Issuer {
    settings: IssuerSettings,
    /// The value of `iss`, shared by the claims of all its tokens.
    name: Arc<str>,
    keys: Arc<KeyStore>,
}

impl Authenticator {
    /// Builds an authenticator and starts to fetch the keys that are not part
    /// of the configuration. Keys that `previous` fetched from the same place
    /// within the same bounds are taken over; its verified tokens are too when
    /// nothing changed that decides about a token.
    ///
    /// # Errors
    /// [`InvalidAuthn`] names the issuer and what to change. Keys that cannot
    /// be fetched are no error: [`ready`](Self::ready) tells.
    pub fn new(
        settings: AuthnSettings,
        issuers: Vec<IssuerSettings>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        previous: Option<&Self>,
    ) -> Result<Self, InvalidAuthn> {
        check_issuers(&issuers)?;
        let mut built = Vec::with_capacity(issuers.len());
        for issuer in issuers {
            built.push(Issuer::build(
                issuer, &settings, &clock, &metrics, previous,
            )?);
        }
        let cache = previous
            .filter(|previous| previous.decides_like(&settings, &built))
            .map_or_else(
                || Arc::new(TokenCache::new(settings.cache_entries)),
                |previous| Arc::clone(&previous.cache),
            );
        Ok(Self {
            settings,
            issuers: built,
            cache,
            clock,
            metrics,
        })
    }

    /// Whether the keys of every issuer are there and fresh.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.issuers
            .iter()
            .all(|issuer| issuer.keys.generation().is_some())
    }

    /// The verified claims of the request's token; none when it has no
    /// credentials at all. A token must name one of the issuer's audiences or,
    /// when it has none, of `audiences`.
    ///
    /// May wait for one or two key fetches when the token names a key that the
    /// issuer's set does not have.
    ///
    /// # Errors
    /// [`AuthnError`]; the refusal is counted.
    pub async fn authenticate(
        &self,
        headers: &HeaderMap,
        audiences: &[String],
    ) -> Result<Option<Arc<Claims>>, AuthnError> {
        self.authenticate_again(headers, audiences, &TokenMemo::default())
            .await
    }

    /// The same, for callers that send one token many times: `memo` spares them
    /// the digest of a token that was the latest one, and decides nothing.
    ///
    /// # Errors
    /// As [`Authenticator::authenticate`].
    pub async fn authenticate_again(
        &self,
        headers: &HeaderMap,
        audiences: &[String],
        memo: &TokenMemo,
    ) -> Result<Option<Arc<Claims>>, AuthnError> {
        let outcome = match bearer_token(headers) {
            Ok(Some(token)) => self.verify(token, audiences, memo).await.map(Some),
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        if let Err(error) = &outcome {
            self.metrics.token_refused(error.as_str());
        }
        outcome
    }

    async fn verify(
        &self,
        text: &str,
        audiences: &[String],
        memo: &TokenMemo,
    ) -> Result<Arc<Claims>, AuthnError> {
        if text.len() > self.settings.max_token_bytes {
            return Err(Fault::TokenTooLarge.into());
        }
        let digest = memo.digest(text);
        let remembered = self.remembered(&digest);
        self.metrics.token_cache(remembered.is_some());
        if let Some((issuer, verified)) = remembered {
            verified.check(&self.used(issuer, audiences))?;
            return Ok(Arc::clone(verified.claims()));
        }
        let (entry, claims) = Box::pin(self.verify_anew(text, audiences)).await?;
        self.cache.insert(digest, entry);
        Ok(claims)
    }

    /// A token that was verified before, by the keys that are believed now.
    fn remembered(&self, digest: &TokenDigest) -> Option<(&Issuer, Arc<VerifiedClaims>)> {
        let CachedToken {
            verified,
            issuer,
            generation,
        } = self.cache.find(digest)?;
        let issuer = self.issuers.get(issuer)?;
        (issuer.keys.generation() == Some(generation)).then_some((issuer, verified))
    }

    /// The order matters: the issuer is looked up before its keys, so that only
    /// tokens that could be good ever learn that keys are missing, and no claim
    /// but `iss` is looked at before the signature is known to be good.
    async fn verify_anew(
        &self,
        text: &str,
        audiences: &[String],
    ) -> Result<(CachedToken, Arc<Claims>), AuthnError> {
        let token = UnverifiedToken::parse(text)?;
        let name = claims::issuer(&token.claims)?;
        let (position, issuer) = self
            .issuers
            .iter()
            .enumerate()
            .find(|(_, issuer)| *issuer.name == *name)
            .ok_or(Fault::UnknownIssuer)?;
        if !issuer.settings.algorithms.contains(&token.algorithm) {
            return Err(Fault::AlgorithmNotAllowed.into());
        }
        let keys = issuer.verify_signature(&token).await?;
        let used = self.used(issuer, audiences);
        let rules = issuer.claim_rules(&self.settings);
        let verified = VerifiedClaims::read(token.claims, &rules, &used)?;
        let claims = Arc::clone(verified.claims());
        let entry = CachedToken {
            verified: Arc::new(verified),
            issuer: position,
            generation: keys.generation(),
        };
        Ok((entry, claims))
    }

    fn used<'a>(&self, issuer: &'a Issuer, audiences: &'a [String]) -> Use<'a> {
        let own = issuer.settings.audiences.as_slice();
        Use {
            now: Millis(self.clock.unix_millis()),
            leeway: self.settings.leeway,
            audiences: if own.is_empty() { audiences } else { own },
        }
    }

    fn decides_like(&self, settings: &AuthnSettings, issuers: &[Issuer]) -> bool {
        self.settings.decides_like(settings)
            && self.issuers.len() == issuers.len()
            && self
                .issuers
                .iter()
                .zip(issuers)
                .all(|(old, new)| old.settings == new.settings && Arc::ptr_eq(&old.keys, &new.keys))
    }
}

// === impl Issuer ===

impl Issuer {
    fn build(
        settings: IssuerSettings,
        authn: &AuthnSettings,
        clock: &Arc<dyn Clock>,
        metrics: &Arc<Metrics>,
        previous: Option<&Authenticator>,
    ) -> Result<Self, InvalidAuthn> {
        let origin = KeyOrigin {
            issuer: settings.issuer.clone(),
            source: settings.keys.clone(),
            jwks: authn.jwks,
            allow_loopback: authn.allow_loopback,
        };
        let known = previous
            .into_iter()
            .flat_map(|previous| &previous.issuers)
            .find(|issuer| *issuer.keys.origin() == origin);
        let keys = match known {
            Some(issuer) => Arc::clone(&issuer.keys),
            None => Arc::new(KeyStore::start(origin, clock, metrics)?),
        };
        Ok(Self {
            name: settings.issuer.as_str().into(),
            settings,
            keys,
        })
    }

    /// The keys of which one made the token's signature.
    async fn verify_signature(
        &self,
        token: &UnverifiedToken<'_>,
    ) -> Result<Arc<LoadedKeys>, AuthnError> {
        let id = token.key_id.as_deref();
        let mut waited_once = false;
        let mut fetched = false;
        loop {
            let keys = self.keys.believed().ok_or(AuthnError::KeysUnavailable)?;
            match keys.set().candidates(id, token.algorithm) {
                Candidates::Found(signers) => {
                    let signed = signers.signed(token.signed, &token.signature);
                    return if signed {
                        Ok(keys)
                    } else {
                        Err(Fault::BadSignature.into())
                    };
                }
                Candidates::WrongAlgorithm => return Err(Fault::AlgorithmNotAllowed.into()),
                Candidates::Unknown => {}
            }
            if fetched {
                return Err(Fault::UnknownKey.into());
            }
            fetched = match self.keys.refetch().await {
                Refetch::NotAllowed | Refetch::BegunAfter => true,
                // The key may have been published since: one more time.
                Refetch::BegunBefore => waited_once,
            };
            waited_once = true;
        }
    }

    fn claim_rules<'a>(&'a self, settings: &'a AuthnSettings) -> ClaimRules<'a> {
        ClaimRules {
            issuer: &self.name,
            scope_claims: &self.settings.scope_claims,
            allowed_scopes: self.settings.allowed_scopes.as_deref(),
            hierarchy: &settings.hierarchy,
            max_lifetime: settings.max_lifetime,
        }
    }
}

fn check_issuers(issuers: &[IssuerSettings]) -> Result<(), InvalidAuthn> {
    for (position, issuer) in issuers.iter().enumerate() {
        let name = &issuer.issuer;
        if name.is_empty() {
            return Err(InvalidAuthn::EmptyIssuer);
        }
        if issuer.algorithms.is_empty() {
            return Err(InvalidAuthn::NoAlgorithm(name.clone()));
        }
        if issuers
            .iter()
            .take(position)
            .any(|other| other.issuer == *name)
        {
            return Err(InvalidAuthn::DuplicateIssuer(name.clone()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
