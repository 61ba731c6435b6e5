//! The first step: what a gateway refers to, in its own namespace.

use std::collections::BTreeSet;

use sidegate_api::McpGatewaySpec;
use sidegate_config::documents::{ConfigMapDocument, Documents, GatewayDocument, SecretDocument};
use sidegate_config::sidecar_config::SecretText;

use crate::key::Key;
use crate::references::{RefKind, Reference, References, State};

/// A gateway with everything that it refers to, as far as it can be read.
pub(super) struct Dereferenced {
    pub(super) documents: Documents,
    pub(super) missing: Vec<Missing>,
}

/// Something that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Missing {
    /// The field that refers to it.
    pub(super) field: String,
    /// What it is.
    pub(super) reference: Reference,
    /// Whether it may not be read; else it does not exist.
    pub(super) forbidden: bool,
}

/// Collects what a gateway refers to. None while an answer is awaited; it asks
/// for the reconcile when it comes.
pub(super) fn dereference(
    references: &References,
    key: &Key,
    spec: &McpGatewaySpec,
) -> Option<Dereferenced> {
    let wanted = wanted(key, spec);
    let all: BTreeSet<_> = wanted
        .iter()
        .map(|(_, reference)| reference.clone())
        .collect();
    references.track(key, all.clone());
    let gateway = GatewayDocument::new(&key.namespace, &key.name, spec.clone());
    let mut documents = Documents {
        gateways: vec![gateway],
        ..Documents::default()
    };
    let mut missing = Vec::new();
    for reference in all {
        match references.read(&reference) {
            State::Awaited => return None,
            State::NotFound => missing.extend(missing_from(&wanted, &reference, false)),
            State::Forbidden => missing.extend(missing_from(&wanted, &reference, true)),
            State::Secret(content) => {
                let data = content.data.iter();
                let data = data.map(|(key, value)| (key.clone(), SecretText::from(value.clone())));
                documents.secrets.push(SecretDocument::new(
                    &key.namespace,
                    &reference.key.name,
                    &content.secret_type,
                    data.collect(),
                ));
            }
            State::ConfigMap(data) => documents.config_maps.push(ConfigMapDocument {
                namespace: key.namespace.to_string(),
                name: reference.key.name.to_string(),
                data: data.as_ref().clone(),
                origin: Default::default(),
            }),
        }
    }
    Some(Dereferenced { documents, missing })
}

fn missing_from(
    wanted: &[(String, Reference)],
    reference: &Reference,
    forbidden: bool,
) -> Vec<Missing> {
    wanted
        .iter()
        .filter(|(_, wanted)| wanted == reference)
        .map(|(field, reference)| Missing {
            field: field.clone(),
            reference: reference.clone(),
            forbidden,
        })
        .collect()
}

/// What a gateway refers to, by field. What this version does not serve is not
/// read.
fn wanted(key: &Key, spec: &McpGatewaySpec) -> Vec<(String, Reference)> {
    let reference = |kind, name: &str| Reference {
        kind,
        key: Key {
            namespace: key.namespace.clone(),
            name: name.into(),
        },
    };
    let mut wanted = Vec::new();
    if let Some(certificate) = &spec.tls.certificate_ref {
        let field = "spec.tls.certificateRef".to_owned();
        wanted.push((field, reference(RefKind::Secret, &certificate.name)));
    }
    for (index, issuer) in spec.authentication.jwt.iter().enumerate() {
        let field = format!("spec.authentication.jwt[{index}].jwks");
        if let Some(ca) = &issuer.jwks.ca_ref {
            let reference = reference(RefKind::ConfigMap, &ca.name);
            wanted.push((format!("{field}.caRef"), reference));
        }
        if let Some(keys) = &issuer.jwks.config_map_key_ref {
            let reference = reference(RefKind::ConfigMap, &keys.name);
            wanted.push((format!("{field}.configMapKeyRef"), reference));
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_reference_that_is_served_is_wanted_in_the_own_namespace() {
        let spec = json!({
            "selector": {"matchLabels": {"app": "a"}},
            "tls": {"certificateRef": {"name": "tls"}},
            "authentication": {"jwt": [
                {"issuer": "https://a/", "jwks": {"uri": "https://a/k", "caRef": {"name": "ca"}}},
                {"issuer": "https://b/",
                 "jwks": {"configMapKeyRef": {"name": "keys", "key": "jwks.json"}}},
            ]},
        });
        let spec = serde_json::from_value(spec).expect("a spec");
        let wanted: Vec<_> = wanted(&Key::new("crm", "a"), &spec)
            .into_iter()
            .map(|(field, reference)| format!("{field}: {reference}"))
            .collect();
        assert_eq!(
            wanted,
            [
                "spec.tls.certificateRef: Secret crm/tls",
                "spec.authentication.jwt[0].jwks.caRef: ConfigMap crm/ca",
                "spec.authentication.jwt[1].jwks.configMapKeyRef: ConfigMap crm/keys",
            ]
        );
    }
}
