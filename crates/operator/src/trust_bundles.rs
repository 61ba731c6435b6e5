//! The ConfigMap `sidegate-trust`, which tells sidecars whom to trust.
//!
//! It is in every namespace with the label that allows injection, and in the
//! operator's own, and it stays when a namespace loses the label: pods still
//! mount it. Only the leader writes it. What somebody edits or deletes is
//! mended; a ConfigMap of somebody else with that name is left alone, and told.

mod problems;
mod view;

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _, stream};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource as _};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

pub(crate) use self::problems::BundleProblems;
use self::view::View;
use crate::authority::{Trust, TrustReceiver};
use crate::board::Board;
use crate::chain::Chain;
use crate::events::{CONTROLLER, Events, Notice};
use crate::key::Key;
use crate::metrics::{BundleResult, Metrics};
use crate::names::TRUST_CONFIG_MAP;
use crate::ours::{MANAGED_BY, MANAGED_BY_US};
use crate::queue::{Queue, Request};

/// The key of the ConfigMap with the roots of the operator's endpoints.
const ENDPOINTS: &str = "endpoints.crt";
/// Its key with the roots of workloads.
const WORKLOADS: &str = "ca.crt";

/// Writes that run at a time.
const WRITERS: usize = 8;
const PATIENCE: Duration = Duration::from_secs(10);
/// After a failure.
const RETRY: Duration = Duration::from_secs(2);
/// After every round of writes: who fights over a ConfigMap does so slowly.
const SETTLE: Duration = Duration::from_millis(250);

/// Keeps the bundles, for the leader.
pub(crate) struct TrustBundles {
    pub(crate) client: Client,
    pub(crate) own_namespace: String,
    /// The one other namespace that is served; all when there is none.
    pub(crate) only: Option<String>,
    pub(crate) trust: TrustReceiver,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) events: Events,
    pub(crate) problems: Arc<BundleProblems>,
    /// To ask for the gateways of a namespace whose problem came or went.
    pub(crate) board: Arc<Board>,
    pub(crate) queue: Arc<Queue>,
}

/// What a namespace needs.
enum Need {
    /// Nothing.
    Nothing,
    /// Its ConfigMap is to be applied; the uid is that of the one there.
    Apply { uid: Option<String> },
    /// Its ConfigMap is somebody else's.
    Foreign(Arc<ConfigMap>),
}

// === impl TrustBundles ===

impl TrustBundles {
    /// Keeps the bundles until it is dropped.
    pub(crate) async fn lead(&self) {
        let mut trust = self.trust.clone();
        let (mut view, news) = View::new(&self.client, &self.own_namespace, self.only.as_deref());
        let mut news = pin!(news);
        let mut failed = false;
        loop {
            tokio::select! {
                told = news.next() => if let Some(told) = told {
                    view.take(told);
                },
                _changed = trust.changed() => {}
                () = sleep(RETRY), if failed => {}
            }
            while let Some(Some(told)) = news.next().now_or_never() {
                view.take(told);
            }
            let current = trust.borrow_and_update().clone();
            if let (Some(current), true) = (current, view.is_complete()) {
                failed = self.mend(&mut view, &current).await;
            }
        }
    }

    /// Writes what is missing or wrong; says whether something failed.
    async fn mend(&self, view: &mut View, trust: &Trust) -> bool {
        let data = data(trust);
        let mut foreign = BTreeMap::new();
        let mut wanted = Vec::new();
        for namespace in view.namespaces() {
            match need(view.config_map(&namespace), &data) {
                Need::Nothing => {}
                Need::Apply { uid } => wanted.push((namespace, uid)),
                Need::Foreign(config_map) => {
                    foreign.insert(namespace, config_map);
                }
            }
        }
        self.tell(foreign).await;
        let wrote = !wanted.is_empty();
        let mut failed = false;
        let writes = wanted.into_iter().map(|(namespace, uid)| {
            let body = body(&namespace, uid.as_deref(), &data);
            self.write(namespace, body, uid.is_some())
        });
        let mut writes = pin!(stream::iter(writes).buffer_unordered(WRITERS));
        while let Some(written) = writes.next().await {
            match written {
                // At once, before its watch tells the same.
                Some(config_map) => view.wrote(config_map),
                None => failed = true,
            }
        }
        if wrote {
            sleep(SETTLE).await;
        }
        failed
    }

