//! URIs, hosts and origins, each in the one spelling that is compared.

use std::net::{Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// Longest URI that is accepted.
pub(crate) const MAX_URI_BYTES: usize = 2048;

/// The canonical URI of a server (RFC 8707, section 2). It is compared with
/// the audience of tokens byte by byte, so there is one spelling only.
///
/// # Errors
/// What to change.
pub(crate) fn resource(text: &str, http: Http) -> Result<Url, String> {
    let url = absolute(text, http)?;
    // A URL without a path is written with and without its slash; both are as
    // clients may ask for them.
    let canonical = url.as_str();
    if canonical != text && canonical.strip_suffix('/') != Some(text) {
        return Err(format!("is not in canonical form: write `{canonical}`"));
    }
    if url.query().is_some() {
        return Err("must not have a query".to_owned());
    }
    if !url.path().bytes().all(is_plain) || url.path().contains("//") {
        return Err(format!("must have a plain path: {PLAIN}, and no `//`"));
    }
    Ok(url)
}

/// The URL of an issuer or of its keys. The text counts as it is, so any
/// spelling is accepted.
///
/// # Errors
/// What to change.
pub(crate) fn identity(text: &str, http: Http) -> Result<Url, String> {
    let url = absolute(text, http)?;
    // Names are judged when they are dialled, by what they resolve to.
    let is_special = match url.host() {
        Some(Host::Ipv4(address)) => is_special_v4(address),
        Some(Host::Ipv6(address)) => is_special_v6(address),
        Some(Host::Domain(_)) | None => false,
    };
    if is_special {
        return Err(
            "must not have an address of the link, of many machines, or inside another address"
                .to_owned(),
        );
    }
    Ok(url)
}

fn is_special_v4(address: Ipv4Addr) -> bool {
    address.is_unspecified()
        || address.is_link_local() // metadata of most clouds
        || address.is_multicast()
        || address.is_broadcast()
}

/// Link-local, site-local and multicast addresses, the metadata address of
/// Amazon EC2, and all forms that carry an IPv4 address.
fn is_special_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] => false,
        [0, 0, 0, 0, 0 | 0xffff, ..] => true,
        [0x64, 0xff9b, ..] | [0x2001, 0, ..] | [0x2002, ..] | [0xfd00, 0xec2, ..] => true,
        [first, ..] => matches!(first, 0xfe80..=0xfeff | 0xff00..),
    }
}

/// Where plain `http` is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Http {
    /// Nowhere.
    Never,
    /// On loopback addresses.
    Loopback,
    /// Everywhere: it is only a name, of a listener without TLS.
    Anywhere,
}

