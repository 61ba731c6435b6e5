//! The roots of the operator's endpoints in the webhook's configuration.
//!
//! The API server trusts the webhook by them. Only this one field of the one
//! webhook is applied, under a manager of its own, so who applies the object
//! again without the field does not take it away. An object that is not there
//! is not made: the configuration is the installer's.

use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::authority::TrustReceiver;
use crate::chain::Chain;
use crate::names::WEBHOOK;
use crate::one_object::{self, Told};

const FIELD_MANAGER: &str = "sidegate-operator-ca-bundle";
const PATIENCE: Duration = Duration::from_secs(10);
/// After every write: who fights over the field does so slowly.
const PAUSE: Duration = Duration::from_secs(1);

/// Keeps the bundle of one webhook configuration, for the leader.
pub(crate) struct CaBundle {
    pub(crate) client: Client,
    /// The name of the configuration.
    pub(crate) name: String,
    pub(crate) trust: TrustReceiver,
}

// === impl CaBundle ===

impl CaBundle {
    /// Keeps the bundle until it is dropped.
    pub(crate) async fn lead(&self) {
        let (seen_tx, seen) = watch::channel(None);
        let api: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        let name = &self.name;
        let follow = one_object::follow(api.clone(), name, |told| match told {
            Told::There(object) => drop(seen_tx.send_replace(Some(object))),
            Told::NotThere => drop(seen_tx.send_replace(None)),
            Told::Forbidden => warn!(name, "the webhook configuration may not be read"),
        });
        tokio::select! {
            () = follow => {}
            () = self.keep(&api, seen) => {}
        }
    }

    async fn keep(
        &self,
        api: &Api<MutatingWebhookConfiguration>,
        mut seen: watch::Receiver<Option<MutatingWebhookConfiguration>>,
    ) {
        let mut trust = self.trust.clone();
        loop {
            let object = seen.borrow_and_update().clone();
            let roots = trust.borrow_and_update().clone();
            let body = object.zip(roots).and_then(|(object, roots)| {
                let roots = ByteString(roots.endpoint_roots_pem().into());
                body(&object, &roots)
            });
            match body {
                Some(body) => {
                    self.write(api, &body).await;
                    sleep(PAUSE).await;
                }
                None => {
                    tokio::select! {
                        _changed = seen.changed() => {}
                        _changed = trust.changed() => {}
                    }
                }
            }
        }
    }

    async fn write(&self, api: &Api<MutatingWebhookConfiguration>, body: &Value) {
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let patch = Patch::Apply(body);
        let name = &self.name;
        match timeout(PATIENCE, api.patch(name, &params, &patch)).await {
            Ok(Ok(_)) => info!(name, "the webhook configuration was given the roots"),
            // Another one has its name, or none: its watch tells.
            Ok(Err(kube::Error::Api(status))) if status.is_conflict() || status.is_not_found() => {}
            Ok(Err(error)) => warn!(
                name, error = %Chain(&error),
                "the webhook configuration was not given the roots; it is tried again"
            ),
            Err(_) => warn!(
                name,
                "the webhook configuration was not given the roots in time; it is tried again"
            ),
        }
    }
}

/// What to apply, if the roots are not there already. With the uid of the
/// object that was seen, nothing else is changed and none is made.
fn body(object: &MutatingWebhookConfiguration, roots: &ByteString) -> Option<Value> {
    let webhooks = object.webhooks.as_deref().unwrap_or_default();
    let webhook = webhooks.iter().find(|webhook| webhook.name == WEBHOOK)?;
    if webhook.client_config.ca_bundle.as_ref() == Some(roots) {
        return None;
    }
    Some(json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": object.metadata.name, "uid": object.metadata.uid},
        "webhooks": [{"name": WEBHOOK, "clientConfig": {"caBundle": roots}}],
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str, bundle: Option<&str>) -> MutatingWebhookConfiguration {
        let mut client = json!({"service": {"namespace": "a", "name": "b"}});
        if let Some(bundle) = bundle {
            client["caBundle"] = json!(ByteString(bundle.into()));
        }
        serde_json::from_value(json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": "sidegate-injector", "uid": "u"},
            "webhooks": [{
                "name": name, "clientConfig": client,
                "admissionReviewVersions": ["v1"], "sideEffects": "None",
            }],
        }))
        .expect("an object")
    }

    #[test]
    fn only_a_webhook_of_ours_without_the_roots_is_written() {
        let needs = |name, bundle| body(&object(name, bundle), &ByteString("roots".into()));
        assert_eq!(needs(WEBHOOK, Some("roots")), None);
        assert_eq!(needs("other.example.com", None), None);
        for before in [None, Some(""), Some("old")] {
            let body = needs(WEBHOOK, before).expect("something to apply");
            assert_eq!(body["metadata"]["uid"], "u");
            let webhook = json!({"name": WEBHOOK, "clientConfig": {"caBundle": "cm9vdHM="}});
            assert_eq!(body["webhooks"], json!([webhook]));
        }
    }
}
