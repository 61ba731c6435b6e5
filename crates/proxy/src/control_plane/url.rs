//! Where the operator is.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;
use url::{Host, Url};

/// The address of the operator's streams: `https://HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlPlaneUrl {
    host: String,
    port: u16,
}

/// Why a text is no address of an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidUrl {
    /// It is no URL with a host.
    #[error(
        "expected https://HOST:PORT, such as https://sidegate-operator.sidegate-system.svc:9443"
    )]
    Malformed,
    /// The stream carries a token and keys.
    #[error("must begin with https://")]
    NotHttps,
    /// Nothing but host and port is used, so nothing else may be meant.
    #[error("must not have more than host and port")]
    More,
}

// === impl ControlPlaneUrl ===

impl ControlPlaneUrl {
    /// The name that its certificate must state: a DNS name or an address.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for ControlPlaneUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        let url = Url::parse(text).map_err(|_| InvalidUrl::Malformed)?;
        if url.scheme() != "https" {
            return Err(InvalidUrl::NotHttps);
        }
        let more = url.path() != "/"
            || url.query().is_some()
            || url.fragment().is_some()
            || !url.username().is_empty()
            || url.password().is_some();
        if more {
            return Err(InvalidUrl::More);
        }
        let host = match url.host() {
            Some(Host::Domain(name)) => name.to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            None => return Err(InvalidUrl::Malformed),
        };
        let port = url.port_or_known_default().ok_or(InvalidUrl::Malformed)?;
        Ok(Self { host, port })
    }
}

impl fmt::Display for ControlPlaneUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') {
            write!(f, "https://[{host}]:{port}")
        } else {
            write!(f, "https://{host}:{port}")
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn host_and_port_are_read() {
        for (text, host, port, shown) in [
            (
                "https://operator.sidegate-system.svc:9443",
                "operator.sidegate-system.svc",
                9443,
                None,
            ),
            (
                "https://127.0.0.1:1/",
                "127.0.0.1",
                1,
                Some("https://127.0.0.1:1"),
            ),
            ("https://[::1]:9443", "::1", 9443, None),
            (
                "https://operator",
                "operator",
                443,
                Some("https://operator:443"),
            ),
        ] {
            let url: ControlPlaneUrl = text.parse().expect(text);
            assert_eq!((url.host(), url.port()), (host, port), "{text}");
            assert_eq!(url.to_string(), shown.unwrap_or(text));
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for (text, error) in [
            ("", InvalidUrl::Malformed),
            ("operator:9443", InvalidUrl::NotHttps),
            ("operator", InvalidUrl::Malformed),
            ("http://operator:9443", InvalidUrl::NotHttps),
            ("https://", InvalidUrl::Malformed),
            ("https://operator:99999", InvalidUrl::Malformed),
            ("https://operator/path", InvalidUrl::More),
            ("https://operator/?query", InvalidUrl::More),
            ("https://user@operator", InvalidUrl::More),
            ("https://operator/#part", InvalidUrl::More),
        ] {
            assert_eq!(text.parse::<ControlPlaneUrl>(), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_again(text in "https://[a-z0-9.:\\[\\]]{1,20}") {
            if let Ok(url) = text.parse::<ControlPlaneUrl>() {
                prop_assert_eq!(url.to_string().parse(), Ok(url));
            }
        }
    }
}