fn absolute(text: &str, http: Http) -> Result<Url, String> {
    if text.len() > MAX_URI_BYTES {
        return Err(format!("must be at most {MAX_URI_BYTES} bytes long"));
    }
    if text
        .bytes()
        .any(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control() || byte == b'\\')
    {
        return Err("must not have spaces, control characters or backslashes".to_owned());
    }
    let url = Url::parse(text)
        .map_err(|error| format!("`{text}` is no absolute URL: {error}; write https://…"))?;
    if url.host().is_none() {
        return Err("must have a host".to_owned());
    }
    let (host, port) = split_port(authority(text));
    match url.scheme() {
        "https" => {}
        "http" if http == Http::Anywhere => {}
        "http" if http == Http::Loopback && is_loopback(host) => {}
        _ => return Err("must begin with `https://`".to_owned()),
    }
    // The parser takes `https:/a`, `https:a` and `HTTPS://a` as well.
    if !text
        .strip_prefix(url.scheme())
        .is_some_and(|rest| rest.starts_with("://"))
    {
        return Err("must have `//` after its scheme, in small letters".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() || authority(text).contains('@') {
        return Err("must not have a user".to_owned());
    }
    if text.contains('#') {
        return Err("must not have a fragment (`#…`)".to_owned());
    }
    if url.host_str().is_some_and(|host| host.ends_with('.')) {
        return Err("must not have a host that ends with a dot".to_owned());
    }
    if port.is_some_and(|port| !is_port(port)) {
        return Err("must have a port from 1 to 65535, or none".to_owned());
    }
    // The parser takes other spellings of addresses, and names in all letters.
    let as_written = match url.host() {
        Some(Host::Ipv4(_)) => host.parse::<Ipv4Addr>().is_ok(),
        Some(_) | None => is_host(host),
    };
    if !as_written {
        return Err(
            "must have a host that is a name in ASCII, or an address in its usual spelling"
                .to_owned(),
        );
    }
    Ok(url)
}

fn authority(text: &str) -> &str {
    let after = text.split_once("://").map_or("", |(_, after)| after);
    after.split(['/', '?', '#']).next().unwrap_or_default()
}

/// Whether a host can only be the machine itself.
pub(super) fn is_loopback(host: &str) -> bool {
    let address = |host: &str| host.parse::<Ipv4Addr>().is_ok_and(|it| it.is_loopback());
    matches!(host, "localhost" | "[::1]") || address(host)
}

/// A value of `Host`: a name or address and an optional port.
///
/// # Errors
/// What to change.
pub(crate) fn check_host(text: &str) -> Result<(), String> {
    if text.contains("//") || text.contains('/') {
        return Err("must be a host without scheme and path, such as mcp.example.com".to_owned());
    }
    if text.contains('*') {
        return Err("must be one host: there are no wildcards".to_owned());
    }
    let (host, port) = split_port(text);
    if is_host(host) && port.is_none_or(is_port) {
        Ok(())
    } else {
        Err("is no host with an optional port".to_owned())
    }
}

/// A host with an optional port, in two. Colons in brackets are of an address.
pub(super) fn split_port(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        Some(_) | None => (text, None),
    }
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
        && !text.starts_with('0')
        && text.parse::<u16>().is_ok()
}

fn is_host(host: &str) -> bool {
    let literal = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    match literal {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => is_host_name(host) || host.parse::<Ipv4Addr>().is_ok(),
    }
}

/// A name whose last part is a number would be an address to some readers.
fn is_host_name(host: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    host.len() <= 253 && host.split('.').all(label) && !host.rsplit('.').next().is_some_and(number)
}

/// A web origin, as browsers send it (RFC 6454, section 6.2).
///
/// # Errors
/// What to change.
pub(crate) fn check_origin(text: &str) -> Result<(), String> {
    if text.contains('*') {
        return Err("must be one origin: there are no wildcards".to_owned());
    }
    if text == "null" {
        return Err("must not be `null`: every sandboxed page has this origin".to_owned());
    }
    let wrong =
        || "is no origin: write scheme, host and port only, such as https://app.example.com";
    let url = Url::parse(text).map_err(|_| wrong())?;
    if !matches!(url.scheme(), "https" | "http") {
        return Err(wrong().to_owned());
    }
    let origin = url.origin().ascii_serialization();
    if origin == text {
        let (host, port) = split_port(authority(text));
        let shaped = is_host(host) && port.is_none_or(is_port);
        return shaped.then_some(()).ok_or_else(|| wrong().to_owned());
    }
    Err(format!("is not as browsers send it: write `{origin}`"))
}

/// The path of an MCP endpoint. Paths are compared byte by byte, so it must be
/// written as clients send it.
///
/// # Errors
/// What to change.
pub(crate) fn check_path(path: &str) -> Result<(), String> {
    if !path.starts_with('/') {
        return Err("must begin with `/`".to_owned());
    }
    if path.len() > 1024 {
        return Err("must be at most 1024 bytes long".to_owned());
    }
    if !path.bytes().all(is_plain) {
        return Err(format!("must have {PLAIN} only, and no query"));
    }
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        if matches!(segment, "." | "..") || (segment.is_empty() && !last) {
            return Err("must not have `.`, `..` or empty segments".to_owned());
        }
    }
    if path == "/.well-known" || path.starts_with("/.well-known/") {
        return Err("must not be below /.well-known, where the sidecar answers itself".to_owned());
    }
    Ok(())
}

