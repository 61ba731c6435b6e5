//! Hosts of `resources` in the certificates of the built-in authority.
//!
//! Who may edit a gateway must not get a certificate for any name: only hosts
//! that the administrator allows come in, besides the names of Services.

use std::collections::BTreeSet;

use sidegate_config::sidecar_config::{SidecarConfig, TlsConfig};

/// The hosts of a gateway's resources.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hosts {
    /// Those that its certificates carry, in order.
    pub(super) carried: Vec<String>,
    /// Those by which no certificate can be verified.
    missing: Vec<String>,
}

// === impl Hosts ===

impl Hosts {
    /// `patterns` are what the administrator allows.
    pub(super) fn of(config: &SidecarConfig, patterns: &[String], namespace: &str) -> Self {
        let resources = config.servers.iter().flat_map(|server| &server.resources);
        let hosts: BTreeSet<_> = resources.filter_map(|resource| host_of(resource)).collect();
        let is_allowed = |host: &String| patterns.iter().any(|pattern| fits(host, pattern));
        let (carried, others): (Vec<_>, Vec<_>) = hosts.into_iter().partition(is_allowed);
        let missing = match config.tls {
            TlsConfig::BuiltIn { mutual: _ } => others
                .into_iter()
                .filter(|host| !is_of_a_service(host, namespace))
                .collect(),
            // Whoever made the certificate knows what is in it.
            TlsConfig::Plaintext | TlsConfig::Server { .. } | TlsConfig::Mutual { .. } => {
                Vec::new()
            }
        };
        Self { carried, missing }
    }

    /// What a person should know: callers of these hosts see the certificate of
    /// somebody else.
    pub(super) fn note(&self) -> Option<String> {
        let first = self.missing.first()?;
        let all = match self.missing.len() - 1 {
            0 => format!("`{first}`"),
            more => format!("`{first}` and {more} more"),
        };
        Some(format!(
            "the certificates of its sidecars do not carry {all}, of `resources`: callers that \
             dial this name get a TLS error, unless something in between answers for it; dial a \
             Service as NAME.NAMESPACE.svc, start the operator with --certificate-host, or give a \
             certificate of your own (tls.certificateRef)"
        ))
    }
}

/// Whether the name is one that Services of the namespace have. The pods that
/// such a Service selects carry it.
fn is_of_a_service(host: &str, namespace: &str) -> bool {
    let inner = format!(".{namespace}.svc");
    host.ends_with(&inner) || host.contains(&format!("{inner}."))
}

/// The host of a URI, in small letters; none that is an address.
fn host_of(resource: &str) -> Option<String> {
    let uri: http::Uri = resource.parse().ok()?;
    let host = uri.host()?.to_ascii_lowercase();
    let is_name = host.parse::<std::net::IpAddr>().is_err() && !host.starts_with('[');
    is_name.then_some(host)
}

fn fits(host: &str, pattern: &str) -> bool {
    let pattern = pattern.to_ascii_lowercase();
    match pattern.strip_prefix('*') {
        // With its dot, and something before it.
        Some(suffix) => {
            suffix.starts_with('.') && suffix.len() < host.len() && host.ends_with(suffix)
        }
        None => host == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_services_of_the_namespace_are_carried() {
        for (host, expected) in [
            ("support.crm.svc", true),
            ("support.crm.svc.cluster.local", true),
            ("p-0.support.crm.svc", true),
            ("support.crm", false),
            ("support", false),
            ("support.other.svc", false),
            ("crm.svc", false),
            ("support.crm.svcs.example", false),
        ] {
            assert_eq!(is_of_a_service(host, "crm"), expected, "{host}");
        }
    }

    #[test]
    fn only_hosts_that_the_administrator_allows_fit() {
        for (host, pattern, expected) in [
            ("a.example.com", "a.example.com", true),
            ("a.example.com", "A.Example.com", true),
            ("a.example.com", "*.example.com", true),
            ("b.a.example.com", "*.example.com", true),
            ("example.com", "*.example.com", false),
            (".example.com", "*.example.com", false),
            ("aexample.com", "*example.com", false),
            ("a.example.com", "*", false),
            ("a.example.com", "", false),
            ("a.example.com.evil.org", "*.example.com", false),
        ] {
            assert_eq!(fits(host, pattern), expected, "{host} {pattern}");
        }
    }

    #[test]
    fn hosts_are_names_of_resources() {
        let host = |resource| host_of(resource);
        assert_eq!(
            host("https://A.example.com:8443/mcp").as_deref(),
            Some("a.example.com")
        );
        for address in ["https://10.0.0.1/mcp", "https://[::1]/mcp", "/mcp"] {
            assert_eq!(host(address), None, "{address}");
        }
    }
}
