//! `spec.servers`.

use std::collections::HashMap;

use sidegate_api::gateway::{AuthorizationHeader, Exposure, IdentityHeaders, Server, TlsMode};
use sidegate_api::names::RESERVED_PORTS;

use super::uris::Http;
use super::{Bounds, Check, names, uris};

const MAX_SERVERS: usize = 16;
const RESOURCES: Bounds = Bounds {
    items: 1..=8,
    chars: uris::MAX_URI_BYTES,
};
const HOSTS: Bounds = Bounds {
    items: 0..=32,
    chars: 261,
};
const ORIGINS: Bounds = Bounds {
    items: 0..=32,
    chars: 270,
};
const VARIABLES: Bounds = Bounds {
    items: 0..=16,
    chars: 128,
};

pub(super) fn check(check: &mut Check<'_>) {
    let spec = &check.spec;
    let servers = spec.servers.as_slice();
    if servers.is_empty() && spec.llm.is_none() && spec.remote_servers.is_empty() {
        check.refuse("spec.servers", "a gateway guards something: add a server");
    }
    check.at_most("spec.servers", servers.len(), MAX_SERVERS);
    for (index, server) in servers.iter().enumerate() {
        check_server(check, &format!("spec.servers[{index}]"), server);
    }
    check_names(check, servers);
    check_ports(check, servers);
    check_audiences(check, servers);
}

fn check_server(check: &mut Check<'_>, field: &str, server: &Server) {
    let Server {
        name,
        port: _,
        path,
        resources,
        hosts,
        allowed_origins,
        upstream_host: _,
        authorization_header,
        identity_headers,
        exposure,
        listen_port,
        bind_env,
    } = server;
    if !names::is_dns_label(name) {
        check.refuse(&format!("{field}.name"), names::DNS_LABEL);
    }
    check.refuse_err(&format!("{field}.path"), uris::check_path(path));
    let http = match check.spec.tls.mode {
        TlsMode::Plaintext => Http::Anywhere,
        TlsMode::Mutual | TlsMode::Server if check.options.allow_loopback => Http::Loopback,
        TlsMode::Mutual | TlsMode::Server => Http::Never,
    };
    check.texts(
        &format!("{field}.resources"),
        resources,
        &RESOURCES,
        |text| uris::resource(text, http).map(drop),
    );
    check.texts(&format!("{field}.hosts"), hosts, &HOSTS, uris::check_host);
    let origins = format!("{field}.allowedOrigins");
    check.texts(&origins, allowed_origins, &ORIGINS, uris::check_origin);
    check.texts(&format!("{field}.bindEnv"), bind_env, &VARIABLES, |text| {
        if names::is_variable(text) {
            Ok(())
        } else {
            Err(names::VARIABLE.to_owned())
        }
    });
    if *authorization_header == AuthorizationHeader::Keep {
        let message = "hands the caller's token to the server, which the MCP specification \
                       forbids unless the token was issued for it";
        check.warn(&format!("{field}.authorizationHeader"), message);
    }
    check_identity_headers(check, &format!("{field}.identityHeaders"), identity_headers);
    match (exposure, listen_port) {
        (Exposure::SamePort, None) | (Exposure::SeparatePort, Some(_)) => {}
        (Exposure::SamePort, Some(_)) => {
            let message = "goes with exposure SeparatePort: set that, or remove listenPort";
            check.refuse(&format!("{field}.listenPort"), message);
        }
        (Exposure::SeparatePort, None) => {
            let message = "exposure SeparatePort needs a listenPort: the port that callers dial";
            check.refuse(&format!("{field}.exposure"), message);
        }
    }
}

fn check_identity_headers(check: &mut Check<'_>, field: &str, headers: &IdentityHeaders) {
    let IdentityHeaders {
        subject,
        issuer,
        client_id,
        scopes,
        spiffe_id,
    } = headers;
    let mut seen = HashMap::new();
    let named = [
        ("subject", subject),
        ("issuer", issuer),
        ("clientId", client_id),
        ("scopes", scopes),
        ("spiffeId", spiffe_id),
    ];
    for (fact, name) in named {
        let Some(name) = name else { continue };
        let field = format!("{field}.{fact}");
        check.refuse_err(&field, names::check_identity_header(name));
        if let Some(before) = seen.insert(name.to_ascii_lowercase(), fact) {
            check.refuse(
                &field,
                format!("`{name}` is the header for `{before}` already"),
            );
        }
    }
    if spiffe_id.is_some() && check.spec.tls.mode != TlsMode::Mutual {
        let message = "is never sent: only with tls.mode Mutual do callers have a SPIFFE id";
        check.warn(&format!("{field}.spiffeId"), message);
    }
}

fn check_names(check: &mut Check<'_>, servers: &[Server]) {
    for (index, server) in servers.iter().enumerate() {
        if servers
            .iter()
            .take(index)
            .any(|before| before.name == server.name)
        {
            let message = format!("`{}` is the name of another server too", server.name);
            check.refuse(&format!("spec.servers[{index}].name"), message);
        }
    }
}

/// Every port of the pod belongs to one server or one listener.
fn check_ports(check: &mut Check<'_>, servers: &[Server]) {
    let mut taken: HashMap<u16, String> = HashMap::new();
    let mut take = |port: u16, field: String| {
        if port == 0 {
            check.refuse(&field, "must be a port from 1 to 65535");
        } else if RESERVED_PORTS.contains(&port) {
            check.refuse(
                &field,
                format!("port {port} is the sidecar's own: choose another"),
            );
        } else if let Some(before) = taken.get(&port) {
            check.refuse(
                &field,
                format!("port {port} is taken by {before}: choose another"),
            );
        } else {
            taken.insert(port, field);
        }
    };
    for (index, server) in servers.iter().enumerate() {
        take(server.port, format!("spec.servers[{index}].port"));
    }
    for (index, server) in servers.iter().enumerate() {
        if let Some(port) = server.listen_port {
            take(port, format!("spec.servers[{index}].listenPort"));
        }
    }
}

/// A token is for one server: with one URI for two, a token for either would
/// open both.
fn check_audiences(check: &mut Check<'_>, servers: &[Server]) {
    let mut owners: HashMap<&str, usize> = HashMap::new();
    for (index, server) in servers.iter().enumerate() {
        for (at, resource) in server.resources.iter().enumerate() {
            let owner = *owners.entry(resource).or_insert(index);
            if owner != index {
                let message = format!(
                    "`{resource}` is a resource of spec.servers[{owner}] too: a token would open \
                     both servers; give each its own URI"
                );
                check.refuse(&format!("spec.servers[{index}].resources[{at}]"), message);
            }
        }
    }
}
