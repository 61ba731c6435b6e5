//! The command line.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use sidegate_policy::principal::SpiffeId;
use sidegate_telemetry::logging::Level;

/// The admin port unless told otherwise.
const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 15020);

/// An MCP security sidecar for Kubernetes.
#[derive(Debug, Parser)]
#[command(name = "sidegate", version, disable_help_subcommand = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the sidecar from a directory of documents
    Run(RunArgs),
    /// Check documents and list everything that is wrong with them
    Check(CheckArgs),
    /// Say whether a call would be allowed, and why
    Explain(ExplainArgs),
    /// Drain a running sidecar and wait until it has stopped
    Drain(DrainArgs),
    /// Print the version
    Version,
}

#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Audit lines go to standard output, logs to standard error. \
    Exits with 2 when the first configuration is not valid or cannot be served."
)]
pub(crate) struct RunArgs {
    /// Directory with the documents (*.yaml)
    #[arg(long, value_name = "DIR")]
    pub(crate) config: PathBuf,
    /// The gateway to run, when there is more than one
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pub(crate) gateway: Option<String>,
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
    /// Trust domain of service accounts in rules
    #[arg(long, value_name = "NAME", default_value = "cluster.local", value_parser = trust_domain)]
    pub(crate) trust_domain: String,
    /// Log level: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub(crate) log_level: Level,
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

/// A trust domain (SPIFFE id, section 2.1).
fn trust_domain(text: &str) -> Result<String, String> {
    match format!("spiffe://{text}").parse::<SpiffeId>() {
        Ok(id) if id.trust_domain() == text => Ok(text.to_owned()),
        Ok(_) | Err(_) => Err(format!(
            "`{text}` is not a trust domain, such as cluster.local"
        )),
    }
}

fn named_address(text: &str) -> Result<(String, SocketAddr), String> {
    let (name, address) = text
        .split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .ok_or("expected NAME=ADDRESS:PORT, for example support=127.0.0.1:18080")?;
    let address = address.parse().map_err(|_| {
        format!("`{address}` is not an address with a port, such as 127.0.0.1:18080")
    })?;
    Ok((name.to_owned(), address))
}

/// The admin port shows the configuration and can stop the sidecar.
fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text
        .parse()
        .map_err(|_| format!("`{text}` is not an address with a port, such as 127.0.0.1:15020"))?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err("the admin port is for this machine only: use a loopback address".to_owned())
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.strip_suffix('s').unwrap_or(text);
    seconds
        .parse()
        .map(Duration::from_secs)
        .map_err(|_| format!("`{text}` is not a number of seconds"))
}

#[cfg(test)]
mod tests {
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
    fn bad_values_are_refused() {
        for line in [
            "sidegate run",
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
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn waits_are_in_seconds() {
        assert_eq!(seconds("40"), Ok(Duration::from_secs(40)));
        assert_eq!(seconds("5s"), Ok(Duration::from_secs(5)));
        assert!(seconds("-1").is_err());
    }
}
