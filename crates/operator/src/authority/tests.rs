//! The authority without a cluster.

mod endpoint;
mod rotation;
mod signing;
mod stored;

use std::sync::Arc;
use std::time::Duration;

use kube::api::ObjectMeta;
use sidegate_policy::clock::{Clock as _, SystemClock};

use super::purpose::Purpose;
use super::roots::RootSet;
use super::settings::{AuthoritySettings, Lifetimes};
use super::stored::{Requests, Stored};
use super::{Trust, TrustReceiver, WorkloadIdentity};
use crate::names::AUTHORITY_SECRET;

pub(super) fn lifetimes(root: u64, leaf: u64, spread: u64) -> Lifetimes {
    Lifetimes {
        root: Duration::from_secs(root),
        leaf: Duration::from_secs(leaf),
        spread: Duration::from_secs(spread),
    }
}

/// Settings whose endpoints are on this machine.
fn settings() -> AuthoritySettings {
    let mut settings = AuthoritySettings::new("sidegate-system", "cluster.local.");
    settings.endpoint_names.push("localhost".to_owned());
    settings
}

fn now() -> i64 {
    SystemClock.unix_seconds()
}

fn stored() -> Stored {
    stored_since(now())
}

fn stored_since(since: i64) -> Stored {
    let settings = settings();
    let set = |purpose| {
        let set = RootSet::create(purpose, settings.lifetimes(purpose), since);
        Arc::new(set.expect("a set"))
    };
    Stored {
        epoch: 1,
        workload: set(Purpose::Workload),
        endpoints: set(Purpose::Endpoints),
        requests: Requests::default(),
        metadata: ObjectMeta {
            name: Some(AUTHORITY_SECRET.to_owned()),
            namespace: Some("sidegate-system".to_owned()),
            ..ObjectMeta::default()
        },
    }
}

pub(crate) fn trust() -> Arc<Trust> {
    Arc::new(Trust::new(&stored(), &settings()))
}

fn identity() -> WorkloadIdentity {
    WorkloadIdentity {
        trust_domain: "cluster.local".to_owned(),
        namespace: "crm".to_owned(),
        service_account: "support".to_owned(),
        pod_uid: "7d4f0f1e-5f0b-4a9c-8f2d-1b3c5d7e9f01".to_owned(),
        dns_names: vec!["support.crm.svc".to_owned()],
    }
}
