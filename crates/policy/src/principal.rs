//! Who is asking: a verified peer identity, verified claims, or both.

use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash, Hasher};
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use serde_json::{Map, Value};
use thiserror::Error;

use crate::scope::ScopeSet;

/// Longest SPIFFE id (SPIFFE-ID, section 2.3).
const MAX_SPIFFE_ID_BYTES: usize = 2048;
/// Longest trust domain (SPIFFE-ID, section 2.3).
const MAX_TRUST_DOMAIN_BYTES: usize = 255;

/// A SPIFFE id: `spiffe://trust-domain/path`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    text: Arc<str>,
    /// Where the trust domain ends in `text`.
    domain_end: usize,
}

/// A text that is no SPIFFE id; it says what is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidSpiffeId {
    /// The scheme is another one.
    #[error("a SPIFFE id begins with `spiffe://` in lower case")]
    Scheme,
    /// It is too long.
    #[error("a SPIFFE id has at most {MAX_SPIFFE_ID_BYTES} bytes")]
    TooLong,
    /// The trust domain is empty, too long, or has other characters.
    #[error(
        "a trust domain has 1 to {MAX_TRUST_DOMAIN_BYTES} characters of a-z, 0-9, `.`, `-` and `_`"
    )]
    TrustDomain,
    /// The path has empty or dot segments, or other characters.
    #[error(
        "a SPIFFE path has segments of letters, digits, `.`, `-` and `_`, none of them empty, `.` or `..`"
    )]
    Path,
}

/// What mutual TLS verified about the peer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PeerIdentity {
    spiffe_id: Option<SpiffeId>,
}

/// What a verified token says.
pub struct Claims {
    /// `iss`.
    pub issuer: Arc<str>,
    /// `sub`.
    pub subject: Arc<str>,
    /// The client that the token was issued to.
    pub client_id: Option<Arc<str>>,
    /// The scopes, after what the issuer may grant and the hierarchy.
    pub scopes: ScopeSet,
    /// When the token ends, in seconds since 1970.
    pub expires_at: i64,
    /// All claims, as they were.
    pub all: Map<String, Value>,
}

/// Who is asking.
#[derive(Debug, Clone)]
pub struct Principal {
    peer: Option<PeerIdentity>,
    claims: Option<Arc<Claims>>,
    key: PrincipalKey,
}

/// By what one principal is told from another: issuer, subject, client and
/// SPIFFE id. Sessions, caches and limits are keyed by it.
#[derive(Clone)]
pub struct PrincipalKey(Arc<KeyParts>);

struct KeyParts {
    token: Option<TokenParts>,
    peer: Option<PeerIdentity>,
    hash: u64,
}

#[derive(PartialEq, Eq, Hash)]
struct TokenParts {
    issuer: Arc<str>,
    subject: Arc<str>,
    client_id: Option<Arc<str>>,
}

// === impl SpiffeId ===

const SCHEME: &str = "spiffe://";

impl FromStr for SpiffeId {
    type Err = InvalidSpiffeId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MAX_SPIFFE_ID_BYTES {
            return Err(InvalidSpiffeId::TooLong);
        }
        let rest = text.strip_prefix(SCHEME).ok_or(InvalidSpiffeId::Scheme)?;
        let (domain, path) = match rest.split_once('/') {
            Some((domain, path)) => (domain, Some(path)),
            None => (rest, None),
        };
        let domain_is_valid = (1..=MAX_TRUST_DOMAIN_BYTES).contains(&domain.len())
            && domain
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_'));
        if !domain_is_valid {
            return Err(InvalidSpiffeId::TrustDomain);
        }
        if !path.is_none_or(|path| path.split('/').all(is_path_segment)) {
            return Err(InvalidSpiffeId::Path);
        }
        Ok(Self {
            text: text.into(),
            domain_end: SCHEME.len() + domain.len(),
        })
    }
}

fn is_path_segment(segment: &str) -> bool {
    !matches!(segment, "" | "." | "..")
        && segment
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
}

impl SpiffeId {
    /// The id as it was written; there is only one way to write it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The part between `spiffe://` and the path.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        self.text
            .get(SCHEME.len()..self.domain_end)
            .unwrap_or_default()
    }

    /// Namespace and name of a Kubernetes service account, for a path of the
    /// form `/ns/NAMESPACE/sa/NAME` and no other.
    #[must_use]
    pub fn service_account(&self) -> Option<(&str, &str)> {
        let mut segments = self
            .text
            .get(self.domain_end..)?
            .strip_prefix('/')?
            .split('/');
        match (
            segments.next()?,
            segments.next()?,
            segments.next()?,
            segments.next()?,
            segments.next(),
        ) {
            ("ns", namespace, "sa", name, None) => Some((namespace, name)),
            _ => None,
        }
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SpiffeId({})", self.text)
    }
}

// === impl PeerIdentity ===

