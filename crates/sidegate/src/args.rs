//! The command line.

mod values;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum, value_parser};
use sidegate_config::probes::{PROBES_VARIABLE, RewrittenProbes};
use sidegate_proxy::control_plane::ControlPlaneUrl;
use sidegate_proxy::hold::MAX_PORTS;
use sidegate_telemetry::logging::Level;

use self::values::{loopback, named_address, seconds, trust_domain};

/// The admin port unless told otherwise.
const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 15020);

/// Where the injector mounts what a sidecar needs for the operator.
const TOKEN_FILE: &str = "/run/sidegate/token/token";
const TRUST_DIR: &str = "/run/sidegate/trust";
const STATE_DIR: &str = "/run/sidegate/state";

/// An MCP security sidecar for Kubernetes.
#[derive(Debug, Parser)]
#[command(name = "sidegate", version, disable_help_subcommand = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the sidecar: as the operator of the cluster says, or from a
    /// directory of documents
    Run(RunArgs),
    /// Check documents and list everything that is wrong with them
    Check(CheckArgs),
    /// Say whether a call would be allowed, and why
    Explain(ExplainArgs),
    /// Drain a running sidecar and wait until it has stopped
    Drain(DrainArgs),
    /// Keep ports taken, and hand them to the sidecar whenever it starts
    Hold(HoldArgs),
    /// Keep a certificate for a pod without a gateway, in files
    Identity(IdentityArgs),
    /// Print the version
    Version,
}

#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Audit lines go to standard output, logs to standard error. \
    With --config, exits with 2 when the first configuration is not valid or cannot be served. \
    With --control-plane, it waits for what is missing, and is not ready meanwhile."
)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) source: RunSource,
    /// The gateway to run, when there is more than one
    #[arg(long, value_name = "NAMESPACE/NAME", conflicts_with = "control_plane")]
    pub(crate) gateway: Option<String>,
    /// The pod's token for the operator
    #[arg(long, value_name = "FILE", default_value = TOKEN_FILE, conflicts_with = "config")]
    pub(crate) token_file: PathBuf,
    /// Directory with endpoints.crt, the authorities of the operator
    #[arg(long, value_name = "DIR", default_value = TRUST_DIR, conflicts_with = "config")]
    pub(crate) trust_dir: PathBuf,
    /// Directory for certificate, key and last good configuration, which
    /// outlive a restart
    #[arg(long, value_name = "DIR", default_value = STATE_DIR, conflicts_with = "config")]
    pub(crate) state_dir: PathBuf,
    /// Address of the traffic listeners [default: every address but loopback]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) bind: Option<IpAddr>,
    /// Address of one listener, by its server's name; may be repeated
    #[arg(long, value_name = "NAME=ADDRESS:PORT", value_parser = named_address)]
    pub(crate) listen: Vec<(String, SocketAddr)>,
    /// Address of the admin port
    #[arg(long, value_name = "ADDRESS:PORT", default_value_t = ADMIN, value_parser = loopback)]
    pub(crate) admin: SocketAddr,
    /// Address of the health port [default: port 15021 beside the listeners]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) health: Option<SocketAddr>,
    /// Unix socket of a `sidegate hold`: listeners whose ports it holds are
    /// taken from it
    #[arg(long, value_name = "SOCKET")]
    pub(crate) hold: Option<PathBuf>,
    /// Trust domain of service accounts in rules
    #[arg(long, value_name = "NAME", default_value = "cluster.local", value_parser = trust_domain)]
    pub(crate) trust_domain: String,
    /// Log level: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub(crate) log_level: Level,
}

/// Where the configuration comes from: exactly one of these.
#[derive(Debug, ClapArgs)]
#[group(required = true, multiple = false)]
pub(crate) struct RunSource {
    /// Directory with the documents (*.yaml)
    #[arg(long, value_name = "DIR")]
    pub(crate) config: Option<PathBuf>,
    /// The operator's streams: https://HOST:PORT
    #[arg(long, value_name = "URL")]
    pub(crate) control_plane: Option<ControlPlaneUrl>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Source {
    /// File or directory with documents; may be repeated
    #[arg(short = 'f', long = "file", value_name = "FILE|DIR", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Trust domain of service accounts in rules
    #[arg(long, value_name = "NAME", default_value = "cluster.local", value_parser = trust_domain)]
    pub(crate) trust_domain: String,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Exits with 0 when everything is valid and with 1 otherwise.")]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) source: Source,
}

#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Exits with 0 for allow, 3 for deny, 2 when the question cannot be answered."
)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    pub(crate) source: Source,
    /// The gateway in question, when there is more than one
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pub(crate) gateway: Option<String>,
    /// The MCP server that is called
    #[arg(long, value_name = "NAME")]
    pub(crate) server: String,
    #[command(flatten)]
    pub(crate) what: What,
    /// The arguments of the call, as JSON
    #[arg(long, value_name = "JSON")]
    pub(crate) args: Option<String>,
    #[command(flatten)]
    pub(crate) who: Who,
    /// How to answer
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

