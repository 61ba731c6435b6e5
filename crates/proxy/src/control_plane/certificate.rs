//! The certificate of this pod: when to ask for the next one, and what comes.

use std::time::Duration;

use sidegate_config::control::{Certificate, CertificateRequest, FromSidecar};
use sidegate_tls::{AuthorityError, InvalidTls, PrivateKeyPem, new_key_and_request};
use thiserror::Error;
use tokio::time::Instant;

use super::backoff::part_of;
use crate::identity::IssuedIdentity;

/// After a request that was answered. An operator whose certificates are half
/// over when they come is asked no more often than that.
const BETWEEN_REQUESTS: Duration = Duration::from_secs(5);
/// For an answer: an operator that is asked by many takes its time, and what it
/// says to the last request but one would be for another key.
const ANSWER: Duration = Duration::from_secs(60);
/// Pods whose names changed together do not ask together.
const SOON: Duration = Duration::from_secs(5);
/// The part of its life after which a certificate is renewed is a half, and up
/// to a twentieth more, so that pods that began together do not ask together.
const JITTER: u32 = 20;

/// Asks for certificates. A key is made here and never leaves the pod.
#[derive(Debug, Default)]
pub(super) struct Renewal {
    /// In seconds since 1970; none: at once.
    renew_at: Option<i64>,
    /// What `renew_at` was made for.
    certificate_pem: String,
    asked: Option<Asked>,
}

#[derive(Debug)]
struct Asked {
    key_pem: PrivateKeyPem,
    at: Instant,
    answered: bool,
}

/// Why a certificate that came is not used.
#[derive(Debug, Error)]
pub(super) enum UselessCertificate {
    /// Nobody asked for it.
    #[error("it was not asked for")]
    Unasked,
    /// It is not for the key, or not valid.
    #[error(transparent)]
    Invalid(#[from] InvalidTls),
}

// === impl Renewal ===

impl Renewal {
    /// A new stream begins: what was asked for before will not come.
    pub(super) fn forget_request(&mut self) {
        self.asked = None;
    }

    /// The certificate that is in use from now on. One that only came among
    /// other authorities is renewed when it was to be: a wish of the operator
    /// may wait.
    pub(super) fn in_use(&mut self, identity: &IssuedIdentity) {
        if self.certificate_pem == identity.certificate_pem() {
            return;
        }
        identity
            .certificate_pem()
            .clone_into(&mut self.certificate_pem);
        let life = identity.not_after_unix() - identity.not_before_unix();
        let life = Duration::from_secs(u64::try_from(life).unwrap_or(0));
        let half = (life / 2).saturating_add(part_of(life / JITTER));
        let half = i64::try_from(half.as_secs()).unwrap_or(i64::MAX);
        self.renew_at = Some(identity.not_before_unix().saturating_add(half));
    }

    /// The certificate in use will not do any more.
    pub(super) fn at_once(&mut self) {
        self.renew_at = None;
    }

    /// A certificate that says something else is to be had.
    pub(super) fn soon(&mut self, now_unix: i64) {
        let wait = i64::try_from(part_of(SOON).as_secs()).unwrap_or(0);
        let soon = now_unix.saturating_add(wait);
        self.renew_at = self.renew_at.map(|renew_at| renew_at.min(soon));
    }

    /// What to send, if it is time to.
    ///
    /// # Errors
    /// The cryptographic library fails.
    pub(super) fn request(
        &mut self,
        now_unix: i64,
        now: Instant,
    ) -> Result<Option<FromSidecar>, AuthorityError> {
        let due = self.renew_at.is_none_or(|renew_at| renew_at <= now_unix);
        let asked_lately = self.asked.as_ref().is_some_and(|asked| {
            let wait = if asked.answered {
                BETWEEN_REQUESTS
            } else {
                ANSWER
            };
            now < asked.at + wait
        });
        if !due || asked_lately {
            return Ok(None);
        }
        let made = new_key_and_request()?;
        self.asked = Some(Asked {
            key_pem: made.key_pem,
            at: now,
            answered: false,
        });
        Ok(Some(FromSidecar::CertificateRequest(CertificateRequest {
            request_pem: made.request_pem,
        })))
    }

    /// The identity that a certificate makes of the key that was asked with.
    ///
    /// # Errors
    /// [`UselessCertificate`]; it is asked for again after a while.
    pub(super) fn issued(
        &mut self,
        certificate: Certificate,
    ) -> Result<IssuedIdentity, UselessCertificate> {
        let asked = self.asked.as_mut().ok_or(UselessCertificate::Unasked)?;
        asked.answered = true;
        let Certificate {
            certificate_pem,
            authorities_pem,
        } = certificate;
        Ok(IssuedIdentity::new(
            certificate_pem,
            asked.key_pem.clone(),
            authorities_pem,
        )?)
    }
}

#[cfg(test)]
mod tests {
    use sidegate_policy::clock::{Clock as _, SystemClock};
    use sidegate_tls::{Authority, CertificateRequest as Request, Subject, Usages};