impl PeerIdentity {
    /// A peer whose certificate was verified, with the SPIFFE id in it, if any.
    #[must_use]
    pub fn new(spiffe_id: Option<SpiffeId>) -> Self {
        Self { spiffe_id }
    }

    /// The SPIFFE id of the peer's certificate.
    #[must_use]
    pub fn spiffe_id(&self) -> Option<&SpiffeId> {
        self.spiffe_id.as_ref()
    }
}

// === impl Claims ===

/// Without the claims themselves: they can hold personal data.
impl fmt::Debug for Claims {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            issuer,
            subject,
            client_id,
            scopes,
            expires_at,
            all,
        } = self;
        formatter
            .debug_struct("Claims")
            .field("issuer", issuer)
            .field("subject", subject)
            .field("client_id", client_id)
            .field("scopes", scopes)
            .field("expires_at", expires_at)
            .field("all", &format_args!("{} claims", all.len()))
            .finish()
    }
}

// === impl Principal ===

impl Principal {
    /// A principal with the identities that were verified; None when there is
    /// neither: nobody is not somebody without rights.
    #[must_use]
    pub fn verified(peer: Option<PeerIdentity>, claims: Option<Arc<Claims>>) -> Option<Self> {
        if peer.is_none() && claims.is_none() {
            return None;
        }
        let key = PrincipalKey::of(peer.as_ref(), claims.as_deref());
        Some(Self { peer, claims, key })
    }

    /// By what this principal is told from others.
    #[must_use]
    pub fn key(&self) -> &PrincipalKey {
        &self.key
    }

    /// What the token says, when there was one.
    #[must_use]
    pub fn claims(&self) -> Option<&Claims> {
        self.claims.as_deref()
    }

    /// What mutual TLS verified, when it was used.
    #[must_use]
    pub fn peer(&self) -> Option<&PeerIdentity> {
        self.peer.as_ref()
    }

    /// The scopes of the token; none without one.
    #[must_use]
    pub fn scopes(&self) -> &ScopeSet {
        static NONE: LazyLock<ScopeSet> = LazyLock::new(ScopeSet::default);
        self.claims
            .as_deref()
            .map_or(&*NONE, |claims| &claims.scopes)
    }
}

// === impl PrincipalKey ===

impl PrincipalKey {
    fn of(peer: Option<&PeerIdentity>, claims: Option<&Claims>) -> Self {
        let token = claims.map(|claims| TokenParts {
            issuer: Arc::clone(&claims.issuer),
            subject: Arc::clone(&claims.subject),
            client_id: claims.client_id.clone(),
        });
        // One fixed hash over the parts, so that a map's own hasher has 8
        // bytes to mix. Tables keyed by it stay safe from chosen collisions
        // only as far as callers cannot choose their identity.
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one((&token, peer));
        Self(Arc::new(KeyParts {
            token,
            peer: peer.cloned(),
            hash,
        }))
    }
}

impl PartialEq for PrincipalKey {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || (self.0.hash == other.0.hash
                && self.0.token == other.0.token
                && self.0.peer == other.0.peer)
    }
}

impl Eq for PrincipalKey {}

impl Hash for PrincipalKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.hash);
    }
}

