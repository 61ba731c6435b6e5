//! Documents as people write them: `McpGateway`, `LlmProvider`, and the
//! `Secret` and `ConfigMap` objects that they refer to.
//!
//! This is the only place that reads YAML. Text becomes a tree with positions
//! (which refuses what YAML readers understand differently), the tree becomes
//! JSON, and JSON becomes the types of `sidegate-api`, as in a cluster. So a
//! file that `kubectl apply` takes means the same here.

pub(crate) mod files;
mod objects;
pub(crate) mod path;
mod scalar;
mod second_reading;
pub(crate) mod tree;
mod typed;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use sidegate_api::{LlmProviderSpec, McpGatewaySpec};

use self::tree::Node;
use crate::sidecar_config::SecretText;
use crate::violations::{Place, Violation, Violations};

/// The largest file that is read.
pub const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// Everything that was read.
#[derive(Debug, Clone, Default)]
pub struct Documents {
    /// `McpGateway` objects.
    pub gateways: Vec<GatewayDocument>,
    /// `LlmProvider` objects.
    pub providers: Vec<ProviderDocument>,
    /// `Secret` objects.
    pub secrets: Vec<SecretDocument>,
    /// `ConfigMap` objects.
    pub config_maps: Vec<ConfigMapDocument>,
}

/// An `McpGateway`.
#[derive(Debug, Clone)]
pub struct GatewayDocument {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What was asked for.
    pub spec: McpGatewaySpec,
    /// Where it was read.
    pub origin: Origin,
}

/// An `LlmProvider`.
#[derive(Debug, Clone)]
pub struct ProviderDocument {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What was asked for.
    pub spec: LlmProviderSpec,
    /// Where it was read.
    pub origin: Origin,
}

/// A `Secret`.
#[derive(Debug, Clone)]
pub struct SecretDocument {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its type, such as `kubernetes.io/tls`.
    pub secret_type: String,
    /// The hosts that it may be sent to, as its annotation says it.
    pub allowed_hosts: Option<String>,
    /// Its values, decoded.
    pub data: BTreeMap<String, SecretText>,
    /// Where it was read.
    pub origin: Origin,
}

/// A `ConfigMap`.
#[derive(Debug, Clone)]
pub struct ConfigMapDocument {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its values, `data` and decoded `binaryData` alike.
    pub data: BTreeMap<String, Vec<u8>>,
    /// Where it was read.
    pub origin: Origin,
}

/// Where an object was read, so that what is wrong with it can be pointed at.
/// The default is an object that was made in memory.
#[derive(Clone, Default)]
pub struct Origin {
    root: Option<Arc<Node>>,
}

/// Reads the `*.yaml` and `*.yml` files of a directory, but not of directories
/// below it, and not files whose name begins with a dot.
///
/// # Errors
/// Everything that is wrong with them.
pub fn read_dir(dir: &Path) -> Result<Documents, Violations> {
    parse_all(&files::read_each(dir)?)
}

/// Reads one file.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read_file(file: &Path) -> Result<Documents, Violations> {
    let text = files::read_file(file)?;
    parse(&file.display().to_string(), &text)
}

/// Reads documents from text; `name` is what violations call it.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(name: &str, text: &str) -> Result<Documents, Violations> {
    let file: Arc<str> = name.into();
    // Editors of one system put a mark in front that is no part of the text.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let roots = tree::read(&file, text)?;
    second_reading::agree(&file, text, &roots)?;
    let mut documents = Documents::default();
    let mut violations = Vec::new();
    for root in roots {
        objects::add(root, &mut documents, &mut violations);
    }
    violations.extend(documents.repeated());
    violations.into_iter().collect::<Violations>().or(documents)
}

/// Reads documents from the texts of several files.
pub(crate) fn parse_all(texts: &files::Texts) -> Result<Documents, Violations> {
    let mut all = Documents::default();
    let mut violations = Vec::new();
    for (path, text) in texts {
        let parsed = match text {
            Ok(text) => parse(&path.display().to_string(), text),
            Err(violations) => Err(violations.clone()),
        };
        match parsed {
            Ok(documents) => all.append(documents),
            Err(found) => violations.extend(found),
        }
    }
    violations.extend(all.repeated());
    violations.into_iter().collect::<Violations>().or(all)
}

// === impl Documents ===

