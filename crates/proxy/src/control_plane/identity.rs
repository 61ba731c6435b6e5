//! A certificate for a pod without a gateway, kept in files for its programs.
//!
//! The stream is the one that sidecars have, for another purpose: nothing comes
//! but certificates and authorities.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Method, StatusCode};
use sidegate_config::control::{
    FromOperator, FromSidecar, HEARTBEAT_SECONDS, Hello, Purpose, Token, Welcome,
};
use sidegate_config::sidecar_config::{SCHEMA_VERSION, SecretText};
use sidegate_policy::clock::Clock;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use super::backoff::Backoff;
use super::certificate::Renewal;
use super::client::{TICK, every};
use super::conversation::TOKEN_LOOK;
use super::dial::{self, dial};
use super::identity_files::IdentityFiles;
use super::lost::Lost;
use super::stream::{SILENCE, Stream, StreamError};
use super::url::ControlPlaneUrl;
use crate::identity::IssuedIdentity;
use crate::listener::ListenOptions;
use crate::run::service_port::{Answering, ServicePort, method_not_allowed, not_found, text};
use crate::run::{StartError, health_addresses, open};

/// What an identity is kept for, and where.
#[derive(Debug, Clone)]
pub struct IdentityOptions {
    /// The operator.
    pub url: ControlPlaneUrl,
    /// The projected service account token of the pod.
    pub token_file: PathBuf,
    /// The directory with `endpoints.crt`.
    pub trust_dir: PathBuf,
    /// The directory for `tls.crt`, `tls.key` and `ca.crt`.
    pub files: PathBuf,
    /// The health port; none: port 15021 on every address but loopback.
    pub health: Option<SocketAddr>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// Keeps the files, and is ready as soon as there are some.
///
/// # Errors
/// [`StartError`] when the health port cannot be opened. Everything else is
/// waited for; otherwise it has no end.
pub async fn keep_identity(options: IdentityOptions) -> Result<Infallible, StartError> {
    let ready = Arc::new(AtomicBool::new(false));
    let _health = health_ports(options.health, &ready).await?;
    let mut keeper = Keeper {
        files: Arc::new(IdentityFiles::new(options.files.clone())),
        options,
        ready,
        identity: None,
        unwritten: false,
        renewal: Renewal::default(),
        backoff: Backoff::default(),
        shows_certificate: true,
        complaint: None,
    };
    keeper.restore().await;
    Ok(keeper.keep_connected().await)
}

/// Keeps one pod's identity.
struct Keeper {
    options: IdentityOptions,
    files: Arc<IdentityFiles>,
    ready: Arc<AtomicBool>,
    identity: Option<IssuedIdentity>,
    /// The files are not what `identity` says: the directory could not be
    /// written.
    unwritten: bool,
    renewal: Renewal,
    backoff: Backoff,
    /// As for a sidecar: not after the operator refused it.
    shows_certificate: bool,
    complaint: Option<String>,
}

// === impl Keeper ===

impl Keeper {
    /// The container may have been restarted.
    async fn restore(&mut self) {
        let files = Arc::clone(&self.files);
        let read = tokio::task::spawn_blocking(move || files.read()).await;
        if let Ok(Some(identity)) = read {
            info!(
                not_after = identity.not_after_unix(),
                "the files of before are good"
            );
            self.renewal.in_use(&identity);
            self.identity = Some(identity);
            self.ready.store(true, Ordering::Relaxed);
        }
    }

    async fn keep_connected(&mut self) -> Infallible {
        loop {
            let began = Instant::now();
            let lost = match self.connect().await {
                Ok(never) => match never {},
                Err(lost) => lost,
            };
            let wait = self.backoff.next(began.elapsed(), lost.retry_after());
            self.note(&lost);
            sleep(wait).await;
        }
    }

    async fn connect(&mut self) -> Result<Infallible, Lost> {
        let token = dial::token(&self.options.token_file).await?;
        let shown = self.identity.as_ref().filter(|_| self.shows_certificate);
        let connection = dial(&self.options.url, &self.options.trust_dir, shown).await?;
        let mut stream = Stream::new(connection);
        let ended = Box::pin(self.converse(&mut stream, token)).await;
        stream.close().await;
        Ok(ended?)
    }

    async fn converse<S>(
        &mut self,
        stream: &mut Stream<S>,
        mut token: SecretText,
    ) -> Result<Infallible, StreamError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let hello = FromSidecar::Hello(Hello {
            token: token.clone(),
            purpose: Purpose::Identity,
            schema_versions: vec![SCHEMA_VERSION],
            program: env!("CARGO_PKG_VERSION").to_owned(),
            in_force: None,
        });
        let Welcome { pod } = timeout(SILENCE, stream.greet(&hello))
            .await
            .unwrap_or(Err(StreamError::Silent))?;
        info!(url = %self.options.url, pod, "connected to the operator");
        self.complaint = None;
        self.renewal.forget_request();
        let mut heartbeat = every(Duration::from_secs(HEARTBEAT_SECONDS));
        let (mut token_look, mut tick) = (every(TOKEN_LOOK), every(TICK));
        self.tick(stream).await?;
        loop {
            tokio::select! {
                message = stream.receive() => self.take(message?).await?,
                _ = heartbeat.tick() => stream.send(&FromSidecar::Heartbeat).await?,
                _ = token_look.tick() => {
                    if let Some(newer) = dial::newer_token(&self.options.token_file, &token).await {
                        token = newer.clone();
                        stream.send(&FromSidecar::Token(Token { token: newer })).await?;
                    }
                }
                _ = tick.tick() => self.tick(stream).await?,
            }
        }
    }

