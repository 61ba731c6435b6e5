//! Where a Secret would go, and where its annotation lets it go.

use std::fmt;

use url::{Host, Url};

use crate::validate::uris::{check_host, split_port};

/// Most hosts that an annotation names.
pub(super) const MAX_HOSTS: usize = 32;
/// Most bytes of an annotation: as many of the longest names as there may be.
const MAX_BYTES: usize = 16 * 1024;

const HTTP: u16 = 80;
const HTTPS: u16 = 443;

/// A host and port that something secret would be sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::validate) struct Destination {
    /// In small letters; an address in its usual spelling.
    host: String,
    port: u16,
    /// Of the scheme, so that it need not be said.
    default_port: u16,
}

/// What an annotation says, as far as it can be read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct AllowedHosts(Vec<(String, Option<u16>)>);

// === impl Destination ===

impl Destination {
    /// Where requests to a URL go.
    pub(in crate::validate) fn of(url: &Url) -> Option<Self> {
        let default_port = match url.scheme() {
            "http" => HTTP,
            _ => HTTPS,
        };
        Some(Self {
            host: url.host_str()?.to_owned(),
            port: url.port().unwrap_or(default_port),
            default_port,
        })
    }

    /// Its name, if it is at the port of https.
    pub(in crate::validate) fn https_name(&self) -> Option<&str> {
        (self.port == HTTPS).then_some(&*self.host)
    }
}

impl fmt::Display for Destination {
    /// As an annotation names it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        if self.port != self.default_port {
            write!(f, ":{}", self.port)?;
        }
        Ok(())
    }
}

// === impl AllowedHosts ===

impl AllowedHosts {
    /// Reads an annotation: exact hosts in small letters with optional ports,
    /// separated by commas. Gives what can be read of it, and what is wrong
    /// with the rest.
    pub(super) fn read(text: &str) -> (Self, Option<String>) {
        let mut read = Self::default();
        if text.trim_ascii().is_empty() {
            return (read, None);
        }
        if text.len() > MAX_BYTES {
            let wrong = format!("is longer than {MAX_BYTES} bytes: name fewer hosts");
            return (read, Some(wrong));
        }
        let mut wrong = None;
        for entry in text.split(',') {
            match host(entry.trim_ascii()) {
                Ok(host) if read.0.contains(&host) => {}
                Ok(_) if read.0.len() == MAX_HOSTS => {
                    let message = format!("names more than {MAX_HOSTS} hosts: name fewer");
                    wrong.get_or_insert(message);
                }
                Ok(host) => read.0.push(host),
                Err(message) => {
                    wrong.get_or_insert(message);
                }
            }
        }
        (read, wrong)
    }

    pub(super) fn allow(&self, destination: &Destination) -> bool {
        self.0.iter().any(|(host, port)| {
            *host == destination.host
                && port.unwrap_or(destination.default_port) == destination.port
        })
    }

    /// The annotation with more hosts in front; none when those are too many.
    pub(super) fn and(&self, more: &[&Destination]) -> Option<String> {
        if more.len() + self.0.len() > MAX_HOSTS {
            return None;
        }
        let more = more.iter().map(ToString::to_string);
        let known = self.0.iter().map(|(host, port)| match port {
            Some(port) => format!("{host}:{port}"),
            None => host.clone(),
        });
        Some(more.chain(known).collect::<Vec<_>>().join(","))
    }
}

