//! The resource server's side of OAuth discovery: protected resource metadata
//! (RFC 9728) and bearer challenges (RFC 6750 section 3).

use serde::Serialize;

/// Where metadata lives under the host (RFC 9728 section 3).
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// The path of the metadata of a resource: the well-known path is put before
/// the resource's own path (RFC 9728 section 3.1).
#[must_use]
pub fn metadata_path(resource_path: &str) -> String {
    match resource_path {
        "" | "/" => WELL_KNOWN.to_owned(),
        path if path.starts_with('/') => format!("{WELL_KNOWN}{path}"),
        path => format!("{WELL_KNOWN}/{path}"),
    }
}

#[derive(Serialize)]
struct Document<'a> {
    resource: &'a str,
    authorization_servers: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    scopes_supported: &'a [String],
    /// Tokens in a query or body are never accepted.
    bearer_methods_supported: [&'static str; 1],
}

/// The metadata document of `resource` (RFC 9728 section 2).
#[must_use]
pub fn document(resource: &str, authorization_servers: &[String], scopes: &[String]) -> Vec<u8> {
    let document = Document {
        resource,
        authorization_servers,
        scopes_supported: scopes,
        bearer_methods_supported: ["header"],
    };
    // Strings and lists of strings always serialize.
    serde_json::to_vec(&document).unwrap_or_default()
}

/// The value of a `WWW-Authenticate` header with the `Bearer` scheme.
///
/// Values become quoted strings (RFC 9110 section 5.6.4). Characters that no
/// header value or no RFC 6750 parameter may hold are left out, and a
/// parameter whose name is no token is left out whole, so that no input can
/// end the header or the parameter early.
#[must_use]
pub fn bearer_challenge(parameters: &[(&str, &str)]) -> String {
    let mut challenge = String::from("Bearer");
    let named = parameters.iter().filter(|(name, _)| is_token(name));
    for (index, (name, value)) in named.enumerate() {
        challenge.push_str(if index == 0 { " " } else { ", " });
        challenge.push_str(name);
        challenge.push_str("=\"");
        for c in value.chars().filter(|c| matches!(c, ' '..='~')) {
            if matches!(c, '"' | '\\') {
                challenge.push('\\');
            }
            challenge.push(c);
        }
        challenge.push('"');
    }
    challenge
}

/// RFC 9110 section 5.6.2.
fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_well_known_path_goes_before_the_resource_path() {
        for (path, expected) in [
            ("", "/.well-known/oauth-protected-resource"),
            ("/", "/.well-known/oauth-protected-resource"),
            ("/mcp", "/.well-known/oauth-protected-resource/mcp"),
            ("/a/b/", "/.well-known/oauth-protected-resource/a/b/"),
            ("mcp", "/.well-known/oauth-protected-resource/mcp"),
        ] {
            assert_eq!(metadata_path(path), expected, "{path}");
        }
    }

    #[test]
    fn the_document_names_resource_servers_and_scopes() {
        let issuers = ["https://idp.example.com/".to_owned()];
        let scopes = ["a:read".to_owned(), "b:write".to_owned()];
        let value: Value =
            serde_json::from_slice(&document("https://s.example/mcp", &issuers, &scopes))
                .expect("JSON");
        assert_eq!(
            value,
            json!({"resource": "https://s.example/mcp",
                   "authorization_servers": ["https://idp.example.com/"],
                   "scopes_supported": ["a:read", "b:write"],
                   "bearer_methods_supported": ["header"]})
        );
    }

    #[test]
    fn no_scopes_means_no_member_rather_than_an_empty_one() {
        let body = document("https://s.example/mcp", &[], &[]);
        let value: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(value.get("scopes_supported"), None);
        assert_eq!(value["authorization_servers"], json!([]));
    }

    #[test]
    fn a_challenge_lists_its_parameters_in_order() {
        assert_eq!(bearer_challenge(&[]), "Bearer");
        assert_eq!(
            bearer_challenge(&[("error", "insufficient_scope"), ("scope", "a b")]),
            r#"Bearer error="insufficient_scope", scope="a b""#
        );
    }

    #[test]
    fn a_value_cannot_end_its_quoted_string_or_the_header() {
        assert_eq!(
            bearer_challenge(&[
                ("scope", "a\", error=\"x"),
                ("r", "b\r\nSet-Cookie: c\u{0}\u{e9}\\")
            ]),
            r#"Bearer scope="a\", error=\"x", r="bSet-Cookie: c\\""#
        );
        assert_eq!(
            bearer_challenge(&[("a b", "1"), ("", "2"), ("c", "3")]),
            r#"Bearer c="3""#
        );
    }

    proptest! {
        #[test]
        fn a_challenge_is_always_a_legal_header_value(name in any::<String>(), value in any::<String>()) {
            let challenge = bearer_challenge(&[("x", &value), (&name, &value)]);
            prop_assert!(challenge.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            let unescaped = challenge.replace("\\\\", "").replace("\\\"", "");
            let quotes = unescaped.matches('"').count();
            prop_assert!(quotes == 2 || quotes == 4);
        }
    }
}
