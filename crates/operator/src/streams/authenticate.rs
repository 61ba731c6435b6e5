//! Which pod is at the other end of a connection.
//!
//! The order is that of what a step costs: a look at the token, what was found
//! out a moment ago, the rates, the API server, what the watches told, and the
//! certificate. Nothing of what a token claims is used after the API server
//! has said whose it is.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sidegate_config::control::RefusalReason;
use sidegate_config::sidecar_config::SecretText;
use sidegate_policy::clock::Clock;
use sidegate_tls::PeerCertificate;
use tokio::sync::watch;

use super::certificates::Certificates;
use super::rate::{Rate, RateTable, TooOften};
use super::refused::Refused;
use super::reviews::{ReviewLimits, Reviews};
use super::token_review::{Reviewed, TokenReviewer};
use crate::board::{Assignment, Board, KnownPod, PodRef};
use crate::metrics::Metrics;
use crate::pod_condition::ShownCertificate;

/// Streams that one pod may begin, and pods for which that is counted.
const BEGINS: Rate = Rate {
    burst: 20,
    every: Duration::from_secs(1),
};
const BEGINNING: usize = 50_000;
/// The watch of pods may lag behind a pod that has just begun.
const UNKNOWN_RETRY: Duration = Duration::from_millis(500);
const CERTIFICATE_RETRY: Duration = Duration::from_secs(5);

/// Finds out which pod it is.
pub(super) struct Authentication {
    pub(super) board: Arc<Board>,
    pub(super) certificates: Certificates,
    reviews: Reviews,
    trust_domain: String,
    clock: Arc<dyn Clock>,
    begins: Mutex<RateTable<Arc<str>>>,
}

/// A pod that was recognized.
#[derive(Debug)]
pub(super) struct Authenticated {
    pub(super) pod: PodRef,
    pub(super) service_account: Arc<str>,
    pub(super) token_ends_unix: i64,
    /// The certificate that it showed.
    pub(super) shown: Option<Shown>,
    pub(super) assignment: watch::Receiver<Assignment>,
}

/// A certificate that was shown.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    pub(super) certificate: ShownCertificate,
    pub(super) dns_names: Vec<String>,
    /// Whether it names the trust domain of now. One of before is still the
    /// pod's: the domain is what the operator was started with.
    pub(super) is_of_this_domain: bool,
}

// === impl Authentication ===

impl Authentication {
    pub(super) fn new(
        board: Arc<Board>,
        reviewer: Arc<dyn TokenReviewer>,
        trust_domain: &str,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        limits: ReviewLimits,
    ) -> Self {
        Self {
            board,
            certificates: Certificates::default(),
            reviews: Reviews::new(reviewer, Arc::clone(&clock), metrics, limits),
            trust_domain: trust_domain.to_owned(),
            clock,
            begins: Mutex::new(RateTable::new(BEGINS, BEGINNING)),
        }
    }

    /// Recognizes the pod of a connection.
    ///
    /// # Errors
    /// What to tell the other side.
    pub(super) async fn begin(
        &self,
        token: &SecretText,
        certificate: Option<&PeerCertificate>,
        source: IpAddr,
    ) -> Result<Authenticated, Refused> {
        if !self.board.synced() {
            return Err(Refused::unavailable(
                "this replica has not read the cluster yet",
            ));
        }
        let (reviewed, token_ends_unix) = self.reviews.review(token, source).await?;
        let known = self.known(&reviewed).ok_or_else(unknown_pod)?;
        let shown = self.check_certificate(&reviewed.pod, &known, certificate)?;
        self.count_begin(&reviewed.pod.uid)?;
        // Last, because the board keeps something for whoever follows.
        let assignment = self.board.follow(&reviewed.pod).ok_or_else(unknown_pod)?;
        let Reviewed {
            pod,
            service_account,
        } = reviewed;
        if let Some(shown) = &shown {
            let now = self.clock.unix_seconds();
            let certificate = shown.certificate.clone();
            self.certificates.shown(&pod.uid, certificate, now);
        }
        Ok(Authenticated {
            pod,
            service_account,
            token_ends_unix,
            shown,
            assignment,
        })
    }

    /// Looks at a newer token of a pod that was recognized, and says when it
    /// ends.
    ///
    /// # Errors
    /// What to tell the other side.
    pub(super) async fn go_on(
        &self,
        token: &SecretText,
        pod: &PodRef,
        source: IpAddr,
    ) -> Result<i64, Refused> {
        let (reviewed, token_ends_unix) = self.reviews.review(token, source).await?;
        if reviewed.pod != *pod {
            return Err(Refused::unauthenticated(
                "the newer token is another pod's: read the projected token of this pod",
            ));
        }
        Ok(token_ends_unix)
    }

    /// The pod, if the watches know it as the API server said it.
    fn known(&self, reviewed: &Reviewed) -> Option<KnownPod> {
        let Reviewed {
            pod,
            service_account,
        } = reviewed;
        let known = self.board.known(&pod.key)?;
        (known.uid == pod.uid && known.service_account == *service_account).then_some(known)
    }

    /// The certificate that was shown, if it is the pod's own. None is fine
    /// only for a pod that has none.
    fn check_certificate(
        &self,
        pod: &PodRef,
        known: &KnownPod,
        certificate: Option<&PeerCertificate>,
    ) -> Result<Option<Shown>, Refused> {
        let Some(certificate) = certificate else {
            return self.check_token_is_enough(known).map(|()| None);
        };
        let PeerCertificate {
            spiffe_id,
            dns_names,
            common_name,
            not_after_unix,
            authority_key_id,
        } = certificate;
        let account = (&*pod.key.namespace, &*known.service_account);
        let id = spiffe_id.as_ref();
        let is_account = id.is_some_and(|id| id.service_account() == Some(account));
        if !is_account || common_name.as_deref() != Some(&*pod.uid) {
            return Err(wrong_certificate(
                "the certificate is another pod's than the token",
            ));
        }
        Ok(Some(Shown {
            certificate: ShownCertificate {
                until_unix: *not_after_unix,
                authority: authority_key_id.clone().unwrap_or_default(),
                sandbox_unix: known.sandbox_unix,
            },
            dns_names: dns_names.clone(),
            is_of_this_domain: id.is_some_and(|id| id.trust_domain() == self.trust_domain),
        }))
    }

    /// Refuses who shows no certificate for a pod that has one.
    ///
    /// # Errors
    /// What to tell the other side.
    pub(super) fn check_token_is_enough(&self, known: &KnownPod) -> Result<(), Refused> {
        let now = self.clock.unix_seconds();
        match self.certificates.is_held(known, now) {
            true => Err(wrong_certificate(
                "the pod has a certificate, so a token alone is not enough any more; if the \
                 sidecar has lost it, delete the pod",
            )),
            false => Ok(()),
        }
    }

    fn count_begin(&self, uid: &Arc<str>) -> Result<(), Refused> {
        let now = self.clock.monotonic();
        let mut begins = self.begins.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = begins.take(Arc::clone(uid), now);
        taken.map_err(|TooOften(wait)| Refused::busy("the pod begins too many streams", wait))
    }
}

fn wrong_certificate(message: &'static str) -> Refused {
    Refused::new(RefusalReason::WrongCertificate, message, CERTIFICATE_RETRY)
}

fn unknown_pod() -> Refused {
    Refused::new(
        RefusalReason::UnknownPod,
        "this replica does not know the pod yet",
        UNKNOWN_RETRY,
    )
}
