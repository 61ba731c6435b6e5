//! `sidegate-dev up`: gateways on the desk, from the documents of the cluster.
//!
//! Every gateway gets a sidecar of its own in this process, made by the same
//! functions as in a pod. What a cluster has around it is stood in for: the
//! authorization server, the MCP servers, the certificate authority.

mod cast;
mod commands;
mod desk;
mod follow;
mod lesson;
mod plan;
mod prepare;

use std::future::Future;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;

use sidegate_policy::clock::{Clock, SystemClock};
use sidegate_telemetry::logging::LogHandle;

use self::desk::Desk;
use self::follow::Following;
use self::lesson::Lesson;
use self::prepare::Preparation;

/// The issuer of the quick start, which `token` asks unless told otherwise.
pub const USUAL_ISSUER: &str = "http://127.0.0.1:15090";

/// What `up` is told.
#[derive(Debug)]
pub struct UpOptions {
    /// The file with the documents.
    pub file: PathBuf,
    /// The folder for certificates and audit lines.
    pub dir: PathBuf,
    /// The admin port of the first gateway.
    pub admin: SocketAddr,
    /// The health port of the first gateway.
    pub health: SocketAddr,
    /// This program, for the commands that are printed.
    pub program: PathBuf,
    /// The log, whose level the admin port changes.
    pub log: Option<LogHandle>,
}

/// Runs the gateways of a file until `stop`, and prints how to try them.
///
/// # Errors
/// Nothing runs then. The message says what to do.
pub async fn up(
    options: UpOptions,
    out: &mut (dyn Write + Send),
    stop: impl Future<Output = ()> + Send,
) -> anyhow::Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mut stop = pin!(stop);
    // Watching begins before the first reading, so that no change is missed.
    let mut following = Following::start(&options.file)?;
    let preparation = Preparation {
        file: options.file.clone(),
        dir: options.dir.clone(),
        clock,
    };
    let prepared = preparation.run().await?;
    let desk = Box::pin(Desk::start(&options, &preparation, prepared)).await?;
    let ready = tokio::select! {
        ready = desk.until_ready() => ready,
        () = &mut stop => {
            desk.stop().await;
            return Ok(());
        }
    };
    write!(out, "{}", Lesson::prepare(&options, &desk, ready))?;
    out.flush()?;
    tokio::select! {
        ended = following.follow(&preparation, &desk, out) => ended?,
        () = &mut stop => {}
    }
    desk.stop().await;
    Ok(())
}
