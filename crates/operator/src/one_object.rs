//! One object, watched by its name: a permission for that name is enough.

use std::fmt::Debug;
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tracing::warn;

use crate::chain::Chain;

const MIN_RETRY: Duration = Duration::from_millis(500);
const MAX_RETRY: Duration = Duration::from_secs(10);

/// Tells what an object is and becomes, and `None` when it is not there. While
/// the API server does not answer, nothing is told.
pub(crate) async fn follow<K>(api: Api<K>, name: &str, tell: impl Fn(Option<K>) + Send)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let by_name = format!("metadata.name={name}");
    let mut events = pin!(watcher(api, watcher::Config::default().fields(&by_name)));
    let mut retry = MIN_RETRY;
    let mut listed = None;
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                retry = MIN_RETRY;
                match event {
                    Event::Init => listed = None,
                    Event::InitApply(object) => listed = Some(object),
                    Event::InitDone => tell(listed.take()),
                    Event::Apply(object) => tell(Some(object)),
                    Event::Delete(_) => tell(None),
                }
            }
            Err(error) => {
                let kind = K::kind(&());
                warn!(%kind, name, error = %Chain(&error), "cannot be watched; it goes on");
                tokio::time::sleep(retry).await;
                retry = (retry * 2).min(MAX_RETRY);
            }
        }
    }
}
