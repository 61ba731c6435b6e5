//! What a token claims, once its signature is known to be good.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use sidegate_policy::principal::Claims;
use sidegate_policy::scope::{Scope, ScopeHierarchy, ScopeSet};

use crate::fault::Fault;

/// Most audiences that one token may name.
const MAX_AUDIENCES: usize = 64;

/// The last second of the year 9999: later times are no dates but mistakes.
const MAX_SECONDS: i64 = 253_402_300_799;

/// The claims of a verified token with what must hold at every use.
#[derive(Debug)]
pub(crate) struct VerifiedClaims {
    claims: Arc<Claims>,
    audiences: Vec<Box<str>>,
    expires: Millis,
    not_before: Option<Millis>,
}

/// What an issuer's tokens are held to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClaimRules<'a> {
    pub(crate) issuer: &'a Arc<str>,
    pub(crate) scope_claims: &'a [String],
    pub(crate) allowed_scopes: Option<&'a [String]>,
    pub(crate) hierarchy: &'a ScopeHierarchy,
    pub(crate) max_lifetime: Duration,
}

/// When and for whom a token is used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Use<'a> {
    pub(crate) now: Millis,
    pub(crate) leeway: Duration,
    pub(crate) audiences: &'a [String],
}

/// A point in time, in milliseconds since 1970: NumericDates may have
/// fractions (RFC 7519 section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Millis(pub(crate) i64);

// === impl VerifiedClaims ===

impl VerifiedClaims {
    /// Reads the claims of a token whose signature is good.
    ///
    /// # Errors
    /// The first claim that is missing, of the wrong type or out of bounds.
    pub(crate) fn read(
        all: Map<String, Value>,
        rules: &ClaimRules<'_>,
        used: &Use<'_>,
    ) -> Result<Self, Fault> {
        let expires = time(&all, "exp")?.ok_or(Fault::MissingClaim)?;
        let not_before = time(&all, "nbf")?;
        let issued = time(&all, "iat")?;
        if issued.is_some_and(|issued| issued > used.now.plus(used.leeway)) {
            return Err(Fault::IssuedInFuture);
        }
        if expires > issued.unwrap_or(used.now).plus(rules.max_lifetime) {
            return Err(Fault::LifetimeTooLong);
        }
        let client_id = client(&all)?;
        let subject = text(&all, "sub")?
            .or(client_id)
            .ok_or(Fault::MissingClaim)?;
        let audiences = audiences(&all)?;
        let claims = Arc::new(Claims {
            issuer: Arc::clone(rules.issuer),
            subject: subject.into(),
            client_id: client_id.map(Into::into),
            scopes: scopes(&all, rules),
            expires_at: expires.0.div_euclid(1000),
            all,
        });
        let verified = Self {
            claims,
            audiences,
            expires,
            not_before,
        };
        verified.check(used)?;
        Ok(verified)
    }

    /// Whether the token is good now and for one of these audiences.
    ///
    /// A token is expired from `exp` plus leeway on, that instant included
    /// (RFC 7519 4.1.4: "on or after"); it is valid from `nbf` minus leeway on,
    /// that instant included.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn check(&self, used: &Use<'_>) -> Result<(), Fault> {
        if used.now >= self.expires.plus(used.leeway) {
            return Err(Fault::Expired);
        }
        if self
            .not_before
            .is_some_and(|start| start > used.now.plus(used.leeway))
        {
            return Err(Fault::NotYetValid);
        }
        let accepted = self.audiences.iter().any(|audience| {
            used.audiences
                .iter()
                .any(|accepted| **accepted == **audience)
        });
        if accepted {
            Ok(())
        } else {
            Err(Fault::WrongAudience)
        }
    }

    pub(crate) fn claims(&self) -> &Arc<Claims> {
        &self.claims
    }
}

// === impl Millis ===

impl Millis {
    fn plus(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)),
        )
    }
}

fn time(all: &Map<String, Value>, name: &str) -> Result<Option<Millis>, Fault> {
    let Some(value) = all.get(name) else {
        return Ok(None);
    };
    let Value::Number(number) = value else {
        return Err(Fault::BadClaimType);
    };
    let millis = match number.as_i64() {
        Some(seconds) if (0..=MAX_SECONDS).contains(&seconds) => seconds.saturating_mul(1000),
        Some(_) => return Err(Fault::BadClaimType),
        None => fraction(number.as_f64().ok_or(Fault::BadClaimType)?)?,
    };
    Ok(Some(Millis(millis)))
}

/// Both casts are exact enough: the range is far within 2^53.
fn fraction(seconds: f64) -> Result<i64, Fault> {
    match (0.0..=MAX_SECONDS as f64).contains(&seconds) {
        true => Ok((seconds * 1000.0).floor() as i64),
        false => Err(Fault::BadClaimType),
    }
}

/// A claim that is a string with something in it, if it is there.
fn text<'a>(all: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, Fault> {
    match all.get(name) {
        None => Ok(None),
        Some(Value::String(text)) if !text.is_empty() => Ok(Some(text)),
        Some(_) => Err(Fault::BadClaimType),
    }
}

/// The client that the token was issued to: `client_id` (RFC 9068), else the
/// `azp` of OpenID Connect. When there is no `sub`, it is the subject too (RFC
/// 9068 2.2: tokens of the client credentials grant).
fn client(all: &Map<String, Value>) -> Result<Option<&str>, Fault> {
    let (client_id, azp) = (text(all, "client_id")?, text(all, "azp")?);
    Ok(client_id.or(azp))
}

/// The issuer that a token names, to choose the keys that it is verified with.
///
/// # Errors
/// When it names none, or not as a string.
pub(crate) fn issuer(all: &Map<String, Value>) -> Result<&str, Fault> {
    text(all, "iss")?.ok_or(Fault::MissingClaim)
}

fn audiences(all: &Map<String, Value>) -> Result<Vec<Box<str>>, Fault> {
    match all.get("aud") {
        None => Err(Fault::MissingClaim),
        Some(Value::String(audience)) => Ok(vec![audience.as_str().into()]),
        Some(Value::Array(audiences)) if (1..=MAX_AUDIENCES).contains(&audiences.len()) => {
            let audiences = audiences.iter().map(|value| value.as_str().map(Into::into));
            audiences.collect::<Option<_>>().ok_or(Fault::BadClaimType)
        }
        Some(_) => Err(Fault::BadClaimType),
    }
}

/// The scopes that a token grants: those of all scope claims, without those
/// that the issuer may not grant, with those that they imply.
///
/// A scope claim that is neither a string nor a list of strings grants nothing,
/// and does not make the token invalid as other claims of the wrong type do:
/// its holder is known, and is denied what needs scopes (403) instead of being
/// told to sign in again (401), which would not help. A text that is no scope
/// of RFC 6749 3.3 is dropped.
fn scopes(all: &Map<String, Value>, rules: &ClaimRules<'_>) -> ScopeSet {
    let granted: ScopeSet = rules
        .scope_claims
        .iter()
        .filter_map(|name| all.get(name))
        .flat_map(pieces)
        .filter(|piece| {
            rules
                .allowed_scopes
                .is_none_or(|allowed| allowed.iter().any(|one| one == piece))
        })
        .filter_map(|piece| piece.parse::<Scope>().ok())
        .collect();
    rules.hierarchy.expand(&granted)
}

fn pieces(claim: &Value) -> Vec<&str> {
    match claim {
        Value::String(list) => list.split(' ').collect(),
        Value::Array(list) => list
            .iter()
            .map(Value::as_str)
            .collect::<Option<_>>()
            .unwrap_or_default(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
