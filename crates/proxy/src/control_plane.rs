//! A sidecar that follows the operator: the config stream, seen from the pod.
//!
//! The stream brings whole snapshots and certificates, and takes back what came
//! of them (`sidegate_config::control`). Everything that came is kept in a
//! directory, so a restarted container serves at once. When there is no
//! operator, nothing changes in the data plane.

mod backoff;
mod certificate;
mod client;
mod connecting;
mod conversation;
mod dial;
mod enforcement;
mod identity;
mod identity_files;
mod link;
mod lost;
mod readable;
mod state_dir;
mod stream;
#[cfg(test)]
mod test_client;
mod url;

use std::path::PathBuf;
use std::sync::Arc;

use tokio::task::JoinHandle;

use self::client::Client;
pub use self::identity::{IdentityOptions, keep_identity};
pub use self::url::{ControlPlaneUrl, InvalidUrl};
use crate::run::{RunOptions, Sidecar, StartError};

/// Where the configuration comes from, and what proves who asks for it.
#[derive(Debug, Clone)]
pub struct ControlPlaneSource {
    /// The operator.
    pub url: ControlPlaneUrl,
    /// The projected service account token of the pod.
    pub token_file: PathBuf,
    /// The directory with `endpoints.crt`: whom to believe that it is the
    /// operator.
    pub trust_dir: PathBuf,
    /// The directory for what outlives a restart.
    pub state_dir: PathBuf,
}

/// A sidecar and its stream.
#[derive(Debug)]
pub struct ConnectedSidecar {
    sidecar: Arc<Sidecar>,
    client: JoinHandle<()>,
}

/// Starts a sidecar, puts in force what was in force before it was restarted,
/// and follows the operator until the result is dropped or the sidecar drains.
///
/// # Errors
/// [`StartError`] when a service port cannot be opened. Everything else is
/// waited for: the operator, the token, the trust file.
pub async fn run_from_control_plane(
    options: RunOptions,
    source: ControlPlaneSource,
) -> Result<ConnectedSidecar, StartError> {
    let clock = Arc::clone(&options.clock);
    options.metrics.config_source("control_plane");
    options.metrics.control_plane_connected(false);
    let sidecar = Arc::new(Sidecar::start(options).await?);
    sidecar.follows_control_plane(source.url.to_string());
    let client = Box::pin(Client::restore(source, Arc::clone(&sidecar), clock)).await;
    let client = tokio::spawn(client.keep_connected());
    Ok(ConnectedSidecar { sidecar, client })
}

// === impl ConnectedSidecar ===

impl ConnectedSidecar {
    /// The sidecar itself.
    #[must_use]
    pub fn sidecar(&self) -> &Arc<Sidecar> {
        &self.sidecar
    }
}

impl Drop for ConnectedSidecar {
    fn drop(&mut self) {
        self.client.abort();
    }
}
