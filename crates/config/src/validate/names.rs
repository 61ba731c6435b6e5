//! The shapes of names, as Kubernetes and HTTP have them.

use sidegate_api::names::{TAKEN_HEADER_PREFIXES, TAKEN_HEADERS};

pub(crate) const DNS_LABEL: &str = "must be 1 to 63 lower-case letters, digits and `-`, and begin and end with one of the first two";
pub(crate) const DNS_NAME: &str =
    "must be 1 to 253 lower-case letters, digits, `-` and `.`, as a name in DNS";
pub(crate) const DATA_KEY: &str =
    "is no key of a Secret or ConfigMap: use 1 to 253 letters, digits, `-`, `_` and `.`";
pub(crate) const LABEL_KEY: &str =
    "is no key of a label: use letters, digits, `-`, `_` and `.`, with an optional prefix and `/`";
pub(crate) const LABEL_VALUE: &str =
    "is no value of a label: use up to 63 letters, digits, `-`, `_` and `.`";
pub(crate) const VARIABLE: &str =
    "is no name of a variable: use 1 to 128 letters, digits and `_`, and no digit in front";

pub(crate) fn is_dns_label(text: &str) -> bool {
    text.len() <= 63 && is_part_of_name(text)
}

/// The name of an object. Kubernetes bounds the whole only, not its parts.
pub(crate) fn is_dns_name(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_part_of_name)
}

fn is_part_of_name(text: &str) -> bool {
    let inner = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    !text.is_empty() && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

pub(crate) fn is_data_key(text: &str) -> bool {
    (1..=253).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

pub(crate) fn is_label_key(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => is_dns_name(prefix) && is_label_name(name),
        None => is_label_name(text),
    }
}

pub(crate) fn is_label_value(text: &str) -> bool {
    text.is_empty() || is_label_name(text)
}

fn is_label_name(text: &str) -> bool {
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    text.len() <= 63
        && is_data_key(text)
        && ends(text.as_bytes().first())
        && ends(text.as_bytes().last())
}

/// The name of an environment variable.
pub(crate) fn is_variable(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !text.starts_with(|first: char| first.is_ascii_digit())
}

/// Whether a header may carry a verified identity.
///
/// # Errors
/// Why it may not.
pub(crate) fn check_identity_header(name: &str) -> Result<(), String> {
    let shaped = (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && name.starts_with(|first: char| first.is_ascii_alphabetic());
    if !shaped {
        // Many servers take `_` for `-`, so that one header could pass for
        // another.
        return Err(
            "is no usable header name: use 1 to 64 letters, digits and `-`, and a letter \
                    in front"
                .to_owned(),
        );
    }
    let lower = name.to_ascii_lowercase();
    let taken = TAKEN_HEADERS.contains(&lower.as_str())
        || TAKEN_HEADER_PREFIXES
            .iter()
            .any(|prefix| lower.starts_with(prefix));
    if taken {
        return Err(format!(
            "`{name}` has a meaning already: use one of your own, such as X-User"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dns_names_have_their_shape_and_length() {
        let long = "a".repeat(63);
        for good in ["a", "a-b", "0", "a1", &long] {
            assert!(is_dns_label(good) && is_dns_name(good), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a_b", "ä", "a b"] {
            assert!(!is_dns_label(bad) && !is_dns_name(bad), "{bad}");
        }
        let longer = "a".repeat(64);
        assert!(!is_dns_label(&longer) && is_dns_name(&longer));
        let name = format!("{long}.{long}.{long}.{}", "a".repeat(61));
        assert!(is_dns_name(&name) && !is_dns_name(&format!("{name}a")));
        assert!(is_dns_name("a.b") && !is_dns_label("a.b") && !is_dns_name("a..b"));
    }

    #[test]
    fn labels_keys_and_variables_have_theirs() {
        for good in ["app", "app.kubernetes.io/name", "A_b.c-d"] {
            assert!(is_label_key(good), "{good}");
        }
        for bad in ["", "/a", "a/", "a/b/c", "-a", "A.b/c d", &"a".repeat(64)] {
            assert!(!is_label_key(bad), "{bad}");
        }
        assert!(is_label_value("") && is_label_value(&"a".repeat(63)));
        assert!(!is_label_value(&"a".repeat(64)) && !is_label_value("a b"));
        assert!(is_data_key(&"k".repeat(253)) && !is_data_key(&"k".repeat(254)));
        assert!(is_data_key("tls.crt") && !is_data_key("a/b") && !is_data_key(""));
        assert!(is_variable("_HOST2") && is_variable(&"V".repeat(128)));
        for bad in ["", "2HOST", "A-B", "A=B", &"V".repeat(129)] {
            assert!(!is_variable(bad), "{bad}");
        }
    }

    #[test]
    fn identity_headers_take_nothing_from_anybody() {
        for good in [
            "X-User",
            "x-sidegate-subject",
            "Remote-User",
            &"X".repeat(64),
        ] {
            assert_eq!(check_identity_header(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "X_User",
            "X User",
            "1x",
            "-x",
            "Authorization",
            "HOST",
            "Content-Length",
            "Content-Anything",
            "Connection",
            "Transfer-Encoding",
            "TE",
            "Upgrade",
            "Cookie",
            "Proxy-Authorization",
            "Mcp-Session-Id",
            "mcp-x",
            "X-Forwarded-For",
            "Sec-Fetch-Mode",
            "Origin",
            "traceparent",
            "Accept",
            "Accept-Encoding",
            ":path",
            &"X".repeat(65),
        ] {
            assert!(check_identity_header(bad).is_err(), "{bad}");
        }
    }
}
