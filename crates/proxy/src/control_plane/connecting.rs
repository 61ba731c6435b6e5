//! One stream after the other, as long as the sidecar runs: connected whenever
//! that is possible, and without any effect on the data plane when it is not.

use std::sync::Arc;
use std::time::Duration;

use sidegate_config::sidecar_config::SecretText;
use sidegate_tls::ClientStream;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};
use tracing::info;

use super::client::{Client, every};
use super::conversation::Ended;
use super::dial::DialError;
use super::identity_files::UnusableFiles;
use super::link::TICK;
use super::lost::Lost;
use super::stream::Stream;

// === impl Client ===

impl Client {
    /// Stays connected until the sidecar drains.
    pub(super) async fn keep_connected(mut self) {
        let drain = Arc::clone(self.sidecar.drain());
        loop {
            let connected = tokio::select! {
                connected = self.connect() => connected,
                () = drain.draining() => return,
            };
            let (stood, lost) = match connected {
                Ok((stream, token)) => match Box::pin(self.converse(stream, token)).await {
                    Ended::Stopping => return,
                    Ended::ToShowCertificate => continue,
                    Ended::Lost(error, stood) => (stood, Lost::from(error)),
                },
                Err(error) => (Duration::ZERO, Lost::from(error)),
            };
            self.sidecar
                .connection(|connection| connection.last_error = Some(lost.to_string()));
            let wait = self.link.lost(&lost, stood, "what is in force stays");
            tokio::select! {
                () = self.pause(wait) => {}
                () = drain.draining() => return,
            }
        }
    }

    async fn connect(
        &mut self,
    ) -> Result<(Stream<ClientStream<TcpStream>>, SecretText), DialError> {
        match self.sidecar.identity() {
            Some(identity) if self.link.is_unkept(&identity) => {
                self.keep_identity(&identity).await;
            }
            Some(_) => {}
            None => self.identity_of_before().await,
        }
        self.link.connect().await
    }

    /// A certificate that could not be used, or seemed to have ended, may be
    /// good now: clocks are set. An operator that knows it wants to see it.
    async fn identity_of_before(&mut self) {
        let state = Arc::clone(&self.state);
        let reading = tokio::task::spawn_blocking(move || state.identity());
        let identity = match reading.await {
            Ok(Ok(Some(identity))) => identity,
            // It was said at the start.
            Ok(Ok(None) | Err(UnusableFiles::Io(_) | UnusableFiles::Tls(_))) | Err(_) => return,
        };
        info!("the certificate of before can be used now");
        self.link.kept(identity.clone());
        self.use_identity(identity).await;
        // The greeting will say what is in force.
        let _word = self.enforcement.certified().await;
    }

    /// Waits, and tries again meanwhile what could not be put in force.
    async fn pause(&mut self, wait: Duration) {
        let until = Instant::now() + wait;
        let mut tick = every(TICK);
        loop {
            tokio::select! {
                () = sleep_until(until) => return,
                _ = tick.tick() => {
                    // The next greeting says what is in force.
                    let _word = self.enforcement.tick(Instant::now()).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
