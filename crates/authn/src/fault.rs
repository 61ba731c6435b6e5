//! Why a token is not believed.

use std::fmt;

/// Why there is no verified caller.
///
/// The words are constant and in `snake_case`: they are values of metric
/// labels and reasons of audit lines, and hold nothing of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthnError {
    /// The request carries more than one credential, so that two readers could
    /// pick different ones. It is not well-formed (400).
    Malformed(&'static str),
    /// The credential is no good; another one could be (401 `invalid_token`).
    Invalid(&'static str),
    /// The issuer's keys were never loaded or are too old: nobody can tell
    /// whether the token is good, and the client must not discard it (503).
    KeysUnavailable,
}

/// Everything that can be wrong with a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    NotBearer,
    EmptyToken,
    TokenTooLarge,
    TokenMalformed,
    DuplicateMember,
    HeaderNotAllowed,
    AlgorithmNotAllowed,
    TypNotAllowed,
    UnknownIssuer,
    UnknownKey,
    BadSignature,
    MissingClaim,
    BadClaimType,
    Expired,
    NotYetValid,
    IssuedInFuture,
    LifetimeTooLong,
    WrongAudience,
}

pub(crate) const SEVERAL_CREDENTIALS: &str = "several_credentials";
pub(crate) const KEYS_UNAVAILABLE: &str = "keys_unavailable";

// === impl AuthnError ===

impl AuthnError {
    /// The reason in one word, for metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed(word) | Self::Invalid(word) => word,
            Self::KeysUnavailable => KEYS_UNAVAILABLE,
        }
    }
}

impl fmt::Display for AuthnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sentence = match self {
            Self::Malformed(_) => "send exactly one `Authorization` header with one token",
            Self::Invalid(word) => {
                let fault = ALL.into_iter().find(|fault| fault.as_str() == *word);
                fault.map_or("the token is not valid", Fault::sentence)
            }
            Self::KeysUnavailable => {
                "the issuer's keys could not be fetched yet or are too old; check that the key \
                 set URL can be reached, and try again"
            }
        };
        write!(f, "{}: {sentence}", self.as_str())
    }
}

impl std::error::Error for AuthnError {}

impl From<Fault> for AuthnError {
    fn from(fault: Fault) -> Self {
        Self::Invalid(fault.as_str())
    }
}

// === impl Fault ===

impl Fault {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::NotBearer => "not_bearer",
            Self::EmptyToken => "empty_token",
            Self::TokenTooLarge => "token_too_large",
            Self::TokenMalformed => "token_malformed",
            Self::DuplicateMember => "duplicate_member",
            Self::HeaderNotAllowed => "header_not_allowed",
            Self::AlgorithmNotAllowed => "algorithm_not_allowed",
            Self::TypNotAllowed => "typ_not_allowed",
            Self::UnknownIssuer => "unknown_issuer",
            Self::UnknownKey => "unknown_key",
            Self::BadSignature => "bad_signature",
            Self::MissingClaim => "missing_claim",
            Self::BadClaimType => "bad_claim_type",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::IssuedInFuture => "issued_in_future",
            Self::LifetimeTooLong => "lifetime_too_long",
            Self::WrongAudience => "wrong_audience",
        }
    }

    fn sentence(self) -> &'static str {
        match self {
            Self::NotBearer => "only the scheme `Bearer` is accepted",
            Self::EmptyToken => "there is no token after `Bearer`",
            Self::TokenTooLarge => "the token is longer than `limits.maxTokenBytes`",
            Self::TokenMalformed => {
                "this is not a signed JWT: three parts of unpadded base64url, the first two of \
                 them JSON objects"
            }
            Self::DuplicateMember => "the header or the claims name one member twice",
            Self::HeaderNotAllowed => {
                "the header may hold `alg`, `typ`, `kid`, `x5t` and `x5t#S256`, each a string"
            }
            Self::AlgorithmNotAllowed => {
                "the issuer's `algorithms` do not list the token's `alg`, or its key is for \
                 another"
            }
            Self::TypNotAllowed => "`typ` must be absent, `JWT` or `at+jwt`",
            Self::UnknownIssuer => "`iss` is not exactly one of the configured issuers",
            Self::UnknownKey => "the issuer's key set has no usable key for this token",
            Self::BadSignature => "the signature does not verify with the issuer's key",
            Self::MissingClaim => {
                "`iss`, `aud`, `exp`, and one of `sub` and `client_id`, are required"
            }
            Self::BadClaimType => "a claim has the wrong type",
            Self::Expired => "`exp` has passed; get a new token",
            Self::NotYetValid => "`nbf` is in the future; check the clocks",
            Self::IssuedInFuture => "`iat` is in the future; check the clocks",
            Self::LifetimeTooLong => "the token is valid for longer than `limits.maxTokenLifetime`",
            Self::WrongAudience => {
                "`aud` must name one of the server's `resources`, or of the issuer's `audiences` \
                 when it has any, character for character"
            }
        }
    }
}

const ALL: [Fault; 18] = [
    Fault::NotBearer,
    Fault::EmptyToken,
    Fault::TokenTooLarge,
    Fault::TokenMalformed,
    Fault::DuplicateMember,
    Fault::HeaderNotAllowed,
    Fault::AlgorithmNotAllowed,
    Fault::TypNotAllowed,
    Fault::UnknownIssuer,
    Fault::UnknownKey,
    Fault::BadSignature,
    Fault::MissingClaim,
    Fault::BadClaimType,
    Fault::Expired,
    Fault::NotYetValid,
    Fault::IssuedInFuture,
    Fault::LifetimeTooLong,
    Fault::WrongAudience,
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_word_is_snake_case_unique_and_explained() {
        let words: BTreeSet<&str> = ALL.into_iter().map(Fault::as_str).collect();
        assert_eq!(words.len(), ALL.len());
        for fault in ALL {
            let word = fault.as_str();
            assert!(
                word.bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'_'),
                "{word}"
            );
            let shown = AuthnError::from(fault).to_string();
            assert_eq!(shown, format!("{word}: {}", fault.sentence()));
        }
    }
}
