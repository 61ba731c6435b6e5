//! `sidegate run`: the sidecar, until a signal or its admin port stops it.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{anyhow, bail};
use sidegate_policy::clock::SystemClock;
use sidegate_proxy::control_plane::{ConnectedSidecar, ControlPlaneSource, run_from_control_plane};
use sidegate_proxy::hold::HeldSockets;
use sidegate_proxy::listener::ListenOptions;
use sidegate_proxy::run::{FileSource, FollowingSidecar, RunOptions, Sidecar, run_from_files};
use sidegate_proxy::runtime::BuildOptions;
use sidegate_telemetry::audit::AuditLog;
use sidegate_telemetry::logging;
use sidegate_telemetry::metrics::Metrics;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::warn;

use crate::args::{self, RunArgs};
use crate::{EXIT_INVALID, complain};

/// More threads do not help a sidecar that shares its node with what it
/// protects, and each costs memory.
const MAX_WORKERS: usize = 4;
/// Documents are loaded and names resolved beside the workers.
const MAX_BLOCKING_THREADS: usize = 4;
const STACK_BYTES: usize = 1024 * 1024;

/// Runs the sidecar to its end.
pub(crate) fn run(args: RunArgs) -> ExitCode {
    let workers = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(MAX_WORKERS);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .max_blocking_threads(MAX_BLOCKING_THREADS)
        .thread_stack_size(STACK_BYTES)
        .enable_all()
        .build();
    let ended = match runtime {
        Ok(runtime) => {
            let ended = runtime.block_on(Box::pin(serve(args)));
            // Connections that outlived the drain end with the process.
            runtime.shutdown_background();
            ended
        }
        Err(error) => Err(anyhow::Error::new(error).context("cannot start")),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(format_args!("{error:#}"));
            ExitCode::from(EXIT_INVALID)
        }
    }
}

/// Where configurations come from.
enum Source {
    Files(FileSource),
    ControlPlane(ControlPlaneSource),
}

/// A sidecar with what keeps it up to date.
enum Running {
    Following(FollowingSidecar),
    Connected(ConnectedSidecar),
}

async fn serve(args: RunArgs) -> anyhow::Result<()> {
    // As many connections as the system lets the process have; a refusal
    // leaves what there was, and the listeners keep within it.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    // Before anything else: a signal during the start must not be lost.
    let mut signals = Signals::new()?;
    let log = logging::init(args.log_level);
    let clock = Arc::new(SystemClock);
    let metrics = Metrics::new();
    let audit = AuditLog::start(Box::new(std::io::stdout()), Arc::clone(&metrics));
    let mut listen = BTreeMap::new();
    for (name, address) in args.listen {
        if listen.insert(name.clone(), address).is_some() {
            bail!("--listen {name}=… is given twice: give each listener one address");
        }
    }
    let source = match (args.source.config, args.source.control_plane) {
        (Some(dir), None) => Source::Files(FileSource {
            dir,
            gateway: args.gateway,
            trust_domain: args.trust_domain,
        }),
        (None, Some(url)) => Source::ControlPlane(ControlPlaneSource {
            url,
            token_file: args.token_file,
            trust_dir: args.trust_dir,
            state_dir: args.state_dir,
        }),
        (Some(_), Some(_)) | (None, None) => bail!("give one of --config and --control-plane"),
    };
    let options = RunOptions {
        listen: ListenOptions {
            bind: args.bind,
            listen,
            hold: args.hold.map(HeldSockets::at),
        },
        admin: args.admin,
        health: args.health,
        probes: args::probes()?,
        build: BuildOptions {
            // On the desk, issuers are on loopback; in a cluster, whoever
            // listens there is the server behind.
            allow_loopback: matches!(source, Source::Files(_)),
        },
        clock,
        metrics,
        audit: Arc::new(audit),
        log: Some(log),
    };
    let running = tokio::select! {
        running = Box::pin(Running::start(options, source)) => running?,
        () = signals.next() => return Ok(()),
    };
    until_stopped(running.sidecar(), &mut signals).await;
    Ok(())
}

/// Waits for a reason to stop, then drains; a second signal ends the drain.
async fn until_stopped(sidecar: &Sidecar, signals: &mut Signals) {
    tokio::select! {
        () = signals.next() => {}
        () = sidecar.drain().draining() => {}
    }
    tokio::select! {
        _ended = sidecar.stop() => {}
        () = signals.next() => warn!("stopped by a second signal"),
    }
}

// === impl Running ===

impl Running {
    async fn start(options: RunOptions, source: Source) -> anyhow::Result<Self> {
        // The texts of errors name their causes already.
        Ok(match source {
            Source::Files(source) => {
                let following = Box::pin(run_from_files(options, source)).await;
                Self::Following(following.map_err(|error| anyhow!("{error}"))?)
            }
            Source::ControlPlane(source) => {
                let connected = Box::pin(run_from_control_plane(options, source)).await;
                Self::Connected(connected.map_err(|error| anyhow!("{error}"))?)
            }
        })
    }

    fn sidecar(&self) -> &Sidecar {
        match self {
            Self::Following(following) => following.sidecar(),
            Self::Connected(connected) => connected.sidecar(),
        }
    }
}

/// The signals that stop the sidecar.
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