    async fn take(&mut self, message: FromOperator) -> Result<(), StreamError> {
        match message {
            FromOperator::Certificate(certificate) => match self.renewal.issued(certificate) {
                Ok(identity) => {
                    self.shows_certificate = true;
                    self.use_identity(identity).await;
                }
                Err(error) => warn!(%error, "a certificate that came is not used"),
            },
            FromOperator::Authorities(authorities) => {
                self.authorities(authorities.authorities_pem).await;
            }
            FromOperator::Renew => self.renewal.soon(self.options.clock.unix_seconds()),
            FromOperator::Refused(refusal) => return Err(StreamError::Refused(refusal)),
            // There is nothing here that could enforce anything.
            FromOperator::Snapshot(_)
            | FromOperator::Withdrawn(_)
            | FromOperator::Outdated(_)
            | FromOperator::Welcome(_)
            | FromOperator::Heartbeat
            | FromOperator::Unknown => {}
        }
        Ok(())
    }

    async fn authorities(&mut self, authorities_pem: String) {
        // The certificate will bring the authorities.
        let Some(before) = &self.identity else { return };
        if before.authorities_pem() == authorities_pem {
            return;
        }
        match before.with_authorities(authorities_pem) {
            Ok(identity) => {
                info!("the authorities of the cluster changed");
                let lost = !identity.trusts_all_of(before);
                self.use_identity(identity).await;
                if lost {
                    // It may have been the one that signed ours.
                    self.renewal.at_once();
                }
            }
            Err(error) => warn!(%error, "authorities that came are not used"),
        }
    }

    async fn use_identity(&mut self, identity: IssuedIdentity) {
        self.renewal.in_use(&identity);
        self.identity = Some(identity);
        self.unwritten = true;
        self.write().await;
    }

    async fn write(&mut self) {
        let Some(identity) = self.identity.clone() else {
            return;
        };
        let not_after = identity.not_after_unix();
        let files = Arc::clone(&self.files);
        match tokio::task::spawn_blocking(move || files.write(&identity)).await {
            Ok(Ok(())) => {
                info!(not_after, "new files are there");
                self.unwritten = false;
                self.ready.store(true, Ordering::Relaxed);
            }
            Ok(Err(error)) => warn!(%error, "the files cannot be written; it is tried again"),
            Err(error) => warn!(%error, "the files cannot be written; it is tried again"),
        }
    }

    /// Does what it is time for.
    async fn tick<S>(&mut self, stream: &mut Stream<S>) -> Result<(), StreamError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if self.unwritten {
            self.write().await;
        }
        if !self.shows_certificate || self.identity.is_none() {
            self.renewal.at_once();
        }
        let now = self.options.clock.unix_seconds();
        match self.renewal.request(now, Instant::now()) {
            Ok(None) => Ok(()),
            Ok(Some(request)) => stream.send(&request).await,
            Err(error) => {
                warn!(%error, "no key can be made");
                Ok(())
            }
        }
    }

    /// Says why there is no stream, once for each reason.
    fn note(&mut self, lost: &Lost) {
        if lost.is_about_certificate() {
            self.shows_certificate = !self.shows_certificate;
        }
        let complaint = lost.to_string();
        if self.complaint.as_ref() == Some(&complaint) {
            debug!(error = complaint, "still not connected to the operator");
        } else {
            warn!(
                url = %self.options.url, error = complaint,
                "not connected to the operator; the files stay as they are"
            );
            self.complaint = Some(complaint);
        }
    }
}

// === the health port ===

async fn health_ports(
    health: Option<SocketAddr>,
    ready: &Arc<AtomicBool>,
) -> Result<Vec<ServicePort>, StartError> {
    let mut ports = Vec::new();
    for address in health_addresses(health, &ListenOptions::default())? {
        ports.push(open("health", address, answering(Arc::clone(ready))).await?);
    }
    Ok(ports)
}

fn answering(ready: Arc<AtomicBool>) -> Answering {
    Arc::new(move |request| {
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let answer = match request.uri().path() {
            "/healthz" | "/readyz" if !is_read => method_not_allowed("GET, HEAD"),
            "/healthz" => text(StatusCode::OK, "ok"),
            "/readyz" if ready.load(Ordering::Relaxed) => text(StatusCode::OK, "ok"),
            "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, "not ready"),
            _ => not_found(),
        };
        Box::pin(std::future::ready(answer))
    })
}
