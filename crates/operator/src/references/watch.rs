//! One object, watched by its name.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use crate::chain::Chain;
use futures_util::StreamExt as _;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use sidegate_api::names::ALLOWED_HOSTS_ANNOTATION;
use tracing::{debug, warn};

use super::{RefKind, Reference, SecretContent, State};

/// No watch tells that a permission was granted: it is asked for again.
const MIN_RETRY: Duration = Duration::from_secs(1);
const MAX_RETRY: Duration = Duration::from_secs(10);

/// Tells every state of an object, for ever.
pub(super) async fn follow(client: Client, reference: Reference, tell: impl Fn(State) + Send) {
    match reference.kind {
        RefKind::Secret => follow_as::<Secret>(client, &reference, tell, of_secret).await,
        RefKind::ConfigMap => follow_as::<ConfigMap>(client, &reference, tell, of_config_map).await,
    }
}

async fn follow_as<K>(
    client: Client,
    reference: &Reference,
    tell: impl Fn(State) + Send,
    read: fn(K) -> State,
) where
    K: Resource<Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + 'static,
    K::DynamicType: Default,
{
    let api: Api<K> = Api::namespaced(client, &reference.key.namespace);
    // By this selector, permissions that name the object are enough.
    let by_name = format!("metadata.name={}", reference.key.name);
    let mut events = pin!(watcher(api, watcher::Config::default().fields(&by_name)));
    let mut retry = MIN_RETRY;
    let mut listed = State::NotFound;
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                retry = MIN_RETRY;
                match event {
                    Event::Init => listed = State::NotFound,
                    Event::InitApply(object) => listed = read(object),
                    Event::InitDone => tell(listed.clone()),
                    Event::Apply(object) => tell(read(object)),
                    Event::Delete(_) => tell(State::NotFound),
                }
            }
            Err(error) => {
                if is_forbidden(&error) {
                    debug!(%reference, "may not be read");
                    tell(State::Forbidden);
                } else {
                    // What was read last stays in use.
                    warn!(%reference, error = %Chain(&error), "cannot be watched");
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

fn of_secret(mut secret: Secret) -> State {
    let annotations = secret.metadata.annotations.as_mut();
    let allowed_hosts = annotations.and_then(|it| it.remove(ALLOWED_HOSTS_ANNOTATION));
    let data = secret.data.unwrap_or_default();
    State::Secret(Arc::new(SecretContent {
        secret_type: secret.type_.unwrap_or_default(),
        allowed_hosts,
        data: data
            .into_iter()
            .map(|(key, value)| (key, value.0))
            .collect(),
    }))
}

fn of_config_map(map: ConfigMap) -> State {
    let texts = map.data.unwrap_or_default();
    let mut data: BTreeMap<_, _> = texts
        .into_iter()
        .map(|(key, text)| (key, text.into_bytes()))
        .collect();
    let binary = map.binary_data.unwrap_or_default();
    data.extend(binary.into_iter().map(|(key, value)| (key, value.0)));
    State::ConfigMap(Arc::new(data))
}
