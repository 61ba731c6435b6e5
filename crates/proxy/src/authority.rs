//! The text of `Host` and of canonical URIs: a host and perhaps a port.

/// Host and optional port, and nothing else (RFC 3986 3.2.2): no user
/// information, path, fragment or percent-encoding.
pub(crate) fn is_host(text: &str) -> bool {
    let (host, port) = split_port(text);
    let port_ok = port.is_none_or(|port| {
        port.len() <= 5
            && port.bytes().all(|byte| byte.is_ascii_digit())
            && port.parse::<u16>().is_ok()
    });
    let literal = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let host_ok = match literal {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host.len() <= 253
                && host
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
        }
    };
    port_ok && host_ok
}

/// The host part of an authority.
pub(crate) fn host_of(authority: &str) -> &str {
    split_port(authority).0
}

fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        // The last colon of an address literal is inside its brackets.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        Some(_) | None => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_a_name_or_address_and_a_port() {
        for good in [
            "a",
            "a.b:80",
            "127.0.0.1:8080",
            "[::1]",
            "[::1]:443",
            "a:65535",
            "A-b.C",
        ] {
            assert!(is_host(good), "{good}");
        }
        for bad in [
            "",
            ":80",
            "a:",
            "a:123456",
            "a:65536",
            "a:+80",
            "a:b",
            "u@a",
            "a/b",
            "a#b",
            "a?b",
            "a b",
            "[::1",
            "::1",
            "[x]",
            "a%2e",
            "localhost:4000/#@x",
        ] {
            assert!(!is_host(bad), "{bad}");
        }
        assert_eq!(host_of("[::1]:443"), "[::1]");
        assert_eq!(host_of("[::1]"), "[::1]");
        assert_eq!(host_of("a.b:80"), "a.b");
    }
}