const PLAIN: &str = "letters, digits and `-._~!$&'()*+,=:@`";

/// Whether a byte of a path needs no escape, and is none.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@/".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_do_not_come_from_special_addresses() {
        for good in [
            "https://idp.example.com/jwks",
            "https://10.0.0.1/jwks",
            "https://[fd00::1]/jwks",
            "https://[::1]/jwks",
            "https://[2001:db8::1]/jwks",
        ] {
            assert!(identity(good, Http::Never).is_ok(), "{good}");
        }
        for bad in [
            "https://169.254.169.254/",
            "https://169.254.0.1/",
            "https://0.0.0.0/",
            "https://224.0.0.1/",
            "https://255.255.255.255/",
            "https://[::]/",
            "https://[::ffff:169.254.169.254]/",
            "https://[::ffff:10.0.0.1]/",
            "https://[::ffff:0:a9fe:a9fe]/",
            "https://[::7f00:1]/",
            "https://[64:ff9b::a9fe:a9fe]/",
            "https://[64:ff9b:1::]/",
            "https://[2001::1]/",
            "https://[2002:a9fe:a9fe::]/",
            "https://[fd00:ec2::254]/",
            "https://[fe80::1]/",
            "https://[fec0::1]/",
            "https://[ff02::1]/",
        ] {
            assert!(identity(bad, Http::Never).is_err(), "{bad}");
        }
    }

    #[test]
    fn resources_have_one_spelling() {
        for good in [
            "https://a.example.com",
            "https://a.example.com/",
            "https://a.example.com/mcp",
            "https://a.example.com:8443/x/mcp/",
            "https://[::1]:8443/mcp",
            "https://10.0.0.1/mcp",
        ] {
            assert!(
                resource(good, Http::Never).is_ok(),
                "{good}: {:?}",
                resource(good, Http::Never)
            );
        }
        for bad in [
            "",
            "mcp",
            "/mcp",
            "a.example.com/mcp",
            "HTTPS://a/mcp",
            "https://A/mcp",
            "https://a:443/mcp",
            "https://a/mcp#x",
            "https://a/mcp#",
            "https://a/mcp?x=1",
            "https://a/mcp?",
            "https://u@a/mcp",
            "https://u:p@a/mcp",
            "https://@a/mcp",
            "https://a/../mcp",
            "https://a/./mcp",
            "https://a//mcp",
            "https://a/%6dcp",
            "https://a/m cp",
            "https:/a/mcp",
            "https:a/mcp",
            "https://a\\mcp",
            "https://a./mcp",
            "https://ä/mcp",
            "https://0x7f.1/mcp",
            "https://2130706433/mcp",
            "https://a:0/mcp",
            "http://a/mcp",
            "http://127.0.0.1/mcp",
            "ftp://a/mcp",
            "urn:x",
            "https://",
            "https:///mcp",
            "https://a/mcp\n",
            "https://a:8443:1/",
            "https://a:/mcp",
            "https://-a/mcp",
            "https://1.2/mcp",
            "https://a/m|cp",
            "https://a/m;x",
        ] {
            assert!(resource(bad, Http::Never).is_err(), "{bad}");
        }
        let long = |length: usize| format!("https://a/{}", "m".repeat(length - 10));
        assert!(resource(&long(MAX_URI_BYTES), Http::Never).is_ok());
        assert!(resource(&long(MAX_URI_BYTES + 1), Http::Never).is_err());
    }

    #[test]
    fn plain_http_is_for_loopback_unless_it_is_only_a_name() {
        for loopback in [
            "http://localhost:1/mcp",
            "http://127.0.0.1:1/mcp",
            "http://[::1]:1/mcp",
        ] {
            assert!(resource(loopback, Http::Loopback).is_ok(), "{loopback}");
            assert!(resource(loopback, Http::Never).is_err(), "{loopback}");
        }
        for other in [
            "http://a/mcp",
            "http://localhost.a/mcp",
            "http://10.0.0.1/",
            "http://0.0.0.0/",
        ] {
            assert!(resource(other, Http::Loopback).is_err(), "{other}");
            assert!(resource(other, Http::Anywhere).is_ok(), "{other}");
        }
    }

    #[test]
    fn identities_count_as_they_are_written() {
        for good in [
            "https://idp/",
            "https://idp",
            "https://IDP:443/a?b=c",
            "https://idp/%7Ea",
            "https://i_d.p",
        ] {
            assert!(identity(good, Http::Never).is_ok(), "{good}");
        }
        for bad in [
            "https://u@idp/",
            "https://idp/#",
            "file:///keys",
            "data:,x",
            "http://idp/",
            "HTTPS://idp/",
            "https://ïdp/",
            "https://0x7f/",
            "https://idp:0443/",
            "http://LOCALHOST/",
            "http://127.1/",
        ] {
            assert!(identity(bad, Http::Loopback).is_err(), "{bad}");
        }
    }

    #[test]
    fn hosts_are_names_or_addresses_with_an_optional_port() {
        for good in [
            "a",
            "A-b.c_d",
            "a:1",
            "a:65535",
            "127.0.0.1:80",
            "[::1]",
            "[::1]:80",
        ] {
            assert_eq!(check_host(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "*",
            "*.a",
            "a/b",
            "https://a",
            "a:",
            "a:0",
            "a:65536",
            "a:b",
            "a:+1",
            "a:080",
            "1.2.3",
            "a.1",
            "::1",
            "[::1",
            "[x]",
            "-a",
            "a..b",
            "a b",
            "u@a",
            "ä",
            "a.",
        ] {
            assert!(check_host(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn origins_are_as_browsers_send_them() {
        for good in [
            "https://a",
            "http://localhost:6274",
            "https://a:8443",
            "http://[::1]:80",
        ] {
            let expected = !good.ends_with(":80");
            assert_eq!(check_origin(good).is_ok(), expected, "{good}");
        }
        for bad in [
            "",
            "*",
            "null",
            "a",
            "https://a/",
            "https://a/b",
            "https://A",
            "https://a:443",
            "https://*.a",
            "https://u@a",
            "https://a?b",
            "file:///a",
            "https://a#",
            "ws://a",
            "https://a.",
            "https://-a",
            "https://a:0",
        ] {
            assert!(check_origin(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_are_plain() {
        for good in [
            "/",
            "/mcp",
            "/mcp/",
            "/a/b-c_d.e~f",
            "/.well-knownx",
            "/a/.well-known/b",
        ] {
            assert_eq!(check_path(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "mcp",
            "//",
            "//mcp",
            "/a//b",
            "/./a",
            "/a/..",
            "/a?b",
            "/a#b",
            "/a;b",
            "/a%2fb",
            "/a b",
            "/ä",
            "/.well-known",
            "/.well-known/x",
            "/a\\b",
        ] {
            assert!(check_path(bad).is_err(), "{bad}");
        }
        assert!(check_path(&format!("/{}", "a".repeat(1023))).is_ok());
        assert!(check_path(&format!("/{}", "a".repeat(1024))).is_err());
    }

    proptest::proptest! {
        #[test]
        fn an_accepted_resource_is_what_the_parser_reads_back(text in "https?://[a-z0-9.:@/?#%\\[\\]-]{0,30}") {
            if let Ok(url) = resource(&text, Http::Anywhere) {
                proptest::prop_assert!(url.as_str().trim_end_matches('/') == text.trim_end_matches('/'));
                proptest::prop_assert!(url.username().is_empty() && url.fragment().is_none());
            }
            let _ = (check_host(&text), check_origin(&text), check_path(&text));
        }
    }
}
