//! The operator's certificate authority.
//!
//! One Secret in the operator's own namespace holds two sets of roots: those
//! of workloads sign the certificates of sidecars, those of endpoints sign the
//! operator's own, and sidecars trust nothing else for the operator. Every
//! replica watches the Secret and signs with what it says; only the leader
//! writes it. What is signed states what the operator knows of a pod; of a
//! request it takes the key alone.

mod endpoint;
mod keeper;
pub(crate) mod purpose;
mod roots;
mod rotation;
mod settings;
mod stored;
#[cfg(test)]
pub(crate) mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sidegate_policy::principal::{InvalidSpiffeId, SpiffeId};
use sidegate_tls::{
    AuthorityError, CertificateRequest, InvalidRequest, MAX_DNS_NAMES, ServerMaterial, Subject,
    Usages, is_dns_name,
};
use thiserror::Error;
use tokio::sync::watch;
use tracing::warn;

pub(crate) use self::endpoint::{Clients, Endpoint};
pub(crate) use self::keeper::Keeper;
use self::roots::RootSet;
pub use self::settings::{AuthoritySettings, Lifetimes};
use self::stored::Stored;
use crate::names::NAME;

/// What is trusted and what signs, at one moment. Immutable: a change of the
/// Secret makes a new one.
pub(crate) struct Trust {
    epoch: u64,
    workload: Arc<RootSet>,
    endpoints: Arc<RootSet>,
    workload_roots_pem: String,
    endpoint_roots_pem: String,
    workload_leaf: Duration,
    endpoint_leaf: Duration,
    endpoint_names: Vec<String>,
}

/// The trust of this replica; `None` until the Secret was read.
pub(crate) type TrustReceiver = watch::Receiver<Option<Arc<Trust>>>;

/// What the operator knows of a pod, and its certificate states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WorkloadIdentity {
    pub(crate) trust_domain: String,
    pub(crate) namespace: String,
    pub(crate) service_account: String,
    pub(crate) pod_uid: String,
    pub(crate) dns_names: Vec<String>,
}

/// Why something is not signed.
#[derive(Debug, Error)]
pub(crate) enum SignError {
    /// What was sent is no request that can be signed.
    #[error("the certificate request is refused")]
    Request(#[source] InvalidRequest),
    /// Namespace and service account make no SPIFFE id.
    #[error("the pod's service account makes no SPIFFE id")]
    Identity(#[from] InvalidSpiffeId),
    /// The certificate cannot be made.
    #[error("the certificate cannot be signed")]
    Sign(#[source] AuthorityError),
}

// === impl Trust ===

impl Trust {
    fn new(stored: &Stored, settings: &AuthoritySettings) -> Self {
        Self {
            epoch: stored.epoch,
            workload_roots_pem: stored.workload.certificates_pem(),
            endpoint_roots_pem: stored.endpoints.certificates_pem(),
            workload: Arc::clone(&stored.workload),
            endpoints: Arc::clone(&stored.endpoints),
            workload_leaf: settings.workload.leaf,
            endpoint_leaf: settings.endpoints.leaf,
            endpoint_names: settings.endpoint_names.clone(),
        }
    }

    /// Whether the same is trusted and signs.
    fn is_like(&self, other: &Self) -> bool {
        let signers = |trust: &Self| {
            [&trust.workload, &trust.endpoints]
                .map(|set| set.signer().authority.certificate_pem().to_owned())
        };
        self.epoch == other.epoch
            && self.workload_roots_pem == other.workload_roots_pem
            && self.endpoint_roots_pem == other.endpoint_roots_pem
            && signers(self) == signers(other)
    }

    /// The epoch of every snapshot: it orders snapshots before their revisions
    /// do, for a cluster whose store went back in time.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// All roots that are trusted for workloads, old and new.
    pub(crate) fn workload_roots_pem(&self) -> &str {
        &self.workload_roots_pem
    }

    /// All roots that are trusted for the operator's endpoints, old and new.
    pub(crate) fn endpoint_roots_pem(&self) -> &str {
        &self.endpoint_roots_pem
    }

    /// Signs a pod's certificate, for server and client, and returns its chain
    /// in PEM, leaf first. It ends with the root at the latest. Names that no
    /// certificate can carry are left out: one of them must not keep the pod
    /// from having any.
    ///
    /// # Errors
    /// The request, the identity or the root cannot be used.
    pub(crate) fn sign_workload(
        &self,
        request_pem: &str,
        identity: &WorkloadIdentity,
        now_unix: i64,
    ) -> Result<String, SignError> {
        let request = CertificateRequest::from_pem(request_pem).map_err(SignError::Request)?;
        let subject = Subject {
            common_name: identity.pod_uid.clone(),
            spiffe_id: Some(identity.spiffe_id()?),
            dns_names: identity.signable_names(),
            usages: Usages::Both,
        };
        let root = &self.workload.signer().authority;
        let signed = root.sign(&request, &subject, now_unix, self.workload_leaf);
        signed.map_err(SignError::Sign)
    }

    /// A certificate and a fresh key for the operator's own endpoints.
    ///
    /// # Errors
    /// The root cannot be used.
    pub(crate) fn issue_endpoint(&self, now_unix: i64) -> Result<ServerMaterial, SignError> {
        let subject = Subject {
            common_name: NAME.to_owned(),
            spiffe_id: None,
            dns_names: self.endpoint_names.clone(),
            usages: Usages::Server,
        };
        let root = &self.endpoints.signer().authority;
        let issued = root.issue(&subject, now_unix, self.endpoint_leaf);
        let (certificate_pem, key_pem) = issued.map_err(SignError::Sign)?;
        Ok(ServerMaterial {
            certificate_pem: certificate_pem.into_bytes(),
            key_pem,
            client_ca_pem: None,
        })
    }
}

/// Without roots, which hold keys.
impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust")
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

// === impl WorkloadIdentity ===

impl WorkloadIdentity {
    /// The names that a certificate can carry.
    fn signable_names(&self) -> Vec<String> {
        let good = self.dns_names.iter().filter(|name| is_dns_name(name));
        let names: Vec<_> = good.take(MAX_DNS_NAMES).cloned().collect();
        let left_out = self.dns_names.len() - names.len();
        if left_out > 0 {
            warn!(pod_uid = %self.pod_uid, left_out, "names are left out of a certificate");
        }
        names
    }

    /// `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`.
    fn spiffe_id(&self) -> Result<SpiffeId, InvalidSpiffeId> {
        let Self {
            trust_domain,
            namespace,
            service_account,
            pod_uid: _,
            dns_names: _,
        } = self;
        format!("spiffe://{trust_domain}/ns/{namespace}/sa/{service_account}").parse()
    }
}
