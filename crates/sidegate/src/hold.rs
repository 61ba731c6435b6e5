//! `sidegate hold`: keeps ports taken, until a signal.

use std::process::ExitCode;

use anyhow::Context as _;
use sidegate_proxy::hold::{self, HoldOptions};
use sidegate_telemetry::logging::{self, Level};
use tokio::signal::unix::{SignalKind, signal};

use crate::args::HoldArgs;
use crate::{EXIT_INVALID, complain};

/// One thread is enough for a process that does nothing all day.
pub(crate) fn hold(args: HoldArgs) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let ended = runtime
        .context("cannot start")
        .and_then(|runtime| runtime.block_on(until_stopped(args)));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(format_args!("{error:#}"));
            ExitCode::from(EXIT_INVALID)
        }
    }
}

async fn until_stopped(args: HoldArgs) -> anyhow::Result<()> {
    // As the first process of a container it gets no signal that it does not
    // ask for.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    logging::init(Level::Info);
    let options = HoldOptions {
        socket: args.socket,
        ports: args.ports,
        bind: args.bind,
    };
    tokio::select! {
        ended = hold::hold(options) => match ended {
            Ok(never) => match never {},
            // Its text names its causes already.
            Err(error) => Err(anyhow::anyhow!("{error}")),
        },
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}