    use super::*;

    const HOUR: i64 = 3600;

    fn now() -> i64 {
        SystemClock.unix_seconds()
    }

    fn authority() -> Authority {
        let lifetime = Duration::from_secs(24 * 3600);
        Authority::create("test", now(), lifetime).expect("an authority")
    }

    fn sign(authority: &Authority, request: Option<FromSidecar>) -> Certificate {
        let Some(FromSidecar::CertificateRequest(request)) = request else {
            panic!("a request: {request:?}")
        };
        let request = Request::from_pem(&request.request_pem).expect("a request");
        let subject = Subject {
            common_name: "pod".to_owned(),
            spiffe_id: None,
            dns_names: vec!["support.crm.svc".to_owned()],
            usages: Usages::Both,
        };
        let lifetime = Duration::from_secs(2 * 3600);
        let signed = authority.sign(&request, &subject, now(), lifetime);
        Certificate {
            certificate_pem: signed.expect("signed"),
            authorities_pem: authority.certificate_pem().to_owned(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_certificate_is_asked_for_at_half_of_its_life_and_not_in_a_hurry() {
        let mut renewal = Renewal::default();
        let first = renewal.request(now(), Instant::now()).expect("a key");
        assert!(
            renewal
                .request(now(), Instant::now())
                .expect("ok")
                .is_none(),
            "asked already"
        );
        tokio::time::advance(ANSWER).await;
        let again = renewal.request(now(), Instant::now()).expect("a key");
        assert!(again.is_some(), "no answer came");
        // The answer to a request that was given up is not for the new key.
        let late = renewal.issued(sign(&authority(), first));
        assert!(matches!(
            late,
            Err(UselessCertificate::Invalid(InvalidTls::KeyMismatch))
        ));
        let identity = renewal.issued(sign(&authority(), again)).expect("usable");
        renewal.in_use(&identity);
        let half = (identity.not_after_unix() + identity.not_before_unix()) / 2;
        let late = half + HOUR;
        assert!(
            renewal.request(late, Instant::now()).expect("ok").is_none(),
            "it came only now"
        );
        tokio::time::advance(BETWEEN_REQUESTS).await;
        for (at, due) in [(half - 1, false), (half + HOUR / 4, true)] {
            let asked = renewal.request(at, Instant::now()).expect("a key");
            assert_eq!(asked.is_some(), due, "{at}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_taken_that_was_not_asked_for() {
        let mut renewal = Renewal::default();
        let asked = renewal.request(now(), Instant::now()).expect("a key");
        let certificate = sign(&authority(), asked);
        let mut broken = certificate.clone();
        broken.authorities_pem = "nobody".to_owned();
        assert!(matches!(
            renewal.issued(broken),
            Err(UselessCertificate::Invalid(_))
        ));
        assert!(renewal.issued(certificate.clone()).is_ok());
        renewal.forget_request();
        assert!(matches!(
            renewal.issued(certificate),
            Err(UselessCertificate::Unasked)
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wish_of_the_operator_is_fulfilled_soon() {
        let mut renewal = Renewal::default();
        let asked = renewal.request(now(), Instant::now()).expect("a key");
        let identity = renewal.issued(sign(&authority(), asked)).expect("usable");
        renewal.in_use(&identity);
        tokio::time::advance(BETWEEN_REQUESTS).await;
        let wished_at = now();
        assert!(
            renewal
                .request(wished_at, Instant::now())
                .expect("ok")
                .is_none()
        );
        renewal.soon(wished_at);
        let until = wished_at + 5;
        let asked = renewal.request(until, Instant::now()).expect("a key");
        assert!(asked.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn authorities_do_not_undo_a_wish_for_another_certificate() {
        let mut renewal = Renewal::default();
        let asked = renewal.request(now(), Instant::now()).expect("a key");
        let authority = authority();
        let identity = renewal.issued(sign(&authority, asked)).expect("usable");
        renewal.in_use(&identity);
        tokio::time::advance(BETWEEN_REQUESTS).await;
        let wished_at = now();
        let asks = |renewal: &mut Renewal| {
            let asked = renewal.request(wished_at + 5, Instant::now());
            asked.expect("a key").is_some()
        };
        renewal.soon(wished_at);
        let both = format!(
            "{}{}",
            authority.certificate_pem(),
            self::authority().certificate_pem()
        );
        renewal.in_use(&identity.with_authorities(both).expect("usable"));
        assert!(asks(&mut renewal), "the wish is lost");
        // Nor do they undo what cannot wait.
        tokio::time::advance(ANSWER).await;
        renewal.at_once();
        renewal.in_use(&identity);
        assert!(asks(&mut renewal), "it waits");
    }

    #[test]
    fn keys_are_not_shown() {
        let mut renewal = Renewal::default();
        let _asked = renewal.request(now(), Instant::now()).expect("a key");
        let debug = format!("{renewal:?}");
        assert!(!debug.contains("PRIVATE KEY"), "{debug}");
    }
}
