//! The control plane: arguments and wiring.

mod args;

use std::fmt::Display;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use kube::{Client, Config};
use sidegate_operator::authority::AuthoritySettings;
use sidegate_operator::injector::InjectorSettings;
use sidegate_operator::leader::{LeaseSettings, LeaseTimings};
use sidegate_operator::manifests::Images;
use sidegate_operator::run::{Operator, Settings, unique_identity};
use sidegate_operator::{manifests, metrics_reference, to_yaml};
use sidegate_telemetry::logging;
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

use crate::args::{Args, Command, ManifestsArgs, RunArgs};

// Objects are read into many small pieces: with the allocator of the C library,
// that takes two fifths of all the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let done = match Args::parse().command {
        Command::Run(args) => run(*args),
        Command::Crd => crd(),
        Command::Manifests(args) => manifests(args),
        Command::Metrics => {
            say(metrics_reference());
            Ok(())
        }
        Command::Version => {
            say(concat!(
                "sidegate-operator ",
                env!("CARGO_PKG_VERSION"),
                "\n"
            ));
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr().lock(), "{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn crd() -> anyhow::Result<()> {
    say(to_yaml(&sidegate_api::crds()?)?);
    Ok(())
}

fn manifests(args: ManifestsArgs) -> anyhow::Result<()> {
    let images = Images {
        operator: args.image,
        sidecar: args.sidecar_image,
    };
    say(to_yaml(&manifests::objects(&images))?);
    Ok(())
}

#[tokio::main]
async fn run(args: RunArgs) -> anyhow::Result<()> {
    // Before anything else: a signal during the start must not be lost.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // Each sidecar has a connection; the streams keep within what there is.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    logging::init(args.log_level);
    // It may be there already; either way there is one.
    let _there = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let config = Config::infer().await.context("there is no cluster")?;
    let settings = settings(args, &config.default_namespace);
    let client = Client::try_from(config).context("the cluster cannot be used")?;
    let mut operator = Box::pin(Operator::start(client, settings)).await?;
    tokio::select! {
        broken = operator.broken() => return Err(broken.into()),
        _signal = terminate.recv() => {}
        _signal = interrupt.recv() => {}
    }
    info!("stopping");
    operator.stop().await?;
    Ok(())
}

fn settings(args: RunArgs, default_namespace: &str) -> Settings {
    let RunArgs {
        namespace,
        leader_elect,
        lease_namespace,
        identity,
        health,
        control_plane,
        webhook,
        sidecar_image,
        control_plane_url,
        own_namespace,
        cluster_domain,
        certificate_hosts,
        trust_domain,
        log_level: _,
    } = args;
    let own_namespace = own_namespace.unwrap_or_else(|| default_namespace.to_owned());
    let identity = identity.unwrap_or_else(host_name);
    let lease = leader_elect.then(|| LeaseSettings {
        namespace: lease_namespace.unwrap_or_else(|| own_namespace.clone()),
        name: manifests::NAME.to_owned(),
        identity: unique_identity(&identity),
        timings: LeaseTimings::default(),
    });
    let control_plane_url =
        control_plane_url.unwrap_or_else(|| manifests::control_plane_url(&own_namespace));
    let mut authority = AuthoritySettings::new(&own_namespace, &cluster_domain);
    let dialled: Option<http::Uri> = control_plane_url.parse().ok();
    // Sidecars believe only a certificate for the name that they dial.
    if let Some(host) = dialled.as_ref().and_then(http::Uri::host) {
        authority.add_endpoint_name(host);
    }
    let injector = InjectorSettings {
        trust_domain: trust_domain.clone(),
        ..InjectorSettings::new(sidecar_image, control_plane_url)
    };
    Settings {
        namespace,
        lease,
        identity,
        health,
        trust_domain,
        authority,
        own_namespace,
        cluster_domain,
        certificate_hosts,
        control_plane,
        webhook,
        injector,
    }
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname");
    name.map_or_else(
        |_| manifests::NAME.to_owned(),
        |name| name.trim().to_owned(),
    )
}

/// Writes to standard output. A reader that went away is not an error.
fn say(text: impl Display) {
    let _ = write!(std::io::stdout().lock(), "{text}");
}
