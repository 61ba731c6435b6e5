//! What runs in the pods of the test cluster beside the product: MCP servers,
//! an issuer, and a client whose commands are given by `kubectl exec`.
//!
//! It is for that cluster only: its issuer signs whatever it is asked for.

#![expect(
    clippy::indexing_slicing,
    reason = "in JSON what is not there is `null`"
)]

mod call;
mod dial;
mod https;
mod issuer;
mod load;
mod server;
mod tls;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

/// What runs in the pods of the test cluster.
#[derive(Debug, Parser)]
#[command(name = "e2e-actor", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// An MCP server as many are: it listens where HOST says, else everywhere
    Server(server::Args),
    /// An issuer over HTTPS that signs the claims it is sent
    Issuer(issuer::Args),
    /// Nothing, until it is told to stop
    Idle,
    /// Get a token with the claims
    Token(https::TokenArgs),
    /// Call a tool once, or until it is answered as wished
    Call(call::Args),
    /// Call a tool all the time until standard input ends, and count
    Load(load::Args),
    /// Connect to a port all the time until standard input ends, and say who
    /// answers
    Dial(dial::Args),
}

#[tokio::main]
async fn main() -> ExitCode {
    let stopped = async {
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => drop(terminate.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    let ended = tokio::select! {
        ended = Box::pin(run(Cli::parse().command)) => ended,
        () = stopped => Ok(()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "e2e-actor: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Server(args) => server::run(args).await,
        Command::Issuer(args) => issuer::run(args).await,
        Command::Idle => std::future::pending().await,
        Command::Token(args) => print(&https::token(&args).await?),
        Command::Call(args) => print(&call::run(args).await?),
        Command::Load(args) => print(&load::run(args).await?),
        Command::Dial(args) => print(&dial::run(args).await?),
    }
}

/// Says that it is on its way, to a scenario that waits for that.
fn print_started() -> anyhow::Result<()> {
    print(&"started")
}

/// What a command found out, for the scenario.
fn print(found: &impl Serialize) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    serde_json::to_writer(&mut out, found)?;
    writeln!(out)?;
    Ok(())
}

/// Ends with standard input.
async fn until_input_ends() {
    let read = tokio::task::spawn_blocking(|| {
        std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink())
    });
    drop(read.await);
}
