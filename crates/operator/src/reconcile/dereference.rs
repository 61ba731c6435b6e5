//! The first step: what an object refers to, in its own namespace.

use std::collections::BTreeSet;

use sidegate_api::provider::{AwsSigV4, Credentials, ProviderClientCredentials};
use sidegate_api::reference::SecretKeyRef;
use sidegate_api::{LlmProviderSpec, McpGatewaySpec};
use sidegate_config::control::ReferenceVersions;
use sidegate_config::documents::{
    ConfigMapDocument, Documents, GatewayDocument, ProviderDocument, SecretDocument,
};
use sidegate_config::sidecar_config::SecretText;

use crate::key::Key;
use crate::references::{RefKind, Reference, References, State};

/// An object with everything that it refers to, as far as it can be read.
pub(super) struct Dereferenced {
    pub(super) documents: Documents,
    /// How new everything is that was read.
    pub(super) versions: ReferenceVersions,
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
    let gateway = GatewayDocument::new(&key.namespace, &key.name, spec.clone());
    let documents = Documents {
        gateways: vec![gateway],
        ..Documents::default()
    };
    read(references, key, &wanted(key, spec), documents)
}

/// The same for a provider.
pub(super) fn dereference_provider(
    references: &References,
    key: &Key,
    spec: &LlmProviderSpec,
) -> Option<Dereferenced> {
    let provider = ProviderDocument::new(&key.namespace, &key.name, spec.clone());
    let documents = Documents {
        providers: vec![provider],
        ..Documents::default()
    };
    read(references, key, &wanted_by_provider(key, spec), documents)
}

