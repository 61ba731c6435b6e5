//! The command line.

use std::net::SocketAddr;

use clap::{Args as ClapArgs, Parser, Subcommand};
use sidegate_policy::principal::SpiffeId;
use sidegate_telemetry::logging::Level;
use sidegate_tls::{is_dns_label, is_dns_name};

/// The control plane of Sidegate.
#[derive(Debug, Parser)]
#[command(name = "sidegate-operator", version, disable_help_subcommand = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the operator
    Run(Box<RunArgs>),
    /// Print the CustomResourceDefinitions
    Crd,
    /// Print the objects that run the operator in a cluster, without the
    /// CustomResourceDefinitions
    Manifests(ManifestsArgs),
    /// Print the reference of the operator's metrics, in Markdown
    Metrics,
    /// Print the version
    Version,
}

#[derive(Debug, ClapArgs)]
#[command(
    after_help = "The cluster is that of the pod's service account, or else that of the kubeconfig. \
    Logs go to standard error. Exits with 1 when it cannot start or when a part of it broke."
)]
pub(crate) struct RunArgs {
    /// The one namespace whose objects are served [default: all]
    #[arg(long, value_name = "NAMESPACE", value_parser = namespace)]
    pub(crate) namespace: Option<String>,
    /// Elect a leader among the replicas; only the leader writes statuses
    #[arg(long)]
    pub(crate) leader_elect: bool,
    /// Namespace of the Lease by which a leader is elected [default: the
    /// operator's own]
    #[arg(long, value_name = "NAMESPACE", requires = "leader_elect")]
    pub(crate) lease_namespace: Option<String>,
    /// Name of this replica, such as that of its pod [default: the host's]
    #[arg(long, value_name = "NAME")]
    pub(crate) identity: Option<String>,
    /// Address of the health port [default: port 8081 of every address]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) health: Option<SocketAddr>,
    /// Address of the config stream [default: port 9443 of every address]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) control_plane: Option<SocketAddr>,
    /// Address of the webhook [default: port 9444 of every address]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) webhook: Option<SocketAddr>,
    /// Image of the sidecars that pods get
    #[arg(long, value_name = "IMAGE", default_value = SIDECAR_IMAGE)]
    pub(crate) sidecar_image: String,
    /// Where sidecars reach the config stream [default: port 9443 of the
    /// Service sidegate-operator in the operator's own namespace]
    #[arg(long, value_name = "URL", value_parser = control_plane_url)]
    pub(crate) control_plane_url: Option<String>,
    /// The operator's own namespace, which has the Secret of its certificate
    /// authority [default: that of its service account or kubeconfig]
    #[arg(long, value_name = "NAMESPACE", value_parser = namespace)]
    pub(crate) own_namespace: Option<String>,
    /// Domain of the cluster's Services
    #[arg(long, value_name = "NAME", default_value = "cluster.local", value_parser = cluster_domain)]
    pub(crate) cluster_domain: String,
    /// Host of a gateway's resources that may be in the certificates of its
    /// pods: a name, or `*.` and a domain. May be given several times
    #[arg(long = "certificate-host", value_name = "PATTERN", value_parser = certificate_host)]
    pub(crate) certificate_hosts: Vec<String>,
    /// Trust domain of service accounts in rules, and of sidecars
    #[arg(long, value_name = "NAME", default_value = "cluster.local", value_parser = trust_domain)]
    pub(crate) trust_domain: String,
    /// Log level: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub(crate) log_level: Level,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ManifestsArgs {
    /// The operator's image
    #[arg(long, value_name = "IMAGE", default_value = concat!("sidegate-operator:", env!("CARGO_PKG_VERSION")))]
    pub(crate) image: String,
    /// Image of the sidecars that pods get
    #[arg(long, value_name = "IMAGE", default_value = SIDECAR_IMAGE)]
    pub(crate) sidecar_image: String,
}

/// Sidecars take the form of a configuration that their operator writes, so
/// the two have the same version.
const SIDECAR_IMAGE: &str = concat!("sidegate:", env!("CARGO_PKG_VERSION"));

