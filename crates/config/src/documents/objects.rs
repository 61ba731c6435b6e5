//! Which kind of object a document is, and what every kind has in common.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use sidegate_api::names::ALLOWED_HOSTS_ANNOTATION;

use super::tree::{Content, Node};
use super::{
    ConfigMapDocument, Documents, GatewayDocument, Origin, ProviderDocument, SecretDocument,
    object, path, typed,
};
use crate::sidecar_config::SecretText;
use crate::validate::names;
use crate::violations::Violation;

const GROUP: &str = "sidegate.dev";
const API_VERSION: &str = "sidegate.dev/v1alpha1";

/// What `metadata` may hold; most of it is for the API server.
const METADATA: [&str; 14] = [
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Adds the object of a document, or of each item of a list.
pub(super) fn add(root: Node, documents: &mut Documents, violations: &mut Vec<Violation>) {
    let Some((api_version, kind)) = type_of(&root, violations) else {
        return;
    };
    if api_version == "v1" && kind == "List" {
        add_list(root, documents, violations);
        return;
    }
    let Some(reading) = Reading::of(&api_version, &kind, &root, violations) else {
        return;
    };
    let Some(identity) = Identity::of(&kind, root, violations) else {
        return;
    };
    let mut object = Object {
        identity,
        violations,
    };
    match reading {
        Reading::Gateway => {
            if let Some(spec) = object.spec(&["apiVersion", "kind", "metadata", "spec", "status"]) {
                let Identity {
                    namespace,
                    name,
                    origin,
                    ..
                } = object.identity;
                documents.gateways.push(GatewayDocument {
                    namespace,
                    name,
                    spec,
                    origin,
                });
            }
        }
        Reading::Provider => {
            if let Some(spec) = object.spec(&["apiVersion", "kind", "metadata", "spec", "status"]) {
                let Identity {
                    namespace,
                    name,
                    origin,
                    ..
                } = object.identity;
                documents.providers.push(ProviderDocument {
                    namespace,
                    name,
                    spec,
                    origin,
                });
            }
        }
        Reading::Secret => documents.secrets.push(object.secret()),
        Reading::ConfigMap => documents.config_maps.push(object.config_map()),
    }
}

/// The kinds that are read.
enum Reading {
    Gateway,
    Provider,
    Secret,
    ConfigMap,
}

/// What tells one object from another.
struct Identity {
    namespace: String,
    name: String,
    /// As violations say it.
    object: String,
    root: Arc<Node>,
    origin: Origin,
}

/// An object that is being read.
struct Object<'a> {
    identity: Identity,
    violations: &'a mut Vec<Violation>,
}

fn type_of(root: &Node, violations: &mut Vec<Violation>) -> Option<(String, String)> {
    if !matches!(root.content, Content::Map(_)) {
        let message = "is not an object: it must have `apiVersion`, `kind` and `metadata`";
        violations.push(Violation::new(root.place.clone(), message));
        return None;
    }
    let mut text = |field: &str| {
        let found = root
            .get(field)
            .and_then(Node::text)
            .filter(|text| !text.is_empty());
        if found.is_none() {
            let place = path::locate(root, field);
            violations.push(Violation::new(place, "must be there, as text").in_field(field));
        }
        found.map(str::to_owned)
    };
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    Some((api_version?, kind?))
}

fn add_list(root: Node, documents: &mut Documents, violations: &mut Vec<Violation>) {
    for entry in root.entries() {
        if !["apiVersion", "kind", "metadata", "items"].contains(&entry.key.as_str()) {
            let violation = Violation::new(entry.key_place.clone(), "is no field of a List");
            violations.push(violation.in_field(entry.key.clone()));
        }
    }
    let Content::Map(entries) = root.content else {
        return;
    };
    let items = entries.into_iter().find(|entry| entry.key == "items");
    match items.map(|entry| (entry.key_place, entry.value.content)) {
        Some((_, Content::List(items))) => {
            for item in items {
                add(item, documents, violations);
            }
        }
        Some((place, _)) => {
            violations.push(Violation::new(place, "must be a list").in_field("items"));
        }
        None => violations.push(Violation::new(root.place, "must be there").in_field("items")),
    }
}

// === impl Reading ===

