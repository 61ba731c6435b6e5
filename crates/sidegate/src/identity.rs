//! `sidegate identity`: a certificate for a pod without a gateway, in files.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use sidegate_policy::clock::SystemClock;
use sidegate_proxy::control_plane::{IdentityOptions, keep_identity};
use sidegate_telemetry::logging;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::IdentityArgs;
use crate::{EXIT_INVALID, complain};

/// One thread is enough for a certificate a day.
pub(crate) fn identity(args: IdentityArgs) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(1)
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

async fn until_stopped(args: IdentityArgs) -> anyhow::Result<()> {
    // As the first process of a container it gets no signal that it does not
    // ask for.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    logging::init(args.log_level);
    let options = IdentityOptions {
        url: args.control_plane,
        token_file: args.token_file,
        trust_dir: args.trust_dir,
        files: args.files,
        health: args.health,
        clock: Arc::new(SystemClock),
    };
    tokio::select! {
        ended = keep_identity(options) => match ended {
            Ok(never) => match never {},
            // Its text names its causes already.
            Err(error) => Err(anyhow::anyhow!("{error}")),
        },
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}
