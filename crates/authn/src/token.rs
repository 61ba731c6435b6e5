//! A token taken apart, before anything in it is believed.
//!
//! One text has one reading: exactly three parts of canonical base64url without
//! padding, and JSON objects without duplicate members. The header may hold
//! only what this crate acts upon or can safely not act upon; whatever asks for
//! other processing (`crit`, `b64`, `zip`, `enc`, `cty`) or brings its own key
//! (`jwk`, `jku`, `x5u`, `x5c`) makes the token invalid (RFC 8725 3.10).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::algorithm::Algorithm;
use crate::fault::Fault;
use crate::json::{self, InvalidObject};

/// A well-formed token; nothing of it is verified.
#[derive(Debug)]
pub(crate) struct UnverifiedToken<'a> {
    pub(crate) algorithm: Algorithm,
    pub(crate) key_id: Option<String>,
    pub(crate) claims: Map<String, Value>,
    /// What the signature is over.
    pub(crate) signed: &'a [u8],
    pub(crate) signature: Vec<u8>,
}

struct Header {
    algorithm: Algorithm,
    key_id: Option<String>,
}

// === impl UnverifiedToken ===

impl<'a> UnverifiedToken<'a> {
    pub(crate) fn parse(text: &'a str) -> Result<Self, Fault> {
        let (signed, signature) = text.rsplit_once('.').ok_or(Fault::TokenMalformed)?;
        let (header, claims) = signed.split_once('.').ok_or(Fault::TokenMalformed)?;
        let Header { algorithm, key_id } = Header::read(json::object(&decode(header)?)?)?;
        // A fourth part is in `claims`, and its dot is not base64url.
        let claims = json::object(&decode(claims)?)?;
        let signature = decode(signature)?;
        Ok(Self {
            algorithm,
            key_id,
            claims,
            signed: signed.as_bytes(),
            signature,
        })
    }
}

// === impl Header ===

impl Header {
    fn read(members: Map<String, Value>) -> Result<Self, Fault> {
        let mut algorithm = None;
        let mut key_id = None;
        for (name, value) in members {
            let Value::String(text) = value else {
                return Err(Fault::HeaderNotAllowed);
            };
            match name.as_str() {
                "alg" => {
                    algorithm = Some(text.parse().map_err(|_| Fault::AlgorithmNotAllowed)?);
                }
                "kid" => key_id = Some(text),
                "typ" if is_access_token_type(&text) => {}
                "typ" => return Err(Fault::TypNotAllowed),
                // Hints to the certificate; keys are found by `kid` only.
                "x5t" | "x5t#S256" => {}
                _ => return Err(Fault::HeaderNotAllowed),
            }
        }
        let algorithm = algorithm.ok_or(Fault::AlgorithmNotAllowed)?;
        Ok(Self { algorithm, key_id })
    }
}

impl From<InvalidObject> for Fault {
    fn from(invalid: InvalidObject) -> Self {
        match invalid {
            InvalidObject::Syntax => Self::TokenMalformed,
            InvalidObject::DuplicateMember => Self::DuplicateMember,
        }
    }
}

/// `JWT`, or `at+jwt` with or without `application/` (RFC 9068 4). Every other
/// type is a token for another purpose: a logout token, a DPoP proof.
fn is_access_token_type(typ: &str) -> bool {
    ["JWT", "at+jwt", "application/at+jwt"]
        .iter()
        .any(|known| typ.eq_ignore_ascii_case(known))
}

