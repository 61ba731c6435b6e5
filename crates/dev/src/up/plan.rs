//! What the documents ask of a desk.

use std::collections::{BTreeMap, BTreeSet};

use sidegate_api::gateway::TlsMode;
use sidegate_config::documents::{Documents, GatewayDocument};
use url::{Host, Url};

/// What a server's port is moved by: the sidecar has the port itself in a pod,
/// but here it shares loopback with the server.
pub(super) const PORT_OFFSET: u16 = 10_000;

/// What has to run for the documents. A change of it needs a new start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) gateways: Vec<GatewayPlan>,
    /// The authorization server, when an issuer is on loopback.
    pub(super) issuer: Option<IssuerPlan>,
}

/// A gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GatewayPlan {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) servers: Vec<ServerPlan>,
}

/// A server of a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServerPlan {
    pub(super) name: String,
    pub(super) port: u16,
    pub(super) path: String,
    /// Where the sidecar listens for it.
    pub(super) listen_port: u16,
}

/// An issuer that the desk stands in for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IssuerPlan {
    pub(super) issuer: String,
    pub(super) port: u16,
}

/// Why the documents cannot be run on a desk.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum PlanError {
    #[error("no McpGateway in the file: see manifests/quickstart.yaml for one")]
    Empty,
    #[error(
        "server `{0}`: port {1} is too high: on the desk the sidecar listens at the port plus \
         10000, so use one up to 55535"
    )]
    PortTooHigh(String, u16),
    #[error("port {0} is used by two servers: on the desk all of them share this machine")]
    SharedPort(u16),
}

impl Plan {
    pub(super) fn of(documents: &Documents) -> Result<Self, PlanError> {
        let gateways = documents.gateways.iter().map(GatewayPlan::of);
        let gateways = gateways.collect::<Result<Vec<_>, _>>()?;
        if gateways.is_empty() {
            return Err(PlanError::Empty);
        }
        let mut ports = BTreeSet::new();
        for server in gateways.iter().flat_map(|gateway| &gateway.servers) {
            if !ports.insert(server.port) {
                return Err(PlanError::SharedPort(server.port));
            }
        }
        Ok(Self {
            gateways,
            issuer: issuer(documents),
        })
    }
}

impl GatewayPlan {
    fn of(document: &GatewayDocument) -> Result<Self, PlanError> {
        let servers = document.spec.servers.iter().map(|server| {
            let too_high = || PlanError::PortTooHigh(server.name.clone(), server.port);
            Ok(ServerPlan {
                name: server.name.clone(),
                port: server.port,
                path: server.path.clone(),
                listen_port: server.port.checked_add(PORT_OFFSET).ok_or_else(too_high)?,
            })
        });
        Ok(Self {
            namespace: document.namespace.clone(),
            name: document.name.clone(),
            servers: servers.collect::<Result<_, _>>()?,
        })
    }

