//! What operators send, from documents.

use serde_json::value::RawValue;
use sidegate_config::control::{FromOperator, Snapshot, SnapshotVersion, Withdrawn};
use sidegate_config::sidecar_config::SidecarConfig;
use sidegate_config::{Options, build, documents, validate};

/// The configuration that an operator makes of documents.
///
/// # Panics
/// They are not valid in a cluster.
#[must_use]
pub fn config(text: &str) -> SidecarConfig {
    let documents = documents::parse("gateway.yaml", text).expect("documents");
    let options = Options {
        // So that issuers can be fakes; sidecars of an operator fetch no keys
        // from loopback all the same.
        allow_loopback: true,
        built_in_ca: true,
        trust_domain: "cluster.local".to_owned(),
    };
    match validate(&documents, None, &options) {
        Ok(validated) => build(validated),
        Err(violations) => panic!("{violations}\n{text}"),
    }
}

/// A version in the first epoch.
#[must_use]
pub fn version(revision: u64, hash: &str) -> SnapshotVersion {
    SnapshotVersion {
        epoch: 1,
        revision,
        hash: hash.to_owned(),
        references: Default::default(),
    }
}

/// A snapshot of this configuration.
///
/// # Panics
/// It cannot be written.
#[must_use]
pub fn snapshot(revision: u64, config: &SidecarConfig) -> Snapshot {
    let text = serde_json::to_string(config).expect("JSON");
    Snapshot {
        version: version(revision, &config.version),
        config: RawValue::from_string(text).expect("JSON").into(),
        service_hosts: Vec::new(),
    }
}

/// There is no gateway any more.
#[must_use]
pub fn withdrawn(revision: u64) -> FromOperator {
    FromOperator::Withdrawn(Withdrawn {
        version: version(revision, ""),
    })
}
