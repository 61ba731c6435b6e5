//! A small sidecar: it speaks the stream and enforces nothing.

use std::net::SocketAddr;

use sidegate_config::control::frame::{Decoder, encode};
use sidegate_config::control::{
    CertificateRequest, Confirmed, FromOperator, FromSidecar, Hello, MAX_TO_OPERATOR,
    MAX_TO_SIDECAR, PROTOCOL, Purpose, Refusal, RefusalReason, Snapshot, SnapshotVersion,
};
use sidegate_config::sidecar_config::{SCHEMA_VERSION, SecretText};
use sidegate_tls::{ClientStream, ClientTls, PrivateKeyPem, client_config};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::cluster::{PATIENCE, STEP};

/// Where an operator serves streams, and who vouches for it.
pub(crate) struct Place {
    pub(crate) address: SocketAddr,
    pub(crate) name: String,
    pub(crate) roots_pem: String,
}

/// One connection to an operator.
pub(crate) struct Sidecar {
    stream: ClientStream<TcpStream>,
    decoder: Decoder,
}

pub(crate) fn hello(token: &str) -> Hello {
    Hello {
        token: SecretText::from(token.to_owned()),
        purpose: Purpose::Enforce,
        schema_versions: vec![SCHEMA_VERSION],
        program: "test".to_owned(),
        in_force: None,
    }
}

// === impl Place ===

impl Place {
    pub(crate) fn tls(&self, identity: Option<(&str, &PrivateKeyPem)>) -> ClientTls {
        let identity = identity.map(|(chain, key)| (chain.as_bytes(), key));
        client_config(self.roots_pem.as_bytes(), identity, &[PROTOCOL]).expect("a client")
    }

    pub(crate) async fn try_connect(&self, tls: &ClientTls) -> std::io::Result<Sidecar> {
        let stream = TcpStream::connect(self.address).await?;
        let stream = timeout(PATIENCE, tls.connect(stream, &self.name)).await??;
        Ok(Sidecar {
            stream,
            decoder: Decoder::new(MAX_TO_SIDECAR),
        })
    }

    /// Connects without a certificate.
    pub(crate) async fn connect(&self) -> Sidecar {
        let connected = self.try_connect(&self.tls(None)).await;
        connected.expect("a connection")
    }

    /// Says hello without a certificate.
    pub(crate) async fn hello(&self, token: &str) -> Sidecar {
        let mut sidecar = self.connect().await;
        sidecar.say(&FromSidecar::Hello(hello(token))).await;
        sidecar
    }

    /// Begins a stream, as soon as the replica knows the pod.
    pub(crate) async fn stream(&self, token: &str) -> Sidecar {
        let end = Instant::now() + PATIENCE;
        loop {
            let mut sidecar = self.hello(token).await;
            let first = sidecar.next().await;
            if matches!(first, FromOperator::Welcome(_)) {
                return sidecar;
            }
            let FromOperator::Refused(refusal) = first else {
                panic!("a welcome: {first:?}")
            };
            let is_early = matches!(
                refusal.reason,
                RefusalReason::UnknownPod | RefusalReason::Unavailable
            );
            assert!(is_early && Instant::now() < end, "{refusal:?}");
            sleep(STEP).await;
        }
    }

    /// The refusal of a token.
    pub(crate) async fn refusal(&self, token: &str) -> Refusal {
        self.hello(token).await.refused().await
    }
}

// === impl Sidecar ===

impl Sidecar {
    pub(crate) async fn say(&mut self, message: &FromSidecar) {
        let frame = encode(message, MAX_TO_OPERATOR).expect("a frame");
        self.write(&frame).await;
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("it is written");
        self.stream.flush().await.expect("it is written");
    }

    /// Says something that the operator may not wait for.
    pub(crate) async fn try_say(&mut self, message: &FromSidecar) {
        let frame = encode(message, MAX_TO_OPERATOR).expect("a frame");
        let _broken = self.stream.write_all(&frame).await;
        let _broken = self.stream.flush().await;
    }

    /// What the operator says next; nothing when it hung up.
    pub(crate) async fn try_next(&mut self) -> Option<FromOperator> {
        loop {
            if let Some(message) = self.decoder.next_message().expect("a message") {
                return Some(message);
            }
            let mut arrived = [0; 8 * 1024];
            let read = timeout(PATIENCE, self.stream.read(&mut arrived)).await;
            match read.expect("an answer in time") {
                Ok(0) | Err(_) => return None,
                Ok(count) => self.decoder.push(&arrived[..count]),
            }
        }
    }

    /// What the operator says next, but for heartbeats.
    pub(crate) async fn next(&mut self) -> FromOperator {
        loop {
            let message = self.try_next().await.expect("it does not hang up");
            if !matches!(message, FromOperator::Heartbeat) {
                return message;
            }
        }
    }

    /// The next snapshot.
    pub(crate) async fn snapshot(&mut self) -> Snapshot {
        loop {
            let next = self.next().await;
            assert!(!matches!(next, FromOperator::Refused(_)), "{next:?}");
            if let FromOperator::Snapshot(snapshot) = next {
                return snapshot;
            }
        }
    }

    /// Why the stream ends.
    pub(crate) async fn refused(&mut self) -> Refusal {
        loop {
            if let FromOperator::Refused(refusal) = self.next().await {
                return refusal;
            }
        }
    }

    pub(crate) async fn confirm(&mut self, version: SnapshotVersion) {
        self.say(&FromSidecar::Confirmed(Confirmed { version }))
            .await;
    }

    pub(crate) async fn ask_for_certificate(&mut self, request_pem: &str) {
        self.say(&FromSidecar::CertificateRequest(CertificateRequest {
            request_pem: request_pem.to_owned(),
        }))
        .await;
    }

    /// Asks for a certificate, which is the next thing that it hears of.
    pub(crate) async fn certificate_at_once(&mut self, request_pem: &str) {
        self.ask_for_certificate(request_pem).await;
        let next = self.next().await;
        assert!(matches!(next, FromOperator::Certificate(_)), "{next:?}");
    }

    /// Asks for a certificate, and returns its chain and the authorities.
    pub(crate) async fn certificate(&mut self, request_pem: &str) -> (String, String) {
        self.ask_for_certificate(request_pem).await;
        loop {
            let next = self.next().await;
            assert!(!matches!(next, FromOperator::Refused(_)), "{next:?}");
            if let FromOperator::Certificate(it) = next {
                return (it.certificate_pem, it.authorities_pem);
            }
        }
    }
}
