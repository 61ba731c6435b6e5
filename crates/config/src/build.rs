//! From what is valid to what is enforced.

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};
use sidegate_api::gateway::{self, AuthorizationHeader, Server};
use url::Url;

use crate::sidecar_config::{
    Exposure, IdentityHeaders, SCHEMA_VERSION, ServerConfig, SidecarConfig, UpstreamHost,
};
use crate::validate::ValidatedGateway;

/// Bytes of the hash that a version shows: enough to tell versions apart.
const VERSION_BYTES: usize = 8;

/// The configuration of a gateway's sidecars.
#[must_use]
pub fn build(gateway: ValidatedGateway) -> SidecarConfig {
    let ValidatedGateway {
        gateway,
        servers,
        tls,
        authentication,
        policy,
        audit_arguments,
        limits,
        warnings,
    } = gateway;
    let mut config = SidecarConfig {
        schema_version: SCHEMA_VERSION,
        version: String::new(),
        gateway,
        servers: servers.into_iter().map(server).collect(),
        tls,
        authentication,
        policy,
        audit_arguments,
        limits,
        warnings,
    };
    config.version = version(&config);
    config
}

fn server(server: Server) -> ServerConfig {
    let hosts = hosts(&server.resources, &server.hosts);
    let accept_service_hosts = server.hosts.is_empty();
    let Server {
        name,
        port,
        path,
        resources,
        hosts: _,
        allowed_origins,
        upstream_host,
        authorization_header,
        identity_headers,
        exposure,
        listen_port,
        // For the injector only.
        bind_env: _,
    } = server;
    ServerConfig {
        name,
        port,
        listen_port: listen_port.unwrap_or(port),
        path,
        resources,
        hosts,
        accept_service_hosts,
        allowed_origins,
        upstream_host: match upstream_host {
            gateway::UpstreamHost::Loopback => UpstreamHost::Loopback,
            gateway::UpstreamHost::Preserve => UpstreamHost::Preserve,
        },
        keep_authorization: match authorization_header {
            AuthorizationHeader::Keep => true,
            AuthorizationHeader::Remove => false,
        },
        identity_headers: identity(identity_headers),
        exposure: match exposure {
            gateway::Exposure::SamePort => Exposure::SamePort,
            gateway::Exposure::SeparatePort => Exposure::SeparatePort,
        },
    }
}

fn identity(headers: gateway::IdentityHeaders) -> IdentityHeaders {
    let gateway::IdentityHeaders {
        subject,
        issuer,
        client_id,
        scopes,
        spiffe_id,
    } = headers;
    IdentityHeaders {
        subject,
        issuer,
        client_id,
        scopes,
        spiffe_id,
    }
}

/// The hosts of the resources, with and without their port, because a port may
/// be mapped on the way; and those that were named.
fn hosts(resources: &[String], named: &[String]) -> Vec<String> {
    let mut hosts: Vec<String> = Vec::new();
    let mut add = |host: String| {
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    };
    for url in resources
        .iter()
        .filter_map(|resource| Url::parse(resource).ok())
    {
        let Some(host) = url.host_str() else { continue };
        add(host.to_owned());
        if let Some(port) = url.port() {
            add(format!("{host}:{port}"));
        }
    }
    for host in named {
        add(host.to_ascii_lowercase());
    }
    hosts
}

/// A hash over everything, secrets included: a new key is a new version.
fn version(config: &SidecarConfig) -> String {
    // All keys are text and all secrets were checked to be: nothing can fail.
    let text = serde_json::to_vec(config).unwrap_or_default();
    let mut version = String::new();
    for byte in digest(&SHA256, &text).as_ref().iter().take(VERSION_BYTES) {
        // Writing to a String cannot fail.
        let _ = write!(version, "{byte:02x}");
    }
    version
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn hosts_are_those_of_resources_and_the_named_ones() {
        let resources = strings(&[
            "https://a.example.com/mcp",
            "https://a.example.com:8443/mcp",
            "https://[::1]:1/mcp",
        ]);
        let found = hosts(&resources, &strings(&["B.example.com:80", "a.example.com"]));
        let expected = [
            "a.example.com",
            "a.example.com:8443",
            "[::1]",
            "[::1]:1",
            "b.example.com:80",
        ];
        assert_eq!(found, expected);
    }
}