impl Reading {
    /// How to read a kind; none for kinds of others, which may lie in the same
    /// directory.
    fn of(
        api_version: &str,
        kind: &str,
        root: &Node,
        violations: &mut Vec<Violation>,
    ) -> Option<Self> {
        let reading = match (api_version, kind) {
            (API_VERSION, "McpGateway") => Some(Self::Gateway),
            (API_VERSION, "LlmProvider") => Some(Self::Provider),
            ("v1", "Secret") => Some(Self::Secret),
            ("v1", "ConfigMap") => Some(Self::ConfigMap),
            _ => None,
        };
        // A misspelt kind or version of ours would otherwise be no gateway at
        // all, silently.
        let ours = api_version.contains(GROUP) || matches!(kind, "McpGateway" | "LlmProvider");
        if reading.is_none() && ours {
            let message = format!(
                "`{kind}` of `{api_version}` is not known: the kinds of `{API_VERSION}` are \
                 McpGateway and LlmProvider"
            );
            let place = path::locate(root, "kind");
            violations.push(Violation::new(place, message).in_field("kind"));
        }
        reading
    }
}

// === impl Identity ===

impl Identity {
    fn of(kind: &str, root: Node, violations: &mut Vec<Violation>) -> Option<Self> {
        let mut refuse = |field: &str, message: &str| {
            let violation = Violation::new(path::locate(&root, field), message);
            violations.push(violation.about(kind).in_field(field));
        };
        let Some(metadata) = root
            .get("metadata")
            .filter(|node| !node.entries().is_empty())
        else {
            refuse("metadata", "must be there, with a `name`");
            return None;
        };
        for entry in metadata.entries() {
            if !METADATA.contains(&entry.key.as_str()) {
                refuse(
                    &path::key("metadata", &entry.key),
                    "is no field of `metadata`",
                );
            }
        }
        for (field, message) in metadata_texts(metadata) {
            refuse(&field, message);
        }
        let namespace = match metadata.get("namespace").map(|node| &node.content) {
            None => Some("default".to_owned()),
            Some(Content::Text(text)) if names::is_dns_label(text) => Some(text.clone()),
            Some(_) => {
                refuse("metadata.namespace", names::DNS_LABEL);
                None
            }
        };
        let name = metadata
            .get("name")
            .and_then(Node::text)
            .filter(|name| names::is_dns_name(name));
        let name = name.map(str::to_owned);
        if name.is_none() {
            refuse("metadata.name", names::DNS_NAME);
        }
        let (namespace, name) = (namespace?, name?);
        let object = object(kind, &namespace, &name);
        let root = Arc::new(root);
        Some(Self {
            namespace,
            name,
            object,
            origin: Origin::new(Arc::clone(&root)),
            root,
        })
    }
}

/// What is wrong with labels and annotations. They are for others, but the API
/// server reads them.
fn metadata_texts(metadata: &Node) -> Vec<(String, &'static str)> {
    let mut wrong = Vec::new();
    for field in ["labels", "annotations"] {
        let Some(node) = metadata.get(field) else {
            continue;
        };
        let path = format!("metadata.{field}");
        if !matches!(node.content, Content::Map(_) | Content::Null) {
            wrong.push((path.clone(), "must map keys to texts"));
        }
        for entry in node.entries() {
            let path = path::key(&path, &entry.key);
            let is_key = match field {
                "labels" => names::is_label_key(&entry.key),
                _ => names::is_label_key(&entry.key.to_ascii_lowercase()),
            };
            if !is_key {
                wrong.push((path.clone(), names::LABEL_KEY));
            }
            match entry.value.text() {
                None => wrong.push((path, "must be text: quote it")),
                Some(text) if field == "labels" && !names::is_label_value(text) => {
                    wrong.push((path, names::LABEL_VALUE));
                }
                Some(_) => {}
            }
        }
    }
    wrong
}

// === impl Object ===