/// Sidecars speak TLS there and take a host and a port from it. They believe
/// only a certificate for that host.
fn control_plane_url(text: &str) -> Result<String, String> {
    let url: http::Uri = text.parse().map_err(|_| "not a URL".to_owned())?;
    let plain = matches!(url.path(), "" | "/") && url.query().is_none();
    let authority = url.authority().filter(|it| !it.as_str().contains('@'));
    let host = match (url.scheme_str(), authority) {
        (Some("https"), Some(authority)) if plain => authority.host(),
        _ => {
            let message = "must be https:// with a host and perhaps a port, nothing else";
            return Err(message.to_owned());
        }
    };
    if !is_dns_name(host) {
        return Err(format!(
            "{host} is not a DNS name in lower case, and certificates have nothing else: give \
             the name of a Service, such as https://sidegate-operator.sidegate-system.svc:9443"
        ));
    }
    let has_port = authority.is_some_and(|it| it.as_str() != host);
    if has_port && url.port_u16().is_none_or(|port| port == 0) {
        return Err("its port is not a number from 1 to 65535".to_owned());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

fn cluster_domain(text: &str) -> Result<String, String> {
    let name = text.trim_matches('.');
    if is_dns_name(name) {
        return Ok(name.to_owned());
    }
    let lower = name.to_ascii_lowercase();
    Err(match is_dns_name(&lower) {
        true => format!("write it in lower case: {lower}"),
        false => "not a DNS name, such as cluster.local".to_owned(),
    })
}

fn certificate_host(text: &str) -> Result<String, String> {
    let lower = text.to_ascii_lowercase();
    if is_dns_name(lower.strip_prefix("*.").unwrap_or(&lower)) {
        return Ok(lower);
    }
    let message =
        "neither a DNS name nor `*.` and one: certificates have no addresses and no ports";
    Err(message.to_owned())
}

/// What can stand in a SPIFFE id.
fn trust_domain(text: &str) -> Result<String, String> {
    match format!("spiffe://{text}").parse::<SpiffeId>() {
        Ok(id) if id.trust_domain() == text => Ok(text.to_owned()),
        Ok(_) | Err(_) => Err(
            "not the name of a trust domain: lower-case letters, digits, dots, dashes and \
             underscores, such as cluster.local"
                .to_owned(),
        ),
    }
}

fn namespace(text: &str) -> Result<String, String> {
    match is_dns_label(text) {
        true => Ok(text.to_owned()),
        false => {
            Err("not the name of a namespace: lower-case letters, digits and dashes".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_lease_without_an_election_is_refused() {
        let with = |arguments: &[&str]| Args::try_parse_from([&["o", "run"], arguments].concat());
        assert!(with(&["--lease-namespace", "a"]).is_err());
        assert!(with(&["--leader-elect", "--lease-namespace", "a"]).is_ok());
    }

    #[test]
    fn sidecars_are_sent_to_an_https_url_only() {
        assert_eq!(
            control_plane_url("https://op.example:9443/").as_deref(),
            Ok("https://op.example:9443")
        );
        for url in [
            "http://op.example:9443",
            "op.example:9443",
            "https://op.example/path",
            "https://op.example?x=1",
            "https://",
            "",
            // Certificates have no addresses.
            "https://10.0.0.1:9443",
            "https://[fd00::1]:9443",
            "https://Op.example",
            "https://op_1.example",
            "https://me@op.example",
            "https://op.example:0",
            "https://op.example:70000",
        ] {
            assert!(control_plane_url(url).is_err(), "{url}");
        }
    }

    #[test]
    fn names_that_no_certificate_can_have_are_refused() {
        let refused = |flag: &str, value: &str| {
            let parsed = Args::try_parse_from(["o", "run", flag, value]);
            parsed.err().map(|error| error.to_string())
        };
        for (flag, good, bad) in [
            ("--cluster-domain", "cluster.local", "Foo"),
            ("--cluster-domain", "cluster.local.", "a b"),
            ("--cluster-domain", "k8s", ""),
            ("--trust-domain", "example.org", "Example.org"),
            ("--trust-domain", "a_b", "a/b"),
            ("--trust-domain", "cluster.local", ""),
            ("--certificate-host", "*.example.com", "*"),
            ("--certificate-host", "a.example.com", "10.0.0.1"),
            ("--own-namespace", "sidegate-system", "a.b"),
            ("--namespace", "crm", "Crm"),
        ] {
            assert_eq!(refused(flag, good), None);
            assert!(refused(flag, bad).is_some(), "{flag} {bad}");
        }
        let told = refused("--cluster-domain", "Foo").unwrap_or_default();
        assert!(told.contains("write it in lower case: foo"), "{told}");
        let told = refused("--control-plane-url", "https://10.0.0.1:9443").unwrap_or_default();
        assert!(told.contains("the name of a Service"), "{told}");
    }
}
