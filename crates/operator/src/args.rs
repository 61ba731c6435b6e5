//! The command line.

use std::net::SocketAddr;

use clap::{Args as ClapArgs, Parser, Subcommand};
use sidegate_telemetry::logging::Level;

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
    Run(RunArgs),
    /// Print the CustomResourceDefinitions
    Crd,
    /// Print the objects that run the operator in a cluster, without the
    /// CustomResourceDefinitions
    Manifests(ManifestsArgs),
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
    #[arg(long, value_name = "NAMESPACE")]
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
    /// Trust domain of service accounts in rules
    #[arg(long, value_name = "NAME", default_value = "cluster.local")]
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
}
