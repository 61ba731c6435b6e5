//! The `Authorization` header: one, with one bearer token, or nothing.
//!
//! Tokens in the query or in a body are not looked for (RFC 6750 2.2 and 2.3
//! are not offered; MCP forbids tokens in the URL).

use http::header::{AUTHORIZATION, HeaderMap};

use crate::fault::{AuthnError, Fault, SEVERAL_CREDENTIALS};

/// The token of a request; none when it has no credentials at all.
///
/// # Errors
/// [`AuthnError::Malformed`] for more than one credential: hops that pick
/// different ones would believe different callers. [`AuthnError::Invalid`] for
/// one that is no bearer token.
pub(crate) fn bearer_token(headers: &HeaderMap) -> Result<Option<&str>, AuthnError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(AuthnError::Malformed(SEVERAL_CREDENTIALS));
    }
    let text = value.to_str().map_err(|_| Fault::TokenMalformed)?;
    let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("Bearer") {
        return Err(Fault::NotBearer.into());
    }
    let token = rest.trim_matches(' ');
    if token.is_empty() {
        return Err(Fault::EmptyToken.into());
    }
    if token.contains(',') {
        // Proxies join repeated headers with a comma (RFC 9110 5.3).
        return Err(AuthnError::Malformed(SEVERAL_CREDENTIALS));
    }
    Ok(Some(token))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(values: &[&[u8]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(
                AUTHORIZATION,
                HeaderValue::from_bytes(value).expect("a value"),
            );
        }
        headers
    }

    #[test]
    fn aut_001_no_header_is_no_credential() {
        assert_eq!(bearer_token(&headers(&[])), Ok(None));
    }

    #[test]
    fn the_scheme_is_read_without_regard_to_case() {
        for value in [
            "Bearer a.b.c",
            "bearer a.b.c",
            "BEARER  a.b.c",
            "Bearer a.b.c ",
        ] {
            assert_eq!(
                bearer_token(&headers(&[value.as_bytes()])),
                Ok(Some("a.b.c")),
                "{value}"
            );
        }
    }

    #[test]
    fn aut_002_more_than_one_credential_is_malformed() {
        for values in [
            &[b"Bearer a".as_slice(), b"Bearer b"] as &[&[u8]],
            &[b"Bearer a", b"Bearer a"],
            &[b"Basic eDp5", b"Bearer a"],
            &[b"Bearer a, Bearer b"],
            &[b"Bearer a,b"],
        ] {
            let headers = headers(values);
            let refused = AuthnError::Malformed("several_credentials");
            assert_eq!(bearer_token(&headers), Err(refused));
        }
    }

    #[test]
    fn aut_009_what_is_no_bearer_token_is_invalid() {
        for (value, word) in [
            (b"Bearer".as_slice(), "empty_token"),
            (b"Bearer ", "empty_token"),
            (b"Bearer    ", "empty_token"),
            (b"", "not_bearer"),
            (b"a.b.c", "not_bearer"),
            (b"Basic eDp5", "not_bearer"),
            (b"Bearer\ta.b.c", "not_bearer"),
            (b"Bearera.b.c", "not_bearer"),
            (b"Digest username=\"a\", realm=\"b\"", "not_bearer"),
            (b"Bearer \xE4.b.c", "token_malformed"),
        ] {
            assert_eq!(
                bearer_token(&headers(&[value])),
                Err(AuthnError::Invalid(word)),
                "{value:?}"
            );
        }
    }
}