/// What is asked for: exactly one of these.
#[derive(Debug, ClapArgs)]
#[group(required = true, multiple = false)]
pub(crate) struct What {
    /// Call this tool
    #[arg(long, value_name = "NAME")]
    pub(crate) tool: Option<String>,
    /// Get this prompt
    #[arg(long, value_name = "NAME")]
    pub(crate) prompt: Option<String>,
    /// Read this resource
    #[arg(long, value_name = "URI")]
    pub(crate) resource: Option<String>,
    /// Use this method
    #[arg(long, value_name = "NAME")]
    pub(crate) method: Option<String>,
}

/// Who asks: a token as it is, or the claims that it would have.
#[derive(Debug, ClapArgs)]
pub(crate) struct Who {
    /// A token, verified as the sidecar would; `-` reads it from standard input
    #[arg(long, value_name = "JWT", conflicts_with_all = ["scopes", "subject", "issuer", "client"])]
    pub(crate) token: Option<String>,
    /// Scopes that the token would grant
    #[arg(long, value_name = "\"SCOPE …\"")]
    pub(crate) scopes: Option<String>,
    /// Subject of the token
    #[arg(long, value_name = "NAME")]
    pub(crate) subject: Option<String>,
    /// Issuer of the token [default: the gateway's first]
    #[arg(long, value_name = "URL")]
    pub(crate) issuer: Option<String>,
    /// Client that the token was issued to
    #[arg(long, value_name = "ID")]
    pub(crate) client: Option<String>,
    /// SPIFFE id in the client certificate
    #[arg(long, value_name = "ID")]
    pub(crate) spiffe_id: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Text,
    Json,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct DrainArgs {
    /// Address of the sidecar's admin port
    #[arg(long, value_name = "ADDRESS:PORT", default_value_t = ADMIN, value_parser = loopback)]
    pub(crate) admin: SocketAddr,
    /// How long to wait for the sidecar to stop, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "40", value_parser = seconds)]
    pub(crate) timeout: Duration,
}

#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Runs until SIGTERM. It never accepts a connection: while no sidecar runs, \
    connections wait. Exits with 2 when it cannot start."
)]
pub(crate) struct HoldArgs {
    /// Unix socket over which a sidecar gets the ports, as `run --hold` names
    /// it
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: PathBuf,
    /// Address of the ports [default: every address but loopback]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) bind: Option<IpAddr>,
    /// Ports to hold
    #[arg(value_name = "PORT", required = true, num_args = 1..=MAX_PORTS, value_parser = value_parser!(u16).range(1..))]
    pub(crate) ports: Vec<u16>,
}

#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Runs until SIGTERM and waits for whatever is missing. /readyz of the health port \
    says whether there are files. Exits with 2 when it cannot start."
)]
pub(crate) struct IdentityArgs {
    /// The operator's streams: https://HOST:PORT
    #[arg(long, value_name = "URL")]
    pub(crate) control_plane: ControlPlaneUrl,
    /// Directory for tls.crt, tls.key and ca.crt; all three change at once
    #[arg(long, value_name = "DIR")]
    pub(crate) files: PathBuf,
    /// The pod's token for the operator
    #[arg(long, value_name = "FILE", default_value = TOKEN_FILE)]
    pub(crate) token_file: PathBuf,
    /// Directory with endpoints.crt, the authorities of the operator
    #[arg(long, value_name = "DIR", default_value = TRUST_DIR)]
    pub(crate) trust_dir: PathBuf,
    /// Address of the health port [default: port 15021 of every address but
    /// loopback]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) health: Option<SocketAddr>,
    /// Log level: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub(crate) log_level: Level,
}

