//! What the authority is told.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use sidegate_policy::clock::{Clock, SystemClock};

use super::purpose::Purpose;
use crate::names::{INJECTOR_CONFIGURATION, NAME};

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Where the authority is kept, and how long things last.
#[derive(Debug, Clone)]
pub struct AuthoritySettings {
    /// The operator's own namespace, where the Secret is.
    pub namespace: String,
    /// DNS names of the operator's endpoints.
    pub endpoint_names: Vec<String>,
    /// The name of the `MutatingWebhookConfiguration` that is told the roots.
    pub webhook_configuration: String,
    /// For the certificates of sidecars.
    pub workload: Lifetimes,
    /// For the certificates of the operator's endpoints.
    pub endpoints: Lifetimes,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// How often the leader looks whether a root's time has come.
    pub look_every: Duration,
}

/// How long roots and what they sign last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// A root. The next one is made after two thirds of it.
    pub root: Duration,
    /// What a root signs.
    pub leaf: Duration,
    /// Longer than a new root takes to reach everybody who trusts: so long it
    /// is trusted before it signs.
    pub spread: Duration,
}

// === impl AuthoritySettings ===

impl AuthoritySettings {
    /// Those of an operator in a namespace, with the lifetimes that the
    /// documentation promises.
    #[must_use]
    pub fn new(namespace: &str, cluster_domain: &str) -> Self {
        let service = format!("{NAME}.{namespace}.svc");
        let domain = cluster_domain.trim_matches('.');
        Self {
            namespace: namespace.to_owned(),
            endpoint_names: vec![service.clone(), format!("{service}.{domain}")],
            webhook_configuration: INJECTOR_CONFIGURATION.to_owned(),
            workload: Lifetimes {
                root: 365 * DAY,
                leaf: 48 * HOUR,
                spread: 24 * HOUR,
            },
            endpoints: Lifetimes {
                root: 365 * DAY,
                leaf: 90 * DAY,
                spread: 24 * HOUR,
            },
            clock: Arc::new(SystemClock),
            look_every: Duration::from_secs(30),
        }
    }

    /// Adds a name of the endpoints, such as the host of a URL that sidecars
    /// are given. An address is not one: certificates have names only.
    pub fn add_endpoint_name(&mut self, host: &str) {
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        let is_address = name.starts_with('[') || name.parse::<IpAddr>().is_ok();
        if !is_address && !self.endpoint_names.contains(&name) {
            self.endpoint_names.push(name);
        }
    }

    pub(super) fn lifetimes(&self, purpose: Purpose) -> &Lifetimes {
        match purpose {
            Purpose::Workload => &self.workload,
            Purpose::Endpoints => &self.endpoints,
        }
    }
}

// === impl Lifetimes ===

impl Lifetimes {
    pub(crate) fn leaf_seconds(&self) -> i64 {
        seconds(self.leaf)
    }

    pub(crate) fn spread_seconds(&self) -> i64 {
        seconds(self.spread)
    }
}

/// Part of a second counts as one, so that nothing comes too early.
fn seconds(duration: Duration) -> i64 {
    let whole = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    i64::try_from(whole).unwrap_or(i64::MAX)
}
