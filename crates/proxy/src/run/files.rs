//! A sidecar that follows a directory of documents.

use std::path::PathBuf;
use std::sync::Arc;

use sidegate_config::documents::{self, Documents};
use sidegate_config::sidecar_config::SidecarConfig;
use sidegate_config::watch::Watcher;
use sidegate_config::{Options, Violations, build, validate};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::{error, warn};

use super::status::Source;
use super::{ApplyError, RunOptions, Sidecar, StartError};
use crate::listener::ListenError;

/// Where the configuration comes from.
#[derive(Debug, Clone)]
pub struct FileSource {
    /// The directory with `*.yaml` files.
    pub dir: PathBuf,
    /// `NAMESPACE/NAME`, needed when the directory holds several gateways.
    pub gateway: Option<String>,
    /// The trust domain of service accounts in rules.
    pub trust_domain: String,
}

/// Why a sidecar that runs from files did not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A service port cannot be opened.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The first configuration is not valid; one violation per line.
    #[error("{0}")]
    Invalid(Violations),
    /// The first configuration cannot be served as asked.
    #[error("the configuration cannot be served: {0}")]
    Apply(#[from] ApplyError),
    /// The directory cannot be watched.
    #[error("cannot watch `{dir}`: {message}")]
    Watch {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        message: String,
    },
}

/// A sidecar and the watch on its directory.
#[derive(Debug)]
pub struct FollowingSidecar {
    sidecar: Arc<Sidecar>,
    _watcher: Watcher,
    following: JoinHandle<()>,
}

/// Starts a sidecar from the documents in a directory and follows their
/// changes until the result is dropped.
///
/// # Errors
/// [`RunError`] when the first configuration cannot be put in force. Later
/// ones that cannot leave the last good one in force.
pub async fn run_from_files(
    options: RunOptions,
    source: FileSource,
) -> Result<FollowingSidecar, RunError> {
    let (changes_tx, changes_rx) = mpsc::unbounded_channel();
    // Watching begins before the first reading, so that no change is missed.
    let watcher = Watcher::start(
        &source.dir,
        Box::new(move |documents| {
            // It fails only when the sidecar is gone.
            let _ = changes_tx.send(documents);
        }),
    )
    .map_err(|error| RunError::Watch {
        dir: source.dir.clone(),
        message: error.to_string(),
    })?;
    let source = Arc::new(source);
    let first = load(&source, |source| documents::read_dir(&source.dir)).await;
    let config = first.map_err(RunError::Invalid)?;
    options.metrics.config_source("files");
    let sidecar = Arc::new(Sidecar::start(options).await?);
    sidecar.status.follows(Source::Files {
        directory: source.dir.clone(),
    });
    begin(&sidecar, config).await?;
    let following = tokio::spawn(follow(Arc::clone(&sidecar), source, changes_rx));
    Ok(FollowingSidecar {
        sidecar,
        _watcher: watcher,
        following,
    })
}

/// Puts the first configuration in force. Who holds its ports may start later,
/// or lack one as long as a server takes it.
async fn begin(sidecar: &Sidecar, config: SidecarConfig) -> Result<(), ApplyError> {
    loop {
        match sidecar.apply(config.clone()).await {
            Err(ApplyError::Listen(ListenError::Held(_))) => {}
            applied => return applied,
        }
    }
}

async fn follow(
    sidecar: Arc<Sidecar>,
    source: Arc<FileSource>,
    mut changes_rx: mpsc::UnboundedReceiver<Result<Documents, Violations>>,
) {
    while let Some(mut documents) = changes_rx.recv().await {
        // Only the latest state matters.
        while let Ok(later) = changes_rx.try_recv() {
            documents = later;
        }
        match load(&source, move |_| documents).await {
            Ok(config) if sidecar.confirm(&config) => {}
            Ok(config) => {
                if let Err(error) = sidecar.apply(config).await {
                    warn!(%error, "configuration not applied");
                }
            }
            Err(violations) => sidecar.refuse(violations.to_string()),
        }
    }
}

/// Documents to configuration, away from the threads that serve requests.
async fn load(
    source: &Arc<FileSource>,
    documents: impl FnOnce(&FileSource) -> Result<Documents, Violations> + Send + 'static,
) -> Result<SidecarConfig, Violations> {
    let source = Arc::clone(source);
    let loading = tokio::task::spawn_blocking(move || {
        let options = Options {
            allow_loopback: true,
            built_in_ca: false,
            trust_domain: source.trust_domain.clone(),
        };
        let documents = documents(&source)?;
        let validated = validate(&documents, source.gateway.as_deref(), &options)?;
        Ok(build(validated))
    });
    match loading.await {
        Ok(loaded) => loaded,
        Err(failed) => {
            error!(error = %failed, "reading the configuration failed inside the sidecar");
            Err(Violations::default())
        }
    }
}

// === impl FollowingSidecar ===

impl FollowingSidecar {
    /// The sidecar itself.
    #[must_use]
    pub fn sidecar(&self) -> &Arc<Sidecar> {
        &self.sidecar
    }
}

impl Drop for FollowingSidecar {
    fn drop(&mut self) {
        self.following.abort();
    }
}
