//! What every client of the operator has, whatever it is one for: how it
//! calls, what it shows, and how it comes by the next certificate.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sidegate_config::control::{Authorities, Certificate, FromSidecar, Token};
use sidegate_config::sidecar_config::SecretText;
use sidegate_policy::clock::Clock;
use sidegate_tls::ClientStream;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::backoff::{Backoff, part_of};
use super::certificate::Renewal;
use super::dial::{self, DialError, dial};
use super::lost::Lost;
use super::stream::{Stream, StreamError};
use super::url::ControlPlaneUrl;
use crate::identity::IssuedIdentity;

/// How often it is looked whether the certificate is to be renewed.
pub(super) const TICK: Duration = Duration::from_secs(1);
/// How often the token file is read.
pub(super) const TOKEN_LOOK: Duration = Duration::from_secs(30);

/// How long a stream goes on that began without the certificate that it
/// brought. The next one shows it; from then on a token alone is not enough for
/// the operator, for as long as that certificate lasts.
const WITHOUT_CERTIFICATE: Duration = Duration::from_secs(2);
/// One that began with another certificate may go on for longer, and streams of
/// pods that were renewed together do not end together.
const WITH_ANOTHER: Duration = Duration::from_secs(10 * 60);

/// What outlasts one stream.
#[derive(Debug)]
pub(super) struct Link {
    url: ControlPlaneUrl,
    token_file: PathBuf,
    trust_dir: PathBuf,
    clock: Arc<dyn Clock>,
    renewal: Renewal,
    backoff: Backoff,
    /// The certificate is not shown after the operator refused it: an authority
    /// that went takes its certificates with it.
    shows_certificate: bool,
    /// What outlasts a restart of this container. Nothing else is shown: the
    /// operator asks for what it has seen.
    kept: Option<IssuedIdentity>,
    /// The certificate that the last connection showed.
    showed: Option<String>,
    /// From when on another connection shows what is kept now.
    show_from: Instant,
    /// What was wrong when it was said last.
    complaint: Option<String>,
}

// === impl Link ===