fn read(
    references: &References,
    key: &Key,
    wanted: &[(String, Reference)],
    mut documents: Documents,
) -> Option<Dereferenced> {
    let all: BTreeSet<_> = wanted
        .iter()
        .map(|(_, reference)| reference.clone())
        .collect();
    references.track(key, all.clone());
    let (mut missing, mut versions) = (Vec::new(), Vec::new());
    let mut read = |reference: &Reference, version: Option<u64>| {
        let name = format!("{}/{}", reference.kind, reference.key.name);
        versions.extend(version.map(|version| (name, version)));
    };
    for reference in all {
        match references.read(&reference) {
            State::Awaited => return None,
            State::NotFound => missing.extend(missing_from(wanted, &reference, false)),
            State::Forbidden => missing.extend(missing_from(wanted, &reference, true)),
            State::Secret(content) => {
                read(&reference, content.version);
                let data = content.data.iter();
                let data = data.map(|(key, value)| (key.clone(), SecretText::from(value.clone())));
                let secret = SecretDocument::new(
                    &key.namespace,
                    &reference.key.name,
                    &content.secret_type,
                    data.collect(),
                );
                let allowed_hosts = content.allowed_hosts.clone();
                documents.secrets.push(secret.allowing(allowed_hosts));
            }
            State::ConfigMap(content) => {
                read(&reference, content.version);
                documents.config_maps.push(ConfigMapDocument {
                    namespace: key.namespace.to_string(),
                    name: reference.key.name.to_string(),
                    data: content.data.clone(),
                    origin: Default::default(),
                });
            }
        }
    }
    Some(Dereferenced {
        documents,
        versions: versions.into_iter().collect(),
        missing,
    })
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
    let reference = |kind, name: &str| beside(key, kind, name);
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

fn wanted_by_provider(key: &Key, spec: &LlmProviderSpec) -> Vec<(String, Reference)> {
    let secrets = spec.credentials.iter().flat_map(secrets_of);
    let mut wanted: Vec<_> = secrets
        .map(|(field, secret)| {
            let reference = beside(key, RefKind::Secret, &secret.name);
            (format!("spec.credentials.{field}"), reference)
        })
        .collect();
    if let Some(tls) = &spec.tls {
        let reference = beside(key, RefKind::ConfigMap, &tls.ca_ref.name);
        wanted.push(("spec.tls.caRef".to_owned(), reference));
    }
    wanted
}

fn secrets_of(credentials: &Credentials) -> Vec<(&'static str, &SecretKeyRef)> {
    let Credentials {
        secret_key_ref,
        aws_sig_v4,
        client_credentials,
    } = credentials;
    let mut secrets = Vec::new();
    if let Some(key) = secret_key_ref {
        secrets.push(("secretKeyRef", key));
    }
    if let Some(keys) = aws_sig_v4 {
        let AwsSigV4 {
            region: _,
            access_key_id_ref,
            secret_access_key_ref,
            session_token_ref,
        } = keys;
        secrets.push(("awsSigV4.accessKeyIdRef", access_key_id_ref));
        secrets.push(("awsSigV4.secretAccessKeyRef", secret_access_key_ref));
        let token = session_token_ref.as_ref();
        secrets.extend(token.map(|token| ("awsSigV4.sessionTokenRef", token)));
    }
    if let Some(client) = client_credentials {
        let ProviderClientCredentials {
            token_url: _,
            client_id_ref,
            client_secret_ref,
            scopes: _,
        } = client;
        secrets.push(("clientCredentials.clientIdRef", client_id_ref));
        secrets.push(("clientCredentials.clientSecretRef", client_secret_ref));
    }
    secrets
}

/// An object of the same namespace. There is no other way to name one.
fn beside(key: &Key, kind: RefKind, name: &str) -> Reference {
    Reference {
        kind,
        key: Key {
            namespace: key.namespace.clone(),
            name: name.into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sidegate_config::control::MAX_REFERENCES;

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

    /// More than the schema permits: keys come from one place only.
    #[test]
    fn a_version_has_room_for_all_that_a_gateway_refers_to() {
        let issuer = |number: u32| {
            json!({"issuer": format!("https://{number}/"), "jwks": {
                "uri": "https://a/k", "caRef": {"name": format!("ca{number}")},
                "configMapKeyRef": {"name": format!("keys{number}"), "key": "k"},
            }})
        };
        let issuers: Vec<_> = (0..8).map(issuer).collect();
        let spec = json!({
            "selector": {"matchLabels": {"app": "a"}},
            "tls": {"certificateRef": {"name": "tls"}},
            "authentication": {"jwt": issuers},
        });
        let spec = serde_json::from_value(spec).expect("a spec");
        let wanted = wanted(&Key::new("crm", "a"), &spec);
        assert_eq!(wanted.len(), 17);
        assert!(wanted.len() <= MAX_REFERENCES);
    }

    #[test]
    fn a_provider_wants_what_its_credentials_and_its_authority_are_in() {
        let secret = |name: &str| json!({"name": name, "key": "k"});
        let wanted = |credentials| {
            let spec = json!({
                "type": "Bedrock", "credentials": credentials, "tls": {"caRef": {"name": "ca"}},
            });
            let spec = serde_json::from_value(spec).expect("a spec");
            let wanted = wanted_by_provider(&Key::new("ai", "a"), &spec).into_iter();
            wanted
                .map(|(field, reference)| format!("{field}: {reference}"))
                .collect::<Vec<_>>()
        };
        let ca = "spec.tls.caRef: ConfigMap ai/ca";
        assert_eq!(
            wanted(json!({"secretKeyRef": secret("one")})),
            ["spec.credentials.secretKeyRef: Secret ai/one", ca]
        );
        let keys = json!({
            "region": "us-east-1", "accessKeyIdRef": secret("one"),
            "secretAccessKeyRef": secret("two"), "sessionTokenRef": secret("three"),
        });
        assert_eq!(
            wanted(json!({ "awsSigV4": keys })),
            [
                "spec.credentials.awsSigV4.accessKeyIdRef: Secret ai/one",
                "spec.credentials.awsSigV4.secretAccessKeyRef: Secret ai/two",
                "spec.credentials.awsSigV4.sessionTokenRef: Secret ai/three",
                ca,
            ]
        );
        let client = json!({
            "tokenUrl": "https://idp/", "clientIdRef": secret("one"),
            "clientSecretRef": secret("two"),
        });
        assert_eq!(
            wanted(json!({ "clientCredentials": client })),
            [
                "spec.credentials.clientCredentials.clientIdRef: Secret ai/one",
                "spec.credentials.clientCredentials.clientSecretRef: Secret ai/two",
                ca,
            ]
        );
    }
}
