//! What is said on one stream.

use std::sync::Arc;
use std::time::Duration;

use sidegate_config::control::{
    Authorities, Certificate, ForeignListener, FromOperator, FromSidecar, HEARTBEAT_SECONDS, Hello,
    Listeners, Purpose, Token, Welcome,
};
use sidegate_config::sidecar_config::{SCHEMA_VERSION, SecretText};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

use super::client::{Client, TICK, every};
use super::dial;
use super::stream::{SILENCE, Stream, StreamError};
use crate::identity::IssuedIdentity;

const HEARTBEAT: Duration = Duration::from_secs(HEARTBEAT_SECONDS);
/// How often the token file is read.
pub(super) const TOKEN_LOOK: Duration = Duration::from_secs(30);
/// How often it is looked who else listens in the pod.
const LISTENERS_LOOK: Duration = Duration::from_secs(5);

/// How a stream ended.
pub(super) struct Ended {
    pub(super) stood: Duration,
    /// None: the sidecar is stopping.
    pub(super) lost: Option<StreamError>,
}

// === impl Client ===

impl Client {
    /// Talks until the stream ends. The sidecar's drain ends it in good order.
    pub(super) async fn converse<S>(&mut self, mut stream: Stream<S>, token: SecretText) -> Ended
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let began = Instant::now();
        let talked = match timeout(SILENCE, self.greet(&mut stream, &token)).await {
            Ok(Ok(())) => self.talk(&mut stream, token).await,
            Ok(Err(error)) => Err(error),
            Err(_) => Err(StreamError::Silent),
        };
        self.connected(false);
        stream.close().await;
        Ended {
            stood: began.elapsed(),
            lost: talked.err(),
        }
    }

    async fn greet<S>(
        &mut self,
        stream: &mut Stream<S>,
        token: &SecretText,
    ) -> Result<(), StreamError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let hello = FromSidecar::Hello(Hello {
            token: token.clone(),
            purpose: Purpose::Enforce,
            schema_versions: vec![SCHEMA_VERSION],
            program: env!("CARGO_PKG_VERSION").to_owned(),
            in_force: self.enforcement.version().cloned(),
        });
        let Welcome { pod } = stream.greet(&hello).await?;
        info!(url = %self.source.url, pod, "connected to the operator");
        self.complaint = None;
        self.connected(true);
        Ok(())
    }

    /// Ends with Ok when the sidecar drains.
    async fn talk<S>(
        &mut self,
        stream: &mut Stream<S>,
        mut token: SecretText,
    ) -> Result<(), StreamError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.renewal.forget_request();
        let drain = Arc::clone(self.sidecar.drain());
        let (mut heartbeat, mut token_look) = (every(HEARTBEAT), every(TOKEN_LOOK));
        let (mut tick, mut listeners_look) = (every(TICK), every(LISTENERS_LOOK));
        let mut told = None;
        self.ask_for_certificate(stream).await?;
        loop {
            tokio::select! {
                () = drain.draining() => return Ok(()),
                message = stream.receive() => self.take(stream, message?).await?,
                _ = heartbeat.tick() => stream.send(&FromSidecar::Heartbeat).await?,
                _ = token_look.tick() => self.renew_token(stream, &mut token).await?,
                _ = listeners_look.tick() => self.tell_listeners(stream, &mut told).await?,
                _ = tick.tick() => {
                    self.ask_for_certificate(stream).await?;
                    let word = self.enforcement.tick(Instant::now()).await;
                    say(stream, word).await?;
                }
            }
        }
    }

    async fn take<S>(
        &mut self,
        stream: &mut Stream<S>,
        message: FromOperator,
    ) -> Result<(), StreamError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let now = self.clock.unix_seconds();
        self.sidecar.metrics().control_plane_heard_at(now);
        self.sidecar
            .connection(|connection| connection.last_heard = Some(now));
        match message {
            FromOperator::Snapshot(snapshot) => {
                let word = self.enforcement.snapshot(snapshot).await;
                say(stream, word).await
            }
            FromOperator::Withdrawn(withdrawn) => {
                let word = self.enforcement.withdrawn(withdrawn).await;
                stream.send(&word).await
            }
            FromOperator::Outdated(outdated) => {
                self.enforcement.outdated(&outdated);
                Ok(())
            }
            FromOperator::Certificate(certificate) => {
                let word = self.certificate(certificate).await;
                say(stream, word).await
            }
            FromOperator::Renew => {
                self.renewal.soon(now);
                Ok(())
            }
            FromOperator::Authorities(authorities) => {
                self.authorities(authorities).await;
                Ok(())
            }
            FromOperator::Refused(refusal) => Err(StreamError::Refused(refusal)),
            FromOperator::Welcome(_) | FromOperator::Heartbeat | FromOperator::Unknown => Ok(()),
        }
    }

    /// Says who else listens in the pod, when that is not what was `told`.
    async fn tell_listeners<S>(
        &self,
        stream: &mut Stream<S>,
        told: &mut Option<Vec<ForeignListener>>,
    ) -> Result<(), StreamError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let sidecar = Arc::clone(&self.sidecar);
        let looking = tokio::task::spawn_blocking(move || sidecar.foreign_listeners());
        let foreign = match looking.await {
            Ok(Some(Ok(foreign))) => foreign,
            Ok(Some(Err(error))) => {
                debug!(%error, "cannot see who listens in the pod");
                return Ok(());
            }
            Ok(None) | Err(_) => return Ok(()),
        };
        if told.as_ref() == Some(&foreign) {
            return Ok(());
        }
        *told = Some(foreign.clone());
        stream
            .send(&FromSidecar::Listeners(Listeners { foreign }))
            .await
    }

    async fn ask_for_certificate<S>(&mut self, stream: &mut Stream<S>) -> Result<(), StreamError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let now = self.clock.unix_seconds();
        if !self.shows_certificate || self.sidecar.identity().is_none() {
            self.renewal.at_once();
        }
        match self.renewal.request(now, Instant::now()) {
            Ok(None) => Ok(()),
            Ok(Some(request)) => stream.send(&request).await,
            Err(error) => {
                warn!(%error, "no key can be made");
                Ok(())
            }
        }
    }

    async fn certificate(&mut self, certificate: Certificate) -> Option<FromSidecar> {
        match self.renewal.issued(certificate) {
            Ok(identity) => {
                let not_after = identity.not_after_unix();
                info!(not_after, "a new certificate is in use");
                self.shows_certificate = true;
                self.change_identity(identity).await
            }
            Err(error) => {
                warn!(%error, "a certificate that came is not used");
                None
            }
        }
    }

    async fn authorities(&mut self, authorities: Authorities) {
        // Without a certificate there is nothing yet that could trust anybody;
        // the certificate will bring the authorities.
        let Some(before) = self.sidecar.identity() else {
            return;
        };
        if before.authorities_pem() == authorities.authorities_pem {
            return;
        }
        match before.with_authorities(authorities.authorities_pem) {
            Ok(identity) => {
                info!("the authorities of the cluster changed");
                let lost = !identity.trusts_all_of(&before);
                let _word = self.change_identity(identity).await;
                if lost {
                    // It may have been the one that signed ours.
                    self.renewal.at_once();
                }
            }
            Err(error) => warn!(%error, "authorities that came are not used"),
        }
    }

    async fn change_identity(&mut self, identity: IssuedIdentity) -> Option<FromSidecar> {
        let state = Arc::clone(&self.state);
        let kept = identity.clone();
        let keeping = tokio::task::spawn_blocking(move || state.keep_identity(&kept));
        if let Ok(Err(error)) = keeping.await {
            warn!(%error, "the certificate cannot be kept for a restart");
        }
        self.use_identity(identity).await;
        self.enforcement.certified().await
    }

    async fn renew_token<S>(
        &self,
        stream: &mut Stream<S>,
        sent: &mut SecretText,
    ) -> Result<(), StreamError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        match dial::newer_token(&self.source.token_file, sent).await {
            Some(token) => {
                *sent = token.clone();
                stream.send(&FromSidecar::Token(Token { token })).await
            }
            None => Ok(()),
        }
    }
}

async fn say<S>(stream: &mut Stream<S>, word: Option<FromSidecar>) -> Result<(), StreamError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match word {
        Some(word) => stream.send(&word).await,
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
