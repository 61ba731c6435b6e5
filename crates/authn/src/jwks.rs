//! A JSON Web Key Set (RFC 7517), reduced to the keys that may verify tokens.

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey,
    VerificationAlgorithm,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use serde_json::{Map, Value};

use crate::algorithm::{Algorithm, KeyKind};
use crate::json;

/// How many keys with one id are tried: sets with more than a rotation's worth
/// are mistakes, and each try costs a signature verification.
const MAX_KEYS_OF_ONE_ID: usize = 4;

/// RSA moduli that are neither weak (RFC 7518 3.3) nor costly to use.
const RSA_MODULUS_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Larger exponents exist only to make verification slow.
const MAX_RSA_EXPONENT_BYTES: usize = 4;

/// Members that hold a secret.
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// Why a key set cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidJwks {
    /// Not JSON that can be read in one way only.
    #[error("the key set is not valid: {0}")]
    Json(&'static str),
    /// JSON, but no key set.
    #[error("the key set must be an object with a list `keys` of objects")]
    NotASet,
    /// More keys than allowed; none of them is used.
    #[error("the key set holds {found} keys, at most {max} are allowed")]
    TooManyKeys {
        /// How many there are.
        found: usize,
        /// How many there may be.
        max: usize,
    },
    /// No key that may verify a token.
    #[error(
        "the key set holds no usable key; needed is a public RSA key of 2048 to 8192 bits, or one \
         on P-256, P-384 or Ed25519, for signatures"
    )]
    NoUsableKey,
}

/// The usable keys of one issuer.
pub(crate) struct KeySet {
    keys: Vec<Key>,
    ignored: usize,
}

struct Key {
    id: Option<Box<str>>,
    /// When the set says so, the only algorithm that the key may be used with.
    algorithm: Option<Algorithm>,
    kind: KeyKind,
    public: DecodingKey,
}

/// The keys that may have signed a token.
pub(crate) enum Candidates<'a> {
    Found(Signers<'a>),
    /// The key is known, but not for this algorithm.
    WrongAlgorithm,
    Unknown,
}

/// At least one key, each fit for the algorithm.
pub(crate) struct Signers<'a> {
    keys: Vec<&'a Key>,
    algorithm: Algorithm,
}

// === impl KeySet ===

impl KeySet {
    /// Reads a set. Keys of other kinds or for other uses are left out (RFC
    /// 7517 section 5), a set that breaks a bound is refused whole.
    ///
    /// # Errors
    /// [`InvalidJwks`]; then nothing of the set may be used.
    pub(crate) fn parse(text: &[u8], max_keys: usize) -> Result<Self, InvalidJwks> {
        let mut set = json::object(text).map_err(|invalid| match invalid {
            json::InvalidObject::Syntax => {
                InvalidJwks::Json("it is not a JSON object, or nested too deeply")
            }
            json::InvalidObject::DuplicateMember => InvalidJwks::Json("it names a member twice"),
        })?;
        let Some(Value::Array(listed)) = set.remove("keys") else {
            return Err(InvalidJwks::NotASet);
        };
        if listed.len() > max_keys {
            return Err(InvalidJwks::TooManyKeys {
                found: listed.len(),
                max: max_keys,
            });
        }
        let mut keys = Vec::with_capacity(listed.len());
        for key in &listed {
            let Value::Object(members) = key else {
                return Err(InvalidJwks::NotASet);
            };
            keys.extend(Key::read(members));
        }
        if keys.is_empty() {
            return Err(InvalidJwks::NoUsableKey);
        }
        let ignored = listed.len() - keys.len();
        Ok(Self { keys, ignored })
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// How many keys of the set are not usable.
    pub(crate) fn ignored(&self) -> usize {
        self.ignored
    }

    /// The keys that a token's header points to. A token without key id must
    /// leave no choice.
    pub(crate) fn candidates(&self, id: Option<&str>, algorithm: Algorithm) -> Candidates<'_> {
        let named = self
            .keys
            .iter()
            .filter(|key| id.is_none() || key.id.as_deref() == id);
        let mut named = named.peekable();
        if named.peek().is_none() {
            return Candidates::Unknown;
        }
        let keys: Vec<&Key> = named
            .filter(|key| key.fits(algorithm))
            .take(MAX_KEYS_OF_ONE_ID)
            .collect();
        match (id, keys.len()) {
            (Some(_), 0) => Candidates::WrongAlgorithm,
            (Some(_), _) | (None, 1) => Candidates::Found(Signers { keys, algorithm }),
            (None, _) => Candidates::Unknown,
        }
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<_> = self.keys.iter().map(|key| key.id.as_deref()).collect();
        f.debug_struct("KeySet")
            .field("ids", &ids)
            .field("ignored", &self.ignored)
            .finish()
    }
}

// === impl Signers ===