impl Link {
    pub(super) fn new(
        url: ControlPlaneUrl,
        token_file: PathBuf,
        trust_dir: PathBuf,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            url,
            token_file,
            trust_dir,
            clock,
            renewal: Renewal::default(),
            backoff: Backoff::default(),
            shows_certificate: true,
            kept: None,
            showed: None,
            show_from: Instant::now(),
            complaint: None,
        }
    }

    pub(super) fn now_unix(&self) -> i64 {
        self.clock.unix_seconds()
    }

    /// A stream, and the token to greet with.
    ///
    /// # Errors
    /// [`DialError`]
    pub(super) async fn connect(
        &mut self,
    ) -> Result<(Stream<ClientStream<TcpStream>>, SecretText), DialError> {
        let token = dial::token(&self.token_file).await?;
        let shown = self.kept.as_ref().filter(|it| self.may_show(it));
        self.showed = shown.map(|it| it.certificate_pem().to_owned());
        let connection = dial(&self.url, &self.trust_dir, shown).await?;
        Ok((Stream::new(connection), token))
    }

    /// Whether it is time for another connection, because that would show a
    /// certificate that this one did not.
    pub(super) fn has_to_show(&self) -> bool {
        Instant::now() >= self.show_from
            && self.kept.as_ref().is_some_and(|it| {
                self.may_show(it) && self.showed.as_deref() != Some(it.certificate_pem())
            })
    }

    /// What outlasts a restart from now on.
    pub(super) fn kept(&mut self, identity: IssuedIdentity) {
        let before = self.kept.as_ref().map(IssuedIdentity::certificate_pem);
        if before != Some(identity.certificate_pem()) {
            let wait = match self.showed {
                None => WITHOUT_CERTIFICATE,
                Some(_) => part_of(WITH_ANOTHER),
            };
            self.show_from = Instant::now() + wait;
        }
        self.kept = Some(identity);
    }

    /// Whether this certificate would be lost with this container.
    pub(super) fn is_unkept(&self, identity: &IssuedIdentity) -> bool {
        let kept = self.kept.as_ref().map(IssuedIdentity::certificate_pem);
        kept != Some(identity.certificate_pem())
    }

    fn may_show(&self, identity: &IssuedIdentity) -> bool {
        self.shows_certificate && !identity.has_expired(self.now_unix())
    }

    /// The operator took the greeting.
    pub(super) fn welcomed(&mut self, pod: &str) {
        info!(url = %self.url, pod, "connected to the operator");
        self.complaint = None;
        self.renewal.forget_request();
    }

    /// There is no stream, or none any more: says why, once for each reason,
    /// and gives the wait before the next attempt. `left` is what becomes of
    /// what there is.
    pub(super) fn lost(&mut self, lost: &Lost, stood: Duration, left: &'static str) -> Duration {
        if lost.is_about_certificate() {
            self.shows_certificate = !self.shows_certificate;
        }
        let complaint = lost.to_string();
        if self.complaint.as_ref() == Some(&complaint) {
            debug!(error = complaint, "still not connected to the operator");
        } else {
            warn!(
                url = %self.url,
                error = complaint,
                "not connected to the operator; {left}"
            );
            self.complaint = Some(complaint);
        }
        self.backoff.next(stood, lost.retry_after())
    }

    /// Sends the token, when it is another one than was `sent`.
    ///
    /// # Errors
    /// [`StreamError`]
    pub(super) async fn renew_token<S>(
        &self,
        stream: &mut Stream<S>,
        sent: &mut SecretText,
    ) -> Result<(), StreamError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        match dial::newer_token(&self.token_file, sent).await {
            Some(token) => {
                *sent = token.clone();
                stream.send(&FromSidecar::Token(Token { token })).await
            }
            None => Ok(()),
        }
    }

    /// Asks for a certificate, when it is time to.
    ///
    /// # Errors
    /// [`StreamError`]
    pub(super) async fn ask_for_certificate<S>(
        &mut self,
        stream: &mut Stream<S>,
        identity: Option<&IssuedIdentity>,
    ) -> Result<(), StreamError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if !self.shows_certificate || identity.is_none() {
            self.renewal.at_once();
        }
        match self.renewal.request(self.now_unix(), Instant::now()) {
            Ok(None) => Ok(()),
            Ok(Some(request)) => stream.send(&request).await,
            Err(error) => {
                warn!(%error, "no key can be made");
                Ok(())
            }
        }
    }

    /// The operator would give another certificate now.
    pub(super) fn renew_soon(&mut self) {
        self.renewal.soon(self.now_unix());
    }

    /// What a certificate that came makes; none if it cannot be used.
    pub(super) fn issued(&mut self, certificate: Certificate) -> Option<IssuedIdentity> {
        match self.renewal.issued(certificate) {
            Ok(identity) => {
                self.shows_certificate = true;
                Some(identity)
            }
            Err(error) => {
                warn!(%error, "a certificate that came is not used");
                None
            }
        }
    }

    /// What authorities that came make of the identity of `before`; none if
    /// there is nothing to change.
    pub(super) fn among(
        &mut self,
        before: &IssuedIdentity,
        authorities: Authorities,
    ) -> Option<IssuedIdentity> {
        let Authorities { authorities_pem } = authorities;
        if before.authorities_pem() == authorities_pem {
            return None;
        }
        match before.with_authorities(authorities_pem) {
            Ok(identity) => {
                info!("the authorities of the cluster changed");
                if !identity.trusts_all_of(before) {
                    // It may have been the one that signed ours.
                    self.renewal.at_once();
                }
                Some(identity)
            }
            Err(error) => {
                warn!(%error, "authorities that came are not used");
                None
            }
        }
    }

    /// What is in use from now on.
    pub(super) fn in_use(&mut self, identity: &IssuedIdentity) {
        self.renewal.in_use(identity);
    }
}

#[cfg(test)]
mod tests;
