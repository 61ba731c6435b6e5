//! The Secret that holds the authority: from it and into it.
//!
//! A Secret that was damaged is an error that says where, never what: nothing
//! of it is quoted.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt as _;
use serde::{Deserialize, Serialize};
use sidegate_tls::{Authority, PrivateKeyPem};
use thiserror::Error;

use super::purpose::Purpose;
use super::roots::{InvalidSet, Root, RootSet};
use super::rotation::Times;
use crate::ours::{MANAGED_BY, MANAGED_BY_US, is_ours};

/// The annotation with the epoch of snapshots.
pub(super) const EPOCH: &str = "sidegate.dev/epoch";
/// The annotation by which a person asks for new roots.
pub(super) const ROTATE: &str = "sidegate.dev/rotate";
const OPAQUE: &str = "Opaque";

/// The authority as the Secret holds it.
#[derive(Clone)]
pub(super) struct Stored {
    pub(super) epoch: u64,
    pub(super) workload: Arc<RootSet>,
    pub(super) endpoints: Arc<RootSet>,
    /// What a person asked for.
    pub(super) requests: Requests,
    /// The Secret's metadata, with the version that was read.
    pub(super) metadata: ObjectMeta,
}

/// The sets that a person wants new roots for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Requests {
    pub(super) purposes: BTreeSet<Purpose>,
    /// What else was written there. It stays, so that its author sees it.
    pub(super) unknown: Vec<String>,
}

