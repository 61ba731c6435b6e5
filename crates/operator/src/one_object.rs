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

/// No watch tells that a permission was granted: it is asked for again.
const MIN_RETRY: Duration = Duration::from_millis(500);
const MAX_RETRY: Duration = Duration::from_secs(10);

/// What the API server says of an object.
pub(crate) enum Told<K> {
    /// It is this.
    There(K),
    /// It does not exist.
    NotThere,
    /// It may not be read.
    Forbidden,
}

/// Tells what an object is and becomes, for ever. While the API server does not
/// answer, nothing is told.
pub(crate) async fn follow<K>(api: Api<K>, name: &str, tell: impl Fn(Told<K>) + Send)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let by_name = format!("metadata.name={name}");
    let mut events = pin!(watcher(api, watcher::Config::default().fields(&by_name)));
    let mut retry = MIN_RETRY;
    let mut listed = Told::NotThere;
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                retry = MIN_RETRY;
                match event {
                    Event::Init => listed = Told::NotThere,
                    Event::InitApply(object) => listed = Told::There(object),
                    Event::InitDone => tell(std::mem::replace(&mut listed, Told::NotThere)),
                    Event::Apply(object) => tell(Told::There(object)),
                    Event::Delete(_) => tell(Told::NotThere),
                }
            }
            Err(error) => {
                if is_forbidden(&error) {
                    tell(Told::Forbidden);
                } else {
                    let kind = K::kind(&());
                    warn!(%kind, name, error = %Chain(&error), "cannot be watched; it goes on");
                }
                tokio::time::sleep(retry).await;
                retry = (retry * 2).min(MAX_RETRY);
            }
        }
    }
}

fn is_forbidden(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => {
            matches!(error, kube::Error::Api(status) if status.is_forbidden())
        }
        watcher::Error::WatchError(status) => status.is_forbidden(),
        watcher::Error::NoResourceVersion => false,
    }
}
