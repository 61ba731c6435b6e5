//! `spec.authentication`.

use std::collections::HashSet;

use sidegate_api::gateway::{Authentication, Jwks, JwtIssuer, TlsMode};
use sidegate_policy::scope::Scope;

use super::uris::Http;
use super::{Bounds, Check, jwks, pem, uris};
use crate::sidecar_config::{AuthenticationConfig, IssuerConfig, KeysConfig, Limits};
use crate::violations::Cause;

const MAX_ISSUERS: usize = 8;
/// An inline key set is part of the resource, which has a bound of its own.
const MAX_INLINE_CHARS: usize = 65_536;
const AUDIENCES: Bounds = Bounds {
    items: 0..=32,
    chars: uris::MAX_URI_BYTES,
};
const SCOPE_CLAIMS: Bounds = Bounds {
    items: 1..=8,
    chars: 128,
};
const ALLOWED_SCOPES: Bounds = Bounds {
    items: 0..=256,
    chars: 256,
};

pub(super) fn check(check: &mut Check<'_>, limits: &Limits) -> AuthenticationConfig {
    let Authentication { require_token, jwt } = &check.spec.authentication;
    if *require_token && jwt.is_empty() {
        let message = "requireToken is true and no token could be accepted: add an issuer";
        check.refuse("spec.authentication.jwt", message);
    }
    if !require_token && check.spec.tls.mode != TlsMode::Mutual {
        let message = "false leaves only the caller's certificate: it needs tls.mode Mutual";
        check.refuse("spec.authentication.requireToken", message);
    }
    check.at_most("spec.authentication.jwt", jwt.len(), MAX_ISSUERS);
    let mut seen = HashSet::new();
    let mut issuers = Vec::new();
    for (index, issuer) in jwt.iter().enumerate() {
        let field = format!("spec.authentication.jwt[{index}]");
        if !seen.insert(&issuer.issuer) {
            // Keys are bound to their issuer; two entries would make that void.
            let message = "is configured twice: give each issuer one entry";
            check.refuse(&format!("{field}.issuer"), message);
        }
        issuers.extend(check_issuer(check, &field, issuer, limits));
    }
    AuthenticationConfig {
        require_token: *require_token,
        issuers,
    }
}

fn http(check: &Check<'_>) -> Http {
    if check.options.allow_loopback {
        Http::Loopback
    } else {
        Http::Never
    }
}

fn check_issuer(
    check: &mut Check<'_>,
    field: &str,
    issuer: &JwtIssuer,
    limits: &Limits,
) -> Option<IssuerConfig> {
    let JwtIssuer {
        issuer,
        audiences,
        jwks,
        algorithms,
        scope_claims,
        allowed_scopes,
    } = issuer;
    let url = uris::identity(issuer, http(check));
    check.refuse_err(&format!("{field}.issuer"), url);
    check.texts(&format!("{field}.audiences"), audiences, &AUDIENCES, |_| {
        Ok(())
    });
    if algorithms.is_empty() {
        let message = "is empty and would accept no token: name an algorithm, or remove the field";
        check.refuse(&format!("{field}.algorithms"), message);
    }
    for (index, algorithm) in algorithms.iter().enumerate() {
        if algorithms
            .iter()
            .take(index)
            .any(|before| before == algorithm)
        {
            let message = format!("`{}` is there twice: remove one", algorithm.as_str());
            check.refuse(&format!("{field}.algorithms[{index}]"), message);
        }
    }
    check.texts(
        &format!("{field}.scopeClaims"),
        scope_claims,
        &SCOPE_CLAIMS,
        |claim| {
            if claim.contains(|letter: char| letter.is_ascii_whitespace()) {
                return Err("must not have spaces".to_owned());
            }
            Ok(())
        },
    );
    let allowed = format!("{field}.allowedScopes");
    check.texts(&allowed, allowed_scopes, &ALLOWED_SCOPES, |scope| {
        scope
            .parse::<Scope>()
            .map(drop)
            .map_err(|error| error.to_string())
    });
    Some(IssuerConfig {
        issuer: issuer.clone(),
        audiences: audiences.clone(),
        keys: check_keys(check, &format!("{field}.jwks"), jwks, limits)?,
        algorithms: algorithms
            .iter()
            .map(|algorithm| algorithm.as_str().to_owned())
            .collect(),
        scope_claims: scope_claims.clone(),
        allowed_scopes: (!allowed_scopes.is_empty()).then(|| allowed_scopes.clone()),
    })
}

fn check_keys(
    check: &mut Check<'_>,
    field: &str,
    keys: &Jwks,
    limits: &Limits,
) -> Option<KeysConfig> {
    let Jwks {
        uri,
        ca_ref,
        config_map_key_ref,
        inline,
    } = keys;
    if ca_ref.is_some() && uri.is_none() {
        let message = "verifies the host of uri: set uri, or remove caRef";
        check.refuse(&format!("{field}.caRef"), message);
    }
    match (uri, config_map_key_ref, inline) {
        (Some(uri), None, None) => {
            let found = uris::identity(uri, http(check));
            let url = check.refuse_err(&format!("{field}.uri"), found);
            let ca_pem = match ca_ref {
                None => None,
                Some(reference) => {
                    let field = format!("{field}.caRef");
                    let bytes = check.config_map_value(&field, &reference.name, &reference.key)?;
                    let read = pem::certificates(&bytes);
                    Some(check.refuse_err_because(Cause::InvalidCertificate, &field, read)?)
                }
            };
            url.map(|_| KeysConfig::Remote {
                uri: uri.clone(),
                ca_pem,
            })
        }
        (None, Some(reference), None) => {
            let field = format!("{field}.configMapKeyRef");
            let bytes = check.config_map_value(&field, &reference.name, &reference.key)?;
            let text = String::from_utf8(bytes).map_err(|_| "is not text".to_owned());
            let text = check.refuse_err_because(Cause::InvalidJwks, &field, text)?;
            key_set(check, Cause::InvalidJwks, &field, text, limits)
        }
        (None, None, Some(inline)) => {
            let field = format!("{field}.inline");
            if inline.chars().nth(MAX_INLINE_CHARS).is_some() {
                let message = format!("must be at most {MAX_INLINE_CHARS} characters long");
                check.refuse(&field, message);
            }
            key_set(check, Cause::Invalid, &field, inline.clone(), limits)
        }
        (_, _, _) => {
            let message =
                "keys come from one place: set exactly one of uri, configMapKeyRef and inline";
            check.refuse(field, message);
            None
        }
    }
}

fn key_set(
    check: &mut Check<'_>,
    cause: Cause,
    field: &str,
    jwks: String,
    limits: &Limits,
) -> Option<KeysConfig> {
    if jwks.len() > limits.jwks_max_bytes {
        let message = format!(
            "is larger than limits.jwksMaxBytes, {} bytes",
            limits.jwks_max_bytes
        );
        check.refuse_because(cause, field, message);
        return None;
    }
    let checked = jwks::check(&jwks, limits.jwks_max_keys);
    check.refuse_err_because(cause, field, checked)?;
    Some(KeysConfig::Inline { jwks })
}