/// Why a Secret is not the authority.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum InvalidSecret {
    /// It is somebody else's.
    #[error("it is not the operator's: it lacks the label {MANAGED_BY}={MANAGED_BY_US}")]
    Foreign,
    /// It has another type.
    #[error("its type is not {OPAQUE}")]
    Type,
    /// The annotation is missing or no number.
    #[error(
        "its annotation {EPOCH} is not a positive number: set the one that it had, \"1\" at first"
    )]
    Epoch,
    /// A key is missing.
    #[error("`{0}` is missing")]
    Missing(Purpose),
    /// A value is not what was written there. Its text is not told.
    #[error("`{purpose}` cannot be read (line {line}, column {column})")]
    Unreadable {
        purpose: Purpose,
        line: usize,
        column: usize,
    },
    /// Certificate and key of a root cannot be used.
    #[error("root {position} of `{purpose}`: {reason}")]
    Root {
        purpose: Purpose,
        /// Counted from 1.
        position: usize,
        reason: String,
    },
    /// The set is none.
    #[error("`{0}` {1}")]
    Set(Purpose, InvalidSet),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenSet {
    roots: Vec<WrittenRoot>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WrittenRoot {
    certificate: String,
    key: String,
    trusted_since: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signs_since: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retired_since: Option<i64>,
}

// === impl Stored ===

impl Stored {
    /// What a Secret holds.
    pub(super) fn read(secret: &Secret) -> Result<Self, InvalidSecret> {
        if !is_ours(secret) {
            return Err(InvalidSecret::Foreign);
        }
        if secret.type_.as_deref() != Some(OPAQUE) {
            return Err(InvalidSecret::Type);
        }
        let annotations = secret.annotations();
        let epoch = annotations.get(EPOCH).and_then(|text| text.parse().ok());
        let data = secret.data.as_ref();
        let set = |purpose: Purpose| {
            let value = data.and_then(|data| data.get(purpose.as_str()));
            let value = value.ok_or(InvalidSecret::Missing(purpose))?;
            read_set(purpose, &value.0).map(Arc::new)
        };
        Ok(Self {
            epoch: epoch
                .filter(|epoch| *epoch > 0)
                .ok_or(InvalidSecret::Epoch)?,
            workload: set(Purpose::Workload)?,
            endpoints: set(Purpose::Endpoints)?,
            requests: Requests::read(annotations.get(ROTATE).map_or("", String::as_str)),
            metadata: secret.metadata.clone(),
        })
    }

    /// A Secret that holds this. What else its metadata says stays.
    pub(super) fn write(&self) -> Result<Secret, serde_json::Error> {
        let mut metadata = self.metadata.clone();
        metadata.managed_fields = None;
        let labels = metadata.labels.get_or_insert_default();
        labels.insert(MANAGED_BY.to_owned(), MANAGED_BY_US.to_owned());
        let annotations = metadata.annotations.get_or_insert_default();
        annotations.insert(EPOCH.to_owned(), self.epoch.to_string());
        if self.requests == Requests::default() {
            annotations.remove(ROTATE);
        } else {
            annotations.insert(ROTATE.to_owned(), self.requests.to_string());
        }
        let mut data = BTreeMap::new();
        for purpose in Purpose::ALL {
            let value = write_set(self.set(purpose))?;
            data.insert(purpose.as_str().to_owned(), ByteString(value));
        }
        Ok(Secret {
            metadata,
            type_: Some(OPAQUE.to_owned()),
            data: Some(data),
            ..Secret::default()
        })
    }

    pub(super) fn set(&self, purpose: Purpose) -> &Arc<RootSet> {
        match purpose {
            Purpose::Workload => &self.workload,
            Purpose::Endpoints => &self.endpoints,
        }
    }

    pub(super) fn set_mut(&mut self, purpose: Purpose) -> &mut Arc<RootSet> {
        match purpose {
            Purpose::Workload => &mut self.workload,
            Purpose::Endpoints => &mut self.endpoints,
        }
    }
}

fn read_set(purpose: Purpose, text: &[u8]) -> Result<RootSet, InvalidSecret> {
    // The parser's own message would quote what it found.
    let written: WrittenSet =
        serde_json::from_slice(text).map_err(|error| InvalidSecret::Unreadable {
            purpose,
            line: error.line(),
            column: error.column(),
        })?;
    let roots = written.roots.into_iter().enumerate().map(|(index, root)| {
        let WrittenRoot {
            certificate,
            key,
            trusted_since,
            signs_since,
            retired_since,
        } = root;
        let key = PrivateKeyPem::from(key.into_bytes());
        let authority =
            Authority::from_pem(&certificate, &key).map_err(|error| InvalidSecret::Root {
                purpose,
                position: index + 1,
                reason: error.to_string(),
            })?;
        Ok(Root {
            authority: Arc::new(authority),
            times: Times {
                trusted_since,
                signs_since,
                retired_since,
            },
        })
    });
    let roots = roots.collect::<Result<Vec<_>, _>>()?;
    RootSet::new(roots).map_err(|invalid| InvalidSecret::Set(purpose, invalid))
}

fn write_set(set: &RootSet) -> Result<Vec<u8>, serde_json::Error> {
    let roots = set.roots().iter().map(|root| {
        let Times {
            trusted_since,
            signs_since,
            retired_since,
        } = root.times;
        let key = root.authority.key_pem().expose();
        WrittenRoot {
            certificate: root.authority.certificate_pem().to_owned(),
            key: String::from_utf8_lossy(key).into_owned(),
            trusted_since,
            signs_since,
            retired_since,
        }
    });
    serde_json::to_vec(&WrittenSet {
        roots: roots.collect(),
    })
}

// === impl Requests ===

impl Requests {
    /// Names with commas between them.
    fn read(text: &str) -> Self {
        let mut requests = Self::default();
        for word in text.split(',').map(str::trim).filter(|it| !it.is_empty()) {
            let known = Purpose::ALL.into_iter().find(|it| it.as_str() == word);
            match known {
                Some(purpose) => {
                    requests.purposes.insert(purpose);
                }
                None => requests.unknown.push(word.to_owned()),
            }
        }
        requests
    }
}

impl fmt::Display for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.purposes.iter().map(|it| it.as_str());
        let words: Vec<_> = known
            .chain(self.unknown.iter().map(String::as_str))
            .collect();
        f.write_str(&words.join(","))
    }
}
