//! The demo MCP server of the desk, bound as MCP servers usually are.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::Context as _;
use sidegate_dev::demo::DemoServer;
use tokio::net::TcpListener;
use tokio::time::sleep;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Address that is written in the code, whatever HOST says
    #[arg(long)]
    hard_coded: Option<IpAddr>,
    /// Try again and again while the port is taken
    #[arg(long)]
    insist: bool,
}

const EVERYWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let host = match args.hard_coded {
        Some(host) => host,
        None => told()?,
    };
    let listener = loop {
        match TcpListener::bind((host, args.port)).await {
            Ok(listener) => break listener,
            // Fast, so that the shortest gap would be enough for it.
            Err(_) if args.insist => sleep(Duration::from_millis(2)).await,
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("cannot listen on {host}:{}", args.port));
            }
        }
    };
    let _server = DemoServer::serve(listener, "/mcp")?;
    std::future::pending().await
}

/// Where HOST says.
#[expect(
    clippy::disallowed_methods,
    reason = "it stands for servers that read it"
)]
fn told() -> anyhow::Result<IpAddr> {
    match std::env::var("HOST") {
        Ok(host) => host.parse().with_context(|| format!("HOST is `{host}`")),
        Err(_) => Ok(EVERYWHERE),
    }
}
