//! What is told of one object that is referred to.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client};
use sidegate_api::names::ALLOWED_HOSTS_ANNOTATION;
use tracing::debug;

use super::{ConfigMapContent, RefKind, Reference, SecretContent, State};
use crate::board::revision_of;
use crate::one_object::{self, Told};

/// Tells every state of an object, for ever.
pub(super) async fn follow(
    client: Client,
    reference: Reference,
    tell: impl Fn(State) + Send + Sync,
) {
    let (namespace, name) = (&reference.key.namespace, &reference.key.name);
    match reference.kind {
        RefKind::Secret => {
            let api: Api<Secret> = Api::namespaced(client, namespace);
            let tell = |told| tell(state(&reference, told, of_secret));
            one_object::follow(api, name, tell).await;
        }
        RefKind::ConfigMap => {
            let api: Api<ConfigMap> = Api::namespaced(client, namespace);
            let tell = |told| tell(state(&reference, told, of_config_map));
            one_object::follow(api, name, tell).await;
        }
    }
}

fn state<K>(reference: &Reference, told: Told<K>, of: fn(K) -> State) -> State {
    match told {
        Told::There(object) => of(object),
        Told::NotThere => State::NotFound,
        Told::Forbidden => {
            // The status of who refers to it says so.
            debug!(%reference, "may not be read");
            State::Forbidden
        }
    }
}

fn of_secret(mut secret: Secret) -> State {
    let version = revision_of(&secret);
    let annotations = secret.metadata.annotations.as_mut();
    let allowed_hosts = annotations.and_then(|it| it.remove(ALLOWED_HOSTS_ANNOTATION));
    let data = secret.data.unwrap_or_default();
    State::Secret(Arc::new(SecretContent {
        version,
        secret_type: secret.type_.unwrap_or_default(),
        allowed_hosts,
        data: data
            .into_iter()
            .map(|(key, value)| (key, value.0))
            .collect(),
    }))
}

fn of_config_map(map: ConfigMap) -> State {
    let version = revision_of(&map);
    let texts = map.data.unwrap_or_default();
    let mut data: BTreeMap<_, _> = texts
        .into_iter()
        .map(|(key, text)| (key, text.into_bytes()))
        .collect();
    let binary = map.binary_data.unwrap_or_default();
    data.extend(binary.into_iter().map(|(key, value)| (key, value.0)));
    State::ConfigMap(Arc::new(ConfigMapContent { version, data }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn versions(metadata: &Value) -> [Option<u64>; 2] {
        let object = json!({"metadata": metadata});
        let secret = of_secret(serde_json::from_value(object.clone()).expect("a Secret"));
        let map = of_config_map(serde_json::from_value(object).expect("a ConfigMap"));
        match (secret, map) {
            (State::Secret(secret), State::ConfigMap(map)) => [secret.version, map.version],
            _ => panic!("they are there"),
        }
    }

    #[test]
    fn what_is_read_has_its_version() {
        assert_eq!(versions(&json!({"resourceVersion": "12"})), [Some(12); 2]);
        for unknown in [json!({}), json!({"resourceVersion": "x"})] {
            assert_eq!(versions(&unknown), [None; 2], "{unknown}");
        }
    }

    /// Also what changes nothing that is enforced: a sidecar that was told of it
    /// by another replica waits for it.
    #[test]
    fn another_version_is_news() {
        let read = |version: &str| {
            let object = json!({"metadata": {"resourceVersion": version}, "data": {"a": "b"}});
            of_config_map(serde_json::from_value(object).expect("a ConfigMap"))
        };
        assert!(read("12") == read("12"));
        assert!(read("12") != read("13"));
    }
}
