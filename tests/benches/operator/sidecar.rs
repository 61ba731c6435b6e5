//! A simulated sidecar: the other end of a config stream, without a proxy
//! behind it. It does what a real one does on the wire: a hello with the token
//! of its pod, a request for a certificate, a word about every snapshot, and a
//! heartbeat.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, bail};
use sidegate_config::control::frame::{Decoder, encode};
use sidegate_config::control::{
    CertificateRequest, Confirmed, FromOperator, FromSidecar, HEARTBEAT_SECONDS, Hello,
    MAX_TO_OPERATOR, MAX_TO_SIDECAR, PROTOCOL, Purpose, RefusalReason, SnapshotVersion,
};
use sidegate_config::sidecar_config::{SCHEMA_VERSION, SecretText};
use sidegate_tls::{ClientTls, client_config, new_key_and_request};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Instant, interval, sleep};

/// Bytes that are read at once.
const READ_BYTES: usize = 16 * 1024;
const HEARTBEAT: Duration = Duration::from_secs(HEARTBEAT_SECONDS);
/// The name in the operator's certificate.
const SERVER_NAME: &str = "localhost";

/// One of many.
#[derive(Debug)]
pub(crate) struct Sidecar {
    pub(crate) index: usize,
    pub(crate) operator: SocketAddr,
    /// Each pod has an address of its own.
    pub(crate) source: Ipv4Addr,
    pub(crate) token: SecretText,
    pub(crate) tls: ClientTls,
    /// Where it tells what it sees.
    pub(crate) events_tx: UnboundedSender<Event>,
}

/// What one of them saw, and when.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) index: usize,
    pub(crate) at: Instant,
    pub(crate) news: News,
}

#[derive(Debug)]
pub(crate) enum News {
    /// The operator knows the pod.
    Welcomed,
    /// It has a certificate.
    Certified,
    /// It enforces a snapshot with this hash and of this size.
    Enforces(String, usize),
    /// It was told to come later.
    Refused(RefusalReason),
    /// The stream ended, which it never should.
    Ended(String),
}

type Stream = tokio_rustls::client::TlsStream<TcpStream>;

/// The configuration of their TLS clients.
pub(crate) fn tls(endpoints_pem: &str) -> anyhow::Result<ClientTls> {
    Ok(client_config(endpoints_pem.as_bytes(), None, &[PROTOCOL])?)
}

// === impl Sidecar ===

impl Sidecar {
    /// Lives until it is dropped, or until a stream breaks.
    pub(crate) async fn live(self) {
        loop {
            match self.stream().await {
                Ok(wait) => sleep(wait).await,
                Err(error) => return self.tell(News::Ended(format!("{error:#}"))),
            }
        }
    }

    /// One stream; gives how long to wait when it was refused.
    async fn stream(&self) -> anyhow::Result<Duration> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((self.source, 0).into())?;
        let stream = socket.connect(self.operator).await.context("connect")?;
        stream.set_nodelay(true)?;
        let stream = self.tls.connect(stream, SERVER_NAME).await.context("TLS")?;
        let (read, write) = tokio::io::split(stream);
        let mut conversation = Conversation {
            sidecar: self,
            read,
            write,
            decoder: Decoder::new(MAX_TO_SIDECAR),
        };
        conversation.hold().await
    }

    fn hello(&self) -> FromSidecar {
        FromSidecar::Hello(Hello {
            token: self.token.clone(),
            purpose: Purpose::Enforce,
            schema_versions: vec![SCHEMA_VERSION],
            program: "simulated".to_owned(),
            in_force: None,
        })
    }

    fn tell(&self, news: News) {
        let event = Event {
            index: self.index,
            at: Instant::now(),
            news,
        };
        // Nobody listens any more when all is measured.
        let _ = self.events_tx.send(event);
    }
}

/// A stream that stands.
struct Conversation<'a> {
    sidecar: &'a Sidecar,
    read: ReadHalf<Stream>,
    write: WriteHalf<Stream>,
    decoder: Decoder,
}

// === impl Conversation ===

impl Conversation<'_> {
    async fn hold(&mut self) -> anyhow::Result<Duration> {
        self.say(&self.sidecar.hello()).await?;
        let mut buffer = vec![0; READ_BYTES];
        let mut heartbeat = interval(HEARTBEAT);
        heartbeat.reset();
        loop {
            tokio::select! {
                count = self.read.read(&mut buffer) => {
                    let count = count.context("read")?;
                    let arrived = buffer.get(..count).unwrap_or_default();
                    if arrived.is_empty() {
                        bail!("the operator hung up");
                    }
                    self.decoder.push(arrived);
                    while let Some(message) = self.decoder.next_message()? {
                        if let Some(wait) = self.heard(message).await? {
                            return Ok(wait);
                        }
                    }
                }
                _ = heartbeat.tick() => self.say(&FromSidecar::Heartbeat).await?,
            }
        }
    }

    /// Gives how long to wait when that was a refusal.
    async fn heard(&mut self, message: FromOperator) -> anyhow::Result<Option<Duration>> {
        match message {
            FromOperator::Welcome(_) => {
                self.sidecar.tell(News::Welcomed);
                self.ask_for_certificate().await?;
            }
            FromOperator::Renew => self.ask_for_certificate().await?,
            FromOperator::Refused(refusal) => {
                self.sidecar.tell(News::Refused(refusal.reason));
                return Ok(Some(Duration::from_millis(refusal.retry_after_ms)));
            }
            FromOperator::Snapshot(snapshot) => {
                let bytes = snapshot.config.get().len();
                let hash = snapshot.version.hash.clone();
                self.sidecar.tell(News::Enforces(hash, bytes));
                self.confirm(snapshot.version).await?;
            }
            FromOperator::Withdrawn(withdrawn) => self.confirm(withdrawn.version).await?,
            FromOperator::Certificate(_) => self.sidecar.tell(News::Certified),
            FromOperator::Outdated(outdated) => bail!("it is too old for {}", outdated.version),
            FromOperator::Authorities(_) | FromOperator::Heartbeat | FromOperator::Unknown => {}
        }
        Ok(None)
    }

    async fn confirm(&mut self, version: SnapshotVersion) -> anyhow::Result<()> {
        self.say(&FromSidecar::Confirmed(Confirmed { version }))
            .await
    }

    async fn ask_for_certificate(&mut self) -> anyhow::Result<()> {
        let request_pem = new_key_and_request()?.request_pem;
        self.say(&FromSidecar::CertificateRequest(CertificateRequest {
            request_pem,
        }))
        .await
    }

    async fn say(&mut self, message: &FromSidecar) -> anyhow::Result<()> {
        let frame = encode(message, MAX_TO_OPERATOR)?;
        self.write.write_all(&frame).await.context("write")?;
        self.write.flush().await.context("write")
    }
}