    /// `namespace/name`.
    pub(super) fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// The first issuer that is plain http on loopback: nobody else can run it.
fn issuer(documents: &Documents) -> Option<IssuerPlan> {
    let mut issuers = documents
        .gateways
        .iter()
        .flat_map(|gateway| &gateway.spec.authentication.jwt);
    issuers.find_map(|jwt| {
        let url = Url::parse(&jwt.issuer).ok()?;
        let is_loopback = match url.host()? {
            Host::Domain(name) => name == "localhost",
            Host::Ipv4(ip) => ip.is_loopback(),
            Host::Ipv6(_) => false,
        };
        let port = url.port_or_known_default()?;
        (url.scheme() == "http" && is_loopback).then(|| IssuerPlan {
            issuer: jwt.issuer.clone(),
            port,
        })
    })
}

/// Whether the desk's authority gives this gateway its certificate.
pub(super) fn needs_certificate(document: &GatewayDocument) -> bool {
    let tls = &document.spec.tls;
    tls.certificate_ref.is_none() && tls.mode != TlsMode::Plaintext
}

/// What the certificate of a gateway is for: this machine, and the hosts that
/// its servers are called by.
pub(super) fn hosts(document: &GatewayDocument) -> Vec<String> {
    let mut hosts = BTreeSet::from(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
    for resource in document
        .spec
        .servers
        .iter()
        .flat_map(|server| &server.resources)
    {
        match Url::parse(resource).ok().as_ref().and_then(Url::host) {
            Some(Host::Domain(name)) => hosts.insert(name.to_owned()),
            Some(Host::Ipv4(ip)) => hosts.insert(ip.to_string()),
            Some(Host::Ipv6(ip)) => hosts.insert(ip.to_string()),
            None => false,
        };
    }
    hosts.into_iter().collect()
}

/// What tokens may be for.
pub(super) fn resources(documents: &Documents) -> Vec<String> {
    let servers = documents
        .gateways
        .iter()
        .flat_map(|gateway| &gateway.spec.servers);
    servers
        .flat_map(|server| server.resources.iter().cloned())
        .collect()
}

/// Every scope that the gateways know.
pub(super) fn scopes(documents: &Documents) -> BTreeSet<String> {
    let mut scopes = BTreeSet::new();
    for gateway in &documents.gateways {
        let authorization = &gateway.spec.authorization;
        for (scope, others) in &authorization.scope_hierarchy {
            scopes.insert(scope.clone());
            scopes.extend(others.iter().cloned());
        }
        scopes.extend(
            authorization
                .rules
                .iter()
                .flat_map(|rule| &rule.required_scopes)
                .cloned(),
        );
    }
    scopes
}

/// The demo servers: path by port.
pub(super) fn demos(plan: &Plan) -> BTreeMap<u16, &str> {
    let servers = plan.gateways.iter().flat_map(|gateway| &gateway.servers);
    servers
        .map(|server| (server.port, server.path.as_str()))
        .collect()
}

#[cfg(test)]
mod tests {
    use sidegate_config::documents;

    use super::*;

    fn gateway(name: &str, port: u16, more: &str) -> String {
        format!(
            "apiVersion: sidegate.dev/v1alpha1\nkind: McpGateway\nmetadata: {{name: {name}}}\n\
             spec:\n  selector: {{matchLabels: {{app: a}}}}\n  servers:\n  \
             - {{name: main, port: {port}, resources: [\"https://A.example:8443/mcp\"]}}\n{more}\n---\n"
        )
    }

    fn documents_of(text: &str) -> Documents {
        documents::parse("test.yaml", text).unwrap()
    }

    fn plan(text: &str) -> Result<Plan, PlanError> {
        Plan::of(&documents_of(text))
    }

    #[test]
    fn the_sidecar_listens_ten_thousand_ports_above() {
        let highest = plan(&gateway("a", 55_535, "")).unwrap();
        assert_eq!(highest.gateways[0].servers[0].listen_port, 65_535);
        assert_eq!(highest.gateways[0].full_name(), "default/a");
        let too_high = plan(&gateway("a", 55_536, ""));
        assert_eq!(
            too_high,
            Err(PlanError::PortTooHigh("main".to_owned(), 55_536))
        );
    }

    #[test]
    fn gateways_share_this_machine() {
        let both = [gateway("a", 8080, ""), gateway("b", 8081, "")].concat();
        assert_eq!(demos(&plan(&both).unwrap()).len(), 2);
        let same = [gateway("a", 8080, ""), gateway("b", 8080, "")].concat();
        assert_eq!(plan(&same), Err(PlanError::SharedPort(8080)));
        assert_eq!(plan(""), Err(PlanError::Empty));
    }

    #[test]
    fn only_an_issuer_on_loopback_is_stood_in_for() {
        let issuer = |issuer: &str| {
            let more = format!(
                "  authentication: {{jwt: [{{issuer: \"{issuer}\", jwks: {{uri: \"https://a.example\"}}}}]}}"
            );
            plan(&gateway("a", 8080, &more))
                .unwrap()
                .issuer
                .map(|issuer| issuer.port)
        };
        assert_eq!(issuer("http://127.0.0.1:15090"), Some(15_090));
        assert_eq!(issuer("http://localhost:99/"), Some(99));
        assert_eq!(issuer("https://127.0.0.1:15090"), None);
        assert_eq!(issuer("https://idp.example.com/"), None);
    }

    #[test]
    fn certificates_name_this_machine_and_the_hosts_of_resources() {
        let documents = documents_of(&gateway("a", 8080, ""));
        assert_eq!(
            hosts(&documents.gateways[0]),
            ["127.0.0.1", "::1", "a.example", "localhost"]
        );
        assert!(needs_certificate(&documents.gateways[0]));
        for more in [
            "  tls: {mode: Plaintext}",
            "  tls: {certificateRef: {name: own}}",
        ] {
            assert!(!needs_certificate(
                &documents_of(&gateway("a", 8080, more)).gateways[0]
            ));
        }
    }

    #[test]
    fn scopes_come_from_rules_and_the_hierarchy() {
        let more = "  authorization:\n    scopeHierarchy: {\"a:all\": [\"a:one\"]}\n    rules:\n    \
                    - {name: r, tools: [\"*\"], requiredScopes: [\"b:one\"]}";
        let scopes = scopes(&documents_of(&gateway("a", 8080, more)));
        assert_eq!(
            scopes.into_iter().collect::<Vec<_>>(),
            ["a:all", "a:one", "b:one"]
        );
    }
}
