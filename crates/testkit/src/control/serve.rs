//! One connection of the operator.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sidegate_config::control::frame::{Decoder, encode};
use sidegate_config::control::{
    Certificate, FromOperator, FromSidecar, HEARTBEAT_SECONDS, MAX_TO_OPERATOR, MAX_TO_SIDECAR,
    PROTOCOL, Welcome,
};
use sidegate_dev::certificates::Issued;
use sidegate_tls::{CertificateRequest, Subject, Usages};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{Greeting, Ledger, Place, Say, Script, lock, now};
use crate::certificates::SERVER;

/// The name of every pod.
const POD: &str = "crm/support-0";

pub(super) async fn accept(
    listener: TcpListener,
    server: Issued,
    script: Arc<Mutex<Script>>,
    ledger: Arc<Ledger>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let acceptor = TlsAcceptor::from(Arc::new(tls(&server, &lock(&script))));
        let (script, ledger) = (Arc::clone(&script), Arc::clone(&ledger));
        tokio::spawn(async move {
            // Whoever does not take this for the operator goes away.
            if let Ok(stream) = acceptor.accept(stream).await {
                let (say_tx, say_rx) = mpsc::unbounded_channel();
                let certificate = stream.get_ref().1.peer_certificates();
                let certificate = certificate.map(|chain| chain[0].to_vec());
                let conversation = Conversation {
                    place: ledger.opened(certificate),
                    stream,
                    script,
                    ledger,
                    say_tx,
                    say_rx,
                };
                conversation.hold().await;
            }
        });
    }
}

struct Conversation {
    stream: TlsStream<TcpStream>,
    script: Arc<Mutex<Script>>,
    ledger: Arc<Ledger>,
    place: Place,
    say_tx: mpsc::UnboundedSender<Say>,
    say_rx: mpsc::UnboundedReceiver<Say>,
}

// === impl Conversation ===

impl Conversation {
    async fn hold(mut self) {
        let mut decoder = Decoder::new(MAX_TO_OPERATOR);
        let mut piece = vec![0; 16 * 1024];
        let mut heartbeat = tokio::time::interval(Duration::from_secs(HEARTBEAT_SECONDS));
        loop {
            let ended = tokio::select! {
                read = self.stream.read(&mut piece) => match read {
                    Ok(0) => {
                        self.ledger.closed(self.place);
                        true
                    }
                    Ok(read) => {
                        decoder.push(&piece[..read]);
                        while let Some(message) = decoder.next_message().expect("a message") {
                            self.ledger.said(self.place, FromSidecar::clone(&message));
                            self.answer(message);
                        }
                        false
                    }
                    Err(_) => true,
                },
                say = self.say_rx.recv() => match say {
                    Some(Say::Bytes(bytes)) => self.stream.write_all(&bytes).await.is_err(),
                    Some(Say::HangUp) | None => {
                        let _ = self.stream.shutdown().await;
                        true
                    }
                },
                _ = heartbeat.tick() => {
                    let speaks = lock(&self.script).heartbeats;
                    if speaks {
                        self.say(&FromOperator::Heartbeat);
                    }
                    false
                }
            };
            if ended {
                return;
            }
        }
    }

    fn answer(&self, message: FromSidecar) {
        match message {
            FromSidecar::Hello(_) => self.greet(),
            FromSidecar::CertificateRequest(request) => {
                if let Some(certificate) = self.sign(&request.request_pem) {
                    self.say(&FromOperator::Certificate(certificate));
                }
            }
            FromSidecar::Token(_)
            | FromSidecar::Confirmed(_)
            | FromSidecar::Rejected(_)
            | FromSidecar::Listeners(_)
            | FromSidecar::Heartbeat
            | FromSidecar::Unknown => {}
        }
    }

    fn greet(&self) {
        let (greeting, opening) = {
            let script = lock(&self.script);
            (script.greeting.clone(), script.opening.clone())
        };
        match greeting {
            Greeting::Welcome => {
                self.say(&FromOperator::Welcome(Welcome {
                    pod: POD.to_owned(),
                }));
                for message in opening {
                    self.say(&message);
                }
                lock(&self.script).live.push(self.say_tx.clone());
            }
            Greeting::Refuse(refusal) => {
                self.say(&FromOperator::Refused(refusal));
                self.enqueue(Say::HangUp);
            }
            Greeting::Raw(bytes) => self.enqueue(Say::Bytes(bytes)),
            Greeting::Silence => {}
        }
    }

    /// What a real operator puts into it does not depend on what is asked for.
    fn sign(&self, request_pem: &str) -> Option<Certificate> {
        let script = lock(&self.script);
        if !script.signs {
            return None;
        }
        let request = CertificateRequest::from_pem(request_pem).expect("a request");
        let subject = Subject {
            common_name: "00000000-0000-0000-0000-000000000000".to_owned(),
            spiffe_id: Some(SERVER.parse().expect("a SPIFFE id")),
            dns_names: vec!["localhost".to_owned()],
            usages: Usages::Both,
        };
        let signed = script.authorities[0].sign(&request, &subject, now(), script.lifetime);
        Some(Certificate {
            certificate_pem: signed.expect("a certificate"),
            authorities_pem: script.authorities_pem(),
        })
    }

    fn say(&self, message: &FromOperator) {
        self.enqueue(Say::Bytes(encode(message, MAX_TO_SIDECAR).expect("fits")));
    }

    fn enqueue(&self, say: Say) {
        // It fails only when this conversation is over.
        let _ = self.say_tx.send(say);
    }
}

/// Asks for a certificate of a workload and takes none as well.
fn tls(server: &Issued, script: &Script) -> ServerConfig {
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(script.authorities_pem().as_bytes()) {
        let authority = authority.expect("a certificate");
        roots.add(authority).expect("an authority");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()
            .expect("a verifier");
    let chain = CertificateDer::pem_slice_iter(server.certificate_pem.as_bytes());
    let chain = chain.collect::<Result<_, _>>().expect("certificates");
    let key = PrivateKeyDer::from_pem_slice(server.key_pem.expose().as_bytes());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("protocol versions")
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key.expect("a key"))
        .expect("an identity");
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config
}
