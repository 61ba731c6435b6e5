//! The command line.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand};
use sidegate_dev::up::USUAL_ISSUER;
use sidegate_telemetry::logging::Level;

const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 15020);
const HEALTH: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 15021);

/// Sidegate on the desk, without a cluster.
#[derive(Debug, Parser)]
#[command(name = "sidegate-dev", version, disable_help_subcommand = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the gateways of a file with everything they need, on this machine only
    Up(UpArgs),
    /// Print a token of the development authorization server
    Token(TokenArgs),
}

#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Each gateway gets a sidecar. For an issuer at http://127.0.0.1:PORT an \
    authorization server is started; at the port of each MCP server a demo server for customer \
    support, with the sidecar at that port plus 10000. Commands to try it are printed when \
    everything is ready. Changes of the file are taken when it is saved."
)]
pub(crate) struct UpArgs {
    /// File with the documents
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Folder for certificates and audit lines
    #[arg(long, value_name = "DIR", default_value = ".dev")]
    pub(crate) dir: PathBuf,
    /// Address of the admin port of the first gateway
    #[arg(long, value_name = "ADDRESS:PORT", default_value_t = ADMIN, value_parser = loopback)]
    pub(crate) admin: SocketAddr,
    /// Address of the health port of the first gateway
    #[arg(long, value_name = "ADDRESS:PORT", default_value_t = HEALTH, value_parser = loopback)]
    pub(crate) health: SocketAddr,
    /// Log level: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "warn")]
    pub(crate) log_level: Level,
}

#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Clients: agent (customer:read), lead (customer:read ticket:create \
    support:lead), admin (support:admin), developer (every scope that the gateways know). Their \
    secrets are public, which is why the authorization server listens on this machine only."
)]
pub(crate) struct TokenArgs {
    /// Client that asks
    #[arg(long, value_name = "ID", default_value = "developer")]
    pub(crate) client: String,
    /// Scopes to ask for [default: all that the client may have]
    #[arg(long, value_name = "\"SCOPE …\"")]
    pub(crate) scope: Option<String>,
    /// Resource that the token is for [default: the first of the gateways]
    #[arg(long, value_name = "URI")]
    pub(crate) resource: Option<String>,
    /// The authorization server
    #[arg(long, value_name = "URL", default_value = USUAL_ISSUER)]
    pub(crate) issuer: String,
}

/// The desk is never reachable from elsewhere.
fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text
        .parse()
        .map_err(|_| format!("`{text}` is not an address with a port, such as 127.0.0.1:15020"))?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err("the desk is for this machine only: use a loopback address".to_owned())
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
    fn what_is_printed_can_be_typed() {
        let parse = |line: &str| Args::try_parse_from(line.split_whitespace()).is_ok();
        assert!(parse("sidegate-dev up -f manifests/quickstart.yaml"));
        assert!(parse(
            "sidegate-dev up --file a --dir b --admin 127.0.0.1:0 --health [::1]:0"
        ));
        assert!(parse(
            "sidegate-dev token --client agent --scope a --issuer http://127.0.0.1:1"
        ));
        assert!(parse("sidegate-dev token"));
        assert!(!parse("sidegate-dev up"));
        assert!(!parse("sidegate-dev up -f a --health 0.0.0.0:15021"));
        assert!(!parse("sidegate-dev up -f a --log-level loud"));
    }
}