impl Object<'_> {
    fn refuse(&mut self, field: &str, message: impl Into<String>) {
        let place = self.identity.origin.place(field);
        let violation = Violation::new(place, message).about(self.identity.object.clone());
        self.violations.push(violation.in_field(field));
    }

    fn check_fields(&mut self, known: &[&str]) {
        let root = Arc::clone(&self.identity.root);
        for entry in root.entries() {
            if !known.contains(&entry.key.as_str()) {
                let message = format!("is not a field: there are {}", known.join(", "));
                self.refuse(&path::key("", &entry.key), message);
            }
        }
    }

    /// The typed `spec`.
    fn spec<T: DeserializeOwned>(&mut self, fields: &[&str]) -> Option<T> {
        self.check_fields(fields);
        let root = Arc::clone(&self.identity.root);
        let Some(spec) = root.get("spec") else {
            self.refuse("spec", "must be there");
            return None;
        };
        match typed::read(spec.to_json(), "spec") {
            Ok(spec) => Some(spec),
            Err(misfits) => {
                for misfit in misfits {
                    self.refuse(&misfit.path, misfit.message);
                }
                None
            }
        }
    }

    fn secret(mut self) -> SecretDocument {
        self.check_fields(&[
            "apiVersion",
            "kind",
            "metadata",
            "type",
            "data",
            "stringData",
            "immutable",
        ]);
        let root = Arc::clone(&self.identity.root);
        let secret_type = match root.get("type").map(|node| &node.content) {
            None => "Opaque".to_owned(),
            Some(Content::Text(text)) => text.clone(),
            Some(_) => {
                self.refuse("type", "must be text");
                String::new()
            }
        };
        let annotations = root
            .get("metadata")
            .and_then(|metadata| metadata.get("annotations"));
        let allowed_hosts = annotations
            .and_then(|annotations| annotations.get(ALLOWED_HOSTS_ANNOTATION))
            .and_then(Node::text)
            .map(str::to_owned);
        let mut data: BTreeMap<_, _> = self
            .decoded("data")
            .into_iter()
            .map(|(key, value)| (key, SecretText::from(value)))
            .collect();
        // As the API server does it: what is in both is taken from here.
        let plain = self.plain("stringData");
        data.extend(
            plain
                .into_iter()
                .map(|(key, value)| (key, SecretText::from(value))),
        );
        let Identity {
            namespace,
            name,
            origin,
            ..
        } = self.identity;
        SecretDocument {
            namespace,
            name,
            secret_type,
            allowed_hosts,
            data,
            origin,
        }
    }

    fn config_map(mut self) -> ConfigMapDocument {
        self.check_fields(&[
            "apiVersion",
            "kind",
            "metadata",
            "data",
            "binaryData",
            "immutable",
        ]);
        let mut data = self.plain("data");
        for (key, value) in self.decoded("binaryData") {
            if data.contains_key(&key) {
                self.refuse(&path::key("binaryData", &key), "is in `data` as well");
            }
            data.insert(key, value);
        }
        let Identity {
            namespace,
            name,
            origin,
            ..
        } = self.identity;
        ConfigMapDocument {
            namespace,
            name,
            data,
            origin,
        }
    }

    /// Values in plain text. The messages never quote a value.
    fn plain(&mut self, field: &str) -> BTreeMap<String, Vec<u8>> {
        self.values(field, |text| Ok(text.as_bytes().to_vec()))
    }

    /// Values in base64.
    fn decoded(&mut self, field: &str) -> BTreeMap<String, Vec<u8>> {
        self.values(field, |text| {
            let text: String = text
                .chars()
                .filter(|letter| !letter.is_ascii_whitespace())
                .collect();
            STANDARD
                .decode(text)
                .map_err(|_| "is not base64: encode it, or use `stringData`")
        })
    }

    fn values(
        &mut self,
        field: &str,
        decode: impl Fn(&str) -> Result<Vec<u8>, &'static str>,
    ) -> BTreeMap<String, Vec<u8>> {
        let root = Arc::clone(&self.identity.root);
        let mut values = BTreeMap::new();
        let Some(node) = root.get(field) else {
            return values;
        };
        if !matches!(node.content, Content::Map(_) | Content::Null) {
            self.refuse(field, "must map keys to values");
        }
        for entry in node.entries() {
            let path = path::key(field, &entry.key);
            if !names::is_data_key(&entry.key) {
                self.refuse(&path, names::DATA_KEY);
            }
            match entry.value.text().map(&decode) {
                Some(Ok(value)) => {
                    values.insert(entry.key.clone(), value);
                }
                Some(Err(message)) => self.refuse(&path, message),
                None => self.refuse(&path, "must be text: quote it"),
            }
        }
        values
    }
}
