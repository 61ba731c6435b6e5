//! The other side of a connection, until it is recognized.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use sidegate_config::control::{FromOperator, FromSidecar, Hello, Purpose};
use sidegate_tls::PeerCertificate;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout};
use tracing::{debug, info};

use super::Shared;
use super::arrivals::Arriving;
use super::authenticate::Authenticated;
use super::delivery::for_people;
use super::refused::Refused;
use super::session::{Beginning, Ended, Session, last_words};
use super::wire::{ReadError, Reader, Writer};
use crate::authority::Trust;

const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

/// Somebody who did the handshake.
pub(super) struct Peer<S> {
    pub(super) reader: Reader<S>,
    pub(super) writer: Writer<S>,
    pub(super) certificate: Option<PeerCertificate>,
    pub(super) source: IpAddr,
}

struct Recognized {
    hello: Hello,
    authenticated: Authenticated,
    trust: Arc<Trust>,
}

enum NotRecognized {
    HungUp,
    Refused(Refused),
}

// === impl Peer ===

impl<S: AsyncRead + AsyncWrite> Peer<S> {
    /// Serves the connection to its end.
    pub(super) async fn serve(mut self, arriving: Arriving, shared: Arc<Shared>) {
        match self.recognize(&shared).await {
            Ok(recognized) => {
                shared.metrics.streams.authenticated("accepted");
                let _connected = arriving.recognized();
                Box::pin(self.stream(recognized, shared)).await;
            }
            Err(NotRecognized::HungUp) => shared.metrics.streams.authenticated("hung_up"),
            Err(NotRecognized::Refused(refused)) => {
                shared.metrics.streams.authenticated(refused.word());
                if shared.may_log_refusal() {
                    info!(
                        source = %self.source, reason = refused.word(), message = %refused.message,
                        "a stream is refused"
                    );
                }
                self.refuse(refused).await;
            }
        }
    }

    async fn recognize(&mut self, shared: &Shared) -> Result<Recognized, NotRecognized> {
        let hello = self.hello().await?;
        let trust = shared.trust.borrow().clone();
        let trust =
            trust.ok_or_else(|| Refused::unavailable("this replica has no authority yet"))?;
        shared.certificates().trust(trust.workload_roots_pem());
        let certificate = self.certificate.as_ref();
        let authenticated = shared
            .authentication
            .begin(&hello.token, certificate, self.source)
            .await?;
        Ok(Recognized {
            hello,
            authenticated,
            trust,
        })
    }

    async fn hello(&mut self) -> Result<Hello, NotRecognized> {
        let late = |_| Refused::protocol("there was no hello in time");
        match timeout(HELLO_TIMEOUT, self.reader.next())
            .await
            .map_err(late)?
        {
            Ok(FromSidecar::Hello(hello)) => Ok(hello),
            Ok(
                FromSidecar::Token(_)
                | FromSidecar::Confirmed(_)
                | FromSidecar::Rejected(_)
                | FromSidecar::CertificateRequest(_)
                | FromSidecar::Listeners(_)
                | FromSidecar::Heartbeat
                | FromSidecar::Unknown,
            ) => Err(Refused::protocol("a stream begins with a hello").into()),
            Err(ReadError::Closed | ReadError::Io(_)) => Err(NotRecognized::HungUp),
            Err(ReadError::Frame(error)) => Err(Refused::protocol(error.to_string()).into()),
        }
    }

    async fn refuse(mut self, refused: Refused) {
        let refused = FromOperator::Refused(refused.into());
        if self.writer.put(&refused).is_ok() {
            last_words(&mut self.reader, &mut self.writer).await;
        }
    }

    async fn stream(self, recognized: Recognized, shared: Arc<Shared>) {
        let Self {
            reader,
            writer,
            certificate,
            source,
        } = self;
        let Recognized {
            hello,
            authenticated,
            trust,
        } = recognized;
        let pod = authenticated.pod.key.clone();
        info!(
            %pod, %source, identity_only = hello.purpose == Purpose::Identity,
            certificate = certificate.is_some(), program = for_people(&hello.program),
            "a stream begins"
        );
        shared.metrics.streams.opened();
        let began = Instant::now();
        let session = Session::new(Beginning {
            shared: Arc::clone(&shared),
            source,
            reader,
            writer,
            hello,
            authenticated,
            trust,
        });
        let ended = session.run().await;
        shared.metrics.streams.ended(ended.word());
        let seconds = began.elapsed().as_secs();
        if let Ended::Broken(error) = &ended {
            debug!(%pod, %error, "a connection broke");
        }
        info!(%pod, %source, reason = ended.word(), seconds, "a stream ended");
    }
}

// === impl NotRecognized ===

impl From<Refused> for NotRecognized {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}
