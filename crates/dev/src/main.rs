//! `sidegate-dev`: gateways on the desk, and tokens for them.

mod args;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use sidegate_dev::token::{TokenRequest, token};
use sidegate_dev::up::{UpOptions, up};
use sidegate_telemetry::logging;
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::args::{Args, Command, TokenArgs, UpArgs};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit code when something cannot be done as asked.
const EXIT_INVALID: u8 = 2;

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let ended = runtime.context("cannot start").and_then(|runtime| {
        let ended = match args.command {
            Command::Up(args) => runtime.block_on(Box::pin(run(args))),
            Command::Token(args) => runtime.block_on(Box::pin(print_token(args))),
        };
        // Connections that outlived the drain end with the process.
        runtime.shutdown_background();
        ended
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody may be there to read it.
            let _ = writeln!(std::io::stderr(), "sidegate-dev: {error:#}");
            ExitCode::from(EXIT_INVALID)
        }
    }
}

async fn run(args: UpArgs) -> anyhow::Result<()> {
    // Before anything else: a signal during the start must not be lost.
    let mut signals = Signals::new()?;
    let UpArgs {
        file,
        dir,
        admin,
        health,
        log_level,
    } = args;
    let program = std::env::current_exe().context("cannot find this program")?;
    let log = Some(logging::init(log_level));
    let options = UpOptions {
        file,
        dir,
        admin,
        health,
        program,
        log,
    };
    Box::pin(up(options, &mut std::io::stdout(), signals.next())).await
}

async fn print_token(args: TokenArgs) -> anyhow::Result<()> {
    let TokenArgs {
        client,
        scope,
        resource,
        issuer,
    } = args;
    let token = token(&TokenRequest {
        client,
        scope,
        resource,
        issuer,
    })
    .await?;
    writeln!(std::io::stdout(), "{token}").context("cannot print the token")
}

/// The signals that stop it.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
