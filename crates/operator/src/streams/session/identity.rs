//! Tokens, certificates, and who is trusted.

use std::collections::BTreeSet;
use std::net::IpAddr;

use sidegate_config::control::{Authorities, Certificate, FromOperator, RefusalReason};
use sidegate_config::sidecar_config::SecretText;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use super::{Ended, Session};
use crate::authority::{SignError, WorkloadIdentity};
use crate::board::{Assigned, PodRef, PodReport};
use crate::chain::Chain;
use crate::pod_condition::ShownCertificate;
use crate::streams::Shared;
use crate::streams::authenticate::Shown;
use crate::streams::refused::Refused;

/// What is known of the sidecar's certificate.
#[derive(Default)]
pub(super) struct CertificateState {
    /// The one that this stream began with.
    pub(super) shown: Option<ShownCertificate>,
    /// A request that waits, and until when.
    pub(super) wanted: Option<(String, Instant)>,
    /// Whether it names another trust domain.
    pub(super) is_of_another_domain: bool,
    /// The names in the last one that was shown, or sent on this stream; none
    /// when there was none.
    pub(super) names: Option<BTreeSet<String>>,
    /// The names for which the sidecar was told to renew it.
    pub(super) renewed_for: Option<Vec<String>>,
}

// === impl CertificateState ===

impl CertificateState {
    /// What is known when a stream begins.
    pub(super) fn of(shown: Option<Shown>) -> Self {
        let Some(Shown {
            certificate,
            dns_names,
            is_of_this_domain,
        }) = shown
        else {
            return Self::default();
        };
        Self {
            shown: Some(certificate),
            is_of_another_domain: !is_of_this_domain,
            names: Some(dns_names.into_iter().collect()),
            ..Self::default()
        }
    }
}

// === impl Session ===

impl<S: AsyncRead + AsyncWrite> Session<S> {
    pub(super) fn token_reviewed(&mut self, reviewed: Result<i64, Refused>) -> Result<(), Ended> {
        self.token_review = None;
        self.token_ends_unix = self.token_ends_unix.max(reviewed?);
        Ok(())
    }

    pub(super) fn trust_changed(&mut self) -> Result<(), Ended> {
        let Some(trust) = self.trust_changes.borrow_and_update().clone() else {
            return Ok(());
        };
        self.shared.certificates().trust(trust.workload_roots_pem());
        let before = std::mem::replace(&mut self.trust, trust);
        if before.workload_roots_pem() == self.trust.workload_roots_pem() {
            return Ok(());
        }
        self.put_authorities()
    }

    pub(super) fn put_authorities(&mut self) -> Result<(), Ended> {
        self.put(&FromOperator::Authorities(Authorities {
            authorities_pem: self.trust.workload_roots_pem().to_owned(),
        }))
    }

    pub(super) fn sign_if_wanted(&mut self, now: Instant) -> Result<(), Ended> {
        let is_due = |(_, at): &mut (String, Instant)| *at <= now;
        let Some((request_pem, _)) = self.certificate.wanted.take_if(is_due) else {
            return Ok(());
        };
        let dns_names = self.assignment.borrow().dns_names.clone();
        let identity = WorkloadIdentity {
            trust_domain: self.shared.trust_domain.clone(),
            namespace: self.pod.key.namespace.to_string(),
            service_account: self.service_account.to_string(),
            pod_uid: self.pod.uid.to_string(),
            dns_names: dns_names.clone(),
        };
        let now_unix = self.shared.clock.unix_seconds();
        let certificate_pem = self
            .trust
            .sign_workload(&request_pem, &identity, now_unix)
            .map_err(|error| self.not_signed(&error))?;
        self.shared.metrics.streams.certificate_signed();
        info!(pod = %self.pod.key, service_account = %self.service_account, "a certificate was signed");
        self.certificate.is_of_another_domain = false;
        self.certificate.names = Some(dns_names.into_iter().collect());
        self.put(&FromOperator::Certificate(Certificate {
            certificate_pem,
            authorities_pem: self.trust.workload_roots_pem().to_owned(),
        }))
    }

    /// The sidecar is there, so the sandbox that the watches know is the one in
    /// which it has its certificate. A stream that a node left behind when it was
    /// started again says nothing any more.
    pub(super) fn is_in_its_sandbox(&mut self) {
        let Some(shown) = &mut self.certificate.shown else {
            return;
        };
        let known = self.shared.board().known(&self.pod.key);
        let Some(known) = known.filter(|known| known.uid == self.pod.uid) else {
            return;
        };
        if shown.sandbox_unix == known.sandbox_unix {
            return;
        }
        shown.sandbox_unix = known.sandbox_unix;
        let shown = shown.clone();
        let certificates = self.shared.certificates();
        certificates.in_sandbox(&self.pod.uid, known.sandbox_unix);
        self.reports.put(PodReport::Certificate(shown));
    }

    /// A stream that began with the token alone ends when the pod has shown its
    /// certificate, here or to another replica: its own sidecar has left it by
    /// then.
    pub(super) fn check_certificate(&self) -> Result<(), Ended> {
        if self.certificate.shown.is_some() {
            return Ok(());
        }
        let known = self.shared.board().known(&self.pod.key);
        match known.filter(|known| known.uid == self.pod.uid) {
            Some(known) => Ok(self.shared.authentication.check_token_is_enough(&known)?),
            None => Ok(()),
        }
    }

    fn not_signed(&self, error: &SignError) -> Ended {
        self.shared.metrics.streams.certificate_refused();
        warn!(pod = %self.pod.key, error = %Chain(error), "no certificate was signed");
        match error {
            SignError::Request(reason) => {
                Refused::protocol(format!("the certificate request is refused: {reason}")).into()
            }
            SignError::Identity(_) | SignError::Sign(_) => {
                Refused::unavailable("the certificate cannot be signed").into()
            }
        }
    }

    /// What the certificate says is not what the pod has any more.
    pub(super) fn ask_to_renew(&mut self) -> Result<(), Ended> {
        let Some(carried) = &self.certificate.names else {
            return Ok(());
        };
        let names = {
            let assignment = self.assignment.borrow();
            let names = &assignment.dns_names;
            let is_right = !self.certificate.is_of_another_domain
                && carried.len() == names.len()
                && names.iter().all(|it| carried.contains(it));
            // While it waits for its gateway, some are missing.
            let is_early = matches!(assignment.assigned, Assigned::Waiting);
            if is_right || is_early || self.certificate.renewed_for.as_ref() == Some(names) {
                return Ok(());
            }
            names.clone()
        };
        self.certificate.renewed_for = Some(names);
        self.put(&FromOperator::Renew)
    }
}

/// When a newer token ends. While nobody can say whose it is, it is asked
/// again: the one before is still good.
pub(super) async fn look_at_token(
    shared: &Shared,
    token: &SecretText,
    pod: &PodRef,
    source: IpAddr,
) -> Result<i64, Refused> {
    loop {
        match shared.authentication.go_on(token, pod, source).await {
            Err(refused) if refused.reason != RefusalReason::Unauthenticated => {
                debug!(pod = %pod.key, reason = refused.word(), "a newer token has to wait");
                sleep(refused.retry_after).await;
            }
            looked_at => return looked_at,
        }
    }
}