impl Signers<'_> {
    /// Whether one of the keys made this signature.
    pub(crate) fn signed(&self, message: &[u8], signature: &Vec<u8>) -> bool {
        self.keys.iter().any(|key| {
            let verifier =
                (DEFAULT_PROVIDER.verifier_factory)(&self.algorithm.library(), &key.public);
            verifier.is_ok_and(|verifier| verifier.verify(message, signature).is_ok())
        })
    }
}

// === impl Key ===

impl Key {
    /// A key that may verify tokens; none when it is of another kind, for
    /// another use, broken, or not public: whoever can read the set could sign
    /// with a private one.
    fn read(members: &Map<String, Value>) -> Option<Self> {
        if PRIVATE_MEMBERS
            .iter()
            .any(|name| members.contains_key(*name))
        {
            return None;
        }
        if !is_for_signatures(members) {
            return None;
        }
        let (kind, public) = match text(members, "kty")? {
            "RSA" => (KeyKind::Rsa, rsa(members)?),
            "EC" => elliptic(members)?,
            "OKP" => (KeyKind::Ed25519, edwards(members)?),
            _ => return None,
        };
        let algorithm = match members.get("alg") {
            None => None,
            Some(_) => Some(text(members, "alg")?.parse::<Algorithm>().ok()?),
        };
        if algorithm.is_some_and(|algorithm| algorithm.key_kind() != kind) {
            return None;
        }
        let id = match members.get("kid") {
            None => None,
            Some(_) => Some(text(members, "kid")?.into()),
        };
        Some(Self {
            id,
            algorithm,
            kind,
            public,
        })
    }

    fn fits(&self, algorithm: Algorithm) -> bool {
        self.kind == algorithm.key_kind() && self.algorithm.is_none_or(|only| only == algorithm)
    }
}

fn text<'a>(members: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    members.get(name)?.as_str()
}

fn bytes(members: &Map<String, Value>, name: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text(members, name)?).ok()
}

/// RFC 7517 4.2 and 4.3: both members are optional.
fn is_for_signatures(members: &Map<String, Value>) -> bool {
    let by_use = members
        .get("use")
        .is_none_or(|value| value.as_str() == Some("sig"));
    let by_operation = members.get("key_ops").is_none_or(|value| {
        let operations = value.as_array().map(Vec::as_slice).unwrap_or_default();
        operations
            .iter()
            .any(|operation| operation.as_str() == Some("verify"))
    });
    by_use && by_operation
}

fn rsa(members: &Map<String, Value>) -> Option<DecodingKey> {
    // RFC 7518 6.3.1.1: some issuers write a leading zero byte.
    let (modulus, exponent) = (bytes(members, "n")?, bytes(members, "e")?);
    let (modulus, exponent) = (
        without_leading_zeros(&modulus),
        without_leading_zeros(&exponent),
    );
    let sound_modulus = RSA_MODULUS_BITS.contains(&bits(modulus)) && is_odd(modulus);
    let sound_exponent =
        is_odd(exponent) && bits(exponent) >= 2 && exponent.len() <= MAX_RSA_EXPONENT_BYTES;
    (sound_modulus && sound_exponent)
        .then(|| DecodingKey::from_rsa_raw_components(modulus, exponent))
}

fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let start = number
        .iter()
        .position(|&byte| byte != 0)
        .unwrap_or(number.len());
    number.get(start..).unwrap_or_default()
}

/// How many bits a number without leading zero bytes has.
fn bits(number: &[u8]) -> usize {
    let leading = number
        .first()
        .map_or(0, |byte| byte.leading_zeros() as usize);
    number.len() * 8 - leading
}

fn is_odd(number: &[u8]) -> bool {
    number.last().is_some_and(|byte| byte % 2 == 1)
}

fn elliptic(members: &Map<String, Value>) -> Option<(KeyKind, DecodingKey)> {
    let (kind, algorithm, length): (_, &'static dyn VerificationAlgorithm, _) =
        match text(members, "crv")? {
            "P-256" => (KeyKind::P256, &ECDSA_P256_SHA256_FIXED, 32),
            "P-384" => (KeyKind::P384, &ECDSA_P384_SHA384_FIXED, 48),
            _ => return None,
        };
    let (x, y) = (bytes(members, "x")?, bytes(members, "y")?);
    if x.len() != length || y.len() != length {
        return None;
    }
    let point = [&[UNCOMPRESSED_POINT], x.as_slice(), y.as_slice()].concat();
    // The point must be on the curve.
    ParsedPublicKey::new(algorithm, &point).ok()?;
    Some((kind, DecodingKey::from_ec_der(&point)))
}

fn edwards(members: &Map<String, Value>) -> Option<DecodingKey> {
    if text(members, "crv")? != "Ed25519" {
        return None;
    }
    let x = bytes(members, "x")?;
    ParsedPublicKey::new(&ED25519, &x).ok()?;
    Some(DecodingKey::from_ed_der(&x))
}

/// SEC 1 section 2.3.3.
const UNCOMPRESSED_POINT: u8 = 4;

#[cfg(test)]
mod tests;