/// The engine refuses padding, other alphabets and unused bits that are not
/// zero, so that no two texts give the same bytes.
fn decode(part: &str) -> Result<Vec<u8>, Fault> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| Fault::TokenMalformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode(text: &str) -> String {
        URL_SAFE_NO_PAD.encode(text)
    }

    fn with_header(header: &str) -> Result<(Algorithm, Option<String>), Fault> {
        let text = format!("{}.{}.AAAA", encode(header), encode("{}"));
        UnverifiedToken::parse(&text).map(|token| (token.algorithm, token.key_id))
    }

    #[test]
    fn the_parts_are_read() {
        let text = format!(
            "{}.{}.AAEC",
            encode(r#"{"alg":"ES256"}"#),
            encode(r#"{"a":1}"#)
        );
        let token = UnverifiedToken::parse(&text).expect("well-formed");
        assert_eq!(token.algorithm, Algorithm::Es256);
        assert_eq!(token.claims.get("a"), Some(&1.into()));
        assert_eq!(token.signature, [0, 1, 2]);
        assert_eq!(
            token.signed,
            text.strip_suffix(".AAEC").expect("a suffix").as_bytes()
        );
    }

    #[test]
    fn headers_that_change_nothing_are_accepted() {
        let kid = Some("k".to_owned());
        for (header, expected) in [
            (r#"{"alg":"RS256"}"#, None),
            (r#"{"alg":"RS256","kid":"k"}"#, kid.clone()),
            (r#"{"alg":"RS256","kid":"k","typ":"JWT"}"#, kid.clone()),
            (r#"{"alg":"RS256","kid":"k","typ":"jwt"}"#, kid.clone()),
            (r#"{"alg":"RS256","kid":"k","typ":"at+jwt"}"#, kid.clone()),
            (r#"{"alg":"RS256","kid":"k","typ":"AT+JWT"}"#, kid.clone()),
            (
                r#"{"alg":"RS256","kid":"k","typ":"application/at+jwt"}"#,
                kid.clone(),
            ),
            (
                r#"{"alg":"RS256","kid":"k","x5t":"AA","x5t#S256":"AA"}"#,
                kid,
            ),
        ] {
            assert_eq!(
                with_header(header),
                Ok((Algorithm::Rs256, expected)),
                "{header}"
            );
        }
    }

    #[test]
    fn headers_that_ask_for_more_are_refused() {
        for (header, fault) in [
            (r#"{"alg":"none"}"#, Fault::AlgorithmNotAllowed),
            (r#"{"alg":"None"}"#, Fault::AlgorithmNotAllowed),
            (r#"{"alg":"HS256"}"#, Fault::AlgorithmNotAllowed),
            (r#"{"alg":"rs256"}"#, Fault::AlgorithmNotAllowed),
            (r#"{"alg":" RS256"}"#, Fault::AlgorithmNotAllowed),
            (r#"{"alg":""}"#, Fault::AlgorithmNotAllowed),
            (r"{}", Fault::AlgorithmNotAllowed),
            (r#"{"ALG":"RS256"}"#, Fault::HeaderNotAllowed),
            (r#"{"alg":["RS256"]}"#, Fault::HeaderNotAllowed),
            (r#"{"alg":"RS256","kid":1}"#, Fault::HeaderNotAllowed),
            (r#"{"alg":"RS256","kid":null}"#, Fault::HeaderNotAllowed),
            (
                r#"{"alg":"RS256","jwk":{"kty":"RSA"}}"#,
                Fault::HeaderNotAllowed,
            ),
            (
                r#"{"alg":"RS256","jku":"https://evil.test/"}"#,
                Fault::HeaderNotAllowed,
            ),
            (
                r#"{"alg":"RS256","x5u":"https://evil.test/"}"#,
                Fault::HeaderNotAllowed,
            ),
            (r#"{"alg":"RS256","x5c":["AA=="]}"#, Fault::HeaderNotAllowed),
            (
                r#"{"alg":"RS256","crit":["x-y"],"x-y":1}"#,
                Fault::HeaderNotAllowed,
            ),
            (r#"{"alg":"RS256","crit":[]}"#, Fault::HeaderNotAllowed),
            (r#"{"alg":"RS256","b64":false}"#, Fault::HeaderNotAllowed),
            (r#"{"alg":"RS256","zip":"DEF"}"#, Fault::HeaderNotAllowed),
            (
                r#"{"alg":"RS256","enc":"A256GCM"}"#,
                Fault::HeaderNotAllowed,
            ),
            (r#"{"alg":"RS256","cty":"JWT"}"#, Fault::HeaderNotAllowed),
            (
                r#"{"alg":"RS256","typ":"logout+jwt"}"#,
                Fault::TypNotAllowed,
            ),
            (r#"{"alg":"RS256","typ":"dpop+jwt"}"#, Fault::TypNotAllowed),
            (
                r#"{"alg":"RS256","typ":"secevent+jwt"}"#,
                Fault::TypNotAllowed,
            ),
            (r#"{"alg":"RS256","typ":"id_token"}"#, Fault::TypNotAllowed),
            (r#"{"alg":"RS256","typ":""}"#, Fault::TypNotAllowed),
            (r#"{"alg":"RS256","typ":null}"#, Fault::HeaderNotAllowed),
            (r#"{"alg":"RS256","alg":"RS256"}"#, Fault::DuplicateMember),
            (r#"["RS256"]"#, Fault::TokenMalformed),
            (r#" {"alg":"RS256"} x"#, Fault::TokenMalformed),
        ] {
            assert_eq!(with_header(header), Err(fault), "{header}");
        }
    }

    #[test]
    fn a_text_that_could_be_read_otherwise_is_refused() {
        let (header, claims) = (encode(r#"{"alg":"RS256"}"#), encode(r#"{"a":1}"#));
        for text in [
            String::new(),
            ".".to_owned(),
            "..".to_owned(),
            format!("{header}.{claims}"),
            format!("{header}.{claims}.AAAA."),
            format!("{header}.{claims}.AAAA.AAAA"),
            format!(".{header}.{claims}.AAAA"),
            format!("{header}.{claims}.AAA="),
            format!("{header}.{claims}.AAAA=="),
            format!("{header}=.{claims}.AAAA"),
            format!("{header}.{claims}.AA+A"),
            format!("{header}.{claims}.AA/A"),
            format!("{header}.{claims}.AA A"),
            format!("{header}.{claims}.AAA\n"),
            format!("{header}.{claims}.AB"),
            format!("{header}.{claims}.AAB"),
            format!("{header}.{claims}.A"),
            format!("{header}..AAAA"),
            format!("{header}.{}.AAAA", encode("[]")),
            ".".repeat(8000),
            "sk-anything".to_owned(),
        ] {
            let refused = UnverifiedToken::parse(&text).map(|_| ());
            assert_eq!(refused, Err(Fault::TokenMalformed), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*") {
            let _ = UnverifiedToken::parse(&text);
        }

        #[test]
        fn any_three_objects_are_read_or_refused(
            header in proptest::collection::vec(any::<u8>(), 0..60),
            claims in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part));
            let _ = UnverifiedToken::parse(&format!("{header}.{claims}.AAAA"));
        }
    }
}
