//! The shape of a key set that is written into a configuration (RFC 7517).
//! Whether its keys verify anything is for the verifier to say.

use serde_json::{Map, Value};

/// Members that belong to a private or shared key (RFC 7518, section 6).
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// Checks a key set with at most `most` keys.
///
/// # Errors
/// What is wrong with it. No value is quoted.
pub(crate) fn check(text: &str, most: usize) -> Result<(), String> {
    let set: Value = serde_json::from_str(text)
        .map_err(|error| format!("is no JSON: {error}; put in a JSON Web Key Set"))?;
    let Some(keys) = set.get("keys").and_then(Value::as_array) else {
        return Err("is no JSON Web Key Set: it must be an object with a list `keys`".to_owned());
    };
    if keys.len() > most {
        return Err(format!(
            "has {} keys, and at most {most} are allowed",
            keys.len()
        ));
    }
    let mut usable = false;
    for (index, key) in keys.iter().enumerate() {
        let Some(key) = key.as_object() else {
            return Err(format!("key {index} is no object"));
        };
        let kind = text_of(key, "kty");
        if kind == "oct"
            || PRIVATE_MEMBERS
                .iter()
                .any(|member| key.contains_key(*member))
        {
            return Err(format!(
                "key {index} is a private or shared key: put in public keys only, and replace \
                 this one, because it has been seen"
            ));
        }
        usable |= is_usable(key, kind);
    }
    if usable {
        Ok(())
    } else {
        Err(
            "has no key that can verify a token: RSA, EC (P-256, P-384) or OKP (Ed25519)"
                .to_owned(),
        )
    }
}

fn is_usable(key: &Map<String, Value>, kind: &str) -> bool {
    let has = |members: &[&str]| {
        members
            .iter()
            .all(|member| !text_of(key, member).is_empty())
    };
    let for_signatures = matches!(text_of(key, "use"), "" | "sig");
    let complete = match (kind, text_of(key, "crv")) {
        ("RSA", _) => has(&["n", "e"]),
        ("EC", "P-256" | "P-384") => has(&["x", "y"]),
        ("OKP", "Ed25519") => has(&["x"]),
        _ => false,
    };
    for_signatures && complete
}

fn text_of<'a>(key: &'a Map<String, Value>, member: &str) -> &'a str {
    key.get(member).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RSA: &str = r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#;

    fn set(keys: &[&str]) -> String {
        format!(r#"{{"keys":[{}]}}"#, keys.join(","))
    }

    #[test]
    fn public_keys_are_accepted() {
        for key in [
            RSA,
            r#"{"kty":"EC","crv":"P-256","x":"AA","y":"AA","use":"sig","kid":"a"}"#,
            r#"{"kty":"OKP","crv":"Ed25519","x":"AA"}"#,
        ] {
            assert_eq!(check(&set(&[key]), 100), Ok(()), "{key}");
        }
        let unknown = r#"{"kty":"XYZ"}"#;
        assert_eq!(
            check(&set(&[unknown, RSA]), 100),
            Ok(()),
            "unknown kinds are skipped"
        );
    }

    #[test]
    fn secrets_are_refused_and_not_quoted() {
        for key in [
            r#"{"kty":"oct","k":"canary"}"#,
            r#"{"kty":"RSA","n":"AQAB","e":"AQAB","d":"canary"}"#,
            r#"{"kty":"EC","crv":"P-256","x":"AA","y":"AA","d":"canary"}"#,
            r#"{"kty":"OKP","crv":"Ed25519","x":"AA","d":"canary"}"#,
        ] {
            let refused = check(&set(&[RSA, key]), 100).expect_err(key);
            assert!(refused.contains("key 1 is a private") && !refused.contains("canary"));
        }
    }

    #[test]
    fn what_verifies_nothing_is_refused() {
        for text in [
            "",
            "x",
            "[]",
            "{}",
            r#"{"keys":{}}"#,
            r#"{"keys":[]}"#,
            r#"{"keys":[1]}"#,
            r#"{"keys":[{"kty":"RSA"}]}"#,
            r#"{"keys":[{"kty":"EC","crv":"P-521","x":"A","y":"A"}]}"#,
            r#"{"keys":[{"kty":"RSA","n":"A","e":"A","use":"enc"}]}"#,
            r#"{"kty":"RSA","n":"A","e":"A"}"#,
        ] {
            assert!(check(text, 100).is_err(), "{text}");
        }
        assert!(check(&set(&[RSA; 3]), 3).is_ok());
        assert!(check(&set(&[RSA; 3]), 2).is_err());
    }
}