impl fmt::Debug for PrincipalKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let KeyParts {
            token,
            peer,
            hash: _,
        } = &*self.0;
        let mut text = formatter.debug_struct("PrincipalKey");
        if let Some(TokenParts {
            issuer,
            subject,
            client_id,
        }) = token
        {
            text.field("issuer", issuer)
                .field("subject", subject)
                .field("client_id", client_id);
        }
        text.field("peer", peer).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn claims(issuer: &str, subject: &str, client: Option<&str>) -> Arc<Claims> {
        Arc::new(Claims {
            issuer: issuer.into(),
            subject: subject.into(),
            client_id: client.map(Into::into),
            scopes: ScopeSet::default(),
            expires_at: 0,
            all: Map::from_iter([("secret".to_owned(), "canary".into())]),
        })
    }

    fn peer(id: &str) -> PeerIdentity {
        PeerIdentity::new(Some(id.parse().expect("a SPIFFE id")))
    }

    #[test]
    fn a_spiffe_id_gives_its_parts() {
        let id: SpiffeId = "spiffe://td.example/ns/a.b/sa/c-d"
            .parse()
            .expect("a SPIFFE id");
        assert_eq!(id.trust_domain(), "td.example");
        assert_eq!(id.service_account(), Some(("a.b", "c-d")));
        assert_eq!(id.to_string(), "spiffe://td.example/ns/a.b/sa/c-d");
        let bare: SpiffeId = "spiffe://td".parse().expect("a SPIFFE id");
        assert_eq!((bare.trust_domain(), bare.service_account()), ("td", None));
    }

    #[test]
    fn only_the_exact_path_is_a_service_account() {
        for path in [
            "/ns/a/sa",
            "/ns/a/sa/b/c",
            "/x/ns/a/sa/b",
            "/NS/a/sa/b",
            "/ns/a/pod/b",
        ] {
            let id: SpiffeId = format!("spiffe://td{path}").parse().expect("a SPIFFE id");
            assert_eq!(id.service_account(), None, "{path}");
        }
    }

    #[test]
    fn other_texts_are_no_spiffe_id() {
        use InvalidSpiffeId as E;
        for (text, error) in [
            ("https://td/a", E::Scheme),
            ("SPIFFE://td/a", E::Scheme),
            ("spiffe:/td/a", E::Scheme),
            ("", E::Scheme),
            ("spiffe://", E::TrustDomain),
            ("spiffe:///a", E::TrustDomain),
            ("spiffe://TD/a", E::TrustDomain),
            ("spiffe://user@td/a", E::TrustDomain),
            ("spiffe://td:443/a", E::TrustDomain),
            ("spiffe://td/", E::Path),
            ("spiffe://td/a/", E::Path),
            ("spiffe://td//a", E::Path),
            ("spiffe://td/a/../b", E::Path),
            ("spiffe://td/./b", E::Path),
            ("spiffe://td/a%2fb", E::Path),
            ("spiffe://td/a?x", E::Path),
            ("spiffe://td/a#x", E::Path),
        ] {
            assert_eq!(text.parse::<SpiffeId>(), Err(error), "{text}");
        }
    }

    #[test]
    fn a_spiffe_id_is_bounded_on_both_sides() {
        let of =
            |length: usize| format!("spiffe://td/{}", "a".repeat(length - "spiffe://td/".len()));
        assert!(of(2048).parse::<SpiffeId>().is_ok());
        assert_eq!(of(2049).parse::<SpiffeId>(), Err(InvalidSpiffeId::TooLong));
        assert!(
            format!("spiffe://{}", "a".repeat(255))
                .parse::<SpiffeId>()
                .is_ok()
        );
        let long = format!("spiffe://{}", "a".repeat(256));
        assert_eq!(long.parse::<SpiffeId>(), Err(InvalidSpiffeId::TrustDomain));
    }

    #[test]
    fn nobody_is_no_principal() {
        assert!(Principal::verified(None, None).is_none());
        assert!(Principal::verified(Some(PeerIdentity::new(None)), None).is_some());
    }

    #[test]
    fn without_a_token_there_are_no_scopes() {
        let principal = Principal::verified(Some(peer("spiffe://td/a")), None).expect("one");
        assert!(principal.scopes().is_empty());
        assert!(principal.claims().is_none());
    }

    #[test]
    fn each_part_tells_principals_apart() {
        let of = |peer: Option<PeerIdentity>, claims: Option<Arc<Claims>>| {
            Principal::verified(peer, claims).expect("a principal")
        };
        let all = [
            of(None, Some(claims("i", "s", None))),
            of(None, Some(claims("i2", "s", None))),
            of(None, Some(claims("i", "s2", None))),
            of(None, Some(claims("i", "s", Some("c")))),
            of(None, Some(claims("i", "s", Some("")))),
            of(None, Some(claims("is", "", None))),
            of(Some(peer("spiffe://td/a")), Some(claims("i", "s", None))),
            of(Some(peer("spiffe://td/b")), Some(claims("i", "s", None))),
            of(Some(PeerIdentity::new(None)), Some(claims("i", "s", None))),
            of(Some(peer("spiffe://td/a")), None),
        ];
        let mut table = HashMap::new();
        for (index, principal) in all.iter().enumerate() {
            assert_eq!(
                table.insert(principal.key().clone(), index),
                None,
                "{principal:?}"
            );
        }
        let same = of(Some(peer("spiffe://td/a")), Some(claims("i", "s", None)));
        assert_eq!(table.get(same.key()), Some(&6));
    }

    #[test]
    fn debug_output_has_no_claim_values() {
        let principal = Principal::verified(None, Some(claims("i", "s", None))).expect("one");
        assert!(!format!("{principal:?}").contains("canary"));
    }

    proptest! {
        #[test]
        fn a_spiffe_id_is_printed_as_it_was_parsed(
            domain in "[a-z0-9._-]{1,12}",
            path in "(/[A-Za-z0-9_-]{1,6}){0,4}",
        ) {
            let text = format!("spiffe://{domain}{path}");
            let id: SpiffeId = text.parse().expect("a SPIFFE id");
            prop_assert_eq!(id.as_str(), &text);
            prop_assert_eq!(id.trust_domain(), domain);
        }

        #[test]
        fn any_text_is_parsed_without_panic(text in "(spiffe://)?\\PC{0,40}") {
            if let Ok(id) = text.parse::<SpiffeId>() {
                prop_assert_eq!(id.as_str(), text);
                prop_assert!(!id.trust_domain().is_empty());
            }
        }
    }
}
