//! Probes that the sidecar runs for the other containers.
//!
//! A server that listens on loopback cannot be reached by the kubelet. Its
//! probes and HTTP hooks therefore ask the sidecar's health port, at
//! `/app-health/<container>/<check>`, and the sidecar does what the pod's
//! author wrote. The originals travel in one variable of the sidecar, as the
//! JSON text of [`RewrittenProbes`].
//!
//! Whoever reaches the health port can ask these paths. A sidecar therefore
//! probes at most once per period, runs a hook until it succeeds and not again,
//! and a `prestop` only while it drains.

mod probe;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::probe::{Check, HttpHeader, RewrittenProbe, Scheme, Target};

/// The sidecar's variable with the JSON text of [`RewrittenProbes`].
pub const PROBES_VARIABLE: &str = "SIDEGATE_PROBES";
/// Longest JSON text: the kernel takes 128 KiB for one variable.
const MAX_BYTES: usize = 64 * 1024;
const PATH_PREFIX: &str = "/app-health/";

/// What the sidecar runs for each container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RewrittenProbes {
    containers: BTreeMap<String, ContainerProbes>,
}

/// What the sidecar runs for one container.
pub type ContainerProbes = BTreeMap<Check, RewrittenProbe>;

/// Probes that cannot be handed to a sidecar.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidProbes {
    /// Together they do not fit into a variable.
    #[error(
        "the probes of the pod take {bytes} bytes, {MAX_BYTES} at most: use shorter paths and \
         headers"
    )]
    TooLarge {
        /// What they take.
        bytes: usize,
    },
    /// The text is not one of ours.
    #[error("not a text of rewritten probes: {0}")]
    Unreadable(String),
    /// A probe asks the sidecar for something that it was never told.
    #[error(
        "`{field}` of container `{container}` asks for `{path}` of a sidecar, which knows nothing \
         of it: write the probe of the server itself"
    )]
    Unknown {
        /// The container.
        container: String,
        /// The probe or hook.
        field: &'static str,
        /// What it asks for.
        path: String,
    },
}

// === impl RewrittenProbes ===

impl RewrittenProbes {
    /// Reads the text of a variable.
    ///
    /// # Errors
    /// [`InvalidProbes`] when the text is too long or not of this form.
    pub fn from_json(text: &str) -> Result<Self, InvalidProbes> {
        check_size(text)?;
        let read = &mut serde_json::Deserializer::from_str(text);
        let probes = serde_path_to_error::deserialize(&mut *read);
        let probes = probes.map_err(|it| unreadable(&it.path().to_string(), it.inner()))?;
        read.end().map_err(|it| unreadable(".", &it))?;
        Ok(probes)
    }

    /// The text for the variable.
    ///
    /// # Errors
    /// [`InvalidProbes::TooLarge`] when no variable can hold it.
    pub fn to_json(&self) -> Result<String, InvalidProbes> {
        let text = serde_json::to_string(self).map_err(|it| unreadable(".", &it))?;
        check_size(&text)?;
        Ok(text)
    }

    /// The path at which the kubelet asks.
    #[must_use]
    pub fn path(container: &str, check: Check) -> String {
        format!("{PATH_PREFIX}{container}/{check}")
    }

    /// What a request for `path` is about.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<(&str, Check, &RewrittenProbe)> {
        let (container, check) = path.strip_prefix(PATH_PREFIX)?.split_once('/')?;
        let (container, probes) = self.containers.get_key_value(container)?;
        let (check, probe) = probes.iter().find(|(it, _)| it.as_str() == check)?;
        Some((container, *check, probe))
    }

    /// Every probe, by container.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Check, &RewrittenProbe)> {
        self.containers.iter().flat_map(|(container, probes)| {
            let probes = probes.iter();
            probes.map(|(check, probe)| (container.as_str(), *check, probe))
        })
    }

    /// Adds a probe, or replaces what was known of it.
    pub fn insert(&mut self, container: &str, check: Check, probe: RewrittenProbe) {
        let probes = self.containers.entry(container.to_owned()).or_default();
        probes.insert(check, probe);
    }

    /// Whether a path is one of those that [`RewrittenProbes::path`] gives.
    #[must_use]
    pub fn is_path(path: &str) -> bool {
        path.starts_with(PATH_PREFIX)
    }
}

/// Says where, not what: a text that stands in the wrong place may be the value
/// of a header.
fn unreadable(path: &str, error: &serde_json::Error) -> InvalidProbes {
    let what = if error.is_data() {
        "it is unknown or of the wrong type"
    } else {
        "this is not JSON of the expected form"
    };
    let column = error.column();
    InvalidProbes::Unreadable(format!("`{path}`, column {column}: {what}"))
}

fn check_size(text: &str) -> Result<(), InvalidProbes> {
    if text.len() <= MAX_BYTES {
        return Ok(());
    }
    Err(InvalidProbes::TooLarge { bytes: text.len() })
}

#[cfg(test)]
mod tests;