/// The probes of the other containers. A pod hands them over in a variable,
/// because they may be longer than an argument should be.
#[expect(clippy::disallowed_methods, reason = "this is the argument parser")]
pub(crate) fn probes() -> anyhow::Result<RewrittenProbes> {
    match std::env::var(PROBES_VARIABLE) {
        Ok(text) => RewrittenProbes::from_json(&text).with_context(|| {
            format!("{PROBES_VARIABLE} is written by the injector of the same version")
        }),
        Err(std::env::VarError::NotPresent) => Ok(RewrittenProbes::default()),
        Err(std::env::VarError::NotUnicode(_)) => anyhow::bail!("{PROBES_VARIABLE} is not a text"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Command, clap::Error> {
        Args::try_parse_from(line.split_whitespace()).map(|args| args.command)
    }

    #[test]
    fn the_definition_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn run_takes_every_documented_flag() {
        let line = "sidegate run --config dir --gateway crm/support --bind 127.0.0.1 \
            --listen support=127.0.0.1:18080 --listen other=[::1]:0 --admin 127.0.0.1:0 \
            --health 127.0.0.1:0 --trust-domain example.org";
        let Ok(Command::Run(args)) = parse(line) else {
            panic!("parses")
        };
        assert_eq!(args.listen.len(), 2);
        assert_eq!(args.gateway.as_deref(), Some("crm/support"));
        assert_eq!(args.trust_domain, "example.org");
    }

    #[test]
    fn run_follows_an_operator_or_a_directory() {
        let Ok(Command::Run(args)) = parse("sidegate run --control-plane https://operator:9443")
        else {
            panic!("parses")
        };
        let url = args.source.control_plane.map(|url| url.to_string());
        assert_eq!(url.as_deref(), Some("https://operator:9443"));
        assert_eq!(args.token_file, Path::new(TOKEN_FILE));
        assert_eq!(args.trust_dir, Path::new(TRUST_DIR));
        assert_eq!(args.state_dir, Path::new(STATE_DIR));
        let line = "sidegate run --control-plane https://operator:9443 --token-file a \
            --trust-dir b --state-dir c --trust-domain example.org";
        assert!(parse(line).is_ok());
    }

    #[test]
    fn a_holder_takes_ports_up_to_its_bound() {
        let line = |ports: usize| {
            let ports: String = (1..=ports).map(|port| format!(" {port}")).collect();
            parse(&format!("sidegate hold --socket s --bind 127.0.0.2{ports}"))
        };
        let Ok(Command::Hold(args)) = line(MAX_PORTS) else {
            panic!("parses")
        };
        assert_eq!(args.ports.len(), MAX_PORTS);
        assert!(line(MAX_PORTS + 1).is_err());
    }

    #[test]
    fn bad_values_are_refused() {
        for line in [
            "sidegate run",
            "sidegate run --config dir --control-plane https://operator:9443",
            "sidegate run --control-plane http://operator:9443",
            "sidegate run --control-plane operator:9443",
            "sidegate run --control-plane https://operator:9443 --gateway crm/support",
            "sidegate run --config dir --token-file token",
            "sidegate run --config dir --trust-dir trust",
            "sidegate run --config dir --state-dir state",
            "sidegate run --config dir --listen support",
            "sidegate run --config dir --listen =127.0.0.1:1",
            "sidegate run --config dir --listen support=127.0.0.1",
            "sidegate run --config dir --bind everything",
            "sidegate run --config dir --admin 0.0.0.0:15020",
            "sidegate run --config dir --log-level loud",
            "sidegate run --config dir --trust-domain Bad/Domain",
            "sidegate check -f x --trust-domain spiffe://td",
            "sidegate check",
            "sidegate explain -f x --server s",
            "sidegate explain -f x --server s --tool a --prompt b",
            "sidegate explain -f x --server s --tool a --token t --scopes b",
            "sidegate drain --timeout soon",
            "sidegate identity --files f",
            "sidegate identity --control-plane https://operator:9443",
            "sidegate identity --control-plane http://operator:9443 --files f",
            "sidegate hold --socket s",
            "sidegate hold 8080",
            "sidegate hold --socket s 0",
            "sidegate hold --socket s 65536",
            "sidegate hold --socket s --bind everything 8080",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
