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
    Authorities, FromOperator, FromSidecar, HEARTBEAT_SECONDS, Hello, Purpose, Welcome,
};
use sidegate_config::sidecar_config::{SCHEMA_VERSION, SecretText};
use sidegate_policy::clock::Clock;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::client::every;
use super::identity_files::IdentityFiles;
use super::link::{Link, TICK, TOKEN_LOOK};
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
    let IdentityOptions {
        url,
        token_file,
        trust_dir,
        files,
        health: _,
        clock,
    } = options;
    let mut keeper = Keeper {
        files: Arc::new(IdentityFiles::shared(files)),
        ready,
        identity: None,
        unwritten: false,
        link: Link::new(url, token_file, trust_dir, clock),
    };
    if let Some(problem) = keeper.restore().await {
        warn!(problem, "the files of before are left out");
    }
    Ok(keeper.keep_connected().await)
}

/// Keeps one pod's identity.
struct Keeper {
    files: Arc<IdentityFiles>,
    ready: Arc<AtomicBool>,
    identity: Option<IssuedIdentity>,
    /// The files are not what `identity` says: the directory could not be
    /// written.
    unwritten: bool,
    link: Link,
}

// === impl Keeper ===

impl Keeper {
    /// The container may have been restarted. Says what is wrong with the files
    /// that are there.
    async fn restore(&mut self) -> Option<String> {
        let files = Arc::clone(&self.files);
        match tokio::task::spawn_blocking(move || files.read()).await {
            Ok(Ok(Some(identity))) => {
                let not_after = identity.not_after_unix();
                info!(not_after, "the files of before are good");
                self.link.in_use(&identity);
                self.link.kept(identity.clone());
                self.identity = Some(identity);
                self.ready.store(true, Ordering::Relaxed);
                None
            }
            Ok(Ok(None)) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(failed) => Some(failed.to_string()),
        }
    }

    async fn keep_connected(&mut self) -> Infallible {
        loop {
            let began = Instant::now();
            let Err(lost) = self.connect().await else {
                continue;
            };
            let stood = began.elapsed();
            let wait = self.link.lost(&lost, stood, "the files stay as they are");
            sleep(wait).await;
        }
    }

    /// Talks until there is a certificate that the next stream has to show.
    async fn connect(&mut self) -> Result<(), Lost> {
        if self.identity.is_none() {
            // A clock may have been set. What is wrong was said at the start.
            let _problem = self.restore().await;
        }
        let (mut stream, token) = self.link.connect().await?;
        let ended = Box::pin(self.converse(&mut stream, token)).await;
        stream.close().await;
        Ok(ended?)
    }

    async fn converse<S>(
        &mut self,
        stream: &mut Stream<S>,
        mut token: SecretText,
    ) -> Result<(), StreamError>
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
        self.link.welcomed(&pod);
        let mut heartbeat = every(Duration::from_secs(HEARTBEAT_SECONDS));
        let (mut token_look, mut tick) = (every(TOKEN_LOOK), every(TICK));
        self.tick(stream).await?;
        loop {
            tokio::select! {
                message = stream.receive() => self.take(message?).await?,
                _ = heartbeat.tick() => stream.send(&FromSidecar::Heartbeat).await?,
                _ = token_look.tick() => self.link.renew_token(stream, &mut token).await?,
                _ = tick.tick() => {
                    self.tick(stream).await?;
                    if self.link.has_to_show() {
                        return Ok(());
                    }
                }
            }
        }
    }

    async fn take(&mut self, message: FromOperator) -> Result<(), StreamError> {
        match message {
            FromOperator::Certificate(certificate) => {
                if let Some(identity) = self.link.issued(certificate) {
                    self.use_identity(identity).await;
                }
            }
            FromOperator::Authorities(authorities) => self.authorities(authorities).await,
            FromOperator::Renew => self.link.renew_soon(),
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

    async fn authorities(&mut self, authorities: Authorities) {
        // The certificate will bring the authorities.
        let Some(before) = &self.identity else { return };
        if let Some(identity) = self.link.among(before, authorities) {
            self.use_identity(identity).await;
        }
    }

    async fn use_identity(&mut self, identity: IssuedIdentity) {
        self.link.in_use(&identity);
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
        let writing = tokio::task::spawn_blocking(move || {
            let outcome = files.write(&identity);
            outcome.map(|()| identity)
        });
        match writing.await {
            Ok(Ok(identity)) => {
                info!(not_after, "new files are there");
                self.link.kept(identity);
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
        self.link
            .ask_for_certificate(stream, self.identity.as_ref())
            .await
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