    async fn write(&self, namespace: String, body: Value, is_there: bool) -> Option<ConfigMap> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &namespace);
        let params = PatchParams::apply(CONTROLLER);
        // Without force where nothing was seen: somebody may have been quicker.
        let params = if is_there { params.force() } else { params };
        let patch = Patch::Apply(&body);
        let patched = timeout(PATIENCE, api.patch(TRUST_CONFIG_MAP, &params, &patch)).await;
        let why = match patched {
            Ok(Ok(config_map)) => {
                info!(namespace, "the roots were written into a namespace");
                self.metrics.authority.bundle(BundleResult::Written);
                return Some(config_map);
            }
            Ok(Err(error)) => Chain(&error).to_string(),
            Err(_) => "the API server did not answer in time".to_owned(),
        };
        warn!(
            namespace,
            error = why,
            "the roots were not written into a namespace; it is tried again"
        );
        self.metrics.authority.bundle(BundleResult::Failed);
        None
    }

    /// Says of whose ConfigMaps are in the way, and whose are not any more.
    async fn tell(&self, foreign: BTreeMap<String, Arc<ConfigMap>>) {
        let changed = self.problems.set(foreign.keys().cloned().collect());
        for namespace in &changed {
            self.ask(namespace);
            let Some(config_map) = foreign.get(namespace) else {
                continue;
            };
            let note = self.problems.of(namespace).unwrap_or_default();
            warn!(namespace, "{note}");
            self.metrics.authority.bundle(BundleResult::Foreign);
            let notice = Notice {
                warning: true,
                reason: "TrustBundleForeign".to_owned(),
                note,
            };
            self.events
                .publish(&config_map.object_ref(&()), notice)
                .await;
        }
    }

    fn ask(&self, namespace: &str) {
        let world = self.board.world();
        let gateways = world.gateways().into_iter();
        for key in gateways.filter(|key: &Key| &*key.namespace == namespace) {
            self.queue.add(Request::Gateway(key), Duration::ZERO);
        }
    }
}

fn data(trust: &Trust) -> BTreeMap<String, String> {
    BTreeMap::from([
        (ENDPOINTS.to_owned(), trust.endpoint_roots_pem().to_owned()),
        (WORKLOADS.to_owned(), trust.workload_roots_pem().to_owned()),
    ])
}

fn need(config_map: Option<Arc<ConfigMap>>, data: &BTreeMap<String, String>) -> Need {
    use crate::ours::{is_applied_by_us, is_ours};

    let Some(config_map) = config_map else {
        return Need::Apply { uid: None };
    };
    let labelled = is_ours(&*config_map);
    if !labelled && !is_applied_by_us(&*config_map) {
        return Need::Foreign(config_map);
    }
    let there = config_map.data.as_ref();
    let is = |(key, text)| there.and_then(|there| there.get(key)) == Some(text);
    if labelled && data.iter().all(is) {
        return Need::Nothing;
    }
    Need::Apply {
        uid: config_map.metadata.uid.clone(),
    }
}

fn body(namespace: &str, uid: Option<&str>, data: &BTreeMap<String, String>) -> Value {
    let mut metadata = json!({
        "namespace": namespace,
        "name": TRUST_CONFIG_MAP,
        "labels": {MANAGED_BY: MANAGED_BY_US},
    });
    // About the one that was seen: a successor may be somebody else's.
    if let (Some(uid), Some(metadata)) = (uid, metadata.as_object_mut()) {
        metadata.insert("uid".to_owned(), json!(uid));
    }
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
    use kube::api::ObjectMeta;

    use super::*;

    fn wanted() -> BTreeMap<String, String> {
        BTreeMap::from([("ca.crt".to_owned(), "a".to_owned())])
    }

    fn found(label: Option<&str>, manager: &str, text: &str) -> Option<Arc<ConfigMap>> {
        let metadata = ObjectMeta {
            uid: Some("u".to_owned()),
            labels: label.map(|label| [(MANAGED_BY.to_owned(), label.to_owned())].into()),
            managed_fields: Some(vec![ManagedFieldsEntry {
                manager: Some(manager.to_owned()),
                operation: Some("Apply".to_owned()),
                ..ManagedFieldsEntry::default()
            }]),
            ..ObjectMeta::default()
        };
        Some(Arc::new(ConfigMap {
            metadata,
            data: Some([("ca.crt".to_owned(), text.to_owned())].into()),
            ..ConfigMap::default()
        }))
    }

    #[test]
    fn what_a_namespace_needs() {
        let word = |found| match need(found, &wanted()) {
            Need::Nothing => "nothing",
            Need::Apply { uid: None } => "create",
            Need::Apply { uid: Some(_) } => "mend",
            Need::Foreign(_) => "foreign",
        };
        let ours = Some(MANAGED_BY_US);
        assert_eq!(word(None), "create");
        assert_eq!(word(found(ours, CONTROLLER, "a")), "nothing");
        assert_eq!(word(found(ours, CONTROLLER, "b")), "mend");
        assert_eq!(word(found(ours, "kubectl", "b")), "mend");
        assert_eq!(
            word(found(None, CONTROLLER, "a")),
            "mend",
            "the label is gone"
        );
        assert_eq!(word(found(None, "kubectl", "a")), "foreign");
        assert_eq!(word(found(Some("helm"), "kubectl", "a")), "foreign");
    }
}