/// One host of an annotation.
fn host(entry: &str) -> Result<(String, Option<u16>), String> {
    if entry.is_empty() {
        return Err("has an empty entry: remove a comma".to_owned());
    }
    let says = |message: &str| format!("says `{entry}`, which {message}");
    check_host(entry).map_err(|message| says(&message))?;
    let (name, port) = split_port(entry);
    // What is compared byte by byte has one spelling.
    let usual = Host::parse(name)
        .map_err(|_| says("is no host"))?
        .to_string();
    if usual != name {
        return Err(says(&format!("is not the usual spelling: write `{usual}`")));
    }
    Ok((usual, port.and_then(|port| port.parse().ok())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn to(url: &str) -> Destination {
        Destination::of(&Url::parse(url).expect("a URL")).expect("a host")
    }

    fn allows(annotation: &str, url: &str) -> bool {
        let (allowed, wrong) = AllowedHosts::read(annotation);
        assert_eq!(wrong, None, "{annotation}");
        allowed.allow(&to(url))
    }

    #[test]
    fn a_destination_is_written_as_an_annotation_names_it() {
        for (url, expected) in [
            ("https://gw.example.com/v1", "gw.example.com"),
            ("https://GW.Example.com:443/v1", "gw.example.com"),
            ("https://gw.example.com:8443", "gw.example.com:8443"),
            ("https://gw.example.com:80", "gw.example.com:80"),
            ("http://127.0.0.1:8000", "127.0.0.1:8000"),
            ("http://127.0.0.1", "127.0.0.1"),
            ("http://127.0.0.1:443", "127.0.0.1:443"),
            ("https://[0:0::1]:8443", "[::1]:8443"),
        ] {
            assert_eq!(to(url).to_string(), expected, "{url}");
            // What a person is told to write is enough.
            assert!(allows(expected, url), "{url}");
        }
    }

    #[test]
    fn hosts_are_exact_and_ports_are_that_of_the_scheme_unless_said() {
        for (annotation, url, expected) in [
            ("gw.example.com", "https://gw.example.com/v1", true),
            ("gw.example.com", "https://GW.EXAMPLE.COM/v1", true),
            ("gw.example.com:443", "https://gw.example.com/v1", true),
            (" a , gw.example.com ,b", "https://gw.example.com", true),
            ("gw.example.com", "https://gw.example.com:8443", false),
            ("gw.example.com:8443", "https://gw.example.com:8443", true),
            ("gw.example.com:8443", "https://gw.example.com", false),
            ("example.com", "https://gw.example.com", false),
            ("gw.example.com", "https://example.com", false),
            ("gw.example.com", "https://gw.example.com.evil.org", false),
            ("xn--gnther-3ya.example", "https://günther.example", true),
            ("127.0.0.1:8000", "http://127.0.0.1:8000", true),
            ("[::1]:8000", "http://[::1]:8000", true),
            ("", "https://gw.example.com", false),
            (" \t", "https://gw.example.com", false),
        ] {
            assert_eq!(allows(annotation, url), expected, "{annotation} {url}");
        }
    }

    #[test]
    fn other_spellings_are_refused_and_the_rest_is_kept() {
        for bad in [
            "*",
            "*.example.com",
            "gw.*.com",
            "GW.example.com",
            "gw.example.com.",
            ".example.com",
            "günther.example",
            "https://gw.example.com",
            "gw.example.com/v1",
            "gw.example.com:0",
            "gw.example.com:65536",
            "gw.example.com:",
            "user@gw.example.com",
            "gw example.com",
            "127.1",
            "0x7f000001",
            "[0:0::1]",
            "[::1",
            "::1",
            "",
        ] {
            let (allowed, wrong) = AllowedHosts::read(&format!("a.example.com,{bad},b"));
            assert!(wrong.is_some(), "{bad}");
            assert!(allowed.allow(&to("https://a.example.com")), "{bad}");
            assert!(allowed.allow(&to("https://b")), "{bad}");
            assert_eq!(allowed.0.len(), 2, "{bad}");
        }
    }

    #[test]
    fn an_annotation_is_bounded() {
        let hosts = |count: usize| {
            let hosts: Vec<_> = (0..count).map(|index| format!("h{index}")).collect();
            hosts.join(",")
        };
        let (full, wrong) = AllowedHosts::read(&hosts(MAX_HOSTS));
        assert_eq!(wrong, None);
        assert_eq!(full.and(&[]), Some(hosts(MAX_HOSTS)));
        assert_eq!(full.and(&[&to("https://other")]), None);
        let (_, wrong) = AllowedHosts::read(&hosts(MAX_HOSTS + 1));
        assert!(wrong.is_some_and(|wrong| wrong.contains("more than 32")));
        let (room, _) = AllowedHosts::read(&hosts(MAX_HOSTS - 1));
        assert!(room.and(&[&to("https://other")]).is_some());
        let long = |bytes: usize| format!("a{}", " ".repeat(bytes - 1));
        assert_eq!(AllowedHosts::read(&long(MAX_BYTES)).1, None);
        assert!(AllowedHosts::read(&long(MAX_BYTES + 1)).1.is_some());
    }

    proptest! {
        /// Whatever is read is written so that it is read again, and nothing
        /// that is not in the text is allowed.
        #[test]
        fn what_is_read_is_in_the_text(text in "[a-cA-C0-9.:*, \\[\\]@/ü-]{0,60}") {
            let (allowed, _) = AllowedHosts::read(&text);
            let again = allowed.and(&[]).expect("it fits");
            prop_assert_eq!(AllowedHosts::read(&again), (allowed, None));
            for host in again.split(',').filter(|host| !host.is_empty()) {
                let is_in_it = text.split(',').any(|entry| entry.trim_ascii() == host);
                prop_assert!(is_in_it, "{host} of {text}");
            }
        }

        #[test]
        fn one_host_allows_itself_only(
            one in "[a-z]{1,8}([.][a-z]{1,8}){0,2}",
            other in "[a-z]{1,8}([.][a-z]{1,8}){0,2}",
        ) {
            let (allowed, wrong) = AllowedHosts::read(&one);
            prop_assert_eq!(wrong, None);
            let is_allowed = |host: &str| allowed.allow(&to(&format!("https://{host}")));
            prop_assert!(is_allowed(&one));
            prop_assert_eq!(is_allowed(&other), one == other);
        }
    }
}
