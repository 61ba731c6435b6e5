//! What the leader sees of the namespaces and of their bundles.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt as _};
use sidegate_api::names::{INJECTION_ENABLED, INJECTION_LABEL};
use tracing::warn;

use crate::chain::Chain;
use crate::names::TRUST_CONFIG_MAP;

type NamespaceMeta = PartialObjectMeta<Namespace>;

/// Something that a watch told.
pub(super) enum News {
    Namespace(watcher::Result<Event<NamespaceMeta>>),
    /// With the place of its watch.
    ConfigMap(usize, watcher::Result<Event<ConfigMap>>),
}

/// Everything that the watches have told.
pub(super) struct View {
    own_namespace: String,
    namespaces: Cache<NamespaceMeta>,
    config_maps: Vec<Cache<ConfigMap>>,
}

struct Cache<K: kube::runtime::reflector::Lookup + Clone + 'static>
where
    K::DynamicType: Eq + std::hash::Hash + Clone,
{
    writer: Writer<K>,
    objects: Store<K>,
    complete: bool,
}

// === impl View ===

impl View {
    /// A view, and what it has to be told.
    pub(super) fn new(
        client: &Client,
        own_namespace: &str,
        only: Option<&str>,
    ) -> (Self, impl Stream<Item = News> + use<>) {
        let label = format!("{INJECTION_LABEL}={INJECTION_ENABLED}");
        let enabled = watcher::Config::default().labels(&label);
        let enabled = match only {
            Some(name) => enabled.fields(&format!("metadata.name={name}")),
            None => enabled,
        };
        let namespaces: Api<NamespaceMeta> = Api::all(client.clone());
        let namespaces = watcher(namespaces, enabled).default_backoff();
        let apis: Vec<Api<ConfigMap>> = match only {
            None => vec![Api::all(client.clone())],
            Some(only) => BTreeSet::from([only, own_namespace])
                .into_iter()
                .map(|name| Api::namespaced(client.clone(), name))
                .collect(),
        };
        let view = Self {
            own_namespace: own_namespace.to_owned(),
            namespaces: Cache::new(),
            config_maps: apis.iter().map(|_| Cache::new()).collect(),
        };
        let mut news: Vec<BoxStream<'static, News>> = vec![namespaces.map(News::Namespace).boxed()];
        for (index, api) in apis.into_iter().enumerate() {
            let by_name =
                watcher::Config::default().fields(&format!("metadata.name={TRUST_CONFIG_MAP}"));
            let told = watcher(api, by_name).default_backoff();
            news.push(told.map(move |it| News::ConfigMap(index, it)).boxed());
        }
        (view, stream::select_all(news))
    }

    pub(super) fn take(&mut self, news: News) {
        match news {
            News::Namespace(event) => self.namespaces.take("namespaces", event),
            News::ConfigMap(index, event) => {
                if let Some(cache) = self.config_maps.get_mut(index) {
                    cache.take(TRUST_CONFIG_MAP, event);
                }
            }
        }
    }

    /// What a write of ours made of a ConfigMap.
    pub(super) fn wrote(&mut self, config_map: ConfigMap) {
        let only = match self.config_maps.as_slice() {
            [_] => Some(0),
            _ => None,
        };
        // Where there are several watches, theirs is soon enough.
        if let Some(cache) = only.and_then(|index| self.config_maps.get_mut(index)) {
            cache.writer.apply_watcher_event(&Event::Apply(config_map));
        }
    }

    /// Whether every watch has told everything once.
    pub(super) fn is_complete(&self) -> bool {
        self.namespaces.complete && self.config_maps.iter().all(|cache| cache.complete)
    }

    /// Where a bundle is wanted.
    pub(super) fn namespaces(&self) -> BTreeSet<String> {
        let namespaces = self.namespaces.objects.state().into_iter();
        let live = namespaces.filter(|it| it.metadata.deletion_timestamp.is_none());
        let mut names: BTreeSet<_> = live.map(|it| it.name_any()).collect();
        names.insert(self.own_namespace.clone());
        names
    }

    /// The bundle of a namespace, or what has its name.
    pub(super) fn config_map(&self, namespace: &str) -> Option<Arc<ConfigMap>> {
        let reference = ObjectRef::new(TRUST_CONFIG_MAP).within(namespace);
        let mut caches = self.config_maps.iter();
        caches.find_map(|cache| cache.objects.get(&reference))
    }
}

// === impl Cache ===

impl<K> Cache<K>
where
    K: kube::runtime::reflector::Lookup + Clone + 'static,
    K::DynamicType: Eq + std::hash::Hash + Clone + Default,
{
    fn new() -> Self {
        let writer = Writer::new(K::DynamicType::default());
        Self {
            objects: writer.as_reader(),
            writer,
            complete: false,
        }
    }

    fn take(&mut self, what: &str, event: watcher::Result<Event<K>>) {
        match event {
            Ok(event) => {
                self.complete |= matches!(event, Event::InitDone);
                self.writer.apply_watcher_event(&event);
            }
            Err(error) => {
                warn!(what, error = %Chain(&error), "cannot be watched; it goes on");
            }
        }
    }
}
