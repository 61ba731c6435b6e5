//! Reads the gateways of a namespace where a sidecar knows more than this
//! replica. Mostly the watch only had nothing to tell since, and the sidecar can
//! be served at once; else it has to wait for the watch, see
//! [`Board::confirm`].

use std::sync::Arc;
use std::time::Duration;

use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};
use tokio::time::timeout;
use tracing::debug;

use crate::board::{Board, Versions};
use crate::chain::Chain;
use crate::queue::Ended;
use crate::world::SeenGateway;

const PATIENCE: Duration = Duration::from_secs(5);

/// Reads whenever that is asked for, until it is dropped.
pub(crate) async fn catch_up(client: Client, board: Arc<Board>) {
    loop {
        let namespace = board.behind().next().await.request;
        let ended = match read(&client, &namespace).await {
            Some((found, revision)) if board.confirm(&namespace, &found, revision) => Ended::Done,
            // The watch is late, or the API server is.
            Some(_) | None => Ended::Failed,
        };
        debug!(%namespace, ?ended, "gateways were read, for a sidecar that knows more");
        board.behind().end(&namespace, ended);
    }
}

/// The gateways of a namespace, and up to which revision that is all of them.
/// No version is asked for: it is what is there, not what a cache remembers.
async fn read(client: &Client, namespace: &Arc<str>) -> Option<(Versions, u64)> {
    let api: Api<SeenGateway> = Api::namespaced(client.clone(), namespace);
    let params = ListParams::default();
    let list = match timeout(PATIENCE, api.list_metadata(&params)).await {
        Ok(Ok(list)) => list,
        Ok(Err(error)) => {
            debug!(%namespace, error = %Chain(&error), "gateways cannot be read");
            return None;
        }
        Err(_) => return None,
    };
    let revision = list.metadata.resource_version?.parse().ok()?;
    let found = list.items.iter().map(|gateway| {
        let version = gateway.resource_version().unwrap_or_default();
        (gateway.name_any().into(), version)
    });
    Some((found.collect(), revision))
}
