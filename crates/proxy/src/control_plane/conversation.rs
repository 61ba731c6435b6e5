//! What is said on one stream.

use std::sync::Arc;
use std::time::Duration;

use sidegate_config::control::{
    Authorities, Certificate, ForeignListener, FromOperator, FromSidecar, HEARTBEAT_SECONDS, Hello,
    Listeners, Purpose, Welcome,
};
use sidegate_config::sidecar_config::{SCHEMA_VERSION, SecretText};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout};
use tracing::{debug, info};

use super::client::{Client, every};
use super::link::{TICK, TOKEN_LOOK};
use super::stream::{SILENCE, Stream, StreamError};
use crate::identity::IssuedIdentity;

const HEARTBEAT: Duration = Duration::from_secs(HEARTBEAT_SECONDS);
/// How often it is looked who else listens in the pod.
const LISTENERS_LOOK: Duration = Duration::from_secs(5);

/// How a stream ended.
pub(super) enum Ended {
    /// The sidecar is stopping.
    Stopping,
    /// It was left, so that the next one shows the certificate.
    ToShowCertificate,
    /// It broke, after it had stood for so long.
    Lost(StreamError, Duration),
}

/// Why this side leaves a stream in good order.
enum Left {
    Stopping,
    ToShowCertificate,
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
        match talked {
            Ok(Left::Stopping) => Ended::Stopping,
            Ok(Left::ToShowCertificate) => Ended::ToShowCertificate,
            Err(error) => Ended::Lost(error, began.elapsed()),
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
        self.link.welcomed(&pod);
        self.connected(true);
        Ok(())
    }

    async fn talk<S>(
        &mut self,
        stream: &mut Stream<S>,
        mut token: SecretText,
    ) -> Result<Left, StreamError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let drain = Arc::clone(self.sidecar.drain());
        let (mut heartbeat, mut token_look) = (every(HEARTBEAT), every(TOKEN_LOOK));
        let (mut tick, mut listeners_look) = (every(TICK), every(LISTENERS_LOOK));
        let mut told = None;
        self.ask_for_certificate(stream).await?;
        loop {
            tokio::select! {
                () = drain.draining() => return Ok(Left::Stopping),
                message = stream.receive() => self.take(stream, message?).await?,
                _ = heartbeat.tick() => stream.send(&FromSidecar::Heartbeat).await?,
                _ = token_look.tick() => self.link.renew_token(stream, &mut token).await?,
                _ = listeners_look.tick() => self.tell_listeners(stream, &mut told).await?,
                _ = tick.tick() => {
                    self.ask_for_certificate(stream).await?;
                    let word = self.enforcement.tick(Instant::now()).await;
                    say(stream, word).await?;
                    if self.link.has_to_show() {
                        return Ok(Left::ToShowCertificate);
                    }
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
        let now = self.link.now_unix();
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
                self.link.renew_soon();
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
        let identity = self.sidecar.identity();
        self.link
            .ask_for_certificate(stream, identity.as_deref())
            .await
    }

    async fn certificate(&mut self, certificate: Certificate) -> Option<FromSidecar> {
        let identity = self.link.issued(certificate)?;
        let not_after = identity.not_after_unix();
        info!(not_after, "a new certificate is in use");
        self.change_identity(identity).await
    }

    async fn authorities(&mut self, authorities: Authorities) {
        // Without a certificate there is nothing yet that could trust anybody;
        // the certificate will bring the authorities.
        let Some(before) = self.sidecar.identity() else {
            return;
        };
        if let Some(identity) = self.link.among(&before, authorities) {
            let _word = self.change_identity(identity).await;
        }
    }

    async fn change_identity(&mut self, identity: IssuedIdentity) -> Option<FromSidecar> {
        self.keep_identity(&identity).await;
        self.use_identity(identity).await;
        self.enforcement.certified().await
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