impl Documents {
    /// Adds documents that were read elsewhere.
    ///
    /// # Errors
    /// An object that is there twice. Everything was added all the same.
    pub fn merge(&mut self, other: Self) -> Result<(), Violations> {
        self.append(other);
        self.repeated().into_iter().collect::<Violations>().or(())
    }

    /// The Secret of that name.
    #[must_use]
    pub fn secret(&self, namespace: &str, name: &str) -> Option<&SecretDocument> {
        self.secrets
            .iter()
            .find(|secret| secret.namespace == namespace && secret.name == name)
    }

    /// The ConfigMap of that name.
    #[must_use]
    pub fn config_map(&self, namespace: &str, name: &str) -> Option<&ConfigMapDocument> {
        self.config_maps
            .iter()
            .find(|map| map.namespace == namespace && map.name == name)
    }

    fn append(&mut self, other: Self) {
        let Self {
            gateways,
            providers,
            secrets,
            config_maps,
        } = other;
        self.gateways.extend(gateways);
        self.providers.extend(providers);
        self.secrets.extend(secrets);
        self.config_maps.extend(config_maps);
    }

    /// Every object that was there before. `kubectl` would take the last one,
    /// which nobody can see in the files.
    fn repeated(&self) -> Vec<Violation> {
        let mut first = BTreeMap::new();
        let mut repeated = Vec::new();
        for (object, origin) in self.objects() {
            let place = origin.place("metadata.name");
            match first.get(&object) {
                None => {
                    first.insert(object, place);
                }
                Some(before) => {
                    let message = format!("is already in {}:{}", before.file, before.line);
                    repeated.push(Violation::new(place, message).about(object));
                }
            }
        }
        repeated
    }

    fn objects(&self) -> impl Iterator<Item = (String, &Origin)> {
        let gateways = self
            .gateways
            .iter()
            .map(|document| (document.object(), &document.origin));
        let providers = self
            .providers
            .iter()
            .map(|document| (document.object(), &document.origin));
        let secrets = self.secrets.iter().map(|document| {
            (
                object("Secret", &document.namespace, &document.name),
                &document.origin,
            )
        });
        let config_maps = self.config_maps.iter().map(|document| {
            (
                object("ConfigMap", &document.namespace, &document.name),
                &document.origin,
            )
        });
        gateways.chain(providers).chain(secrets).chain(config_maps)
    }
}

/// How violations call an object.
pub(crate) fn object(kind: &str, namespace: &str, name: &str) -> String {
    format!("{kind} {namespace}/{name}")
}

// === impl GatewayDocument ===

impl GatewayDocument {
    /// A gateway that was not read from a file.
    #[must_use]
    pub fn new(namespace: &str, name: &str, spec: McpGatewaySpec) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            spec,
            origin: Origin::default(),
        }
    }

    pub(crate) fn object(&self) -> String {
        object("McpGateway", &self.namespace, &self.name)
    }
}

// === impl ProviderDocument ===

impl ProviderDocument {
    /// A provider that was not read from a file.
    #[must_use]
    pub fn new(namespace: &str, name: &str, spec: LlmProviderSpec) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            spec,
            origin: Origin::default(),
        }
    }

    pub(crate) fn object(&self) -> String {
        object("LlmProvider", &self.namespace, &self.name)
    }
}

// === impl SecretDocument ===

impl SecretDocument {
    /// A Secret that was not read from a file.
    #[must_use]
    pub fn new(
        namespace: &str,
        name: &str,
        secret_type: &str,
        data: BTreeMap<String, SecretText>,
    ) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            secret_type: secret_type.to_owned(),
            allowed_hosts: None,
            data,
            origin: Origin::default(),
        }
    }

    /// The same with an annotation of hosts that it may be sent to.
    #[must_use]
    pub fn allowing(mut self, hosts: Option<String>) -> Self {
        self.allowed_hosts = hosts;
        self
    }
}

// === impl Origin ===

impl Origin {
    pub(crate) fn new(root: Arc<Node>) -> Self {
        Self { root: Some(root) }
    }

    /// Where a field is, or would be.
    pub(crate) fn place(&self, path: &str) -> Place {
        match &self.root {
            Some(root) => path::locate(root, path),
            None => Place::file("(in memory)"),
        }
    }
}

impl fmt::Debug for Origin {
    /// The tree holds the values of Secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { file, line, .. } = self.place("");
        write!(f, "{file}:{line}")
    }
}

#[cfg(test)]
mod tests;
